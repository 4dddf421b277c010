"""What the end-to-end tests stand on: a real etcd, the programs as processes, real mounts.

A System is one GPUTEL_PREFIX in an etcd: its collectors, streamers and mounts, each with a log of its
own. Closing it ends them all, unmounts whatever happened, and names what crashed on the way.

A mount whose daemon hangs blocks whoever touches it, beyond signals. So nothing here stats a mount
point to learn its state (that is in /proc/self/mountinfo), and a watchdog aborts the connections of
a test that takes too long, which ends the blocked calls with an error.
"""
import base64
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("GPUTEL_BIN", ROOT / "bin"))
SANITIZED = any(name in BIN.parent.name for name in ("address", "thread", "undefined"))
SHARED = Path(os.environ.get("GPUTEL_SHARED", ROOT.parent / "shared"))
EDGE = ROOT / "data" / "edge"
SLOW = float(os.environ.get("GPUTEL_SLOW", "1"))  # stretches every deadline: sanitizer builds, busy machines
SEED = int(os.environ.get("GPUTEL_SEED", random.SystemRandom().randrange(10**6)))
POLL = 0.01

SANITIZER_EXIT = 99
SANITIZER_REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|runtime error:")
SANITIZER_ENV = {
    "ASAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:detect_leaks=1",
    "UBSAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:print_stacktrace=1",
    "TSAN_OPTIONS": f"exitcode={SANITIZER_EXIT}:report_thread_leaks=0",
}


class Crash(Exception):
    """A program ended by a signal that nobody sent, or by a sanitizer."""


def wait_until(condition, seconds=30, what="the condition"):
    """Polls until condition() is true and returns its value. The seconds are what it takes on no machine that works:
    how fast it is, tests/bench says. An OSError or a failed assert in it
    counts as "not yet", and is shown as the cause when time is up. A program that has crashed
    meanwhile ends the waiting."""
    end = time.monotonic() + seconds * SLOW
    while True:
        for process in (p for system in System.live for p in system.processes if p.crashed()):
            raise Crash("\n".join(process.faults()))
        cause = None
        try:
            value = condition()
            if value:
                return value
        except (OSError, AssertionError) as e:
            cause = e
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds * SLOW:g} s") from cause
        time.sleep(POLL)


class Process:
    """A program under test. Its standard error is its log; standard output is kept beside it."""

    def __init__(self, name, argv, env, folder, stdin=None):
        self.name = name
        self.log_path, self.out_path = folder / f"{name}.log", folder / f"{name}.out"
        self.killed = False
        with open(self.log_path, "ab") as log, open(self.out_path, "ab") as out:
            self.popen = subprocess.Popen([str(a) for a in argv], env=env, stdout=out, stderr=log,
                                          stdin=stdin or subprocess.DEVNULL, start_new_session=True)
        self.pid = self.popen.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def out(self):
        return self.out_path.read_text(errors="replace")

    def running(self):
        return self.popen.poll() is None

    def wait(self, seconds=60):
        """The exit status; past the deadline the process is killed and the test fails."""
        try:
            wait_until(lambda: not self.running(), seconds, f"the end of {self.name}")
        except AssertionError:
            self.kill()
            raise
        return self.popen.returncode

    def send(self, number):
        if self.running():
            self.popen.send_signal(number)

    def stop(self, number=signal.SIGTERM, seconds=40):
        self.send(number)
        return self.wait(seconds)

    def kill(self):
        self.killed = True
        self.send(signal.SIGKILL)
        self.popen.wait()

    def pause(self):
        self.send(signal.SIGSTOP)

    def resume(self):
        self.send(signal.SIGCONT)

    def peak_memory(self):
        """VmHWM in bytes; 0 when the process is gone."""
        try:
            match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        except OSError:
            match = None
        return int(match[1]) * 1024 if match else 0

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def faults(self):
        """What an orderly life has none of."""
        found = [f"{self.name}: {line}" for line in self.log().splitlines() if SANITIZER_REPORT.search(line)]
        if self.crashed():
            found.append(f"{self.name} ended with status {self.popen.returncode}")
        return found

    def crashed(self):
        status = self.popen.poll()
        if status is None or status >= 0 or self.killed:
            return status == SANITIZER_EXIT
        return status != -signal.SIGTERM  # which may come before the program has begun


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Etcd:
    """One member with a folder and ports of its own, the settings of examples/run.sh."""

    def __init__(self, folder, fsync=True):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.fsync = fsync
        self.process = None
        self.client = self.peer = None
        self.choose_ports()

    def choose_ports(self):
        self.client, self.peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))

    def start(self):
        """Starts it, or starts it again on what it has stored."""
        fresh = not (self.folder / "data").exists()
        for _ in range(5):
            argv = ["etcd", "--name", "test", "--data-dir", self.folder / "data",
                    "--listen-client-urls", self.client, "--advertise-client-urls", self.client,
                    "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer,
                    "--initial-cluster", f"test={self.peer}",
                    "--quota-backend-bytes=8589934592", "--snapshot-count=5000",
                    "--auto-compaction-mode=periodic", "--auto-compaction-retention=1m",
                    "--logger=zap", "--log-level=warn"]
            if not self.fsync:
                argv.append("--unsafe-no-fsync")
            env = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
            self.process = Process("etcd", argv, env, self.folder)
            wait_until(lambda: not self.process.running() or self.healthy(), 20, "etcd answers")
            if self.process.running():
                return self
            if fresh:  # somebody else took a port meanwhile
                shutil.rmtree(self.folder / "data", ignore_errors=True)
                self.choose_ports()
        raise AssertionError("etcd does not start:\n" + self.process.log())

    def healthy(self):
        try:
            with urllib.request.urlopen(self.client + "/health", timeout=2) as answer:
                return json.load(answer).get("health") == "true"
        except (urllib.error.URLError, OSError):
            return False

    def stop(self):
        if self.process:
            self.process.stop()

    def kill(self):
        if self.process:
            self.process.kill()

    def call(self, path, **body):
        request = urllib.request.Request(self.client + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    @staticmethod
    def range_of(prefix):
        raw = prefix.encode()
        end = raw[:-1] + bytes([raw[-1] + 1])
        return {"key": base64.b64encode(raw).decode(), "range_end": base64.b64encode(end).decode()}

    def items(self, prefix):
        """{key: value} of everything under a prefix, asked of etcd itself."""
        kvs = self.call("/v3/kv/range", **self.range_of(prefix)).get("kvs", [])
        return {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv.get("value", "")) for kv in kvs}

    def delete(self, prefix):
        self.call("/v3/kv/deleterange", **self.range_of(prefix))


FUSE_CONNECTIONS = Path("/sys/fs/fuse/connections")


def mounts_at(path):
    """Minor device numbers of what is mounted at path, the lowest first. Asks no file system."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        where = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4])
        if where == str(path):
            found.append(int(fields[2].split(":")[1]))
    return found


def abort_fuse(minor):
    """Ends a FUSE connection from the kernel's side: calls that hang in it return an error."""
    if os.geteuid() == 0 and not any(FUSE_CONNECTIONS.glob("*")):
        subprocess.run(["mount", "-t", "fusectl", "none", FUSE_CONNECTIONS], capture_output=True, check=False)
    try:
        (FUSE_CONNECTIONS / str(minor) / "abort").write_text("1")
    except OSError:
        pass  # gone already


def force_unmount(path, abort=False):
    for _ in range(8):
        minors = mounts_at(path)
        if not minors:
            return
        if abort:
            abort_fuse(minors[-1])
        for command in (["fusermount3", "-uzq", path], ["umount", "-l", path]):
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                break
    raise AssertionError(f"{path} cannot be unmounted")


class Mount:
    """A gputel-fs in the foreground and the tree that it shows."""

    def __init__(self, path, process):
        self.path, self.process = path, process
        self.minors = set(mounts_at(path))  # also when it is no longer in the tree of mounts

    def __truediv__(self, name):
        return self.path / name

    def read(self, name):
        return (self.path / name).read_bytes().decode()

    def names(self, name="."):
        return sorted(os.listdir(self.path / name))

    def status(self):
        return dict(line.split("=", 1) for line in self.read(".meta/status").splitlines())

    def gpus(self):
        """{"host/gpu"} of every GPU's folder."""
        hosts = [h for h in self.names() if not h.startswith(".") and h != "README"]
        return {f"{h}/{g}" for h in hosts for g in self.names(h) if g != "latest.csv"}

    def unmount(self):
        """Ends the daemon as its user would; returns its exit status."""
        status = self.process.stop()
        assert not mounts_at(self.path), "still mounted after the daemon has ended"
        return status

    def abort(self):
        for minor in self.minors.union(mounts_at(self.path)):
            abort_fuse(minor)

    def close(self):
        if self.process.running():
            self.process.send(signal.SIGTERM)
            try:
                self.process.popen.wait(15 * SLOW)
            except subprocess.TimeoutExpired:
                self.abort()
                self.process.kill()
        force_unmount(self.path, abort=self.process.killed)


SUMMARY = re.compile(r"rows=(?P<rows>\d+) published=(?P<published>\d+) duplicate=(?P<duplicate>\d+) "
                     r"no_value=(?P<no_value>\d+) invalid=(?P<invalid>\d+) messages=(?P<messages>\d+)")


class Run:
    """A streamer that has ended: status, log, and the figures of its last line."""

    def __init__(self, process, status):
        self.status, self.log, self.out = status, process.log(), process.out()
        lines = self.out.splitlines()
        match = SUMMARY.fullmatch(lines[-1]) if lines else None
        self.counts = {k: int(v) for k, v in match.groupdict().items()} if match else None
        if match:
            c = self.counts
            assert c["rows"] == c["published"] + c["duplicate"] + c["no_value"] + c["invalid"], lines[-1]

    def __getattr__(self, name):
        if name in ("rows", "published", "duplicate", "no_value", "invalid", "messages"):
            assert self.counts, f"no summary line: stdout {self.out!r}, log:\n{self.log[-2000:]}"
            return self.counts[name]
        raise AttributeError(name)


class System:
    live = []  # all that are open, for the watchdog

    def __init__(self, etcd, folder, **env):
        self.etcd, self.folder = etcd, folder
        self.prefix = f"/test-{random.SystemRandom().randrange(16**12):012x}"
        ours = re.compile(r"(ETCD|GPUTEL|MQ|THROTTLE|STREAMER|COLLECTOR|FS|GATEWAY|WS|LOG|METRICS)_|SEGMENT$|RETENTION")
        self.base_env = {k: v for k, v in os.environ.items() if not ours.match(k)}
        self.base_env.update(SANITIZER_ENV, ETCD_ENDPOINTS=etcd.client, GPUTEL_PREFIX=self.prefix)
        self.base_env.update({k: str(v) for k, v in env.items()})
        self.processes, self.mounts = [], []
        folder.mkdir(parents=True, exist_ok=True)
        System.live.append(self)

    def start(self, program, *args, stdin=None, **env):
        """Starts gputel-<program>; env are further variables of it."""
        name = f"{program}-{1 + sum(p.name.startswith(program) for p in self.processes)}"
        process = Process(name, [BIN / f"gputel-{program}", *args],
                          {**self.base_env, **{k: str(v) for k, v in env.items()}}, self.folder, stdin)
        self.processes.append(process)
        return process

    def collector(self, *args, **env):
        return self.start("collector", *args, **env)

    def streamer(self, *args, **env):
        return self.start("streamer", *args, **env)

    def stream(self, *args, status=0, seconds=60, **env):
        """Runs a streamer to its end, which must have that status."""
        process = self.start("streamer", *args, **env)
        got = process.wait(seconds)
        assert got == status, f"status {got}, expected {status}; log:\n{process.log()[-3000:]}"
        return Run(process, got)

    def mount(self, *options, path=None, ready=True, **env):
        path = path or self.folder / f"mnt-{len(self.mounts) + 1}"
        if not mounts_at(path):
            path.mkdir(exist_ok=True)
        mount = Mount(path, self.start("fs", "-f", *options, path, **env))
        self.mounts.append(mount)
        wait_until(lambda: mounts_at(path) or not mount.process.running(), 30, "the mount appears")
        assert mount.process.running(), "gputel-fs ended:\n" + mount.process.log()
        mount.minors.update(mounts_at(path))
        if ready:
            wait_until(lambda: ".meta" in mount.names(), 30, "the first list is in")
        return mount

    def keys(self, under=""):
        """Keys in etcd under /queue/, /telemetry/, … without the prefix."""
        return {k[len(self.prefix):]: v for k, v in self.etcd.items(self.prefix + under).items()}

    def logs(self):
        return {p.name: p.log() for p in self.processes}

    def abort(self):
        """Makes everything that may hang come back with an error."""
        for mount in self.mounts:
            mount.abort()
        for process in self.processes:
            process.resume()
            process.kill()

    def close(self):
        """Ends everything; raises with what went wrong in any process's life."""
        for process in self.processes:
            process.resume()
            process.send(signal.SIGTERM)
        faults = []
        for mount in self.mounts:
            mount.close()
        for process in self.processes:
            try:
                process.popen.wait(40 * SLOW)
            except subprocess.TimeoutExpired:
                faults.append(f"{process.name} did not end after SIGTERM")
                process.kill()
            faults += process.faults()
        if self.etcd.process.running():
            self.etcd.delete(self.prefix)
        System.live.remove(self)
        if any(process.faults() for process in self.processes):
            raise Crash("\n".join(faults))
        assert not faults, "\n".join(faults)
