"""POST /api/v1/ingest: rows by HTTP, each enqueued once and told of as it is."""
import asyncio
import csv
import gzip
import io
import json
import sys
import threading
import urllib.parse
import zlib

import pytest

from bridge import Bridge, is_problem
from lib import ROOT, wait_until
from rows import COLUMNS, fleet, row

sys.path.insert(0, str(ROOT / "tests/chaos"))
from proxy import Pass, Proxies  # noqa: E402

PATH = "/api/v1/ingest"
CSV, NDJSON, PROTOBUF = "text/csv", "application/x-ndjson", "application/x-protobuf"
LIMIT = 32 << 20


@pytest.fixture
def bridge(system):
    b = Bridge(system)
    yield b
    b.stop()


def as_csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(r):
    names = {"Hostname": "hostname", "labels_raw": "labels"}
    return json.dumps({names.get(k, k): v for k, v in r.items()})


def post(bridge, body, kind=CSV, **headers):
    headers = {k.replace("_", "-"): v for k, v in headers.items()}
    return bridge.ask("POST", PATH, data=body, headers={"Content-Type": kind, **headers})


def taken(answer, **counts):
    """The counts of a 200, which add up."""
    assert answer.status_code == 200, (answer.status_code, answer.text)
    c = answer.json()
    assert c["rows"] == c["published"] + c["duplicate"] + c["no_value"] + c["invalid"]
    assert len(c["errors"]) == min(c["invalid"], 20)
    assert {k: c[k] for k in counts} == counts, c
    return c


def push_until(bridge, status, body, seconds=20, **headers):
    """Sends it until it is answered so."""
    answers = []

    def tried():
        answers.append(post(bridge, body, **headers))
        return answers[-1].status_code == status

    wait_until(tried, seconds, f"status {status}")
    return answers[-1]


def stored(bridge, path="/api/v1/gpus/0/telemetry", **params):
    return list(bridge.pages(path, limit=1000, **params))


def queued(system):
    """Pointers in the queue, as JSON."""
    return [json.loads(v) for v in system.keys("/queue/telemetry/").values()]


# ---- formats ---------------------------------------------------------------------------------------------------------


def test_csv_comes_out_as_it_went_in(system, bridge):
    values = ["87", "117.77", "67.351000", "7e-06", "-0"]
    taken(post(bridge, as_csv(row(i, v) for i, v in enumerate(values))), rows=5, published=5, messages=1)
    system.collector()
    wait_until(lambda: len(stored(bridge)) == 5, 30, "the rows")
    text = bridge.get("/api/v1/gpus/0/telemetry", headers={"Accept": CSV}).text.splitlines()
    assert [line.split(",")[text[0].split(",").index("value")] for line in text[1:]] == values


def test_json_lines_keep_the_digits_of_numbers(system, bridge):
    lines = [as_json(row(0, "67.351000")), as_json(row(1)).replace('"value": "1"', '"value": 7.50e-06'), "",
             as_json(row(2)).replace('"value": "1"', '"value": null')]
    taken(post(bridge, "\n".join(lines), NDJSON), rows=3, published=2, no_value=1)
    system.collector()
    wait_until(lambda: len(stored(bridge)) == 2, 30, "the rows")
    text = bridge.get("/api/v1/gpus/0/telemetry", headers={"Accept": NDJSON}).text
    assert '"value":67.351000,' in text and '"value":7.50e-06,' in text


def test_an_invalid_row_costs_itself_and_says_where_it_is(bridge):
    rows = [row(0), row(1, "x"), row(2, gpu=""), row(3, "N/A")]
    c = taken(post(bridge, as_csv(rows)), rows=4, published=1, no_value=1, invalid=2)
    assert [(e["line"], e["reason"].split(":")[0]) for e in c["errors"]] == [(3, "value"), (4, "gpu_id")]
    assert c["errors"][0]["column"] > 1 and '"x"' in c["errors"][0]["reason"]
    lines = "\n".join([as_json(row(0)), "{", "[]", as_json(row(1)).replace("timestamp", "when")])
    c = taken(post(bridge, lines, NDJSON), rows=4, published=1, invalid=3)
    assert [e["line"] for e in c["errors"]] == [2, 3, 4]


def test_where_no_row_is_good_it_is_400_and_says_why(system, bridge):
    answer = post(bridge, as_csv(row(i, "x") for i in range(30)))
    assert is_problem(answer, 400)
    assert answer.json()["invalid"] == 30 and len(answer.json()["errors"]) == 20
    for body, kind in (("", CSV), ("a,b\n1,2\n", CSV), (b"\0\1\2\3" * 100, CSV), ("\n\n", NDJSON), ("{\n", NDJSON)):
        assert is_problem(post(bridge, body, kind), 400), (body, kind)
    taken(post(bridge, as_csv([row(value="N/A")])), rows=1, no_value=1, messages=0)
    assert not queued(system)


def test_what_waits_together_goes_together(system, bridge):
    """A hundred clients of one line each: as many rows, fewer messages."""
    slow = Bridge(system)
    answers = []

    def push(i):
        answers.append(post(slow, as_json(row(i, i)), NDJSON))

    slow.process.pause()
    threads = [threading.Thread(target=push, args=(i,)) for i in range(100)]
    for t in threads:
        t.start()
    slow.process.resume()
    for t in threads:
        t.join()
    for a in answers:
        taken(a, rows=1, published=1)
    assert sum(m["rows"] for m in queued(system)) == 100 and len(queued(system)) < 100
    system.collector()
    wait_until(lambda: len(stored(bridge)) == 100, 30, "the rows")
    assert sorted(r["value"] for r in stored(bridge)) == list(range(100))
    slow.stop()


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_other_types_and_codings_are_415(bridge):
    for kind in ("text/plain", "application/json", "text/csvx", "multipart/form-data",
                 "application/x-protobuf;proto=io.prometheus.write.v2.Request"):
        assert is_problem(post(bridge, as_csv([row()]), kind), 415), kind
    assert is_problem(bridge.ask("POST", PATH, data=b"x"), 415), "none at all: browsers would send that unasked"
    for coding in ("br", "zstd", "snappy", "gzip, gzip"):
        assert is_problem(post(bridge, as_csv([row()]), Content_Encoding=coding), 415), coding
    assert is_problem(bridge.get(PATH), 405)
    taken(post(bridge, as_csv([row()]), "Text/CSV; charset=utf-8", Content_Encoding="identity"), published=1)


def test_gzip_is_unpacked_within_limits(system, bridge):
    body = as_csv(fleet(100)).encode()
    taken(post(bridge, gzip.compress(body), Content_Encoding="gzip"), rows=100, published=100)
    two = gzip.compress(body[:1000]) + gzip.compress(body[1000:])
    taken(post(bridge, two, Content_Encoding="gzip"), rows=100, published=100)
    before = len(queued(system))
    bomb = gzip.compress(as_csv([row()]).encode() + b"\n" * (LIMIT + 1))
    assert len(bomb) < 1 << 20 and is_problem(post(bridge, bomb, Content_Encoding="gzip"), 413)
    for broken in (gzip.compress(body)[:-9], b"plain", zlib.compress(body), b"", gzip.compress(body) + b"more"):
        assert is_problem(post(bridge, broken, Content_Encoding="gzip"), 400), broken[:10]
    assert len(queued(system)) == before
    assert bridge.process.peak_memory() < 1 << 30


def test_a_body_that_is_too_long_is_413(bridge):
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: {CSV}\r\n"
    status, _, _ = bridge.raw(f"{head}Content-Length: {LIMIT + 1}\r\n\r\n".encode())
    assert status == 413
    pieces = (b"x" * (1 << 20) for _ in range(33))  # in chunks nobody says before how long it gets
    assert is_problem(bridge.ask("POST", PATH, data=pieces, headers={"Content-Type": CSV}), 413)
    taken(post(bridge, as_csv([row()])), published=1)


def new_token(system, name):
    process = system.start("bridge", "--new-token", name)
    assert process.wait() == 0
    token, line = (part.split(": ", 1)[1].strip() for part in process.out().splitlines())
    return {"Authorization": f"Bearer {token}"}, line


def test_who_may_push_is_said_by_tokens(system, tmp_path):
    every, every_line = new_token(system, "all")
    reader, reader_line = new_token(system, "reader")
    writer, writer_line = new_token(system, "writer")
    file = tmp_path / "tokens"
    file.write_text(f"{every_line}\n{reader_line} read=*\n{writer_line} write=host-1,node-*\n")
    b = Bridge(system, GATEWAY_TOKENS_FILE=file)
    body = as_csv([row(), row(host="host-2")])
    assert is_problem(post(b, body), 401)
    assert is_problem(post(b, body, **reader), 403)
    assert b.get("/api/v1/queue", headers=reader).status_code == 200
    assert b.get("/api/v1/queue", headers=writer).status_code == 403
    c = taken(post(b, body, **writer), published=1, invalid=1)
    assert "host-2" in c["errors"][0]["reason"]
    assert is_problem(post(b, as_csv([row(host="host-2")]), **writer), 403)
    taken(post(b, body, **every), published=2)
    b.stop()


def test_a_throttled_queue_is_429_with_retry_after(system):
    b = Bridge(system, THROTTLE_MAX_QUEUE_DEPTH=1)
    for i in range(2):
        taken(post(b, as_csv([row(i)])), published=1)
    answer = push_until(b, 429, as_csv([row(9)]))
    assert is_problem(answer, 429) and 1 <= int(answer.headers["Retry-After"]) <= 30
    before = len(queued(system))
    assert is_problem(post(b, as_csv([row(10)]), Idempotency_Key="later"), 429)
    assert len(queued(system)) == before, "nothing of it was taken"
    fresh = Bridge(system, THROTTLE_MAX_QUEUE_DEPTH=1)
    assert is_problem(post(fresh, as_csv([row(11)])), 429), "also from the first request on"
    fresh.stop()
    system.collector()
    push_until(b, 200, as_csv([row(10)]), seconds=40, Idempotency_Key="later")
    b.stop()


def test_without_etcd_it_is_503(own_system):
    b = Bridge(own_system, ETCD_REQUEST_TIMEOUT="1s")
    taken(post(b, as_csv([row()])), published=1)
    own_system.etcd.process.pause()
    wait_until(lambda: b.get("/readyz").status_code == 503, 20, "it has noticed")
    answer = post(b, as_csv([row(1)]))
    assert is_problem(answer, 503) and answer.headers["Retry-After"]
    own_system.etcd.process.resume()
    push_until(b, 200, as_csv([row(1)]))
    b.stop()


# ---- once ------------------------------------------------------------------------------------------------------------


def test_a_key_makes_a_request_once(system, bridge):
    other = Bridge(system)
    body = as_csv(fleet(1000))
    first = post(bridge, body, Idempotency_Key='"k-1"')
    taken(first, published=1000)
    n = len(queued(system))
    for b, key, data, more in ((bridge, '"k-1"', body, {}), (other, "k-1", body, {}),
                               (other, "k-1", gzip.compress(body.encode()), {"Content_Encoding": "gzip"})):
        again = post(b, data, Idempotency_Key=key, **more)
        assert again.text == first.text and again.headers["Idempotency-Replayed"] == "true"
    assert is_problem(post(other, body + as_csv([row()]), Idempotency_Key="k-1"), 409)
    assert is_problem(post(bridge, body, Idempotency_Key="k 1"), 400)
    assert is_problem(post(bridge, body, Idempotency_Key="k" * 256), 400)
    assert len(queued(system)) == n
    again = post(bridge, body, Idempotency_Key="k-2")
    taken(again, published=1000)
    assert "Idempotency-Replayed" not in again.headers and len(queued(system)) == 2 * n
    other.stop()


def test_a_key_is_forgotten_after_its_time(system):
    b = Bridge(system, MQ_DEDUP_TTL="24h")
    post(b, as_csv([row()]), Idempotency_Key="k")
    receipts = [v for v in system.keys("/processed/").values() if v.startswith(b"{")]
    assert len(receipts) == 1 and json.loads(receipts[0])["complete"]
    kvs = system.etcd.call("/v3/kv/range", **system.etcd.range_of(system.prefix + "/processed/"))["kvs"]
    assert all(int(kv["lease"]) for kv in kvs)
    b.stop()


class SilentAfter(Pass):
    """Lets so many transactions through to etcd, then nothing more."""

    def __init__(self, transactions):
        self.left = transactions

    async def request(self, data):
        if data.startswith(b"POST /v3/kv/txn"):
            self.left -= 1
        if self.left < 0:
            await asyncio.Event().wait()


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_a_bridge_that_is_killed_half_way_has_a_request_once(system, share):
    """A message for each of 400 hosts, a transaction for each, in the middle of which it is killed. The same request
    goes to another bridge, and again to a third."""
    hosts, answers = 400, []
    body = as_csv(row(i % 7, i, host=f"h-{i % hosts:04d}") for i in range(2 * hosts))
    etcd = urllib.parse.urlsplit(system.etcd.client)
    proxies = Proxies([(etcd.hostname, etcd.port)])
    doomed = Bridge(system, MQ_BATCH_SIZE=1, ETCD_ENDPOINTS=proxies.client)
    proxies.set(SilentAfter(share * hosts))

    def push():
        try:
            answers.append(post(doomed, body, Idempotency_Key="once"))
        except OSError as e:
            answers.append(e)

    pushing = threading.Thread(target=push)
    pushing.start()
    wait_until(lambda: proxies.mode.left < 0, 20, "a part of it")
    doomed.process.kill()
    pushing.join()
    proxies.close()
    assert isinstance(answers[0], OSError), f"answered before it was killed: {answers[0]}"
    before = sum(m["rows"] for m in queued(system))
    second, third = Bridge(system), Bridge(system)
    answer = push_until(second, 200, body, Idempotency_Key="once")
    c = answer.json()
    assert c["rows"] == c["published"] + c["duplicate"] == 2 * hosts
    assert 0 < before <= c["duplicate"] < 2 * hosts, "what was on its way still came"
    again = post(third, body, Idempotency_Key="once")
    assert again.text == answer.text and again.headers["Idempotency-Replayed"] == "true"
    messages = queued(system)
    assert len(messages) == hosts and len({m["host"] for m in messages}) == hosts
    assert all(m["rows"] == 2 for m in messages)
    second.stop()
    third.stop()


def test_the_same_key_at_two_bridges_at_once_is_carried_out_once(system):
    bridges = [Bridge(system) for _ in range(3)]
    body = as_csv(row(0, i, host=f"h-{i:03d}") for i in range(300))
    answers = []

    def push(b):
        answers.append(push_until(b, 200, body, Idempotency_Key="race"))

    threads = [threading.Thread(target=push, args=(b,)) for b in bridges]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == 3 and len({a.text for a in answers}) == 1
    assert len(queued(system)) == 300
    for b in bridges:
        b.stop()


def test_requests_do_not_add_up_to_producers(system, bridge):
    for i in range(30):
        taken(post(bridge, as_csv([row(i)]), Idempotency_Key=f"k-{i}"), published=1)
    producers = [k for k in system.keys("/producers/") if not k.endswith("/owner")]
    assert len(producers) == 1
    system.collector()
    wait_until(lambda: bridge.json("/api/v1/queue")["queue_depth"] == 0, 20, "all is stored")
    audit = system.collector("--audit")
    assert audit.wait() == 0, audit.out()


def test_it_is_described_and_counted(bridge):
    operation = bridge.json("/openapi.json")["paths"][PATH]["post"]
    assert set(operation["requestBody"]["content"]) >= {CSV, NDJSON, PROTOBUF}
    assert "Idempotency-Key" in {p["name"] for p in operation["parameters"]}
    taken(post(bridge, as_csv([row(), row(1, "x")])), published=1)
    text = bridge.get("/metrics").text
    assert 'gputel_ingest_rows_total{outcome="published"} 1\n' in text
    assert 'gputel_ingest_rows_total{outcome="invalid"} 1\n' in text
