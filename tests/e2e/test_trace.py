"""A batch is followed by its trace id through the programs' logs (LOG_LEVEL=debug), from where its rows come in to the
store."""
import json
import re

from bridge import Bridge
from lib import wait_until
from rows import fleet, row, write_csv

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def said(log, trace):
    """What a log tells of messages of that trace, as (message, what happened, rows)."""
    return re.findall(rf"debug \w+: trace {trace}: message (\w{{26}}) of host \S+ ([a-z ]+?)"
                      r"(?: at revision \d+)?: (\d+) rows", log)


def test_a_request_is_followed_to_the_store(system, tmp_path):
    bridge = Bridge(system, LOG_LEVEL="debug")
    collector = system.collector(LOG_LEVEL="debug")
    body = write_csv(tmp_path / "body.csv", (row(i) for i in range(7))).read_bytes()
    answer = bridge.ask("POST", "/api/v1/ingest", data=body,
                        headers={"Content-Type": "text/csv", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    assert answer.status_code == 200 and answer.json()["published"] == 7, answer.text
    wait_until(lambda: len(said(collector.log(), TRACE)) == 2, 20, "the collector's two lines")
    (message, what, rows), = said(bridge.process.log(), TRACE)
    assert (what, rows) == ("published", "7")
    assert said(collector.log(), TRACE) == [(message, "claimed", "7"), (message, "completed", "7")]
    bridge.stop()


def test_a_request_without_traceparent_has_a_trace_id_of_its_own(system):
    bridge = Bridge(system)
    for _ in range(2):
        text = json.dumps({k if k != "Hostname" else "hostname": v for k, v in row().items() if k != "labels_raw"})
        assert bridge.ask("POST", "/api/v1/ingest", data=text,
                          headers={"Content-Type": "application/x-ndjson"}).status_code == 200
    traces = {json.loads(v)["trace_id"] for v in system.keys("/queue/telemetry/").values()}
    assert len(traces) == 2 and all(re.fullmatch("[0-9a-f]{32}", t) for t in traces)
    bridge.stop()


def test_an_answer_tells_the_trace_of_its_request_and_a_span_of_its_own(system):
    bridge = Bridge(system, LOG_LEVEL="debug")
    spans = set()
    for path, flags in (("/api/v1/queue", "01"), ("/healthz", "00"), ("/nothing", "ff"), ("/api/v1/fs/.meta/version", "02")):
        answer = bridge.get(path, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-{flags}"})
        version, trace, span, sampled = answer.headers["traceparent"].split("-")
        assert (version, trace, sampled) == ("00", TRACE, f"0{int(flags, 16) & 1}"), path
        assert re.fullmatch("[0-9a-f]{16}", span) and span != "00f067aa0ba902b7"
        said = f"trace {TRACE} span {span}: "
        wait_until(lambda s=said: s in bridge.process.log(), 30, said)
        spans.add(span)
    assert len(spans) == 4
    newer = bridge.get("/healthz", headers={"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01-more"})
    assert newer.headers["traceparent"].startswith(f"00-{TRACE}-")
    bridge.stop()


def test_a_traceparent_that_is_none_begins_a_new_trace(system):
    bridge = Bridge(system)
    traces = set()
    wrong = [None, "", TRACE, f"ff-{TRACE}-00f067aa0ba902b7-01", f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
             f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-00f067aa0ba902b7-01-more",
             f"00-{TRACE}-00f067aa0ba902b7-01x", f"01-{TRACE}-00f067aa0ba902b7-01x"]
    for parent in wrong:
        answer = bridge.get("/healthz", headers={} if parent is None else {"traceparent": parent})
        trace, = re.fullmatch("00-([0-9a-f]{32})-[0-9a-f]{16}-00", answer.headers["traceparent"]).groups()
        assert trace != TRACE, parent
        traces.add(trace)
    assert len(traces) == len(wrong)
    bridge.stop()


def test_rows_of_a_file_are_followed_to_the_store(system, tmp_path):
    file = write_csv(tmp_path / "some.csv", fleet(100, hosts=2))
    run = system.stream("--csv", file, LOG_LEVEL="debug")
    lines = [line for line in run.log.splitlines() if " published: " in line]
    traces = [re.search(r"trace (\w{32}): ", line)[1] for line in lines]
    assert len(set(traces)) == len(traces) == 2 and all(line.endswith("some.csv") for line in lines)
    collector = system.collector("--drain", LOG_LEVEL="debug")
    assert collector.wait() == 0
    for trace in traces:
        (message, _, rows), = said(run.log, trace)
        assert said(collector.log(), trace) == [(message, "claimed", rows), (message, "completed", rows)]


def test_every_invalid_row_is_told_of_however_many_there_are(system, tmp_path):
    file = write_csv(tmp_path / "bad.csv", [row(0)] + [row(i, "x") for i in range(50)])
    log = system.stream("--csv", file).log
    assert re.findall(r"bad\.csv:(\d+):", log) == [str(n) for n in range(3, 53)] and "suppressed" not in log


def test_what_repeats_too_often_is_counted_instead(system):
    bridge = Bridge(system, LOG_LEVEL="info")
    for i in range(30):
        bridge.get(f"/nothing-{i}")
    bridge.stop()
    assert len(re.findall(r"/nothing-\d+: 404 in .*\n", bridge.process.log())) == 11
    assert re.search(r" info bridge: request .*/nothing-9: 404 .* … \(20 more like this suppressed\)\n",
                     bridge.process.log())
