"""Late, early and out-of-order rows over several segments (DESIGN §3, §4 Order, §5 laws 2 and 3)."""
import os
import random
import time

from lib import SEED, wait_until
from rows import Expected, assert_tree, at, fleet, nanoseconds, parse_rows, row, segment_file, write_csv


def test_rows_in_any_order_are_in_the_segment_of_their_time_in_the_sources_order(system, tmp_path):
    system.collector(SEGMENT="1m")
    rows = list(fleet(2400, hosts=2, gpus=2, metrics=2, step_s=1))  # 5 minutes
    random.Random(SEED).shuffle(rows)
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    expected = Expected(rows, segment_s=60)
    assert len(expected.history["node-000/0"]) == 5
    mount = system.mount()
    assert_tree(mount, expected)
    for gpu, files in expected.history.items():
        assert os.readlink(mount / f"{gpu}/telemetry.csv") == "history/" + max(files)


def test_late_rows_go_to_the_end_of_their_own_segment(system, tmp_path):
    system.collector(SEGMENT="1m")
    mount = system.mount()
    batches = [[row(200 + i, f"a{i}"[1:] + "1") for i in range(5)],  # the newest first
               [row(10 + i, 100 + i) for i in range(5)],             # a segment long over
               [row(200, 31), row(12, 32), row(204, 33), row(130, 34)]]
    done = []
    for i, batch in enumerate(batches):
        done += batch
        system.stream("--csv", write_csv(tmp_path / f"{i}.csv", batch), "--wait")
        expected = Expected(done, segment_s=60)
        wait_until(lambda: mount.names("host-1/0/history") == sorted(expected.history["host-1/0"]), 30, "the segments")
        wait_until(lambda: sum(mount.read(f"host-1/0/history/{f}").count("\n") - 1 for f in mount.names("host-1/0/history"))
                   == len(done), 30, "the rows")
        assert_tree(mount, expected)
    assert mount.read("host-1/0/metrics/DCGM_FI_DEV_GPU_UTIL") == "33\n", "of equal times the later position"


def test_latest_is_the_greatest_event_time_whatever_comes_later(system, tmp_path):
    system.collector()
    rows = [row(10, 1), row(30, 2), row(20, 3), row(30, 4), row(29.999, 5)]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    assert mount.read("host-1/0/metrics/DCGM_FI_DEV_GPU_UTIL") == "4\n"
    assert parse_rows(mount.read("host-1/0/latest.csv"))[0][0] == at(30)
    assert [r[2] for r in parse_rows(mount.read("host-1/0/telemetry.csv"))] == ["1", "2", "3", "4", "5"]
    assert os.stat(mount / "host-1/0/telemetry.csv").st_mtime_ns == nanoseconds(at(30))


def test_rows_far_ahead_are_stored_but_not_latest_while_there_is_a_sane_one(system, tmp_path):
    system.collector()
    ahead = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 7200))
    rows = [{**row(0, 999), "timestamp": ahead}, row(0, 5), {**row(0, 998, gpu="1"), "timestamp": ahead}]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    assert mount.read("host-1/0/metrics/DCGM_FI_DEV_GPU_UTIL") == "5\n"
    assert os.readlink(mount / "host-1/0/telemetry.csv") == "history/" + segment_file(at(0))
    assert mount.names("host-1/0/history") == sorted([segment_file(at(0)), segment_file(ahead)])
    assert mount.read("host-1/1/metrics/DCGM_FI_DEV_GPU_UTIL") == "998\n", "there is no other"


def test_fractions_order_rows_within_a_second(system, tmp_path):
    system.collector()
    stamps = ["2025-07-18T20:42:00.25Z", "2025-07-18T20:42:00.3Z", "2025-07-18T20:42:00.123456789Z", "2025-07-18T20:42:00Z"]
    rows = [{**row(value=i), "timestamp": s} for i, s in enumerate(stamps)]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    assert [r[0] for r in parse_rows(mount.read("host-1/0/telemetry.csv"))] == stamps
    assert mount.read("host-1/0/metrics/DCGM_FI_DEV_GPU_UTIL") == "1\n"


def test_rows_of_before_1990_and_of_any_segment_length_find_their_file(system, tmp_path):
    system.collector(SEGMENT="24h")
    stamps = ["1970-01-01T00:00:00Z", "1989-11-09T23:59:59.9Z", "2025-07-18T00:00:00Z", "2025-07-18T23:59:59Z"]
    rows = [{**row(value=i), "timestamp": s} for i, s in enumerate(stamps)]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    assert_tree(system.mount(), Expected(rows, segment_s=86400))


def test_a_collector_with_another_segment_length_refuses_to_start(system):
    first = system.collector(SEGMENT="1m")
    wait_until(lambda: system.keys("/telemetry/config"), 30, "the stored configuration")
    second = system.collector(SEGMENT="5m")
    assert second.wait(15) in (1, 2)
    assert "SEGMENT" in second.log() and first.running()
