"""What a load costs: memory that does not grow with it, and nothing when there is none."""
import os
import time

import pytest

from lib import BIN, SLOW, wait_until
from rows import Expected, assert_history, assert_tree, fleet, write_csv

MIB = 1 << 20
release_build = pytest.mark.skipif(BIN.parent.name in ("address", "undefined", "thread"),
                                   reason="what a sanitizer uses is not the program's")


def load(system, tmp_path, n):
    """Streams n rows of 64 interleaved hosts; the peaks of streamer, collector and mount in bytes."""
    file = write_csv(tmp_path / "load.csv", fleet(n, hosts=64, gpus=8, metrics=10))
    collector, mount = system.collector(), system.mount()
    peaks = {}
    begin = time.monotonic()
    streamer = system.streamer("--csv", file, "--wait")

    def ended():
        for process in (streamer, collector, mount.process):
            peaks[process.name] = max(peaks.get(process.name, 0), process.peak_memory())
        return not streamer.running()
    wait_until(ended, 600, f"{n} rows are stored")
    print(f"{n} rows in {time.monotonic() - begin:.1f} s, peaks in MiB:", {k: v // MIB for k, v in peaks.items()})
    assert streamer.wait() == 0 and f"published={n} " in streamer.out()
    return mount, peaks


@release_build
def test_200_thousand_rows_of_interleaved_hosts_stay_under_200_mib(system, tmp_path):
    n = 200_000
    mount, peaks = load(system, tmp_path, n)
    assert {name: peak // MIB for name, peak in peaks.items() if peak >= 200 * MIB} == {}
    some = {f"node-{h:03d}/{g}" for h in (0, 31, 63) for g in (0, 7)}
    rows = [r for r in fleet(n, hosts=64, gpus=8, metrics=10) if f"{r['Hostname']}/{r['gpu_id']}" in some]
    expected = Expected(rows)
    assert len(mount.gpus()) == 512
    assert_history(mount, expected)


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("GPUTEL_SOAK"), reason="a million rows: make soak")
def test_a_million_rows_of_interleaved_hosts_stay_under_200_mib(own_system, tmp_path):
    mount, peaks = load(own_system, tmp_path, 1_000_000)
    assert {name: peak // MIB for name, peak in peaks.items() if peak >= 200 * MIB} == {}
    assert_tree(mount, Expected(fleet(1_000_000, hosts=64, gpus=8, metrics=10)))


@release_build
def test_idle_daemons_use_less_than_a_hundredth_of_a_core(reference):
    """Some two quiet seconds, over which each uses at most 1 % (and a tick of the clock)."""
    for process in (reference.collector, reference.mount.process):
        mark = [time.monotonic(), process.cpu_seconds()]

        def quiet(mark=mark, process=process):
            span, used = time.monotonic() - mark[0], process.cpu_seconds() - mark[1]
            if used > 0.01 * max(span, 2) * SLOW + 0.01:
                mark[:] = [time.monotonic(), process.cpu_seconds()]  # still busy: look again from here
            return span >= 2
        wait_until(quiet, 15, f"two quiet seconds of {process.name}")
