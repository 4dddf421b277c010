"""What stat says of values: from the kernel's cache, and never older than what was read."""
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from inotify import Watch
from lib import SANITIZED, wait_until
from rows import at, nanoseconds
from test_survival import Feed

VALUE = "host-1/0/metrics/DCGM_FI_DEV_GPU_UTIL"
LATE = {"lookup": 1, "getattr": 3, "setattr": 4}  # FUSE's opcodes


@pytest.fixture
def feed(system):
    f = Feed(system)
    yield f
    f.close()


def time_of(value):
    """Of the row with that value, as the feed numbers them."""
    return nanoseconds(at(int(value) / 10))


def test_a_stat_is_never_of_an_older_value_than_the_read_before_it(system, feed):
    """Values count up, so each has a size and a time of its own. The kernel itself may miss by a version for an
    instant (fs/inode.h), so what seems wrong is looked at again."""
    feed.rows(1)
    mount = system.mount()
    wait_until(lambda: mount.read(VALUE) == "0\n", 30, "the value")
    stop, looks, wrong = threading.Event(), [], []

    def stat_of(ask, before):
        st = ask()
        return st if st.st_mtime_ns >= time_of(before) and st.st_size >= len(before) else ask()

    def look():
        fd = os.open(mount / VALUE, os.O_RDONLY)
        while not stop.is_set():
            before = os.pread(fd, 100, 0)
            seen = [stat_of(lambda: os.stat(mount / VALUE), before), stat_of(lambda: os.fstat(fd), before)]
            after = os.pread(fd, 100, 0)
            for st in seen:
                if not (len(before) <= st.st_size <= len(after)
                        and time_of(before) <= st.st_mtime_ns <= time_of(after)):
                    wrong.append((before, st.st_size, st.st_mtime_ns, after))
            looks.append(before != after)
        os.close(fd)
    threads = [threading.Thread(target=look) for _ in range(2)]
    for t in threads:
        t.start()
    for _ in range(150):
        feed.rows(10)
        time.sleep(0.01)
    last = f"{feed.n - 1}\n"
    wait_until(lambda: os.stat(mount / VALUE).st_size == len(last), 20, "the size, by stat alone")
    wait_until(lambda: os.stat(mount / VALUE).st_mtime_ns == time_of(last), 20, "the time, by stat alone")
    stop.set()
    for t in threads:
        t.join()
    print(f"{len(looks)} looks, {sum(looks)} of them over a change")
    assert wrong == []
    assert mount.read(VALUE) == last


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler for late_answers.c")
@pytest.mark.skipif(SANITIZED, reason="sanitizers do not like what is preloaded")
@pytest.mark.parametrize("kind", LATE)
def test_an_answer_that_comes_late_brings_back_nothing_older(system, feed, tmp_path, kind):
    """The kernel ignores attributes that were asked for before it was told to drop what it has; what a touch is
    answered it takes whenever that comes, before Linux 6.17 also to keep."""
    library = tmp_path / "late_answers.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("late_answers.c")], check=True)
    feed.rows(1)
    mount = system.mount(LD_PRELOAD=library, LATE_OPCODE=str(LATE[kind]), LATE_MS="100")
    wait_until(lambda: mount.read(VALUE) == "0\n", 10, "the value")
    fd, log = os.open(mount / VALUE, os.O_RDONLY), mount / "host-1/0/telemetry.csv"
    newest, log_size = 0, 0
    for _ in range(30):
        feed.rows(10)
        end = time.monotonic() + 0.04
        newest = max(newest, time_of(os.pread(fd, 100, 0)))
        while time.monotonic() < end:
            newest, before = os.stat(mount / VALUE).st_mtime_ns, newest
            assert newest >= before
            log_size, before = os.stat(log).st_size, log_size
            assert log_size >= before
    os.close(fd)
    assert int(mount.read(VALUE)) > 0


def test_who_is_told_of_a_value_finds_its_size_and_time_by_stat_alone(system, feed):
    """Nobody reads, which would make the kernel ask for attributes again."""
    feed.rows(1)
    mount = system.mount()
    wait_until(lambda: (mount / VALUE).exists(), 30, "the value")
    watch = Watch(mount / VALUE)
    for _ in range(100):
        os.stat(mount / VALUE)
        feed.rows(1)
        watch.wait("MODIFY")
        watch.clear()
        st = os.stat(mount / VALUE)
        assert (st.st_size, st.st_mtime_ns) == (len(f"{feed.n - 1}\n"), time_of(feed.n - 1))
    watch.close()


def test_stat_asks_the_daemon_only_once(system, feed):
    feed.rows(1)
    mount = system.mount()
    paths = [mount / VALUE, mount / "host-1/0/uuid", mount / "host-1/0/latest.csv", mount / "host-1/latest.csv"]
    wait_until(lambda: all(p.exists() for p in paths), 30, "the files")
    subprocess.run(["stat", *paths], check=True, capture_output=True)
    mount.process.pause()
    try:
        subprocess.run(["stat", *paths], check=True, capture_output=True, timeout=10)
    finally:
        mount.process.resume()
