"""make bench, on a file small enough for here: that it measures what it says, not how fast that is."""
import os
import re
import subprocess
import sys

import pytest

from lib import BIN, ROOT, SLOW

BUILT = BIN.parent / ("build/release" if BIN.name == "bin" and BIN.parent == ROOT else "") / "tests/bench"
PROBE, FANOUT = BUILT / "probe", BUILT / "fanout"


@pytest.mark.skipif(not PROBE.exists(), reason="its probe is built by make bench")
def test_a_run_loads_reads_back_and_tells(tmp_path):
    page = tmp_path / "RESULTS.md"
    env = dict(os.environ, BENCH_ROWS="5K", ROUNDS="1", ONLY="bulk", WHERE=str(tmp_path), RESULTS=str(page),
               GPUTEL_BIN=str(BIN), BENCH_PROBE=str(PROBE), BENCH_PEER="none")
    run = subprocess.run([ROOT / "tests" / "bench" / "run"], env=env, capture_output=True, text=True,
                         timeout=120 * SLOW, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    text = page.read_text()
    assert "## 31 hosts: 5,000 rows" in text and "no peer installed" in text
    for line in ("rows/s", "CPU seconds per million rows", "bytes stored per sample", "peak memory", "transactions of"):
        assert line in text, text
    assert not list(tmp_path.glob("gputel-bench-*")), "databases are removed again"


@pytest.mark.skipif(not FANOUT.exists(), reason="its clients are built by make bench-bridge")
def test_clients_of_the_bridge_are_counted_and_timed(tmp_path):
    page = tmp_path / "BRIDGE.md"
    env = dict(os.environ, ONLY="fanout", CLIENTS="7", STALLED="1", ROUNDS="1", FANOUT_SECONDS="2", WHERE=str(tmp_path),
               RESULTS=str(page), GPUTEL_BIN=str(BIN), BENCH_FANOUT=str(FANOUT))
    run = subprocess.run([sys.executable, ROOT / "tests" / "bench" / "bridge"], env=env, capture_output=True, text=True,
                         timeout=120 * SLOW, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    for clients in ("one", "7", "7, and 1 that do not read"):
        assert re.search(rf"^\| {clients} \| [1-9]\d* \| [\d.]+ / [\d.]+ \| -?[\d.]+ / [\d.]+ \|", page.read_text(), re.M), \
            page.read_text()
