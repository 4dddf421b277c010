"""A steady load over many segments: nothing is lost, the queue stays short, the store stays small, and what is
published is soon readable.

    make soak                               ten minutes of 100,000 samples a second, of 100 and of 1,000 hosts
    GPUTEL_SOAK=SECONDS SOAK_RATE=ROWS/S SOAK_HOSTS=N make soak     other figures
"""
import json
import os
import threading
import time
from datetime import datetime, timedelta

import pytest

from lib import wait_until
from rows import COLUMNS, segment_file

METRICS = 25
START = datetime(2026, 1, 5, 10, 0, 0)


def write_load(path, hosts, gpus, passes, step_s):
    """Rows of a fleet, host by host within a pass; values are the pass. A host's rows share one stamp."""
    with open(path, "w") as f:
        f.write(",".join(COLUMNS) + "\n")
        for p in range(passes):
            for h in range(hosts):
                stamp = (START + timedelta(seconds=p * step_s, milliseconds=h)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
                for m in range(METRICS):
                    f.writelines(f"{stamp},DCGM_FI_SOAK_{m:02d},{g},nvidia{g},GPU-{h:04x}-{g},NVIDIA H100 80GB HBM3,"
                                 f"node-{h:04d},,job-{h % 7},soak,{p},\n" for g in range(gpus))
    return path


def check_order(mount, gpu, passes, first=None):
    """All rows that a GPU has follow one another as they were sent: metrics in turn, passes in turn. Returns
    how many there are."""
    last, n = first, 0
    for name in mount.names(f"{gpu}/history"):
        for line in mount.read(f"{gpu}/history/{name}").splitlines()[1:]:
            _, metric, value, _ = line.split(",", 3)
            now = int(value) * METRICS + int(metric[-2:])
            assert last is None or now == (last + 1) % (passes * METRICS), \
                f"{gpu}/history/{name}: row {n}: {metric} {value} follows {last}"
            last, n = now, n + 1
    return n


def quantile(values, q):
    return sorted(values)[min(int(q * len(values)), len(values) - 1)] if values else None


class Freshness(threading.Thread):
    """How old the newest row of some GPUs is when the mount first shows it. Rows are stamped as they are sent."""

    def __init__(self, mount, gpus):
        super().__init__(daemon=True)
        self.paths = [mount / f"{gpu}/metrics/DCGM_FI_SOAK_00" for gpu in gpus]
        self.seen, self.ages, self.done = {}, [], threading.Event()

    def run(self):
        while not self.done.wait(0.005):
            for path in self.paths:
                try:
                    stamp = os.stat(path).st_mtime_ns
                except OSError:
                    continue
                if self.seen.setdefault(path, stamp) != stamp:
                    self.seen[path] = stamp
                    self.ages.append(time.time() - stamp / 1e9)

    def finish(self):
        self.done.set()
        self.join()
        return self.ages


def database(etcd):
    status = etcd.call("/v3/maintenance/status")
    return int(status["dbSize"]) / 1e6, int(status["dbSizeInUse"]) / 1e6


def test_twenty_seconds_of_five_minutes_of_segments(system, tmp_path):
    """Event time runs fifteen times as fast: segments begin, are merged, sealed and dropped while rows come."""
    hosts, gpus, passes = 20, 8, 20
    env = {"SEGMENT": "1m", "RETENTION": "8s", "COLLECTOR_FLUSH_INTERVAL": "50ms"}
    file = write_load(tmp_path / "load.csv", hosts, gpus, passes, step_s=15)
    collectors, mount = [system.collector(**env) for _ in range(2)], system.mount()
    streamer = system.streamer("--csv", file, "--speed", "15", "--wait")
    most_queued = most_chunks = 0
    while streamer.running():
        status = mount.status()
        most_queued = max(most_queued, int(status.get("queue_depth", 0)))
        most_chunks = max(most_chunks, int(status["chunks"]))
        for gpu in ("node-0003/2", f"node-{hosts - 1:04d}/7"):
            if gpu in mount.gpus():
                names = mount.names(f"{gpu}/history")
                assert names == sorted(names)
        time.sleep(0.2)
    assert streamer.wait() == 0 and f"published={hosts * gpus * passes * METRICS} " in streamer.out()
    assert system.collector("--audit").wait(20) == 0
    last = segment_file((START + timedelta(seconds=(passes - 1) * 15)).strftime("%Y-%m-%dT%H:%M:%SZ"), 60)
    gpu = f"node-{hosts - 1:04d}/7"
    rows = mount.read(f"{gpu}/history/{last}").splitlines()[1:]
    assert [r.split(",")[2] for r in rows] == [str(p) for p in range(passes - 4, passes) for _ in range(METRICS)]
    assert most_queued < 20 * hosts, "the queue stays short"
    # Each GPU has at most some eight segments at a time, of a few chunks each.
    assert most_chunks < hosts * gpus * 40
    wait_until(lambda: not system.keys("/telemetry/data/") and not system.keys("/telemetry/body/"), 40, "all has gone")
    wait_until(lambda: not mount.gpus(), 30, "and its folders")
    assert all(c.running() for c in collectors)


SOAK = int(os.environ.get("GPUTEL_SOAK") or 0)
HOSTS = [int(os.environ["SOAK_HOSTS"])] if "SOAK_HOSTS" in os.environ else [100, 1000]


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="ten minutes: make soak")
@pytest.mark.parametrize("hosts", HOSTS)
def test_a_steady_load_stays_fresh_and_the_store_flat(own_system, tmp_path, hosts):
    system, seconds, rate = own_system, SOAK if SOAK > 1 else 600, int(os.environ.get("SOAK_RATE", 100_000))
    gpus, passes = 8, max(2, 500_000 // (hosts * 8 * METRICS))
    file = write_load(tmp_path / "load.csv", hosts, gpus, passes, step_s=1)
    collectors = [system.collector(SEGMENT="1m", RETENTION="2m") for _ in range(2)]
    mount = system.mount()
    streamer = system.streamer("--csv", file, "--loop", "--rate", str(rate))
    watched = [f"node-{hosts * i // 5:04d}/{i}" for i in range(5)]
    wait_until(lambda: all(g in mount.gpus() for g in watched), 60, "the first rows")
    freshness = Freshness(mount, watched)
    freshness.start()
    begin, sizes, depths, chunks = time.monotonic(), [], [], []
    used = {p.name: p.cpu_seconds() for p in (system.etcd.process, streamer, mount.process, *collectors)}
    while time.monotonic() - begin < seconds:
        time.sleep(min(10, seconds / 10))
        status = mount.status()
        sizes.append(database(system.etcd))
        depths.append(int(status.get("queue_depth", 0)))  # not there while etcd is too slow to say
        chunks.append(int(status["chunks"]))
    span = time.monotonic() - begin
    cores = {p.name: round((p.cpu_seconds() - used[p.name]) / span, 2)
             for p in (system.etcd.process, streamer, mount.process, *collectors)}
    published = sum(json.loads(v)["rows"] for k, v in system.keys("/producers/").items() if k.count("/") == 2)
    ages = freshness.finish()
    print(f"{hosts} hosts, {published / span:,.0f} rows/s for {span:.0f} s; age when readable p50 {quantile(ages, .5):.3f} s, "
          f"p99 {quantile(ages, .99):.3f} s ({len(ages)} looks); cores {cores}; queue at most {max(depths)}; "
          f"chunks {chunks[::max(len(chunks) // 10, 1)]}; database MB (in use) "
          + " ".join(f"{a:.0f}({b:.0f})" for a, b in sizes[::max(len(sizes) // 12, 1)]))
    streamer.stop()
    wait_until(lambda: not system.keys("/queue/telemetry/"), 60, "the queue is empty")
    assert system.collector("--audit").wait(120) == 0
    assert sum(check_order(mount, gpu, passes) for gpu in watched) > 0
    assert max(depths) < 20 * hosts, "the queue stays short"
    cycle = len(sizes) // 2
    if seconds >= 400:  # twice SEGMENT + RETENTION
        assert max(a for a, _ in sizes[cycle:]) < 1.3 * max(a for a, _ in sizes[:cycle]), "the database stays flat"
