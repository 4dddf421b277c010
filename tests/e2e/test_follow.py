"""Those who follow a log: each row once, whole lines, no NUL, over segment changes and bursts."""
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

from lib import SLOW, wait_until
from rows import ROW_FILE, row, segment_file, write_csv

GPU = "host-1/0"
LOG = f"{GPU}/telemetry.csv"
HEADER = ",".join(ROW_FILE)


class Follower:
    """A program that prints what it follows, into a file."""

    def __init__(self, folder, *argv):
        self.path = folder / f"follow-{time.monotonic_ns()}"
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen([str(a) for a in argv], stdout=out, stderr=subprocess.DEVNULL,
                                            stdin=subprocess.DEVNULL)

    def values(self):
        """The third field of each whole line; headers of files and of tail are left out."""
        data = self.path.read_bytes()
        assert b"\0" not in data
        lines = data.decode().splitlines() if data.endswith(b"\n") else data.decode().splitlines()[:-1]
        lines = [line for line in lines if line and not line.startswith("==>") and line != HEADER]
        assert all(line.count(",") == len(ROW_FILE) - 1 for line in lines), "a torn line"
        return [int(line.split(",")[2]) for line in lines]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


class KeepsOpen:
    """A reader that keeps its descriptor and reads on at the end, as a script does."""

    def __init__(self, path):
        self.fd, self.data, self.stop = os.open(path, os.O_RDONLY), b"", threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.is_set():
            data = os.read(self.fd, 1 << 16)
            self.data += data
            if not data:
                time.sleep(0.002)

    values = Follower.values

    @property
    def path(self):
        return self

    def read_bytes(self):
        return self.data

    def end(self):
        self.stop.set()
        self.thread.join()
        os.close(self.fd)


FOLLOWERS = {
    "tail -f": lambda folder, log: Follower(folder, "tail", "-s", "0.05", "-n", "+1", "-f", log),
    "tail -F": lambda folder, log: Follower(folder, "tail", "-s", "0.05", "-n", "+1", "-F", log),
    "busybox tail": lambda folder, log: Follower(folder, "busybox", "tail", "-n", "+1", "-f", log),
    "a reader": lambda folder, log: KeepsOpen(log),
}


@pytest.fixture
def live(system, tmp_path):
    """A mount with one row of a live log."""
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "first.csv", [row(0, 0)]), "--wait")
    return system.mount()


@pytest.mark.parametrize("load", ["200 appends a second", "bursts"])
def test_followers_see_each_row_once_and_whole(system, live, tmp_path, load):
    names = [n for n in FOLLOWERS if n != "busybox tail" or shutil.which("busybox")]
    followers = {name: FOLLOWERS[name](tmp_path, live / LOG) for name in names}
    wait_until(lambda: all(f.values() == [0] for f in followers.values()), 30, "they follow")
    n = 1500 if load != "bursts" else 20000
    rows = [row(i / 20, i) for i in range(1, n + 1)]  # all of one segment
    options = ("--rate", "200") if load != "bursts" else ()
    env = {"STREAMER_FLUSH_INTERVAL": "5ms"} if load != "bursts" else {"STREAMER_BATCH_SIZE": "4000"}
    began = time.monotonic()
    system.stream("--csv", write_csv(tmp_path / "rows.csv", rows), "--wait", *options, **env)
    print(f"{n} rows in {time.monotonic() - began:.1f} s")
    try:
        for name, follower in followers.items():
            wait_until(lambda: len(follower.values()) >= n + 1, 20, f"{name} has all rows")
    finally:
        for follower in followers.values():
            follower.end()
    for name, follower in followers.items():
        assert follower.values() == list(range(n + 1)), name


def test_tail_by_name_goes_on_to_the_next_segments(system, tmp_path):
    system.collector(SEGMENT="1m")
    system.stream("--csv", write_csv(tmp_path / "first.csv", [row(0, 0)]), "--wait")
    mount = system.mount()
    follower = Follower(tmp_path, "tail", "-s", "0.05", "--max-unchanged-stats=1", "-n", "+1", "-F", mount / LOG)
    wait_until(lambda: follower.values() == [0], 30, "it follows")
    done = [0]
    for minute in range(1, 6):
        rows = [row(60 * minute + s, 100 * minute + s) for s in range(40)]
        system.stream("--csv", write_csv(tmp_path / f"{minute}.csv", rows), "--wait")
        done += [100 * minute + s for s in range(40)]
        wait_until(lambda: len(follower.values()) >= len(done), 20, f"the segment of minute {minute}")
    follower.end()
    assert follower.values() == done
    assert mount.names(f"{GPU}/history")[-1] == segment_file("2025-07-18T20:47:00Z", 60)


def test_less_shows_what_comes(system, live, tmp_path):
    """less +F in a terminal of its own."""
    if not shutil.which("script"):
        pytest.skip("script(1) is not here")
    out = tmp_path / "typescript"
    less = subprocess.Popen(["script", "-qfec", f"less +F {live / LOG}", str(out)], stdin=subprocess.PIPE,
                            stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"})
    try:
        wait_until(lambda: "UTIL,0" in out.read_text(errors="replace"), 30, "less shows the file")
        rows = [row(i, i) for i in range(1, 201)]
        system.stream("--csv", write_csv(tmp_path / "rows.csv", rows), "--rate", "200", "--wait",
                      STREAMER_FLUSH_INTERVAL="5ms")
        wait_until(lambda: "UTIL,200," in out.read_text(errors="replace"), 20, "less shows the last row")
        shown = [int(v) for v in re.findall(r"GPU_UTIL,(\d+),", out.read_text(errors="replace"))]
        assert set(shown) >= set(range(1, 201))
        assert "^@" not in out.read_text(errors="replace")
    finally:
        less.kill()
        less.wait(10)


def requests(process):
    """So many requests the daemon has read so far: READs of its descriptor by its threads."""
    return sum(int(re.search(r"syscr: (\d+)", open(f"/proc/{process.pid}/task/{t}/io").read())[1])
               for t in os.listdir(f"/proc/{process.pid}/task"))


def test_idle_followers_cost_no_reads(system, live, tmp_path):
    """Ten tails poll attributes, which the kernel has; the daemon is asked nothing."""
    if not shutil.which("strace"):
        pytest.skip("strace is not here")
    followers = [Follower(tmp_path, "tail", "-s", "0.05", "-f", live / LOG) for _ in range(10)]
    wait_until(lambda: all(len(f.values()) == 1 for f in followers), 30, "they follow")
    time.sleep(0.5)
    trace = tmp_path / "trace"
    strace = subprocess.Popen(["strace", "-f", "-e", "trace=read,readv,splice", "-o", trace, "-p",
                               str(live.process.pid)], stderr=subprocess.DEVNULL)
    wait_until(trace.exists, 30, "strace is there")
    time.sleep(2)  # 400 polls of the followers
    strace.send_signal(signal.SIGINT)
    strace.wait(10)
    asked = [line for line in trace.read_text().splitlines() if re.search(r"= [1-9]\d*$", line)]
    for follower in followers:
        follower.end()
    print(f"{len(asked)} requests in 2 s of 10 idle tails")
    assert len(asked) <= 10 * SLOW
