"""Telemetry over REST, against an oracle that sorts the CSV's rows itself: windows, pages, buckets, layouts, formats."""
import csv
import io
import json
import random
import re
import signal
from collections import defaultdict
from decimal import Decimal

import pytest

from bridge import PROBLEM, Bridge, is_problem
from lib import SANITIZED, wait_until
from rows import at, fleet, nanoseconds, row, write_csv

GPU = "/api/v1/gpus/{}/telemetry"
COLUMNS = ["hostname", "gpu_id", "timestamp", "metric_name", "value", "uuid", "container", "pod", "namespace", "labels"]


@pytest.fixture(scope="module")
def stored(etcd, tmp_path_factory):
    """4 hosts × 2 GPUs, 2,000 rows over some minutes."""
    from lib import System
    folder = tmp_path_factory.mktemp("rows")
    system = System(etcd, folder / "system")
    try:
        rows = list(fleet(2000, hosts=4, gpus=2, metrics=5, step_s=3))
        system.collector()
        system.stream("--csv", write_csv(folder / "rows.csv", rows), "--wait")
        bridge = Bridge(system)
        bridge.rows = rows
        yield bridge
    finally:
        system.close()


def in_order(rows, gpus=None):
    """By time, host, GPU; the sort is stable, so within a GPU in the source's order."""
    return sorted((r for r in rows if gpus is None or (r["Hostname"], r["gpu_id"]) in gpus),
                  key=lambda r: (nanoseconds(r["timestamp"]), r["Hostname"], r["gpu_id"]))


def as_rest(r):
    return (r["timestamp"], r["Hostname"], r["gpu_id"], r["uuid"], r["metric_name"], r["value"])


def as_tuple(record):
    return tuple(str(record[k]) for k in ("timestamp", "hostname", "gpu_id", "uuid", "metric_name", "value"))


def test_a_page_has_the_contract_s_form(stored):
    page = stored.json(GPU.format("node-000:0"), params={"limit": 2})
    assert page["count"] == 2 and page["has_more"] is True and page["next_cursor"]
    assert list(page["data"][0]) == ["timestamp", "hostname", "gpu_id", "uuid", "metric_name", "value", "container", "pod",
                                     "namespace"]
    assert page["data"][0]["value"] == 1 and page["data"][0]["namespace"] == "test"
    assert stored.json(GPU.format("node-000:0"))["count"] == 100


@pytest.mark.parametrize("limit", [1000, 97])
def test_pages_hold_every_row_once_in_order(stored, limit):
    """Of a bare gpu_id: that of every host."""
    got = [as_tuple(r) for r in stored.pages(GPU.format("0"), limit=limit)]
    expected = in_order(stored.rows, {(f"node-{h:03d}", "0") for h in range(4)})
    assert got == [as_rest(r) for r in expected]


def test_descending_is_the_exact_reverse(stored):
    up = [as_tuple(r) for r in stored.pages(GPU.format("1"), limit=333)]
    down = [as_tuple(r) for r in stored.pages(GPU.format("1"), limit=271, order="desc")]
    assert down == up[::-1]


def test_a_gpu_is_known_by_uuid_by_place_and_by_number(stored):
    by_uuid = list(stored.pages(GPU.format("GPU-0002-1"), limit=1000))
    assert len(by_uuid) == 250
    assert list(stored.pages(GPU.format("node-002:1"), limit=1000)) == by_uuid
    assert list(stored.pages(GPU.format("1"), limit=1000, hostname="node-002")) == by_uuid
    for nobody in ("GPU-nobody", "node-002:9", "9", "node-009:0", ":", "node-002:"):
        assert is_problem(stored.get(GPU.format(nobody)), 404), nobody
    assert is_problem(stored.get(GPU.format("1"), params={"hostname": "nobody"}), 404)


def test_both_ends_of_a_window_are_inclusive(stored):
    rows = in_order(stored.rows, {("node-000", "0")})
    first, last = rows[40]["timestamp"], rows[120]["timestamp"]
    expected = [as_rest(r) for r in rows if nanoseconds(first) <= nanoseconds(r["timestamp"]) <= nanoseconds(last)]
    epoch = [str(nanoseconds(t) // 10**9) for t in (first, last)]
    offset = [t.replace("Z", "+00:00") for t in (first, last)]
    for start, end in ((first, last), epoch, offset):
        got = stored.pages(GPU.format("node-000:0"), limit=1000, start_time=start, end_time=end)
        assert [as_tuple(r) for r in got] == expected
    raw = stored.json(GPU.format("node-000:0") + f"?limit=1000&start_time={offset[0]}&end_time={offset[1]}")
    assert raw["count"] == len(expected), "a + that is not encoded means what it says"
    assert stored.json(GPU.format("node-000:0"), params={"start_time": "now-5m"})["count"] == 0
    assert stored.json(GPU.format("node-000:0"), params={"end_time": "now"})["count"] == 100


def test_metrics_are_chosen_by_globs(stored):
    def metrics(*globs):
        got = stored.pages(GPU.format("node-000:0") + "?" + "&".join("metric=" + g for g in globs), limit=1000)
        return sorted({r["metric_name"] for r in got})
    assert metrics("DCGM_FI_TEST_3") == ["DCGM_FI_TEST_3"]
    assert metrics("*_3", "*_[01]") == ["DCGM_FI_TEST_0", "DCGM_FI_TEST_1", "DCGM_FI_TEST_3"]
    assert metrics("NOTHING") == []


def test_streams_hold_the_whole_window(stored):
    """CSV, NDJSON and columns without limit."""
    pages = list(stored.pages(GPU.format("0"), limit=1000))
    ndjson = stored.get(GPU.format("0"), params={"format": "ndjson"})
    assert ndjson.headers["Content-Type"] == "application/x-ndjson"
    assert [json.loads(line) for line in ndjson.text.splitlines()] == pages
    answer = stored.get(GPU.format("0"), headers={"Accept": "text/csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(table[0]) == COLUMNS
    assert [as_tuple(r) for r in table] == [as_tuple(r) for r in pages]
    assert answer.encoding == "utf-8" and "Content-Length" not in stored.ask("HEAD", GPU.format("0") + "?format=csv").headers
    assert stored.json(GPU.format("0") + "?&limit=3&&")["count"] == 3
    columns = [json.loads(line) for line in stored.get(GPU.format("0"), params={"format": "columns"}).text.splitlines()]
    series = defaultdict(list)
    for r in pages:
        series[r["hostname"], r["metric_name"], r["pod"]].append((nanoseconds(r["timestamp"]), r["value"]))
    assert {(c["hostname"], c["metric_name"], c["pod"]): [(t * 10**9, v) for t, v in zip(c["timestamps"], c["values"])]
            for c in columns} == series
    assert len(columns) == len(series)


def test_each_row_is_told_with_the_pod_that_it_came_with(system, tmp_path):
    """What rows share is rendered once, so it is what may be told of the wrong row. Of a series one thing changes at a
    time."""
    gray = [n // 2 ^ n // 4 for n in range(64)]
    told = [(n % 2, f"c{g & 1}", f"pod-{g >> 1 & 1}", f"ns-{g >> 2 & 1}", f"GPU-{g >> 3 & 1}") for n, g in enumerate(gray)]
    rows = [row(n, n, f"M_{metric}", container=c, pod=p, namespace=ns, uuid=uuid, labels='a="b"' if metric else "")
            for n, (metric, c, p, ns, uuid) in enumerate(told)]
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "pods.csv", rows), "--wait")
    b, names = Bridge(system), ("metric_name", "container", "pod", "namespace", "uuid")
    expected = {n: (f"M_{metric}", *rest) for n, (metric, *rest) in enumerate(told)}
    answers = {f: b.get(GPU.format("host-1:0"), params={"format": f}).text for f in ("ndjson", "csv", "columns")}
    lines = [json.loads(line) for line in answers["ndjson"].splitlines()]
    assert {r["value"]: tuple(r[k] for k in names) for r in lines} == expected
    assert {int(r["value"]): tuple(r[k] for k in names) for r in csv.DictReader(io.StringIO(answers["csv"]))} == expected
    columns = [json.loads(line) for line in answers["columns"].splitlines()]
    assert {v: tuple(c[k] for k in names) for c in columns for v in c["values"]} == expected
    assert len(columns) == len(set(told))
    page = b.json(GPU.format("host-1:0"), params={"limit": 64})
    assert page["data"] == lines


def test_a_limited_csv_goes_on_by_its_link(stored):
    path, found = GPU.format("node-000:0") + "?format=csv&limit=100", []
    while path:
        answer = stored.get(path)
        found += list(csv.DictReader(io.StringIO(answer.text)))
        link = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("Link", ""))
        path = link and link[1]
    assert [as_tuple(r) for r in found] == [as_rest(r) for r in in_order(stored.rows, {("node-000", "0")})]


AGGREGATES = {
    "sum": lambda v: sum(map(Decimal, v)), "count": len, "min": lambda v: min(map(Decimal, v)),
    "max": lambda v: max(map(Decimal, v)), "last": lambda v: v[-1],
    "avg": lambda v: float(sum(map(Decimal, v)) / len(v)),
}


@pytest.mark.parametrize("agg", sorted(AGGREGATES))
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_buckets_are_aligned_and_exact(stored, agg, order):
    step = 60
    buckets = defaultdict(list)
    for r in in_order(stored.rows, {(f"node-{h:03d}", "1") for h in range(4)}):
        start = nanoseconds(r["timestamp"]) // 10**9 // step * step
        buckets[start, r["Hostname"], r["gpu_id"], r["metric_name"]].append(r["value"])
    expected = [(*key, AGGREGATES[agg](buckets[key])) for key in sorted(buckets, reverse=order == "desc")]
    got = [(nanoseconds(r["timestamp"]) // 10**9, r["hostname"], r["gpu_id"], r["metric_name"],
            type(expected[0][-1])(str(r["value"])))
           for r in stored.pages(GPU.format("1"), step="1m", agg=agg, order=order, limit=7)]
    assert got == expected


def test_wide_rows_have_metrics_as_columns(stored):
    by_time = defaultdict(dict)
    for r in in_order(stored.rows, {("node-001", "0")}):
        by_time[r["timestamp"]][r["metric_name"]] = int(r["value"])
    names = sorted({m for values in by_time.values() for m in values})
    got = list(stored.pages(GPU.format("node-001:0"), layout="wide", limit=11))
    assert [(r["timestamp"], {k: v for k, v in r.items() if k in names}) for r in got] == list(by_time.items())
    table = list(csv.DictReader(io.StringIO(stored.get(GPU.format("node-001:0") + "?layout=wide&format=csv").text)))
    assert list(table[0]) == ["timestamp", "hostname", "gpu_id", "uuid"] + names
    assert [(r["timestamp"], {m: int(r[m]) for m in names if r[m]}) for r in table] == list(by_time.items())
    minutes = list(stored.pages(GPU.format("node-001:0"), layout="wide", step="1m", agg="count", limit=1))
    assert sum(r[m] for r in minutes for m in names if m in r) == 250


def test_numbers_come_back_as_they_were_written(system, tmp_path):
    """As JSON numbers where JSON has them, else as strings; sums are exact."""
    values = ["67.351000", "7e-06", "-0", "117.77", "+5", "007", ".5", "18446744073709551616", "0.1", "0.2"]
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "v.csv", [row(i, v) for i, v in enumerate(values)]), "--wait")
    bridge = Bridge(system)
    text = bridge.get(GPU.format("host-1:0")).text
    assert re.findall(r'"value":([^,}]*)', text) == [f'"{v}"' if v in ("+5", "007", ".5") else v for v in values]
    one = bridge.json(GPU.format("host-1:0"), params={"step": "1h", "agg": "sum", "start_time": at(8)})
    assert one["data"][0]["value"] == 0.3
    assert bridge.get(GPU.format("host-1:0") + "?step=1h&agg=max").text.count("18446744073709551616") == 1


@pytest.mark.parametrize("query", [
    "limit=0", "limit=1001", "limit=x", "limit=-1", "order=up", "format=xml", "layout=tall", "step=1", "step=0", "step=-1m",
    "agg=avg", "step=1m&agg=median", "start_time=yesterday", "start_time=now-", "end_time=2025-13-01T00:00:00Z",
    "start_time=now&end_time=now-1h", "cursor=x", "cursor=", "strat_time=now", "limit=1&limit=2",
    "format=columns&layout=wide"])
def test_what_is_malformed_is_400(stored, query):
    assert is_problem(stored.get(GPU.format("node-000:0") + "?" + query), 400), query


@pytest.mark.parametrize("target", [GPU.format("0") + "?metric=%zz", GPU.format("0") + "?metric=%00", GPU.format("%zz"),
                                    GPU.format("a%00b"), "/api/v1/hosts/%f/gpus"])
def test_bad_percent_encoding_is_400(stored, target):
    status, headers, body = stored.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status == 400 and headers["content-type"] == PROBLEM and json.loads(body)["status"] == 400


def test_a_cursor_belongs_to_its_query(stored):
    cursor = stored.json(GPU.format("0"), params={"limit": 5})["next_cursor"]
    assert stored.get(GPU.format("0"), params={"limit": 9, "cursor": cursor, "format": "csv"}).status_code == 200
    for path, more in ((GPU.format("1"), {}), (GPU.format("0"), {"order": "desc"}), (GPU.format("0"), {"metric": "*"})):
        assert is_problem(stored.get(path, params={"cursor": cursor, **more}), 400)
    broken = cursor[:-3] + ("AAA" if cursor[-3:] != "AAA" else "BBB")
    assert is_problem(stored.get(GPU.format("0"), params={"cursor": broken}), 400)


def test_another_bridge_takes_a_cursor_up(stored):
    first = stored.json(GPU.format("0"), params={"limit": 400})
    other = Bridge(stored_system(stored))
    rest = list(other.pages(GPU.format("0"), limit=400, cursor=first["next_cursor"]))
    assert first["data"] + rest == list(stored.pages(GPU.format("0"), limit=1000))
    other.stop()


def stored_system(bridge):
    from lib import System
    return next(s for s in System.live if bridge.process in s.processes)


def test_pages_fit_together_while_rows_arrive(system, tmp_path):
    """Every row that was there at the first page comes exactly once, in order; of what came later only what nobody can
    tell apart any more may come too."""
    rows = list(fleet(3000, hosts=2, gpus=2, metrics=5))
    system.collector()
    source = write_csv(tmp_path / "rows.csv", rows[:1500])
    system.stream("--csv", source, "--wait")
    bridge = Bridge(system)
    page = bridge.json(GPU.format("0"), params={"limit": 1000 // 7})
    write_csv(source, rows[1500:], append=True)
    late = write_csv(tmp_path / "late.csv", [row(1.5, f"9{i}", host="node-000", uuid="GPU-0000-0") for i in range(50)])
    system.stream("--csv", source, "--csv", late, "--wait")
    wait_until(lambda: bridge.json("/api/v1/queue")["rows"] == 3050, 20, "all rows are shown")
    got = page["data"] + list(bridge.pages(GPU.format("0"), limit=1000 // 7, cursor=page["next_cursor"]))
    expected = in_order(rows[:1500], {("node-000", "0"), ("node-001", "0")})
    assert [as_tuple(r) for r in got] == [as_rest(r) for r in expected]
    assert len(list(bridge.pages(GPU.format("0"), limit=1000))) == 1550


def test_pages_go_on_when_retention_takes_what_lay_before(system, tmp_path):
    """Expired rows are just missing."""
    system.collector(RETENTION="6s", SEGMENT="1m")
    old = [row(i, i) for i in range(300)]
    system.stream("--csv", write_csv(tmp_path / "old.csv", old), "--wait")
    bridge = Bridge(system)
    page = bridge.json(GPU.format("host-1:0"), params={"limit": 50})
    wait_until(lambda: bridge.json("/api/v1/gpus")["count"] == 0, 60, "all has expired")
    system.stream("--csv", write_csv(tmp_path / "new.csv", [row(1000 + i, i) for i in range(10)]), "--wait")
    wait_until(lambda: bridge.json("/api/v1/gpus")["count"] == 1, 20, "the GPU is there again")
    rest = list(bridge.pages(GPU.format("host-1:0"), limit=50, cursor=page["next_cursor"]))
    assert rest == []


def test_listings_say_what_there_is(stored):
    gpus = stored.json("/api/v1/gpus")
    assert gpus["count"] == 8 and gpus["has_more"] is False
    assert gpus == stored.json("/api/v1/fs/.meta/gpus.json")
    one = gpus["data"][0]
    assert (one["id"], one["hostname"], one["gpu_id"], one["device"], one["model"], one["state"]) == \
        ("GPU-0000-0", "node-000", "0", "nvidia0", "NVIDIA H100 80GB HBM3", "lost")
    assert one["metrics"] == [f"DCGM_FI_TEST_{m}" for m in range(5)]
    assert list(stored.pages("/api/v1/gpus", limit=3)) == gpus["data"]
    assert stored.json("/api/v1/gpus/GPU-0000-0")["data"] == [one]
    assert stored.json("/api/v1/gpus/0")["count"] == 4
    hosts = stored.json("/api/v1/hosts")["data"]
    assert [(h["hostname"], h["gpus"], h["lost"]) for h in hosts] == [(f"node-{h:03d}", 2, 2) for h in range(4)]
    assert list(stored.pages("/api/v1/hosts", limit=1)) == hosts
    assert [g["id"] for g in stored.json("/api/v1/hosts/node-003/gpus")["data"]] == ["GPU-0003-0", "GPU-0003-1"]
    assert is_problem(stored.get("/api/v1/hosts/nobody/gpus"), 404)
    assert is_problem(stored.get("/api/v1/gpus/nobody"), 404)


def test_every_json_list_comes_in_pages(system, tmp_path):
    """Of 100 where no limit is given; Link and next_cursor lead on; tables are whole."""
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "many.csv", fleet(120, hosts=120, gpus=1, metrics=1)), "--wait")
    bridge = Bridge(system)
    for path in ("/api/v1/gpus", "/api/v1/hosts", "/api/v1/gpus/0", "/api/v1/telemetry/latest"):
        first = bridge.get(path)
        page = first.json()
        assert (page["count"], len(page["data"]), page["has_more"]) == (100, 100, True), path
        link = re.fullmatch(r'<(/.*)>; rel="next"', first.headers["Link"])[1]
        second = bridge.json(link)
        assert (second["count"], second["has_more"]) == (20, False) and "next_cursor" not in second, path
        names = [r["hostname"] for r in page["data"] + second["data"]]
        assert names == [f"node-{h:03d}" for h in range(120)], path
        assert [r["hostname"] for r in bridge.json(path, params={"limit": 1000})["data"]] == names, path
        assert [r["hostname"] for r in bridge.pages(path, limit=7)] == names, path
        for limit in ("0", "1001", "-1", "1.0", "", "all"):
            assert is_problem(bridge.get(path, params={"limit": limit}), 400), (path, limit)
    assert bridge.json("/api/v1/hosts/node-007/gpus")["count"] == 1
    for kind in ("csv", "ndjson"):
        table = bridge.get("/api/v1/telemetry/latest", params={"format": kind}).text
        assert table.count("\n") == 120 + (kind == "csv"), kind


def test_latest_values_are_those_of_the_tree(stored):
    latest = stored.json("/api/v1/telemetry/latest")["data"]
    assert len(latest) == 40
    for r in latest:
        path = f"/api/v1/fs/{r['hostname']}/{r['gpu_id']}/metrics/{r['metric_name']}"
        assert stored.get(path).text == f"{r['value']}\n"
    some = stored.json("/api/v1/telemetry/latest?host=node-00[12]&metric=*_2&metric=*_4")["data"]
    assert some == [r for r in latest if r["hostname"] in ("node-001", "node-002") and r["metric_name"][-1] in "24"]
    assert list(stored.pages("/api/v1/telemetry/latest", limit=9)) == latest
    table = stored.get("/api/v1/telemetry/latest", headers={"Accept": "text/csv"}).text
    assert table == stored.get("/api/v1/fs/.meta/latest.csv").text
    prom = stored.get("/api/v1/metrics")
    assert prom.content == stored.get("/api/v1/fs/.meta/latest.prom").content
    assert prom.headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_the_queue_is_told_by_the_names_of_status(stored):
    queue = stored.json("/api/v1/queue")
    status = dict(line.split("=", 1) for line in stored.get("/api/v1/fs/.meta/status").text.splitlines())
    assert set(queue) == set(status)
    assert queue["rows_stored"] == queue["rows_published"] == 2000 and queue["queue_depth"] == 0
    assert queue["messages_published"] == int(status["messages_published"]) and queue["etcd"] == "up"


def test_a_stream_of_any_length_takes_little_memory(system, tmp_path):
    """And it is ended when the reader goes away."""
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "much.csv", fleet(200000, hosts=1, gpus=1, metrics=20)), "--wait", seconds=90)
    bridge = Bridge(system, FS_CACHE="8MiB")
    before = bridge.process.peak_memory()
    answer = bridge.get(GPU.format("0"), params={"format": "ndjson"}, stream=True)
    assert sum(len(line.splitlines()) for line in [answer.content]) == 200000
    assert bridge.process.peak_memory() - before < (4 if SANITIZED else 1) * (48 << 20)  # sanitizers take several times as much
    with bridge.get(GPU.format("0"), params={"format": "csv"}, stream=True) as half:
        next(half.iter_content(1000))
    idle = 'gputel_http_connections{state="busy"} 1'
    wait_until(lambda: idle in bridge.get("/metrics").text, 20, "only this request is being answered")


def test_without_etcd_what_is_not_known_is_503(own_system, tmp_path):
    own_system.collector()
    noise = random.Random(1)
    rows = [{**r, "value": str(noise.random())} for r in fleet(20000, hosts=1, gpus=1, metrics=4)]
    own_system.stream("--csv", write_csv(tmp_path / "rows.csv", rows), "--wait")
    bridge = Bridge(own_system, ETCD_REQUEST_TIMEOUT="1s", FS_CACHE="64KiB")
    own_system.etcd.kill()
    for path in (GPU.format("0") + "?limit=1000", GPU.format("0") + "?format=csv", "/api/v1/fs/node-000/0/telemetry.csv"):
        answer = bridge.get(path)
        assert is_problem(answer, 503) and answer.headers["Retry-After"], path
    reasons = wait_until(lambda: bridge.get("/readyz").json().get("reasons"), 20, "not ready")
    assert reasons == ["etcd"]
    assert bridge.get("/healthz").status_code == 200
    assert bridge.json("/api/v1/gpus")["count"] == 1, "what is known stays readable"
    own_system.etcd.start()
    wait_until(lambda: bridge.get("/readyz").status_code == 200, 30, "ready again")
    assert len(list(bridge.pages(GPU.format("0"), limit=1000))) == 20000


def test_before_the_first_list_it_says_so(system):
    with_nobody = {"ETCD_ENDPOINTS": "127.0.0.1:1", "ETCD_REQUEST_TIMEOUT": "1s"}
    bridge = Bridge(system, ready=False, **with_nobody)
    assert "starting" in bridge.get("/readyz").json()["reasons"]
    for path in ("/api/v1/gpus", GPU.format("0"), "/api/v1/fs/", "/api/v1/telemetry/latest", "/api/v1/metrics"):
        assert is_problem(bridge.get(path), 503), path
    assert bridge.process.stop(signal.SIGINT) == 0
