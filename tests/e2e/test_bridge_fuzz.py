"""Whatever is sent to the bridge: what it answers is HTTP (or ends the connection), errors say what is wrong, it is never
at fault itself, and nobody else notices."""
import json
import socket
import string
import urllib.parse

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import PROBLEM, Bridge, read_answer
from feed import Socket
from lib import wait_until
from test_bridge_feed import UPGRADE, frame

STATUSES = {200, 204, 206, 304, 400, 401, 403, 404, 405, 406, 409, 413, 414, 415, 416, 426, 429, 431, 503}
TIMES = ["now", "now-5m", "now+1h", "0", "-1", "1e400", "9223372036", "9223372037", "-9223372036", "99999999999999999999",
         "2025-07-18T20:42:34Z", "2025-07-18T20:42:34.999999999Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:60Z", "now-",
         "now-9999999999h", "2025-02-30T00:00:00Z", "2025-07-18T20:42:34+25:00"]
VALUES = st.one_of(
    st.sampled_from(TIMES + ["", "1", "0", "1000", "1001", "-1", "1s", "1ms", "292y", "100000h", "9223372036854775807", "asc", "desc",
                             "avg", "last", "wide", "long", "csv", "json", "ndjson", "columns", "*", "[", "[a-", "\\", "true"]),
    st.text(max_size=40), st.integers().map(str))
NAMES = st.sampled_from(["start_time", "end_time", "metric", "hostname", "order", "step", "agg", "layout", "limit", "cursor", "format",
                         "host", "gpu", "uuid", "since", "deflate", "x"])
ROUTES = ["/api/v1/gpus", "/api/v1/gpus/0", "/api/v1/gpus/0/telemetry", "/api/v1/gpus/nobody:0/telemetry", "/api/v1/hosts",
          "/api/v1/hosts/x/gpus", "/api/v1/telemetry/latest", "/api/v1/metrics", "/api/v1/queue", "/api/v1/ws/telemetry",
          "/api/v1/fs/", "/api/v1/fs/.meta/gpus.json", "/api/v1/fs/.meta/latest.csv", "/metrics", "/openapi.json", "/"]
HEADERS = st.sampled_from(["Range", "If-Range", "If-None-Match", "If-Modified-Since", "Accept", "Accept-Encoding", "Authorization",
                           "Origin", "Forwarded", "X-Forwarded-For", "traceparent", "X-Request-Id", "Last-Event-ID", "Expect", "TE",
                           "Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol",
                           "Sec-WebSocket-Extensions", "Access-Control-Request-Method", "Cookie", "Content-Type"])
HEADER_VALUES = st.one_of(
    st.sampled_from(["bytes=0-", "bytes=-1", "bytes=5-2", "bytes=0-0,2-2", "bytes=99999999999999999999-", "bytes=-99999999999999999999",
                     "*", '"', 'W/"', '"x"', "gzip;q=0", "gzip;q=nan", "*;q=0", "text/*;q=1e999", "Bearer ", "Bearer x", "null", "websocket",
                     "Upgrade", "13", "gputel", "bearer.", "dGhlIHNhbXBsZSBub25jZQ==", "for=[", 'for="[::1', "for=_x", "close",
                     "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 99 Nov 9999 99:99:99 GMT", "00-" + "f" * 32 + "-" + "0" * 16 + "-ff"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, blacklist_characters="\x7f"), max_size=60))

bounded = settings(max_examples=60, derandomize=True, deadline=None, database=None,
                   suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(scope="module")
def bridge(reference):
    b = Bridge(reference.system)
    b.witness = Socket(b)  # it must not notice anything
    b.witness.first("rev")
    yield b
    assert b.witness.close_code is None
    b.witness.close()
    assert b.stop() == 0


def check(answer):
    status, headers, body = answer
    assert status in STATUSES, (status, body[:300])
    if status >= 400 and body:
        assert headers["content-type"] == PROBLEM and json.loads(body)["status"] == status
    return status


def ask(bridge, method, target, headers=()):
    """One request with the bytes as they are, and a second one where the connection is kept."""
    head = b"".join(k.encode() + b": " + v.encode("latin-1") + b"\r\n" for k, v in headers)
    with bridge.connect() as s:
        s.sendall(method.encode() + b" " + target + b" HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
        answer = read_answer(s, method)
        check(answer)
        if "transfer-encoding" in answer[1] or answer[1].get("connection", "").lower() == "close":
            return answer
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_answer(s)[0] == 200
    return answer


@bounded
@given(target=st.one_of(
    st.text(st.sampled_from("/.%2eEfF0*?[]&=+;:@!~ab\\\"<>{}|^`" + string.digits), max_size=60),
    st.tuples(st.sampled_from(ROUTES), st.text(st.sampled_from("/.%2e0aZ?&=_:-*"), max_size=30)).map("".join),
    st.binary(max_size=40).map(lambda b: "/api/v1/fs/" + urllib.parse.quote(b)),
    st.binary(max_size=40).map(lambda b: f"/api/v1/gpus/{urllib.parse.quote(b, safe='')}/telemetry?limit=1")))
def test_any_path(bridge, target):
    ask(bridge, "GET", b"/" + target.encode().lstrip(b"/").replace(b" ", b""))


@bounded
@given(method=st.sampled_from(["GET", "GET", "HEAD", "OPTIONS"]), route=st.sampled_from(ROUTES),
       params=st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_any_query(bridge, method, route, params):
    ask(bridge, method, f"{route}?{urllib.parse.urlencode(params)}".encode())


@bounded
@given(method=st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "POST", "PUT"]), route=st.sampled_from(ROUTES),
       headers=st.lists(st.tuples(HEADERS, HEADER_VALUES), max_size=6))
def test_any_headers(bridge, method, route, headers):
    ask(bridge, method, route.encode(), headers)


@bounded
@given(data=st.one_of(st.binary(min_size=1, max_size=200), st.text(st.sampled_from("GET /HTP1.\r\n:Hostx \t\0"), min_size=1).map(str.encode)),
       ends=st.booleans())
def test_any_bytes(bridge, data, ends):
    with bridge.connect() as s:
        s.sendall(data + (b"\r\n\r\n" if ends else b""))
        s.shutdown(socket.SHUT_WR)
        try:
            check(read_answer(s))
        except (AssertionError, ConnectionError):
            assert not data.strip(b"\r\n")  # of nothing there is no word


FRAMES = st.builds(frame, opcode=st.sampled_from([0, 1, 1, 1, 2, 3, 8, 9, 10, 15]),
                   payload=st.one_of(st.binary(max_size=200), st.sampled_from([b'{"op":"jump"}', b"\xc3", b"\xed\xa0\x80", b"x" * 70000])),
                   fin=st.booleans(), mask=st.sampled_from([True, True, True, False]), reserved=st.sampled_from([0, 0, 0, 1, 4, 7]))


@bounded
@given(frames=st.lists(FRAMES, max_size=6), cut=st.integers(0, 30), path=st.sampled_from(["", "&deflate=true", "&since=0"]))
def test_any_frames(bridge, frames, cut, path):
    """The last one may be cut, and the peer be gone without a word."""
    data = b"".join(frames)
    extensions = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    upgrade = UPGRADE.replace(b"host=none", b"host=none" + path.encode()).replace(b"\r\n\r\n", b"\r\n" + extensions + b"\r\n")
    with bridge.connect() as s:
        s.sendall(upgrade + data[:len(data) - cut if cut < len(data) else None])
        assert s.recv(12) == b"HTTP/1.1 101"


GLOB = st.one_of(st.text(max_size=20), st.none(), st.integers(), st.lists(st.one_of(st.text(max_size=8), st.integers()), max_size=4))
COMMANDS = st.fixed_dictionaries({}, optional={
    "op": st.one_of(st.sampled_from(["subscribe", "subscribe", "unsubscribe"]), st.text(max_size=5), st.none()),
    "id": st.one_of(st.text(max_size=70), st.integers(), st.floats(allow_nan=False), st.none(), st.booleans()),
    "host": GLOB, "gpu": GLOB, "uuid": GLOB, "metric": GLOB,
    "since": st.one_of(st.integers(), st.text(max_size=5), st.floats(allow_nan=False), st.none()),
    "path": st.one_of(st.text(max_size=30), st.sampled_from(["README", "..", "/", ".meta/status", ".meta/wait/9", "x/0/stream"]), st.none()),
    "offset": st.one_of(st.integers(), st.none())})


@bounded
@given(commands=st.lists(st.one_of(COMMANDS.map(json.dumps), st.text(max_size=40)), max_size=8))
def test_any_commands(bridge, commands):
    """Each is taken or answered; the last one proves that those before have been."""
    client = Socket(bridge, {"host": "none"})
    for text in commands:
        client.send(text)
    client.send({"op": "unsubscribe", "id": "the last"})
    error = lambda: next((f for f in client.frames if f.get("id") == "the last" and "error" in f), None)
    assert wait_until(error, 20, "the answer to the last")["error"]["status"] == 404
    assert all(f["error"]["status"] in (400, 404, 416) for f in client.frames if "error" in f)
    client.close()
