"""Files that grow: followed over rotation, truncation and kills of the streamer, each row once."""
import os
import shutil
import subprocess
import time

import pytest

from lib import SEED, wait_until
from rows import COLUMNS, Expected, assert_history, fleet, row, wait_for_rows, write_csv

import csv
import io
import random


def lines_of(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writerows(rows)
    return out.getvalue()


HEADER = ",".join(COLUMNS) + "\n"


class Writer:
    """A program that logs rows to a file, as it comes: in pieces that end anywhere."""

    def __init__(self, path, rng):
        self.path, self.rng = path, rng
        self.written = []
        self.open()

    def open(self):
        self.file = open(self.path, "ab", buffering=0)
        if self.file.tell() == 0:
            self.file.write(HEADER.encode())

    def write(self, rows):
        text = lines_of(rows).encode()
        cut = self.rng.randrange(len(text) + 1)
        self.file.write(text[:cut])
        self.file.write(text[cut:])
        self.written += rows

    def rotate(self):
        """As logrotate does: x.2 to x.3, x.1 to x.2, x to x.1, then a new file."""
        numbers = sorted((int(p.suffix[1:]) for p in self.path.parent.glob(self.path.name + ".*")), reverse=True)
        for n in numbers:
            os.rename(f"{self.path}.{n}", f"{self.path}.{n + 1}")
        os.rename(self.path, f"{self.path}.1")
        self.file.close()
        self.open()

    def copy_and_truncate(self):
        numbers = sorted((int(p.suffix[1:]) for p in self.path.parent.glob(self.path.name + ".*")), reverse=True)
        for n in numbers:
            os.rename(f"{self.path}.{n}", f"{self.path}.{n + 1}")
        shutil.copy2(self.path, f"{self.path}.1")
        os.truncate(self.path, 0)
        self.file.write(HEADER.encode())


def shown(mount, expected):
    n = 0
    for gpu, files in expected.history.items():
        for name in files:
            try:
                n += mount.read(f"{gpu}/history/{name}").count("\n") - 1
            except OSError:
                pass
    return n


def wait_shown(mount, rows, seconds=40):
    expected = Expected(rows)
    wait_until(lambda: shown(mount, expected) >= expected.n, seconds, f"{expected.n} rows are shown")
    assert_history(mount, expected)


def test_twenty_rotations_a_truncation_and_five_kills_show_each_row_once(system, tmp_path):
    rng = random.Random(SEED)
    system.collector()
    mount = system.mount()
    writer = Writer(tmp_path / "gpu.csv", rng)
    source = fleet(10**6, hosts=2, gpus=2, metrics=3)
    take = lambda n: [next(source) for _ in range(n)]  # noqa: E731
    streamer = system.streamer("--csv", writer.path, "--follow")
    writer.write(take(10))
    wait_shown(mount, writer.written)  # from here on it knows where it was
    kills = set(rng.sample(range(20), 5))
    truncation = rng.randrange(20)
    for i in range(20):
        writer.write(take(rng.randrange(5, 60)))
        if i in kills:
            if rng.randrange(2):
                wait_shown(mount, writer.written)
            streamer.kill()
        if i == truncation:
            writer.copy_and_truncate()
            writer.write(take(rng.randrange(5, 60)))
        writer.rotate()
        writer.write(take(rng.randrange(5, 60)))
        if i in kills:
            streamer = system.streamer("--csv", writer.path, "--follow")
        if rng.randrange(3) == 0:
            wait_shown(mount, writer.written)
    wait_shown(mount, writer.written)
    assert streamer.stop() == 0, streamer.log()


def test_a_line_without_its_end_waits(system, tmp_path):
    system.collector()
    mount = system.mount()
    path = tmp_path / "line.csv"
    path.write_text(HEADER)
    streamer = system.streamer("--csv", path, "--follow", STREAMER_FLUSH_INTERVAL="20ms")
    rows = [row(0, 12, host="line"), row(1, 345, host="line")]
    first, second = lines_of(rows[:1]), lines_of(rows[1:])
    with open(path, "a") as f:
        f.write(first + second[:-6])
        f.flush()
        wait_shown(mount, rows[:1])
        f.write(second[-6:])
    wait_shown(mount, rows)
    run = streamer.stop()
    assert run == 0 and "invalid=0" in streamer.out()


def test_a_plain_truncation_begins_the_file_anew(system, tmp_path):
    system.collector()
    mount = system.mount()
    path = write_csv(tmp_path / "cut.csv", [row(i, i, host="cut") for i in range(50)])
    streamer = system.streamer("--csv", path, "--follow")
    wait_shown(mount, [row(i, i, host="cut") for i in range(50)])
    with open(path, "r+") as f:
        f.truncate(0)
        f.write(HEADER + lines_of([row(100, 7, host="cut")]))
    wait_shown(mount, [row(i, i, host="cut") for i in range(50)] + [row(100, 7, host="cut")])
    assert "truncated" in streamer.log()
    assert streamer.stop() == 0


def test_a_file_that_is_not_there_yet_is_waited_for(system, tmp_path):
    system.collector()
    mount = system.mount()
    path = tmp_path / "later.csv"
    streamer = system.streamer("--csv", path, "--follow")
    wait_until(lambda: "waiting for it" in streamer.log(), 30, "it says that it waits")
    write_csv(path, [row(0, 5, host="later")])
    wait_shown(mount, [row(0, 5, host="later")])
    assert streamer.stop() == 0


def test_an_idle_follower_makes_no_system_calls(system, tmp_path):
    path = write_csv(tmp_path / "idle.csv", [row(0, 5, host="idle")])
    system.collector()
    mount = system.mount()
    streamer = system.streamer("--csv", path, "--follow", THROTTLE_ENABLED="false")
    wait_shown(mount, [row(0, 5, host="idle")])

    def reads():
        return sum(int(line.split()[1]) for line in open(f"/proc/{streamer.pid}/io") if line.startswith("rchar"))

    before = reads()
    time.sleep(1)
    assert reads() - before < 4096
    assert streamer.stop() == 0


@pytest.mark.parametrize("args, says", [
    (["--csv", "-", "--follow"], "standard input"), (["--csv", "x", "--follow", "--loop"], "--loop"),
    (["--csv", "x", "--follow", "--wait"], "--wait"),
])
def test_what_cannot_be_followed_is_a_usage_error(system, args, says):
    run = system.stream(*args, status=2)
    assert "--follow" in run.log or "--wait" in run.log
    assert says in run.log


def test_an_archive_cannot_be_followed(system, tmp_path):
    path = write_csv(tmp_path / "a.csv", [row(0, 5)])
    subprocess.run(["gzip", path], check=True)
    run = system.stream("--csv", f"{path}.gz", "--follow", status=1)
    assert "gzip archive cannot be followed" in run.log
