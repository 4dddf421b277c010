""".at/<time>/<host>/<gpu>: the tree as it was at an instant."""
import os
import random
import time

import pytest

from lib import SEED, wait_until
from rows import at, fleet, nanoseconds, parse_rows, row, write_csv

UTIL = "DCGM_FI_DEV_GPU_UTIL"
WINDOW_NS = 300 * 10**9


def as_of(rows, stamp):
    """{host/gpu: {metric: row}} of the newest rows at or before stamp and at most 5 minutes older."""
    found = {}
    for r in rows:  # later rows win where times are equal
        age = nanoseconds(stamp) - nanoseconds(r["timestamp"])
        if 0 <= age <= WINDOW_NS:
            gpu = found.setdefault(f"{r['Hostname']}/{r['gpu_id']}", {})
            if r["metric_name"] not in gpu or nanoseconds(gpu[r["metric_name"]]["timestamp"]) <= nanoseconds(r["timestamp"]):
                gpu[r["metric_name"]] = r
    return found


@pytest.fixture
def mount(system):
    system.collector()

    def publish(rows):
        path = system.folder / f"rows-{len(system.processes)}.csv"
        before = int(mount.status()["rows"])
        system.stream("--csv", write_csv(path, rows), "--wait")
        wait_until(lambda: int(mount.status()["rows"]) == before + len(rows), 30, "the mount shows them")
    mount = system.mount()
    mount.publish = publish
    return mount


def exists(mount, path):
    try:
        os.stat(mount / path)
        return True
    except FileNotFoundError:
        return False


def test_values_are_those_of_the_newest_sample_at_or_before(mount):
    mount.publish([row(0, 10), row(60, 11), row(60, 12), row(400, 13)])
    for seconds, want in ((0, "10"), (59, "10"), (59.999, "10"), (60, "12"), (61, "12"), (360, "12"), (400, "13"), (700, "13")):
        assert mount.read(f".at/{at(seconds)}/host-1/0/metrics/{UTIL}") == want + "\n", seconds
    for seconds in (-1, 361, 399, 701, 86400):
        assert not exists(mount, f".at/{at(seconds)}/host-1/0/metrics/{UTIL}"), seconds
    assert mount.read(f".at/2025-07-18T22:42:01+02:00/host-1/0/metrics/{UTIL}") == "10\n"


def test_all_gpus_at_one_instant_are_what_the_rows_say(mount):
    rows = list(fleet(6000, hosts=3, gpus=3, metrics=3, step_s=2))
    random.Random(SEED).shuffle(rows)
    rows.sort(key=lambda r: r["Hostname"])  # late and early rows, but each host's in one message
    mount.publish(rows)
    for seconds in (0, 1, 100, 299, 300, 301, 377, 443, 444, 500, 741):
        stamp = at(seconds)
        want = as_of(rows, stamp)
        got = {}
        for host in mount.names(f".at/{stamp}"):
            for gpu in mount.names(f".at/{stamp}/{host}"):
                folder = f".at/{stamp}/{host}/{gpu}"
                got[f"{host}/{gpu}"] = {m: mount.read(f"{folder}/metrics/{m}") for m in mount.names(f"{folder}/metrics")}
                assert os.stat(mount / f"{folder}/latest.csv").st_size == len(mount.read(f"{folder}/latest.csv"))
                csv = parse_rows(mount.read(f"{folder}/latest.csv"))
                assert {(r[1], r[2], r[0]) for r in csv} == {(m, r["value"], r["timestamp"]) for m, r in want[f"{host}/{gpu}"].items()}
        assert got == {g: {m: r["value"] + "\n" for m, r in metrics.items()} for g, metrics in want.items()}, stamp


def test_a_gpu_of_then_has_its_latest_files_and_identity(mount):
    mount.publish([row(0, 10, pod="before"), row(600, 11, pod="after"), row(600, 1, gpu="1")])
    folder = f".at/{at(5)}/host-1/0"
    assert mount.names(folder) == ["info.json", "latest.csv", "latest.json", "latest.prom", "metrics", "stat"]
    assert mount.read(f"{folder}/info.json") == mount.read("host-1/0/info.json")
    assert "before" in mount.read(f"{folder}/latest.csv") and "before" in mount.read(f"{folder}/latest.json")
    assert f"{UTIL}{{" in mount.read(f"{folder}/latest.prom"), "fresh at that instant"
    assert mount.read(f"{folder}/stat") == f"{UTIL} 10 % {at(0)}\n"
    assert mount.names(f".at/{at(5)}/host-1") == ["0"], "the other had no sample yet"


def test_instants_are_found_by_name_only(mount):
    mount.publish([row(0, 10)])
    assert ".at" not in mount.names()
    mount.read(f".at/{at(0)}/host-1/0/stat")
    assert mount.names(".at") == []
    now = int(time.time())
    future = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 3600))
    past = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    for name in (future, past, "1999-01-01T00:00:00Z", "now", "2025-07-18 20:42:00Z", "2025-07-18T20:42:00", at(0) + "x",
                 "1752871320"):
        assert not exists(mount, f".at/{name}"), name
    assert not exists(mount, f".at/{at(0)}/host-2") and not exists(mount, f".at/{at(0)}/host-1/7")


def test_late_rows_show_in_an_instant_that_was_looked_at(mount):
    mount.publish([row(0, 10)])
    path = f".at/{at(30)}/host-1/0/metrics/{UTIL}"
    assert mount.read(path) == "10\n"
    mount.publish([row(20, 15)])
    wait_until(lambda: mount.read(path) == "15\n", 20, "the late row")


def test_more_instants_than_are_kept(mount):
    mount.publish([row(s, s) for s in range(1500)])
    for s in list(range(0, 1500)) + list(range(0, 1500, 100)):
        assert mount.read(f".at/{at(s)}/host-1/0/metrics/{UTIL}") == f"{s}\n"
