"""What a load costs: memory that does not grow with it, and nothing when there is none."""
import os
import time

import pytest

from lib import SANITIZED, SLOW, wait_until
from rows import difference, fleet, write_csv

MIB = 1 << 20
HOSTS, GPUS = 64, 8
release_build = pytest.mark.skipif(SANITIZED,
                                   reason="what a sanitizer uses is not the program's")


def load(system, tmp_path, n):
    """Streams n rows of 64 interleaved hosts through one collector to a mount, all of which must stay
    small, and every row must be there once, in order."""
    file = write_csv(tmp_path / "load.csv", fleet(n, HOSTS, GPUS, metrics=10))
    collector, mount = system.collector(), system.mount()
    peaks = {}
    begin = time.monotonic()
    streamer = system.streamer("--csv", file, "--wait")

    def ended():
        for process in (streamer, collector, mount.process):
            peaks[process.name] = max(peaks.get(process.name, 0), process.peak_memory() // MIB)
        return not streamer.running()
    wait_until(ended, 300, f"{n} rows are stored")
    print(f"{n} rows in {time.monotonic() - begin:.1f} s, peaks in MiB: {peaks}")
    assert streamer.wait() == 0 and f"published={n} " in streamer.out()
    assert {name: peak for name, peak in peaks.items() if peak >= 200} == {}

    wait_until(lambda: mount.status()["rows"] == str(n), 30, "all rows are in the mount")
    for h in range(HOSTS):
        for g in range(GPUS):
            gpu = f"node-{h:03d}/{g}"
            got = [line.split(",")[2] for name in mount.names(f"{gpu}/history")
                   for line in mount.read(f"{gpu}/history/{name}").splitlines()[1:]]
            # fleet's values count up over all GPUs in turn
            wrong = difference(got, [str(v) for v in range(h * GPUS + g + 1, n + 1, HOSTS * GPUS)])
            assert not wrong, f"{gpu}: {wrong}"


@release_build
def test_200_thousand_rows_of_interleaved_hosts_stay_under_200_mib(system, tmp_path):
    load(system, tmp_path, 200_000)


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("GPUTEL_SOAK"), reason="a million rows: make soak")
def test_a_million_rows_of_interleaved_hosts_stay_under_200_mib(own_system, tmp_path):
    load(own_system, tmp_path, 1_000_000)


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
