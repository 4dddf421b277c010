"""etcd as the thing to be tormented: one member, or three, with fsync on.

Three members live in network namespaces of their own where that is permitted (root), joined by a
bridge, so that one can be cut off for real; elsewhere on the loopback. A Cluster looks like lib.Etcd
to a lib.System. Its requests go to any member that answers.
"""
import base64
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from lib import Process, free_port, wait_until

QUOTA = 8 << 30
REQUEST_S = 3


class Refused(OSError):
    """etcd answered with an error: it was reached, and said no."""

    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


def post(url, path, body, seconds=REQUEST_S):
    request = urllib.request.Request(url + path, json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as e:
        raise Refused(e.code, e.read().decode(errors="replace")) from None
    except (http.client.HTTPException, urllib.error.URLError) as e:
        raise OSError(str(e)) from None


def b64(text):
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def under(prefix):
    """key and range_end of everything that begins with prefix."""
    return {"key": b64(prefix), "range_end": b64(prefix[:-1] + chr(ord(prefix[-1]) + 1))}


def ip(*args, check=True):
    return subprocess.run(["ip", *args], capture_output=True, check=check, text=True)


class Network:
    """A bridge of our own and one namespace per member; torn down by close()."""
    numbers = itertools.count()
    lock = threading.Lock()

    def __init__(self, n):
        number = next(self.numbers)
        self.tag = f"gp{os.getpid():x}{'ghijklmnopqrstuv'[number % 16]}"
        self.first = 16 * os.getpid() + number  # the third byte of the subnet, if nobody has it
        self.members = range(1, n + 1)
        self.made = []
        try:
            self.build()
        except (OSError, subprocess.CalledProcessError):
            self.close()
            raise

    @staticmethod
    def sweep():
        """What runs that were killed have left: members, namespaces, bridges."""
        def orphaned(name):
            match = re.match(r"gp([0-9a-f]+)[g-v](br|-\d)$", name)
            return match and not Path(f"/proc/{int(match[1], 16)}").exists()

        for line in ip("netns", "list", check=False).stdout.splitlines():
            name = line.split()[0]
            if orphaned(name):
                for pid in ip("netns", "pids", name, check=False).stdout.split():
                    os.kill(int(pid), signal.SIGKILL)
                ip("netns", "del", name, check=False)
        for line in ip("-o", "link", "show", "type", "bridge", check=False).stdout.splitlines():
            name = line.split(":")[1].strip()
            if orphaned(name):
                ip("link", "del", name, check=False)

    @classmethod
    def permitted(cls):
        try:
            cls(1).close()
            return True
        except (OSError, subprocess.CalledProcessError):
            return False

    def build(self):
        self.make("link", f"{self.tag}br", "type", "bridge")
        with self.lock:
            taken = ip("-4", "addr").stdout
            self.subnet = next(s for s in (f"10.213.{(self.first + i) % 256}" for i in range(256)) if f" {s}." not in taken)
            ip("addr", "add", f"{self.subnet}.254/24", "dev", f"{self.tag}br")
        ip("link", "set", f"{self.tag}br", "up")
        for i in self.members:
            self.make("netns", self.namespace(i))
            self.make("link", self.cable(i), "type", "veth", "peer", "name", "eth0", "netns", self.namespace(i))
            ip("link", "set", self.cable(i), "master", f"{self.tag}br", "up")
            for command in (["addr", "add", f"{self.address(i)}/24", "dev", "eth0"],
                            ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
                ip("-n", self.namespace(i), *command)

    def make(self, kind, name, *more):
        ip(kind, "add", name, *more)
        self.made.append((kind, name))

    def namespace(self, i):
        return f"{self.tag}-{i}"

    def cable(self, i):
        return f"{self.tag}v{i}"

    def address(self, i):
        return f"{self.subnet}.{i}"

    def cut(self, i):
        """From everybody: as if the cable were pulled."""
        ip("link", "set", self.cable(i), "down")

    def cut_from_peers(self, i):
        """Programs still reach it; the other members do not."""
        for other in self.members:
            if other != i:
                ip("-n", self.namespace(i), "route", "add", "blackhole", f"{self.address(other)}/32")

    def mend(self, i):
        ip("link", "set", self.cable(i), "up")
        for other in self.members:
            if other != i:
                ip("-n", self.namespace(i), "route", "del", "blackhole", f"{self.address(other)}/32", check=False)

    def close(self):
        for kind, name in reversed(self.made):
            ip(kind, "del", name, check=False)
        self.made = []


class Member:
    def __init__(self, folder, number, network=None):
        self.name, self.number, self.network = f"m{number}", number, network
        self.folder = folder / self.name
        self.folder.mkdir(parents=True)
        host, ports = ("127.0.0.1", (free_port(), free_port())) if network is None else (
            network.address(number), (2379, 2380))
        self.address = (host, ports[0])
        self.client, self.peer = (f"http://{host}:{p}" for p in ports)
        self.process = None

    def start(self, cluster):
        enter = ["ip", "netns", "exec", self.network.namespace(self.number)] if self.network else []
        argv = [*enter, "etcd", "--name", self.name, "--data-dir", self.folder / "data",
                "--listen-client-urls", self.client, "--advertise-client-urls", self.client,
                "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer,
                "--initial-cluster", ",".join(f"{m.name}={m.peer}" for m in cluster.members),
                f"--quota-backend-bytes={cluster.quota}", "--snapshot-count=5000", "--pre-vote",
                "--election-timeout=1000", "--heartbeat-interval=100", "--logger=zap", "--log-level=warn"]
        env = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        self.process = Process("etcd", argv, env, self.folder)

    def status(self):
        return post(self.client, "/v3/maintenance/status", {}, 1)

    def healthy(self):
        try:
            with urllib.request.urlopen(self.client + "/health", timeout=1) as answer:
                return json.load(answer).get("health") == "true"
        except (OSError, ValueError, http.client.HTTPException):
            return False


class Cluster:
    """What System needs of an Etcd (client, process, call, items, delete), and more."""

    def __init__(self, folder, size=1, quota=QUOTA):
        self.folder, self.quota, self.network = folder, quota, None
        if size > 1 and os.geteuid() == 0:
            try:
                self.network = Network(size)
            except (OSError, subprocess.CalledProcessError):
                pass  # not permitted here
        self.members = [Member(folder, i + 1, self.network) for i in range(size)]
        self.turn = itertools.cycle(self.members)
        self.process = self  # for System.close: is there something to clean up in?

    def start(self):
        for m in self.members:
            m.start(self)
        wait_until(self.healthy, 30, "etcd answers")
        return self

    def running(self):
        return any(m.process.running() for m in self.members)

    def healthy(self):
        return all(m.healthy() for m in self.members)

    def heal(self):
        """Whatever was done to it: every member runs, is joined to the others, and answers."""
        for m in self.members:
            m.process.resume()
            if self.network:
                self.network.mend(m.number)
            if not m.process.running():
                m.start(self)
        wait_until(self.healthy, 30, "etcd is well again")

    def close(self):
        for m in self.members:
            if m.process and m.process.running():
                m.process.send(signal.SIGCONT)
                m.process.kill()
        if self.network:
            self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def client(self):
        return ",".join(m.client for m in self.members)

    def call(self, path, *, seconds=30, **body):
        """Asks one member after the other until one answers."""
        end = time.monotonic() + seconds
        while True:
            member = next(self.turn)
            try:
                return post(member.client, path, body)
            except Refused as e:
                if e.status < 500 and "no leader" not in e.text and "not leader" not in e.text:
                    raise
                cause = e
            except OSError as e:
                cause = e
            if time.monotonic() > end:
                raise AssertionError(f"etcd does not answer {path}") from cause
            time.sleep(0.05)

    def leader(self):
        """(the leader, the others), as the first member that answers sees it."""
        def ask():
            for m in self.members:
                try:
                    status = m.status()
                except OSError:
                    continue
                ids = {self.member_id(x): x for x in self.members}
                leader = ids.get(status.get("leader"))
                if leader:
                    return leader, [x for x in self.members if x is not leader]
            return None
        return wait_until(ask, 20, "a leader")

    @staticmethod
    def member_id(member):
        try:
            return member.status()["header"]["member_id"]
        except OSError:
            return None

    def revision(self):
        return int(self.call("/v3/kv/range", key=b64("x"))["header"]["revision"])

    def range(self, prefix, **more):
        return self.call("/v3/kv/range", **under(prefix), **more)

    def items(self, prefix):
        return {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv.get("value", ""))
                for kv in self.range(prefix).get("kvs", [])}

    def count(self, prefix):
        return int(self.range(prefix, count_only=True).get("count", 0))

    def leases(self, prefix):
        """Leases that keys under prefix hang on."""
        kvs = self.range(prefix, keys_only=True).get("kvs", [])
        return sorted({kv["lease"] for kv in kvs if kv.get("lease", "0") != "0"})

    def put(self, key, value):
        return int(self.call("/v3/kv/put", key=b64(key), value=b64(value))["header"]["revision"])

    def delete(self, prefix):
        return int(self.call("/v3/kv/deleterange", **under(prefix))["header"]["revision"])

    def compact(self, revision):
        try:
            self.call("/v3/kv/compaction", revision=str(revision))
        except Refused:
            pass  # it is already

    def make_space(self, revision):
        """After NOSPACE: compact, defragment one member at a time, disarm."""
        self.compact(revision)
        for m in self.members:
            post(m.client, "/v3/maintenance/defragment", {}, 30)
        for alarm in self.alarms():
            self.call("/v3/maintenance/alarm", action="DEACTIVATE", **alarm)

    def alarms(self):
        return self.call("/v3/maintenance/alarm", action="GET").get("alarms", [])
