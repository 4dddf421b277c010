"""<gpu>/stream, poll(2) and .meta/wait: readers that wait for what comes, and cost nothing meanwhile."""
import fcntl
import os
import select
import signal
import subprocess
import threading
import time

import pytest

from lib import SLOW, wait_until
from rows import ROW_FILE, row, write_csv

GPU = "host-1/0"
VALUE = f"{GPU}/metrics/DCGM_FI_DEV_GPU_UTIL"
LOG = f"{GPU}/telemetry.csv"


@pytest.fixture
def feed(system, tmp_path):
    """feed(rows) stores them and returns the revision at which they are stored."""
    system.collector()
    n = iter(range(10**6))

    def store(rows, *options, **env):
        run = system.stream("--csv", write_csv(tmp_path / f"{next(n)}.csv", rows), "--wait", *options, **env)
        return int(run.log.split("at revision ")[1].split()[0])
    return store


class Reader:
    """`cat` of a file that does not end."""

    def __init__(self, path):
        self.process = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
        self.data = b""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                return
            self.data += data

    def lines(self):
        return self.data.decode().splitlines()

    def end(self):
        self.process.kill()
        self.process.wait(10)
        self.thread.join(10)
        self.process.stdout.close()


def opened(mount, path, n=1):
    """Waits until the daemon has so many parked readers: what comes next is theirs."""
    wait_until(lambda: sum(os.path.exists(f"/proc/{p}/fd/3") and os.readlink(f"/proc/{p}/fd/3") == str(mount / path)
                           for p in pids("cat")) >= n, 30, f"{n} readers of {path}")


def pids(name):
    found = subprocess.run(["pidof", name], capture_output=True, text=True, check=False)
    return [int(p) for p in found.stdout.split()]


def fields(r):
    return ",".join([r["timestamp"], r["metric_name"], r["value"], r["uuid"], r["container"], r["pod"], r["namespace"], ""])


# ---- the stream -------------------------------------------------------------------------------------

def test_a_stream_gives_the_rows_that_come_and_no_others(feed, system):
    feed([row(s, s) for s in range(10)])
    mount = system.mount()
    assert "stream" not in mount.names(GPU)
    reader = Reader(mount / f"{GPU}/stream")
    opened(mount, f"{GPU}/stream")
    later = [row(100 + s, s) for s in range(20)]
    feed(later[:5])
    wait_until(lambda: len(reader.lines()) == 5)
    feed(later[5:] + [row(0, 99, gpu="1")])
    wait_until(lambda: len(reader.lines()) >= 20)
    reader.end()
    assert [line.rsplit(",", 1)[0] + "," for line in reader.lines()] == [fields(r) for r in later]
    assert all(line.count(",") == len(ROW_FILE) - 1 for line in reader.lines())


def test_a_stream_is_in_the_order_of_commits_and_row_files_are_in_it_whole(feed, system):
    """Many commits, of several segments, late rows among them: the stream has each once, and what of it
    belongs to a segment is that segment's file."""
    feed([row(0, 0)])
    mount = system.mount()
    readers = [Reader(mount / f"{GPU}/stream") for _ in range(3)]
    opened(mount, f"{GPU}/stream", 3)
    rows = [row((i * 977) % 20000, i) for i in range(1, 3001)]
    feed(rows, STREAMER_BATCH_SIZE="40")
    wait_until(lambda: all(len(r.lines()) >= len(rows) for r in readers), 30, "all rows")
    for reader in readers:
        reader.end()
        lines = reader.lines()
        assert len(lines) == len(rows) == len(set(lines))
        for name in mount.names(f"{GPU}/history"):
            file = mount.read(f"{GPU}/history/{name}").splitlines()[1:]
            of_file = set(file)
            assert [line for line in lines if line in of_file] == [line for line in file if line.split(",")[2] != "0"]


def test_a_stream_that_is_not_ready_says_so_to_who_does_not_want_to_wait(feed, system):
    feed([row(0)])
    mount = system.mount()
    fd = os.open(mount / f"{GPU}/stream", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        os.read(fd, 4096)
    feed([row(1, 2)])
    wait_until(lambda: select.select([fd], [], [], 0)[0], 30, "ready")
    assert os.read(fd, 10) + os.read(fd, 4096) == (fields(row(1, 2)) + "\n").encode()
    with pytest.raises(BlockingIOError):
        os.read(fd, 4096)
    with pytest.raises(OSError):
        os.lseek(fd, 0, os.SEEK_SET)
    os.close(fd)


def test_a_signal_ends_a_read_that_waits(feed, system):
    feed([row(0)])
    mount = system.mount()
    for number in (signal.SIGINT, signal.SIGKILL):
        for path in (f"{GPU}/stream", ".meta/wait/99999999"):
            process = subprocess.Popen(["cat", mount / path], stdout=subprocess.DEVNULL)
            opened(mount, path)
            process.send_signal(number)
            process.wait(20 * SLOW)
    assert mount.unmount() == 0


def test_fifty_readers_that_wait_do_not_slow_a_stat(feed, system):
    feed([row(0)])
    mount = system.mount()
    readers = [Reader(mount / f"{GPU}/stream") for _ in range(50)]
    opened(mount, f"{GPU}/stream", 50)
    slowest = 0
    for i in range(200):
        began = time.monotonic()
        os.stat(mount / VALUE)
        slowest = max(slowest, time.monotonic() - began)
    print(f"slowest of 200 stats beside 50 readers: {slowest * 1000:.1f} ms")
    assert slowest < 20 * SLOW
    feed([row(1, 2)])
    wait_until(lambda: all(len(r.lines()) == 1 for r in readers), 30, "each has the row")
    for reader in readers:
        reader.end()


def test_unmounting_ends_readers_that_wait(feed, system):
    feed([row(0)])
    mount = system.mount()
    reader = Reader(mount / f"{GPU}/stream")
    opened(mount, f"{GPU}/stream")
    assert mount.unmount() == 0
    assert reader.process.wait(10) != 0
    reader.end()


def test_the_stream_of_a_gpu_that_goes_ends_with_an_error(feed, system):
    feed([row(0), row(0, gpu="1")])
    mount = system.mount()
    reader = Reader(mount / f"{GPU}/stream")
    opened(mount, f"{GPU}/stream")
    system.etcd.delete(system.prefix + "/telemetry/gpus/host-1/0")
    assert reader.process.wait(10) == 1
    reader.end()


# ---- poll -------------------------------------------------------------------------------------------

def ready(fd, ms, events=select.POLLIN | select.POLLPRI):
    p = select.poll()
    p.register(fd, events)
    found = p.poll(ms)
    return found[0][1] if found else 0


def test_poll_wakes_the_reader_of_a_value_when_it_is_another(feed, system):
    feed([row(0, 1), row(0, 1, metric="B")])
    mount = system.mount()
    fd = os.open(mount / VALUE, os.O_RDONLY)
    assert ready(fd, 0) == select.POLLIN | select.POLLPRI
    assert os.pread(fd, 100, 0) == b"1\n"
    assert ready(fd, 0) == 0
    feed([row(1, 1), row(1, 2, metric="B")])
    wait_until(lambda: mount.read(f"{GPU}/metrics/B") == "2\n")
    assert ready(fd, 100) == 0, "the same text"
    woken = []
    thread = threading.Thread(target=lambda: woken.append(ready(fd, 20000)))
    thread.start()
    feed([row(2, 3)])
    thread.join(20)
    assert woken == [select.POLLIN | select.POLLPRI]
    assert os.pread(fd, 100, 0) == b"3\n"
    assert ready(fd, 0) == 0
    os.close(fd)


def test_epoll_wakes_the_reader_of_a_live_log_when_it_has_grown(feed, system):
    feed([row(0, 1)])
    mount = system.mount()
    fd = os.open(mount / LOG, os.O_RDONLY)
    epoll = select.epoll()
    epoll.register(fd, select.EPOLLIN)
    assert epoll.poll(0) == [(fd, select.EPOLLIN)]
    size = len(os.read(fd, 1 << 16))
    assert epoll.poll(0) == []
    woken = []
    thread = threading.Thread(target=lambda: woken.extend(epoll.poll(20)))
    thread.start()
    feed([row(1, 2)])
    thread.join(20)
    assert woken == [(fd, select.EPOLLIN)]
    assert os.read(fd, 1 << 16).decode() == fields(row(1, 2)) + "\n"
    assert os.fstat(fd).st_size > size
    assert epoll.poll(0) == []
    epoll.close()
    os.close(fd)


# ---- .meta/wait -------------------------------------------------------------------------------------

def test_waiting_for_a_revision_returns_when_it_is_shown(feed, system):
    mount = system.mount()
    for value in range(1, 6):
        revision = feed([row(value, value)])
        assert mount.read(f".meta/wait/{revision}") == f"{revision}\n"
        assert mount.read(VALUE) == f"{value}\n"
    assert mount.read(".meta/wait/0") == "0\n"
    assert mount.names(".meta/wait") == []


def test_waiting_for_a_revision_that_is_not_there_yet(feed, system):
    revision = feed([row(0, 1)])
    mount = system.mount()
    far = revision + 1000
    fd = os.open(mount / f".meta/wait/{far}", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        os.read(fd, 100)
    assert ready(fd, 0) == 0
    waiting = Reader(mount / f".meta/wait/{far}")
    opened(mount, f".meta/wait/{far}")
    for _ in range(3):
        system.etcd.call("/v3/kv/put", key="bm90aGluZw==", value="")
    assert not waiting.data
    while system.etcd.call("/v3/kv/put", key="bm90aGluZw==", value="")["header"]["revision"] != str(far):
        pass
    assert waiting.process.wait(20) == 0
    waiting.end()
    assert waiting.data.decode() == f"{far}\n"
    assert ready(fd, 10000) & select.POLLIN
    fcntl.fcntl(fd, fcntl.F_SETFL, 0)
    assert os.read(fd, 100).decode() == f"{far}\n"
    os.close(fd)


def test_only_numbers_can_be_waited_for(system):
    mount = system.mount()
    for name in ("x", "1x", "-1", "+1", " 1", "99999999999999999999"):
        with pytest.raises(FileNotFoundError):
            mount.read(f".meta/wait/{name}")
