"""A mount whose daemon is killed and goes on: under --supervise, and with a manager that keeps descriptors."""
import array
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time

import pytest

from lib import BIN, Mount, force_unmount, mounts_at, wait_until
from rows import COLUMNS, row

UTIL = "metrics/DCGM_FI_DEV_GPU_UTIL"
LOG = "host-1/0/telemetry.csv"


def daemon_of(supervisor):
    """The pid of the daemon that a supervisor watches; None while there is none."""
    found = subprocess.run(["pgrep", "-P", str(supervisor), "-x", "gputel-fs"], capture_output=True, text=True, check=False)
    return int(found.stdout.split()[0]) if found.stdout else None


class Supervised:
    """A mount under --supervise."""

    def __init__(self, system, *options, **env):
        self.mount = system.mount("--supervise", *options, **env)
        self.supervisor = self.mount.process

    def daemon(self):
        return wait_until(lambda: daemon_of(self.supervisor.pid), 30, "the daemon")

    def kill(self):
        """Kills the daemon; returns when another one serves."""
        old = self.daemon()
        served = self.supervisor.log().count("going on with the mount")
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: self.supervisor.log().count("going on with the mount") > served, 20, "a successor")
        return old


class Feed:
    """Rows of one GPU, published one after the other by a streamer that reads a pipe."""

    def __init__(self, system):
        self.read_end, self.write_end = os.pipe()
        self.n = 0
        system.collector()
        self.process = system.streamer("--csv", "-", stdin=self.read_end, STREAMER_FLUSH_INTERVAL="5ms",
                                       COLLECTOR_FLUSH_INTERVAL="5ms")
        os.close(self.read_end)
        self.write(",".join(COLUMNS))

    def write(self, line):
        os.write(self.write_end, (line + "\n").encode())

    def rows(self, n=1):
        for _ in range(n):
            r = row(self.n / 10, self.n, uuid="GPU-x")
            self.write(",".join(r[c] for c in COLUMNS))
            self.n += 1

    def close(self):
        os.close(self.write_end)


@pytest.fixture
def feed(system):
    f = Feed(system)
    yield f
    f.close()


def umount(path):
    """As a user does it, who tries again when somebody looks at the mount just then."""
    wait_until(lambda: subprocess.run(["umount", path], capture_output=True, check=False).returncode == 0, 30, "umount")


def values(text):
    """The values of a row file's lines."""
    return [int(line.split(",")[2]) for line in text.splitlines() if not line.startswith("timestamp")]


class Reader(threading.Thread):
    """Reads on and on from a descriptor that was opened once, and keeps what it read."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.fd = os.open(path, os.O_RDONLY)
        self.data = b""
        self.error = None
        self.stopping = False

    def run(self):
        try:
            while not self.stopping:
                part = os.pread(self.fd, 4096, len(self.data))
                self.data += part
                if not part:
                    time.sleep(0.002)
        except OSError as e:
            self.error = e

    def stop(self):
        self.stopping = True
        self.join(20)
        os.close(self.fd)
        assert not self.error, self.error
        return self.data.decode()


def test_open_files_and_tail_go_on_over_five_deaths(system, feed, tmp_path):
    feed.rows(50)
    s = Supervised(system)
    wait_until(lambda: (s.mount / LOG).exists(), 30, "the log")
    reader = Reader(s.mount / LOG)
    reader.start()
    with open(tmp_path / "tail", "wb") as out:
        tail = subprocess.Popen(["tail", "-n", "+1", "-s", "0.05", "-f", s.mount / LOG], stdout=out, stderr=subprocess.PIPE)
    pids = set()
    for _ in range(5):
        feed.rows(100)
        time.sleep(0.05)
        pids.add(s.kill())
        feed.rows(100)
        wait_until(lambda: len(values(s.mount.read(LOG))) == feed.n, 20, "all rows")
    assert len(pids) == 5
    wait_until(lambda: len(values((tmp_path / "tail").read_text())) >= feed.n, 20, "tail has them all")
    wait_until(lambda: reader.data.count(b"\n") > feed.n, 20, "the reader has them all")
    tail.terminate()
    assert tail.stderr.read() == b""
    assert values((tmp_path / "tail").read_text()) == list(range(feed.n)), "none missing, none twice"
    assert values(reader.stop()) == list(range(feed.n))
    assert s.mount.unmount() == 0


def test_values_that_are_read_while_the_daemon_dies_are_whole(system, feed):
    feed.rows(5)
    s = Supervised(system)
    wait_until(lambda: s.mount.read(f"host-1/0/{UTIL}") == "4\n", 30, "the value")
    stop = threading.Event()
    seen, errors = [], []

    def look():
        fd = os.open(s.mount / f"host-1/0/{UTIL}", os.O_RDONLY)
        while not stop.is_set():
            try:
                again = os.open(s.mount / f"host-1/0/{UTIL}", os.O_RDONLY)
                seen.extend([os.pread(fd, 100, 0), os.read(again, 100) + os.read(again, 100)])
                os.close(again)
            except OSError as e:
                errors.append(e)
        os.close(fd)
    threads = [threading.Thread(target=look, daemon=True) for _ in range(3)]
    for t in threads:
        t.start()
    for _ in range(3):
        feed.rows(30)
        s.kill()
        before = len(seen)
        wait_until(lambda: len(seen) > before + 20, 30, "readers go on")
    stop.set()
    for t in threads:
        t.join(20)
    assert errors == []
    assert [v for v in seen if not re.fullmatch(rb"\d+\n", v)] == []


def test_names_and_sizes_are_those_of_now_after_a_death(system, feed):
    feed.rows(10)
    s = Supervised(system)
    wait_until(lambda: s.mount.read(f"host-1/0/{UTIL}") == "9\n", 30, "the value")
    subprocess.run(["find", s.mount.path, "-ls"], check=True, capture_output=True)  # the kernel knows all of it
    before = os.stat(s.mount / LOG)
    daemon = s.daemon()
    os.kill(daemon, signal.SIGSTOP)  # so that it tells the kernel nothing of this
    feed.rows(10)
    s.kill()
    wait_until(lambda: os.stat(s.mount / LOG).st_size > before.st_size, 30, "the new size")
    assert os.stat(s.mount / LOG).st_ino == before.st_ino
    wait_until(lambda: values(s.mount.read(LOG)) == list(range(20)), 30, "the rows")
    feed.rows(10)
    wait_until(lambda: os.stat(s.mount / LOG).st_size == len(s.mount.read(LOG)) and len(values(s.mount.read(LOG))) == 30,
               10, "pushed by the successor")


def test_inotify_goes_on_after_a_death(system, feed, tmp_path):
    feed.rows(3)
    s = Supervised(system)
    wait_until(lambda: s.mount.read(f"host-1/0/{UTIL}") == "2\n", 30, "the value")
    with open(tmp_path / "events", "wb") as out:
        watcher = subprocess.Popen(["inotifywait", "-qm", "-e", "modify", s.mount / f"host-1/0/{UTIL}"], stdout=out)
    count = 0

    def one_more():
        feed.rows(1)
        return (tmp_path / "events").read_text().count("MODIFY") > count
    try:
        wait_until(one_more, 20, "an event")
        s.kill()
        count = (tmp_path / "events").read_text().count("MODIFY")
        wait_until(one_more, 20, "an event from the successor")
    finally:
        watcher.terminate()


def test_readers_of_a_stream_go_on_after_a_death(system, feed, tmp_path):
    """Some wait in a read when the daemon dies, one comes back to it later."""
    feed.rows(10)
    s = Supervised(system)
    wait_until(lambda: (s.mount / LOG).exists(), 30, "the log")
    wait_until(lambda: len(values(s.mount.read(LOG))) == feed.n, 30, "all rows")
    stream = s.mount / "host-1/0/stream"
    slow = os.open(stream, os.O_RDONLY | os.O_NONBLOCK)
    outs = [tmp_path / f"cat-{i}" for i in range(5)]
    cats = [subprocess.Popen(["cat", stream], stdout=open(out, "wb")) for out in outs]
    for cat in cats:
        wait_until(lambda: os.readlink(f"/proc/{cat.pid}/fd/3") == str(stream), 30, "cat reads")
    first = feed.n
    for _ in range(4):
        feed.rows(100)
        time.sleep(0.05)
        s.kill()
        feed.rows(50)
        wait_until(lambda: len(values(s.mount.read(LOG))) == feed.n, 20, "all rows")
    for out in outs:
        wait_until(lambda: out.read_text().count("\n") >= feed.n - first, 20, "cat has them all")
        assert values(out.read_text()) == list(range(first, feed.n)), "none missing, none twice"
    data = b""

    def read_on():
        nonlocal data
        data += os.read(slow, 1000)
        return data.count(b"\n") >= feed.n - first
    wait_until(read_on, 20, "the late reader has them all")
    assert values(data.decode()) == list(range(first, feed.n))
    os.close(slow)
    for cat in cats:
        cat.kill()
        cat.wait()
    assert s.mount.unmount() == 0


def test_who_polls_and_who_waits_for_a_revision_is_woken_after_a_death(system, feed):
    feed.rows(1)
    s = Supervised(system)
    value = s.mount / "host-1/0" / UTIL
    wait_until(value.exists, 30, "the value")
    fd = os.open(value, os.O_RDONLY)
    assert os.pread(fd, 100, 0) == b"0\n"
    revision = int(s.mount.read(".meta/revision")) + 20
    waiting = subprocess.Popen(["cat", s.mount / f".meta/wait/{revision}"], stdout=subprocess.PIPE)
    woken = []
    poller = threading.Thread(target=lambda: woken.append(select.select([fd], [], [], 90)[0]))
    poller.start()
    time.sleep(0.2)
    s.kill()
    feed.rows(1)
    wait_until(lambda: woken == [[fd]], 30, "woken")
    poller.join()
    wait_until(lambda: os.pread(fd, 100, 0) == b"1\n", 30, "the newest value")
    for _ in range(20):
        feed.rows(1)
        time.sleep(0.02)
    assert waiting.wait(20) == 0
    assert waiting.stdout.read() == f"{revision}\n".encode()
    os.close(fd)
    assert s.mount.unmount() == 0


def test_a_supervised_mount_ends_with_an_unmount_and_with_sigterm(system):
    system.collector()
    s = Supervised(system)
    umount(s.mount.path)
    assert s.supervisor.wait(20) == 0
    s = Supervised(system)
    daemon = s.daemon()
    assert s.mount.unmount() == 0
    wait_until(lambda: not os.path.exists(f"/proc/{daemon}"), 30, "the daemon has ended too")


def test_a_supervised_mount_comes_back_in_the_background(system, tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    run = subprocess.run([BIN / "gputel-fs", "--supervise", folder], env=system.base_env, capture_output=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert os.listdir(folder / ".meta")
    umount(folder)
    wait_until(lambda: subprocess.run(["pgrep", "-f", f"gputel-fs .*{folder}"], capture_output=True, check=False).returncode == 1,
               10, "nothing is left")


def test_what_cannot_start_ends_the_supervisor(system, tmp_path):
    process = system.start("fs", "-f", "--supervise", tmp_path / "nowhere")
    assert process.wait(20) == 1
    assert "nowhere" in process.log()


class Manager:
    """Stands in for systemd: a notify socket and a descriptor store."""

    def __init__(self, system, folder, *options):
        self.system, self.folder, self.options = system, folder, options
        self.path = str(system.folder / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.05)
        self.kept, self.told = {}, []
        self.process = None

    def receive(self):
        """Takes in what was sent."""
        while True:
            try:
                data, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(64))
            except TimeoutError:
                return self.told
            lines = dict(line.split("=", 1) for line in data.decode().splitlines())
            fds = array.array("i")
            for level, kind, raw in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(raw)
            if "FDSTOREREMOVE" in lines and lines["FDNAME"] in self.kept:
                os.close(self.kept.pop(lines["FDNAME"]))
            if "FDSTORE" in lines:
                self.kept[lines["FDNAME"]] = fds[0]
            self.told.append(lines)

    def start(self, **env):
        """Starts the daemon with what is kept, as sd_listen_fds(3) has it."""
        names = sorted(self.kept)
        for i, name in enumerate(names):
            os.dup2(self.kept[name], 100 + i)
        dup = " ".join(f"{3 + i}<&{100 + i} {100 + i}<&-" for i in range(len(names)))
        script = f"export LISTEN_PID=$$; exec \"$0\" \"$@\" {dup}"
        env = {**self.system.base_env, "NOTIFY_SOCKET": self.path, "LISTEN_FDS": str(len(names)),
               "LISTEN_FDNAMES": ":".join(names), **env}
        log = open(self.system.folder / "managed.log", "ab")
        self.process = subprocess.Popen(["bash", "-c", script, BIN / "gputel-fs", "-f", *self.options, self.folder], env=env,
                                        stderr=log, pass_fds=[100 + i for i in range(len(names))])
        for i in range(len(names)):
            os.close(100 + i)
        log.close()
        return self.process

    def log(self):
        return (self.system.folder / "managed.log").read_text()

    def await_told(self, key, value="1", count=1):
        wait_until(lambda: sum(m.get(key) == value for m in self.receive()) >= count, 20, f"{key}={value}")

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        for fd in self.kept.values():
            os.close(fd)
        self.socket.close()


@pytest.fixture
def manager(system, tmp_path):
    folder = tmp_path / "managed"
    folder.mkdir()
    m = Manager(system, folder)
    yield m
    m.close()
    force_unmount(folder, abort=True)


def test_a_service_manager_keeps_what_a_successor_needs(system, feed, manager):
    feed.rows(20)
    manager.start()
    manager.await_told("READY")
    assert sorted(manager.kept) == ["connection", "saved"]
    mount = Mount(manager.folder, None)
    wait_until(lambda: len(values(mount.read(LOG))) == 20, 30, "the rows")
    reader = Reader(mount / LOG)
    reader.start()
    for ready in (2, 3):
        manager.process.kill()
        manager.process.wait()
        feed.rows(20)
        manager.start()
        manager.await_told("READY", count=ready)
    wait_until(lambda: reader.data.count(b"\n") > feed.n, 20, "the reader has them all")
    assert values(reader.stop()) == list(range(feed.n))
    assert manager.log().count("going on with the mount") == 2
    manager.process.terminate()
    assert manager.process.wait(20) == 0
    manager.receive()
    assert manager.kept == {}, "after an end in order nothing is kept"
    assert not mounts_at(manager.folder)


def test_a_memory_file_of_another_version_means_a_new_mount_that_says_so(system, feed, manager):
    feed.rows(5)
    manager.start()
    manager.await_told("READY")
    mount = Mount(manager.folder, None)
    wait_until(lambda: len(values(mount.read(LOG))) == 5, 30, "the rows")
    before = mounts_at(manager.folder)
    fd = os.open(manager.folder / LOG, os.O_RDONLY)
    os.pwrite(manager.kept["saved"], b"\xff" * 16, 0)
    manager.process.kill()
    manager.process.wait()
    manager.start()
    manager.await_told("READY", count=2)
    assert "mounting anew: memory file of another version" in manager.log()
    assert len(mounts_at(manager.folder)) == 1 and mounts_at(manager.folder) != before
    assert len(values(mount.read(LOG))) == 5
    with pytest.raises(OSError):
        os.pread(fd, 10, 0)
    os.close(fd)


def test_a_mount_that_is_gone_is_made_anew(system, manager):
    system.collector()
    manager.start()
    manager.await_told("READY")
    manager.process.kill()
    manager.process.wait()
    subprocess.run(["umount", "-l", manager.folder], check=True)
    manager.start()
    manager.await_told("READY", count=2)
    assert "mounting anew" in manager.log()
    assert os.listdir(manager.folder / ".meta")


def test_the_watchdog_hears_of_a_mount_that_answers(system, manager):
    system.collector()
    manager.start(WATCHDOG_USEC="300000")
    manager.await_told("WATCHDOG", count=3)
