"""etcd missing at start, gone for a while, killed and back: said once, and gone on where it was."""
import errno
import os
import random
import re
import time

import pytest

from lib import SLOW, Etcd, System, wait_until
from rows import Expected, assert_tree, fleet, nanoseconds, row, wait_for_rows, write_csv


def complaints(process):
    """Lines in which a program says that it cannot reach etcd."""
    return [line for line in process.log().splitlines()
            if re.search(r"\b(warn|error)", line, re.I) and re.search(r"etcd|127\.0\.0\.1:\d+", line)]


def test_programs_started_before_etcd_say_so_once_and_begin_when_it_comes(programs, tmp_path):
    etcd = Etcd(tmp_path / "etcd")
    rows = list(fleet(1000))
    etcd.start()  # chooses its ports for good, then is away
    etcd.stop()
    system = System(etcd, tmp_path / "system")
    try:
        collector = system.collector()
        mount = system.mount(ready=False)
        streamer = system.streamer("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
        for process in (collector, mount.process, streamer):
            wait_until(lambda: complaints(process), 15, f"a word of {process.name} about etcd")
        with pytest.raises(OSError) as error:
            os.listdir(mount.path)
        assert error.value.errno == errno.EIO, "never an empty tree"
        assert mount.status()["etcd"] == "down"
        first = {p: len(complaints(p)) for p in (collector, mount.process, streamer)}
        etcd.start()
        assert streamer.wait() == 0
        wait_until(lambda: mount.names() is not None, 30, "the first list")
        wait_for_rows(mount, Expected(rows))
        assert {p.name: len(complaints(p)) for p in first if len(complaints(p)) > 2} == {}
        assert mount.status()["etcd"] == "up"
    finally:
        system.close()
        etcd.stop()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_etcd_gone_in_the_middle_of_a_load_loses_and_repeats_nothing(own_system, tmp_path, how):
    etcd, rows = own_system.etcd, list(fleet(40_000, hosts=8))
    collector = own_system.collector(MQ_PROCESSING_TIMEOUT="3s")
    mount = own_system.mount()
    streamer = own_system.streamer("--csv", write_csv(tmp_path / "a.csv", rows), "--rate", "10000", "--wait")
    wait_until(lambda: mount.gpus(), 30, "first rows")
    if how == "killed":
        etcd.kill()
    else:
        etcd.stop()
    for process in (collector, mount.process, streamer):
        wait_until(lambda: complaints(process), 15, f"a word of {process.name} about etcd")
    assert all(p.running() for p in (collector, mount.process, streamer))
    etcd.start()
    assert streamer.wait(60) == 0
    assert "published=40000 " in streamer.out()
    wait_for_rows(mount, Expected(rows))
    assert_tree(own_system.mount(), Expected(rows))
    for process in (collector, mount.process, streamer):
        assert len(complaints(process)) <= 4, complaints(process)


def test_while_etcd_is_away_what_is_known_stays_readable(own_system, tmp_path):
    own_system.collector()
    rows = list(fleet(2000))
    own_system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = own_system.mount(ETCD_REQUEST_TIMEOUT="1s")
    expected = Expected(rows)
    assert_tree(mount, expected)
    own_system.etcd.stop()
    status = wait_until(lambda: mount.status() if mount.status()["etcd"] == "down" else None, 30, "etcd=down")
    nanoseconds(status["etcd_down_since"])  # an RFC 3339 time
    assert mount.gpus() == set(expected.history)
    for gpu, metrics in expected.latest.items():
        for metric, r in metrics.items():
            assert mount.read(f"{gpu}/metrics/{metric}") == r["value"] + "\n"
        assert mount.read(f"{gpu}/uuid").startswith("GPU-")
    own_system.etcd.start()
    began = time.monotonic()
    wait_until(lambda: mount.status()["etcd"] == "up", 30, "etcd=up")
    print(f"up again {time.monotonic() - began:.2f} s after etcd")
    assert "etcd_down_since" not in mount.status()
    own_system.stream("--csv", write_csv(tmp_path / "b.csv", [row(0, 5, host="after")]), "--wait", seconds=60)
    wait_until(lambda: mount.read("after/0/metrics/DCGM_FI_DEV_GPU_UTIL") == "5\n", 30, "what came after")


def test_what_is_not_known_gives_eio_within_the_request_timeout(own_system, tmp_path):
    """Rows that were never read have to come from etcd; without it they are an error, not a gap."""
    own_system.collector()
    rows = [row(i / 100, f"{random.random():.15f}", host="node-000") for i in range(20_000)]  # too much for headers
    own_system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = own_system.mount(ETCD_REQUEST_TIMEOUT="1s")
    path = mount / "node-000/0/telemetry.csv"
    size = os.stat(path).st_size
    own_system.etcd.stop()
    with open(path, "rb") as f:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(OSError) as error:
                os.pread(f.fileno(), 4096, size // 2)
            took = time.monotonic() - began
            assert error.value.errno == errno.EIO
            print(f"an answer after {took:.2f} s")
            assert took < 4.5 * SLOW, "ETCD_REQUEST_TIMEOUT, and what a busy machine adds; by default it would be 5 s"
        own_system.etcd.start()
        wait_until(lambda: os.pread(f.fileno(), 4096, size // 2), 30, "the rows, with etcd back")
    wait_until(lambda: len(path.read_bytes()) == size, 30, "all of them")
    assert_tree(mount, Expected(rows))


def test_daemons_can_be_stopped_while_etcd_is_away(own_system):
    collector = own_system.collector(SHUTDOWN_TIMEOUT="2s")
    mount = own_system.mount()
    own_system.etcd.stop()
    wait_until(lambda: mount.status()["etcd"] == "down", 30, "etcd=down")
    assert mount.unmount() == 0
    assert collector.stop(seconds=10) in (0, 1)
