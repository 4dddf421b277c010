"""Without memory for its n-th allocation (tests/lib/fail_malloc.c) a program ends with a line that says so, or goes on:
it never crashes, and the next run has every row once. The n-th answer of etcd lost, refused, garbled or cut is nothing
that a user sees at all."""
import os
import signal
import socket
import struct
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from lib import BIN, ROOT, SLOW
from rows import Expected, assert_tree, fleet, row, wait_for_rows, write_csv

sys.path.insert(0, str(ROOT / "tests" / "chaos"))

from proxy import Pass, Proxies  # noqa: E402

SHIM = ROOT / "build/fake/fail_malloc.so"
TOLD = ("out of memory", "Cannot allocate memory", "no memory")
FAST = {"MQ_PROCESSING_TIMEOUT": "2s"}


@pytest.fixture(scope="module")
def shim():
    if "bin" != BIN.relative_to(ROOT).parts[0]:
        pytest.skip("a sanitizer has its own malloc")
    if not SHIM.exists():
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SAN")}
        subprocess.run(["make", "-s", SHIM.relative_to(ROOT)], cwd=ROOT, env=env, check=True)
    return SHIM


def fails_at(n, env, program, *args):
    """Runs a program whose n-th allocation fails; whether there was one."""
    run = subprocess.run([BIN / f"gputel-{program}", *args], capture_output=True, text=True, timeout=60 * SLOW, check=False,
                         env={**env, "LD_PRELOAD": str(SHIM), "FAIL_AT": str(n)})
    hit = f"fail_malloc: allocation {n}\n" in run.stderr
    if run.returncode == -signal.SIGABRT or hit and run.returncode:
        assert any(word in run.stderr for word in TOLD), (n, run.returncode, run.stderr)
    assert run.returncode in (0, 1, -signal.SIGABRT), (n, run.returncode, run.stderr)
    return hit


def test_a_check_of_a_file_tells_of_no_memory_or_is_made(shim, tmp_path):
    file = write_csv(tmp_path / "some.csv", [row(i, i) for i in range(3)])
    n = 1
    while fails_at(n, os.environ, "streamer", "--check", "--csv", file):
        n += 13
    assert n > 100


@pytest.mark.parametrize("program, args", [("streamer", ["--print-config"]), ("collector", ["--check-config"]),
                                           ("bridge", ["--new-token", "x"]), ("fs", ["--print-config"])])
def test_what_a_program_says_of_itself_is_complete_or_an_error(shim, program, args):
    n = 1
    while fails_at(n, os.environ, program, *args):
        n += 5
    assert n > 5


def all_is_there(system, rows):
    expected, mount = Expected(rows), system.mount()
    wait_for_rows(mount, expected)
    assert_tree(mount, expected)
    assert system.collector("--audit").wait() == 0


def test_what_a_streamer_without_memory_left_is_published_once_by_the_next(shim, system, tmp_path):
    files, expected = [], []
    for n in [*range(1, 400, 57), *range(400, 3000, 300)]:
        rows = list(fleet(20, hosts=1, prefix=f"host-{n}"))
        files += ["--csv", str(write_csv(tmp_path / f"{n}.csv", rows))]
        expected += rows
        fails_at(n, {**system.base_env, **FAST}, "streamer", *files[-2:])
    run = system.stream(*files, **FAST)
    assert run.published + run.duplicate == len(expected)
    assert system.collector("--drain", **FAST).wait() == 0
    all_is_there(system, expected)


def test_what_a_collector_without_memory_left_is_stored_once_by_the_next(shim, system, tmp_path):
    rows = list(fleet(200, hosts=4))
    system.stream("--csv", write_csv(tmp_path / "some.csv", rows), STREAMER_BATCH_SIZE=8, **FAST)
    for n in [*range(1, 500, 166), *range(500, 9000, 2800)]:
        fails_at(n, {**system.base_env, "MQ_MAX_RETRIES": "1000", **FAST}, "collector", "--drain")
    assert system.collector("--drain", MQ_MAX_RETRIES=1000, **FAST).wait() == 0
    all_is_there(system, rows)


# ---- etcd's n-th answer --------------------------------------------------------------------------


class Nth(Pass):
    """Spoils the n-th answer, and lets all others pass."""

    def __init__(self, n, how):
        self.left, self.how = n, how

    async def answer(self, data, writer):
        self.left -= 1
        if self.left:
            return await super().answer(data, writer)
        head, _, body = data.partition(b"\r\n\r\n")
        if self.how == "refused":
            data = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}"
        elif self.how == "garbled":
            data = head + b"\r\n\r\n" + bytes(b ^ 0x55 for b in body)
        if self.how in ("refused", "garbled"):
            return await super().answer(data, writer)
        writer.write(data[:len(data) // 2] if self.how == "cut" else b"")
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        raise ConnectionResetError


@pytest.fixture
def proxies(etcd):
    url = urlsplit(etcd.client)
    p = Proxies([(url.hostname, url.port)])
    yield p
    p.close()


@pytest.mark.parametrize("how", ["lost", "refused", "garbled", "cut"])
def test_one_bad_answer_of_etcd_costs_no_row_and_doubles_none(system, proxies, tmp_path, how):
    env, files, expected = {"ETCD_ENDPOINTS": proxies.client, "CIRCUIT_OPEN": "100ms", **FAST}, [], []
    for n in (2, 5, 8):
        rows = list(fleet(20, hosts=1, prefix=f"host-{n}"))
        files += ["--csv", str(write_csv(tmp_path / f"{n}.csv", rows))]
        expected += rows
        proxies.set(Nth(n, how))
        assert system.streamer(*files[-2:], **env).wait() in (0, 1)
        proxies.set(Nth(2 * n, how))
        assert system.collector("--drain", **env).wait() in (0, 1)
    proxies.set(Pass())
    system.stream(*files, **FAST)
    assert system.collector("--drain", **FAST).wait() == 0
    all_is_there(system, expected)
