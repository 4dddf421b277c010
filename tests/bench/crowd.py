"""Many clients of one bridge at once: downloads, and WebSockets with a feeder of events."""
import json
import os
import selectors
import statistics
import subprocess
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

from lib import ROOT
from watch import Clock, Usage

FANOUT = Path(os.environ.get("BENCH_FANOUT", ROOT / "build" / "release" / "tests" / "bench" / "fanout"))
METRIC = "BENCH_SENT_US"
GPUS = 8
PIECE = 1 << 18


def resident(pid, what="VmRSS"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    return 0


def settled(figure, seconds=1.0):
    """The figure when it has stopped growing."""
    last, since = figure(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.1)
        now = figure()
        if now > last:
            last, since = now, time.monotonic()
    return last


class Downloads:
    def __init__(self, bridge, clients, path):
        self.pid = bridge.process.pid
        self.bytes = len(bridge.get(path).content)
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # its peak counts from now on
        self.before = resident(self.pid)
        self.sockets = [bridge.connect() for _ in range(clients)]
        for s in self.sockets:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())

    def stalled(self):
        return settled(lambda: resident(self.pid, "VmHWM"), 2.0)

    def read(self):
        """Everything, of all at once: (seconds, bytes)."""
        clock, received, open_ones = Clock(), 0, selectors.DefaultSelector()
        for s in self.sockets:
            s.setblocking(False)
            open_ones.register(s, selectors.EVENT_READ)
        while open_ones.get_map():
            for key, _ in open_ones.select():
                piece = key.fileobj.recv(PIECE)
                received += len(piece)
                if not piece:
                    open_ones.unregister(key.fileobj)
                    key.fileobj.close()
        assert received > self.bytes * len(self.sockets), f"{received} bytes of {len(self.sockets)} times {self.bytes}"
        return clock(), received

    def peak(self):
        return resident(self.pid, "VmHWM")


class Feeder:
    """Rows whose value is when they were written, in microseconds, by way of a streamer's pipe."""

    def __init__(self, system, per_second):
        self.system, self.pause, self.ended = system, 1 / per_second, threading.Event()

    def __enter__(self):
        read_end, self.write_end = os.pipe()
        self.streamer = self.system.streamer("--csv", "-", stdin=read_end, STREAMER_FLUSH_INTERVAL="10ms")
        os.close(read_end)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def run(self):
        with open(self.write_end, "wb", buffering=0) as pipe:
            pipe.write(b"timestamp,metric_name,gpu_id,Hostname,uuid,value\n")
            due = time.monotonic()
            while not self.ended.is_set():
                stamp = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                now = time.time_ns() // 1000
                pipe.write("".join(f"{stamp},{METRIC},{g},fan-1,GPU-fan-{g},{now}\n" for g in range(GPUS)).encode())
                due += self.pause
                time.sleep(max(0, due - time.monotonic()))

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.streamer.wait()


class Fanout:
    def __init__(self, bridge, system, clients, stalled, seconds):
        self.pid = bridge.process.pid
        argv = [FANOUT, "-p", bridge.port, "-n", clients, "-t", seconds, "-q", f"?metric={METRIC}", "-s", stalled,
                "-e", system.etcd.client, "-x", system.prefix]
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.clients, self.seconds, self.found, self.cpu, self.memory = clients, seconds, {}, 0.0, 0

    def __enter__(self):
        assert "connected" in json.loads(self.process.stdout.readline() or "{}"), "not all clients are connected"
        time.sleep(1)
        return self

    def measure(self):
        begun = Usage._cpu(self.pid)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.found = json.loads(self.process.stdout.readline())
        self.cpu = Usage._cpu(self.pid) - begun
        assert not self.found["closed"], self.found

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    @staticmethod
    def line(runs):
        """Medians of several."""
        def middle(figure):
            return statistics.median(figure(run) for run in runs)

        def times(name):
            if not all(name in run.found for run in runs):
                return "–"
            return " / ".join(f"{middle(lambda run: run.found[name][rank]) / 1e3:.1f}" for rank in ("p50", "p99"))
        each = middle(lambda run: run.memory / run.clients) / 1024
        return f"{middle(lambda run: run.found['frames']) / runs[0].seconds:,.0f} | {times('row')} | {times('commit')} | " \
               f"{times('spread')} | {middle(lambda run: run.cpu / max(run.found['frames'], 1)) * 1e6:.1f} | " \
               f"{middle(lambda run: run.memory) / 2**20:.1f} | {'' if runs[0].clients == 1 else f'{each:.1f}'}"
