"""Prometheus' remote-write 1.0: messages of ours, and a Prometheus that scrapes an exporter (ours, in Python) and sends
what it has; `make soak` has it do so for ten minutes."""
import calendar
import json
import math
import os
import shutil
import struct
import time

import pytest

from bridge import Bridge, is_problem
from exporter_double import COUNTING, Exporter, counting
from lib import Process, free_port, wait_until
from test_ingest import PATH, PROTOBUF, queued, stored, taken

GPU = {"gpu": "0", "UUID": "GPU-1", "device": "nvidia0", "modelName": "H100", "Hostname": "h", "pod": "p"}
GPUS = 4  # of the exporter


@pytest.fixture
def bridge(system):
    b = Bridge(system)
    yield b
    b.stop()


# ---- messages of ours ------------------------------------------------------------------------------------------------


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def sample(value, ms):
    bits = value if isinstance(value, bytes) else struct.pack("<d", value)
    return b"\x09" + bits + b"\x10" + varint(ms & (1 << 64) - 1)


def series(labels, samples, more=b""):
    text = b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()))
    return field(1, text + b"".join(field(2, sample(*s)) for s in samples) + more)


def packed(message):
    """Snappy's block format, of literals alone."""
    out = varint(len(message))
    for at in range(0, len(message), 60):
        piece = message[at:at + 60]
        out += bytes([len(piece) - 1 << 2]) + piece
    return out


def write(bridge, body, **headers):
    return bridge.ask("POST", PATH, data=packed(body), headers={
        "Content-Type": PROTOBUF, "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0", **headers})


def test_series_of_gpus_become_rows_and_others_are_skipped(system, bridge):
    values = [0.0, 87.0, 117.77, 7e-06, 1e300, -0.0, 0.1 + 0.2, 123456789012345680.0]
    body = series({"__name__": "M", **GPU, "job": "dcgm"}, [(v, 1700000000000 + i) for i, v in enumerate(values)])
    body += series({"__name__": "up", "instance": "x:1", "job": "node"}, [(1.0, 1700000000000)] * 3)
    body += field(3, field(2, b"M") + field(4, b"help"))
    taken(write(bridge, body), rows=8, published=8, skipped=3)
    system.collector()
    wait_until(lambda: len(stored(bridge)) == 8, 30, "the rows")
    rows = stored(bridge)
    assert [r["value"] for r in rows] == values
    assert '"value":-0,' in bridge.get("/api/v1/gpus/0/telemetry").text
    assert rows[1]["timestamp"] == "2023-11-14T22:13:20.001Z"
    assert {k: rows[0][k] for k in ("hostname", "gpu_id", "uuid", "pod")} == {
        "hostname": "h", "gpu_id": "0", "uuid": "GPU-1", "pod": "p"}
    assert write(bridge, field(3, field(2, b"M"))).status_code == 200, "metadata alone"


def test_where_prometheus_stands_between_the_exported_labels_count(system, bridge):
    labels = {"__name__": "M", **GPU, "pod": "exporter-x", "exported_pod": "job-1", "instance": "node-9:9400"}
    del labels["Hostname"]
    taken(write(bridge, series(labels, [(1.0, 1700000000000)])), published=1)
    system.collector()
    wait_until(lambda: stored(bridge), 30, "the row")
    assert (stored(bridge)[0]["pod"], stored(bridge)[0]["hostname"]) == ("job-1", "node-9")


def test_stale_markers_and_what_is_not_finite_are_no_value(system, bridge):
    stale = struct.pack("<Q", 0x7FF0000000000002)
    bad = [(stale, 1), (math.nan, 2), (math.inf, 3), (-math.inf, 4), (2147483632.0, 5)]
    taken(write(bridge, series({"__name__": "M", **GPU}, bad)), rows=5, no_value=5, messages=0)
    assert not queued(system)


def test_what_is_wrong_is_told_and_not_sent_again(bridge):
    """400, where sending it again would not help; what is good in a request is taken."""
    good, late = [(1.0, 1700000000000)], [(1.0, -5), (2.0, 1 << 62)]
    c = taken(write(bridge, series({"__name__": "M", **GPU}, good + late)), published=1, invalid=2)
    assert [(e["line"], e["column"]) for e in c["errors"]] == [(1, 2), (1, 3)]
    assert is_problem(write(bridge, series({"__name__": "M", **GPU}, late)), 400)
    assert is_problem(write(bridge, series({"__name__": "M", **GPU, "a": "x\0y"}, good)), 400)
    for broken in (b"\x0a\x7f", b"\xff" * 20, series({"__name__": "M", **GPU}, good)[:-3]):
        assert is_problem(write(bridge, broken), 400), broken
    for block, status in ((b"", 400), (varint(1 << 31) + b"x", 413), (packed(b"x" * 100)[:-1], 400)):
        answer = bridge.ask("POST", PATH, data=block, headers={"Content-Type": PROTOBUF, "Content-Encoding": "snappy"})
        assert is_problem(answer, status), block[:10]
    for headers in ({"Content-Encoding": "gzip"}, {"Content-Type": PROTOBUF + ";proto=io.prometheus.write.v2.Request"}):
        assert is_problem(write(bridge, series({"__name__": "M", **GPU}, good), **headers), 415)


def test_a_throttled_queue_is_503_to_it(system):
    """What is answered 429 a Prometheus with its default settings drops."""
    b = Bridge(system, THROTTLE_MAX_QUEUE_DEPTH=1)
    body = series({"__name__": "M", **GPU}, [(1.0, 1700000000000)])
    for _ in range(2):
        taken(write(b, body), published=1)
    answer = write(b, body)
    assert is_problem(answer, 503) and answer.headers["Retry-After"]
    b.stop()


# ---- a Prometheus ----------------------------------------------------------------------------------------------------


class Prometheus:
    def __init__(self, system, exporter, bridge):
        self.port, folder = free_port(), system.folder / "prometheus"
        folder.mkdir()
        (folder / "conf.yml").write_text(f"""
global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
- job_name: dcgm
  honor_labels: true
  static_configs: [{{targets: ["127.0.0.1:{exporter.port}"]}}]
remote_write:
- url: {bridge.url}{PATH}
  queue_config: {{batch_send_deadline: 500ms, min_shards: 2, max_samples_per_send: 50, min_backoff: 100ms}}
""")
        self.process = Process("prometheus", [
            "prometheus", f"--config.file={folder}/conf.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}", "--storage.remote.flush-deadline=1s"], {**os.environ}, folder)
        system.processes.append(self.process)

    def samples(self, session):
        """{(metric, gpu): {ms: value}} of all that it has of GPUs."""
        found = {}
        for metric in COUNTING:
            answer = session.get(f"http://127.0.0.1:{self.port}/api/v1/query", params={"query": metric + "[1h]"}, timeout=60)
            for s in answer.json()["data"]["result"]:
                found[metric, s["metric"]["gpu"]] = {round(t * 1000): float(v) for t, v in s["values"]}
        return found


def rows_of(bridge, gpus):
    """The same of ours; each row once."""
    found = {}
    for g in range(gpus):
        text = bridge.get(f"/api/v1/gpus/node-7:{g}/telemetry", headers={"Accept": "application/x-ndjson"}).text
        for r in map(json.loads, text.splitlines()):
            at = time.strptime(r["timestamp"][:19], "%Y-%m-%dT%H:%M:%S")
            fraction = r["timestamp"].rstrip("Z").partition(".")[2].ljust(3, "0")
            series_of = found.setdefault((r["metric_name"], r["gpu_id"]), {})
            ms = calendar.timegm(at) * 1000 + int(fraction)
            assert ms not in series_of, f"twice: {r}"
            series_of[ms] = float(r["value"])
    return found


def follow_prometheus(system, bridge, seconds):
    exporter = Exporter(counting(GPUS, "node-7"))
    system.collector()
    prometheus = Prometheus(system, exporter, bridge)
    # It scrapes at once, and sends what it scrapes after it has looked through its log.
    wait_until(lambda: "Done replaying WAL" in prometheus.process.log(), 150, "it sends")
    since, until, before = time.time() * 1000 + 500, time.monotonic() + seconds, exporter.requests
    wait_until(lambda: exporter.requests > before + 8 and time.monotonic() > until, seconds + 30, "scrapes")
    exporter.close()

    def same():
        ours, theirs = ({key: {ms: v for ms, v in samples.items() if ms >= since} for key, samples in side.items()}
                        for side in (rows_of(bridge, GPUS), prometheus.samples(bridge.session)))
        assert len(theirs) == GPUS * len(COUNTING)
        missing = sum(len(v) - len(ours.get(k, {})) for k, v in theirs.items())
        assert ours == theirs, f"{missing} samples differ"
        return ours

    ours = wait_until(same, 150, "its samples are ours")
    prometheus.process.stop()
    assert "gputel_ingest_rows_total{outcome=\"skipped\"} 0\n" not in bridge.get("/metrics").text
    return sum(map(len, ours.values()))


@pytest.mark.skipif(not shutil.which("prometheus"), reason="there is no prometheus here: make deps")
def test_the_samples_of_a_prometheus_are_ours(system, bridge):
    assert follow_prometheus(system, bridge, 3) >= 100


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("GPUTEL_SOAK"), reason="takes ten minutes: make soak")
@pytest.mark.skipif(not shutil.which("prometheus"), reason="there is no prometheus here: make deps")
def test_the_samples_of_a_prometheus_are_ours_for_as_long_as_it_runs(system, bridge):
    seconds = float(os.environ["GPUTEL_SOAK"])
    seconds = 600 if seconds == 1 else seconds
    n = follow_prometheus(system, bridge, seconds)
    print(f"{n} samples in {seconds:g} s")
