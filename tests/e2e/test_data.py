"""data/telemetry.csv is what data/generate.py writes, and is shaped as real rows are."""
import itertools
import subprocess
import sys

from lib import ROOT
from rows import COLUMNS, read_csv

TELEMETRY = ROOT / "data" / "telemetry.csv"


def generate(*args):
    return subprocess.run([sys.executable, ROOT / "data" / "generate.py", *args], capture_output=True, check=True).stdout


def test_the_sample_begins_as_the_generator_writes_it():
    head = generate("--duration", "1m")
    assert head.count(b"\n") == 1 + 4 * 4 * 8 * 10
    assert TELEMETRY.read_bytes().startswith(head)


def test_the_same_seed_gives_the_same_rows_and_another_gives_others():
    small = ["--hosts", "2", "--gpus", "3", "--duration", "45s"]
    assert generate(*small) == generate(*small) != generate(*small, "--seed", "2")


def test_the_sample_has_4_hosts_of_8_gpus_with_10_metrics_each_15_seconds():
    rows = read_csv(TELEMETRY)
    assert tuple(rows[0]) == COLUMNS
    assert len({r["Hostname"] for r in rows}) == 4
    assert len({r["uuid"] for r in rows}) == len({(r["Hostname"], r["gpu_id"]) for r in rows}) == 32
    assert len({r["metric_name"] for r in rows}) == 10
    series = [r["timestamp"] for r in rows if r["uuid"] == rows[0]["uuid"] and r["metric_name"] == rows[0]["metric_name"]]
    assert len(series) == 60 and series == sorted(set(series)) and len(rows) == 32 * 10 * 60


def test_readings_are_coherent():
    rows = read_csv(TELEMETRY)
    key = lambda r: (r["timestamp"], r["uuid"])  # noqa: E731
    for _, group in itertools.groupby(sorted(rows, key=key), key):
        v = {r["metric_name"][len("DCGM_FI_DEV_"):]: float(r["value"]) for r in group}
        assert v["FB_USED"] + v["FB_FREE"] == 81007
        assert 0 <= v["GPU_UTIL"] <= 100 and 20 <= v["GPU_TEMP"] <= 90 and 60 <= v["POWER_USAGE"] <= 720
    assert {bool(r["pod"]) for r in rows} == {True, False}


def test_the_columns_are_those_of_real_rows(reference_csv):
    with open(reference_csv) as real, open(TELEMETRY) as ours:
        assert real.readline() == ours.readline()
        quotes = [line.count('"') for line in (real.readline(), ours.readline())]
        assert all(n >= 2 * len(COLUMNS) for n in quotes)
