"""For long: what is read while rows come on and on and daemons die.

Each runs for half a minute; followers for ten with make soak, or for so many seconds as GPUTEL_SOAK says.
"""
import mmap
import os
import re
import subprocess
import threading
import time
import traceback
from pathlib import Path

import pytest

from lib import wait_until
from rows import COLUMNS, ROW_FILE, row, segment_file
from test_survival import Feed, Supervised

SOAK = int(os.environ.get("GPUTEL_SOAK") or 0)
SECONDS = SOAK if SOAK > 1 else 600 if SOAK else 20
OPENS = 500_000 if SOAK else 50_000
RATE, KILLS, SEGMENT_S = 200, 5, 60
HISTORY = "host-1/0/history"
HEADER = ",".join(ROW_FILE).encode() + b"\n"


class Checked(threading.Thread):
    """Does its work over and over until it is stopped; what is wrong ends it and the test."""

    def __init__(self, *args):
        super().__init__(daemon=True)
        self.args, self.rounds, self.fault, self.stopping = args, 0, None, False

    def run(self):
        try:
            while not self.stopping:
                self.work(*self.args)
                self.rounds += 1
        except Exception as e:
            self.fault = e

    def faults(self):
        """What went wrong, and where; at most one."""
        return ["".join(traceback.format_exception(self.fault)[-3:])] if self.fault else []

    def stop(self):
        self.stopping = True
        self.join(30)
        assert not self.is_alive(), f"{type(self).__name__} hangs"
        assert self.faults() == []


def check(path, data, whole=True):
    """Values count up by one in each file: nothing is missing, twice, torn or NUL."""
    assert b"\0" not in data, f"{path.name}: NUL at {data.index(0)} of {len(data)}"
    assert data.startswith(HEADER) or not whole, f"{path.name}: no header in {data[:80]!r}"
    lines = data.split(b"\n")
    assert lines.pop() == b"", f"{path.name}: torn: {data[-80:]!r}"
    assert all(line.count(b",") == len(ROW_FILE) - 1 for line in lines), f"{path.name}: a torn line"
    values = [int(line.split(b",")[2]) for line in lines[1:]]
    first = values[0] if values else 0
    assert values == list(range(first, first + len(values))), f"{path.name}: missing or repeated"
    return values


def newest(history):
    return history / max(os.listdir(history))


class Reopens(Checked):
    """Opens the live log anew each time and reads it to its end."""

    def work(self, history):
        path = newest(history)
        check(path, path.read_bytes())


class Maps(Checked):
    """Maps what is there as far as its size says, again and again."""

    def work(self, history):
        path = newest(history)
        with open(path, "rb") as f:
            size = os.fstat(f.fileno()).st_size
            with mmap.mmap(f.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ) as m:
                check(path, m[:])
        time.sleep(0.01)


class Holds(Checked):
    """Reads on from one descriptor per segment; the next one is opened when it is there."""

    def __init__(self, history):
        super().__init__(history)
        self.path, self.fd, self.data, self.done = None, -1, b"", {}

    def work(self, history):
        if self.fd < 0:
            self.path = min(history / n for n in os.listdir(history) if n not in self.done)
            self.fd, self.data = os.open(self.path, os.O_RDONLY), b""
        part = os.pread(self.fd, 1 << 16, len(self.data))
        self.data += part
        if not part:
            self.at_end(history)
            time.sleep(0.005)

    def at_end(self, history):
        """A segment is left when there is one after it, and once more nothing comes."""
        if newest(history) == self.path:
            return
        time.sleep(0.2)
        part = os.pread(self.fd, 1 << 16, len(self.data))
        self.data += part
        if not part:
            self.finish()

    def finish(self):
        self.done[self.path.name] = check(self.path, self.data)
        os.close(self.fd)
        self.fd = -1


class Appends(Checked):
    """RATE rows a second, in ten pieces; times count too, so that segments change."""

    def work(self, feed, step_s):
        for _ in range(RATE // 10):
            r = row(feed.n * step_s, feed.n, uuid="GPU-x")
            feed.write(",".join(r[c] for c in COLUMNS))
            feed.n += 1
        time.sleep(0.1)


@pytest.mark.soak
def test_followers_see_each_row_once_over_segments_and_five_deaths(system):
    """Held, opened anew and mapped; SIGKILL of the daemon between."""
    system.base_env["SEGMENT"] = "1m"
    feed = Feed(system)
    appends = Appends(feed, 1 / RATE * (1 if SOAK else 10))  # a segment a minute, or each 6 s
    appends.work(*appends.args)
    s = Supervised(system)
    history = Path(s.mount / HISTORY)
    wait_until(history.exists, 30, "rows")
    holds = Holds(history)
    checked = [appends, holds, Reopens(history), Maps(history)]
    for c in checked:
        c.start()
    for _ in range(KILLS):
        time.sleep(SECONDS / (KILLS + 1))
        s.kill()
        assert [fault for c in checked for fault in c.faults()] == []
    time.sleep(SECONDS / (KILLS + 1))
    appends.stop()
    last = history / segment_file(row((feed.n - 1) * appends.args[1])["timestamp"], SEGMENT_S)
    end = f",{feed.n - 1},".encode()
    wait_until(lambda: holds.path == last and end in holds.data, 30, "the held reader is at the end")
    for c in checked[1:]:
        c.stop()
    holds.finish()
    values = [v for name in sorted(holds.done) for v in holds.done[name]]
    assert values == list(range(feed.n)), "none missing, none twice"
    print(f"{feed.n} rows, {len(holds.done)} segments, {KILLS} deaths: opened {checked[2].rounds} times, "
          f"mapped {checked[3].rounds} times")
    feed.close()
    assert s.mount.unmount() == 0


# ---- values -----------------------------------------------------------------------------------------

class Sized(Checked):
    """Opens, asks for the size, and reads: the content has that size and is whole."""

    def work(self, path, check_content):
        fd = os.open(path, os.O_RDONLY)
        size = os.fstat(fd).st_size
        data = os.read(fd, 1 << 16)
        rest = os.read(fd, 1 << 16)
        os.close(fd)
        assert (len(data), rest) == (size, b""), f"{size} bytes were said, got {data!r}{rest!r}"
        check_content(data)


class Stats(Checked):
    """Asks for sizes only, so that they are often asked for between another's open and read."""

    def work(self, *paths):
        for path in paths:
            os.stat(path)


def text_of(length):
    return str(length % 9 + 1) * length


def check_value(data):
    assert re.fullmatch(rb"\d+\n", data) and data[:-1].decode() == text_of(len(data) - 1), data


def check_latest(data):
    header, *lines = data.split(b"\n")
    assert lines.pop() == b"", data
    column = header.split(b",").index(b"value")
    for line in lines:
        assert line.count(b",") == header.count(b","), data
        check_value(line.split(b",")[column] + b"\n")


class Archives(Checked):
    """Copies by programs that read as many bytes as they were told before."""

    def work(self, path, folder):
        for command in (["cp", path, folder / "copy"], ["rsync", "-a", "--inplace", path, folder / "copy"],
                        ["sh", "-c", f"tar -C {path.parent} -cf - --warning=none {path.name} | tar -xOf - >{folder}/copy"]):
            subprocess.run(command, check=True, capture_output=True)
            check_latest((folder / "copy").read_bytes())


@pytest.mark.soak
def test_what_changes_its_length_has_the_size_that_was_said(system, tmp_path):
    """Values, latest.csv and what sums all up, under tight readers and under cp, rsync and tar."""
    feed = Feed(system)
    value, latest = "host-1/0/metrics/DCGM_FI_DEV_GPU_UTIL", "host-1/0/latest.csv"

    def put(n):
        for metric in ("DCGM_FI_DEV_GPU_UTIL", "B"):
            r = row(n / 100, text_of(1 + n * 7 % 12), metric=metric)
            feed.write(",".join(r[c] for c in COLUMNS))
    put(0)
    mount = system.mount()
    wait_until((mount / value).exists, 30, "the value")
    readers = [Sized(mount / value, check_value), Sized(mount / value, check_value), Sized(mount / latest, check_latest),
               Sized(mount / ".meta/latest.csv", check_latest)]
    others = [Stats(mount / value, mount / latest, mount / ".meta/latest.csv"), Archives(mount / latest, tmp_path)]
    for thread in readers + others:
        thread.start()
    n = 0
    while sum(reader.rounds for reader in readers) < OPENS and not any(thread.fault for thread in readers + others):
        n += 1
        put(n)
        time.sleep(0.01)
    for thread in readers + others:
        thread.stop()
    print(f"{sum(reader.rounds for reader in readers)} opens and {others[1].rounds} rounds of copies over {n} versions")
    feed.close()
