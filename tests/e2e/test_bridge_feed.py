"""Rows as they are committed: each subscriber gets each row that it wants once, in order, over WebSocket and
server-sent events, and one that does not read costs the others nothing."""
import json
import random
import socket
import threading
import time

import pytest
import websockets

from bridge import Bridge
from feed import Events, Socket
from lib import System, wait_until
from rows import fleet, row, write_csv


@pytest.fixture
def served(system):
    system.collector()
    system.bridge = Bridge(system)
    return system


def publish(system, path, rows):
    return system.stream("--csv", write_csv(path, rows), "--wait")


def numbered(first, n, **more):
    return [row(i, value=i, **more) for i in range(first, first + n)]


def test_rows_come_as_they_are_committed(served, tmp_path):
    client = Socket(served.bridge)
    assert set(client.first("rev")) == {"rev"}
    publish(served, tmp_path / "a.csv", numbered(0, 500))
    wait_until(lambda: len(client.rows()) >= 500, 20, "all rows")
    assert client.values() == [str(i) for i in range(500)]
    page = served.bridge.json("/api/v1/gpus/host-1:0/telemetry", params={"limit": 1000})
    assert client.rows() == page["data"]
    client.close()


def test_every_frame_of_rows_carries_its_revision_and_they_ascend(served, tmp_path):
    client = Socket(served.bridge)
    client.first("rev")
    publish(served, tmp_path / "a.csv", fleet(4000, hosts=3))
    wait_until(lambda: len(client.rows()) >= 4000, 20, "all rows")
    revisions = [f["rev"] for f in client.frames]
    assert revisions == sorted(revisions) and revisions[0] < revisions[1]
    for before, after in zip(client.frames[1:], client.frames[2:]):
        assert (before["rev"] == after["rev"]) == before.get("more", False)
    client.close()


@pytest.mark.parametrize("query, wanted", [
    ({"host": "host-1"}, lambda r: r["hostname"] == "host-1"),
    ({"host": ["host-[12]"], "gpu": "1"}, lambda r: r["hostname"] in ("host-1", "host-2") and r["gpu_id"] == "1"),
    ({"metric": ["*_TEMP", "*_UTIL"]}, lambda r: not r["metric_name"].endswith("USED")),
    ({"uuid": "GPU-host-3-*"}, lambda r: r["hostname"] == "host-3"),
])
def test_filters_in_the_address_and_by_subscribe_say_the_same(served, tmp_path, query, wanted):
    by_address, by_command = Socket(served.bridge, query), Socket(served.bridge)
    by_command.first("rev")
    by_command.send({"op": "subscribe", "id": "x", **query})
    everything = Socket(served.bridge)
    everything.first("rev")
    time.sleep(0.2)  # the command has no answer
    metrics = ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_FB_USED")
    rows = [row(i, value=i, host=f"host-{1 + i % 3}", gpu=str(i % 2), metric=metrics[i % 5 % 3]) for i in range(600)]
    publish(served, tmp_path / "a.csv", rows)
    wait_until(lambda: len(everything.rows()) >= 600, 20, "all rows")
    expected = sorted(str(r["value"]) for r in everything.rows() if wanted(r))
    assert 0 < len(expected) < 600
    for client in (by_address, by_command):
        wait_until(lambda c=client: len(c.rows()) >= len(expected), 20, "all that is wanted")
        assert sorted(client.values()) == expected
        client.close()
    everything.close()


def test_a_row_that_two_subscriptions_want_comes_once(served, tmp_path):
    client = Socket(served.bridge, {"host": "none"})
    client.first("rev")
    client.send({"op": "subscribe", "id": "a", "host": "host-1"})
    client.send({"op": "subscribe", "id": "b", "gpu": "0"})
    publish(served, tmp_path / "a.csv", numbered(0, 50) + numbered(50, 50, host="host-2"))
    wait_until(lambda: len(client.rows()) >= 100, 20, "all rows")
    client.send({"op": "unsubscribe", "id": "b"})
    publish(served, tmp_path / "b.csv", numbered(100, 10, host="host-2") + numbered(110, 10))
    wait_until(lambda: "119" in client.values(), 20, "the last row")
    assert sorted(client.values(), key=int) == [str(i) for i in [*range(100), *range(110, 120)]]
    client.close()


def test_since_replays_without_gap_or_repeat_while_rows_arrive(served, tmp_path):
    """A client that is cut again and again, and goes on each time after the last revision that it has."""
    writer = threading.Thread(target=lambda: [publish(served, tmp_path / f"{i}.csv", numbered(100 * i, 100))
                                              for i in range(12)])
    client = Socket(served.bridge, {"since": "0"})
    writer.start()
    got, revision = [], 0
    while len(got) < 1200:
        wait_until(lambda: client.rows() or client.close_code, 30, "rows")
        client.close()
        complete = [f for f in client.frames if "rows" in f]
        while complete and complete[-1].get("more"):
            complete.pop()
        got += [str(r["value"]) for f in complete for r in f["rows"]]
        assert not any("gap" in f for f in client.frames)
        revision = max([revision] + [f["rev"] for f in complete])
        client = Socket(served.bridge, {"since": str(revision)})
    writer.join()
    client.close()
    assert got == [str(i) for i in range(1200)]


@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_after_a_cut_since_gives_every_row_once(served, tmp_path, seconds):
    """The connection is gone without a word while rows come all the time."""
    over, published = threading.Event(), []

    def write():
        while not over.is_set():
            publish(served, tmp_path / f"{len(published)}.csv", numbered(100 * len(published), 100))
            published.append(None)
    writer = threading.Thread(target=write)
    writer.start()
    first = Socket(served.bridge, {"since": "0"})
    wait_until(lambda: len(first.rows()) >= 200, 30, "rows before the cut")
    first.loop.call_soon_threadsafe(first.socket.transport.abort)
    first.thread.join()
    before = [f for f in first.frames if "rows" in f]
    while before[-1].get("more"):
        before.pop()
    known = len(published)
    time.sleep(seconds)
    wait_until(lambda: len(published) > known + 1, 30, "rows during the cut")
    second = Socket(served.bridge, {"since": str(before[-1]["rev"])})
    over.set()
    writer.join()
    got = [str(r["value"]) for f in before for r in f["rows"]]
    wait_until(lambda: len(got) + len(second.rows()) >= 100 * len(published), 30, "all rows")
    assert got + second.values() == [str(i) for i in range(100 * len(published))]
    assert not any("gap" in f for f in second.frames)
    second.close()


def test_since_of_a_second_subscription_leaves_out_what_the_first_has_had(served, tmp_path):
    publish(served, tmp_path / "a.csv", numbered(0, 50) + numbered(50, 50, host="host-2"))
    client = Socket(served.bridge, {"host": "host-1", "since": "0"})
    wait_until(lambda: len(client.rows()) >= 50, 20, "the first host")
    client.send({"op": "subscribe", "id": "all", "since": 0})
    wait_until(lambda: len(client.rows()) >= 100, 20, "the second host")
    publish(served, tmp_path / "b.csv", numbered(100, 1))
    wait_until(lambda: "100" in client.values(), 20, "a new row")
    assert client.values() == [str(i) for i in range(101)]
    client.close()


def test_rows_that_etcd_has_lost_are_a_gap_and_hold_nothing_up(system, tmp_path):
    system.collector()
    noise = random.Random(1)
    publish(system, tmp_path / "a.csv", [row(i, value=noise.random(), host=h) for h in ("host-1", "host-2") for i in range(3000)])
    lost = [k for k in system.keys("/telemetry/body/") if "/host-1/" in k]
    assert lost and any("/host-2/" in k for k in system.keys("/telemetry/body/"))
    for key in lost:
        system.etcd.delete(system.prefix + key)
    bridge = Bridge(system)
    client = Socket(bridge, {"since": "0"})
    gap = client.first("gap")["gap"]
    assert gap["from"] < gap["to"]
    wait_until(lambda: sum(r["hostname"] == "host-2" for r in client.rows()) == 3000, 20, "all of the other host")
    publish(system, tmp_path / "b.csv", [row(5000, value=1, host="host-1")])
    wait_until(lambda: client.rows()[-1]["hostname"] == "host-1", 20, "what comes then")
    assert "host-1/0 of revision" in bridge.process.log()
    client.close()


def test_a_row_file_is_followed_byte_for_byte_over_segments(system, tmp_path):
    system.base_env["SEGMENT"] = "1m"
    system.collector()
    bridge = Bridge(system)
    publish(system, tmp_path / "a.csv", numbered(0, 30))
    client = Socket(bridge, {"host": "none"})
    client.first("rev")
    client.send({"op": "subscribe", "id": "f", "path": "host-1/0/telemetry.csv", "offset": 10})
    client.first("data")
    for i in range(30, 180, 30):
        publish(system, tmp_path / f"{i}.csv", numbered(i, 30))
    last = sorted(e["name"] for e in bridge.json("/api/v1/fs/host-1/0/history")["entries"])[-1]
    size = len(bridge.fs(f"host-1/0/history/{last}").content)
    wait_until(lambda: any("data" in f and f["offset"] + len(f["data"].encode()) == size and
                           client.frames.index(f) > 2 for f in list(client.frames)), 20, "the end of the last file")
    files, name = {}, None
    for frame in client.frames:
        if "rotated" in frame:
            name = frame["rotated"].rpartition("/")[2]
        elif "data" in frame:
            text = files.get(name, "")
            start = 10 if name is None else 0
            assert frame["offset"] == start + len(text.encode())
            files[name] = text + frame["data"]
    first = sorted(e["name"] for e in bridge.json("/api/v1/fs/host-1/0/history")["entries"])[0]
    for name, text in files.items():
        content = bridge.fs(f"host-1/0/history/{name or first}").content.decode()
        assert text == content[10 if name is None else 0:]
    assert len(files) >= 2
    client.close()


@pytest.mark.parametrize("message, status, words", [
    ("{", 400, ""), ("[]", 400, "object"), ({"op": "jump"}, 400, "subscribe"),
    ({"op": "subscribe", "host": 7}, 400, "host"), ({"op": "subscribe", "hots": "a"}, 400, "hots"),
    ({"op": "subscribe", "since": -1}, 400, "since"), ({"op": "unsubscribe", "id": "z"}, 404, "z"),
    ({"op": "subscribe", "path": "nowhere/0/telemetry.csv"}, 404, "nowhere"),
    ({"op": "subscribe", "path": "README"}, 400, "row file"),
])
def test_a_command_that_is_wrong_is_answered_and_changes_nothing(served, tmp_path, message, status, words):
    client = Socket(served.bridge)
    client.first("rev")
    client.send(message)
    error = client.first("error")["error"]
    assert error["status"] == status and words in error["detail"]
    publish(served, tmp_path / "a.csv", numbered(0, 3))
    wait_until(lambda: len(client.rows()) == 3, 20, "rows")
    client.close()


def test_messages_that_are_no_commands_end_the_connection_with_the_proper_status(served):
    for message, code in ((b"\0\1", 1003), ("x" * 100_000, 1009)):
        client = Socket(served.bridge)
        client.first("rev")
        client.send(message)
        wait_until(lambda c=client: c.close_code is not None, 20, "the end")
        assert client.close_code == code


def frame(opcode, payload=b"", fin=True, mask=True, reserved=0):
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    n = len(payload)
    length = bytes([n]) if n < 126 else b"\x7e" + n.to_bytes(2, "big") if n < 65536 else b"\x7f" + n.to_bytes(8, "big")
    if not mask:
        return head + length + payload
    key = b"\x01\x02\x03\x04"
    return head + bytes([length[0] | 0x80]) + length[1:] + key + bytes(b ^ key[i % 4] for i, b in enumerate(payload))


UPGRADE = (b"GET /api/v1/ws/telemetry?host=none HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")


def handshake(bridge):
    s = bridge.connect()
    s.sendall(UPGRADE)
    head = b""
    while b"\r\n\r\n" not in head:
        head += s.recv(1)
    assert head.startswith(b"HTTP/1.1 101") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    return s


def read_to_end(s):
    data = b""
    try:
        while True:
            more = s.recv(65536)
            if not more:
                return data
            data += more
    except (ConnectionError, socket.timeout):
        return data


@pytest.mark.parametrize("name, sent", [
    ("unmasked", frame(1, b"{}", mask=False)),
    ("invalid UTF-8", frame(1, b"\xff\xfe\xfd")),
    ("a reserved bit", frame(1, b"{}", reserved=4)),
    ("a reserved opcode", frame(3, b"{}")),
    ("a long control frame", frame(9, b"x" * 126)),
    ("a fragmented control frame", frame(9, b"x", fin=False)),
    ("a continuation of nothing", frame(0, b"x")),
])
def test_a_breach_of_the_protocol_ends_that_connection_alone(served, name, sent):
    other = Socket(served.bridge)
    with handshake(served.bridge) as s:
        s.sendall(sent)
        read_to_end(s)  # ends, or this test does not
    assert other.close_code is None, name
    other.close()


def test_fragments_and_pings_between_them_make_one_message(served):
    with handshake(served.bridge) as s:
        s.sendall(frame(1, b'{"op":', fin=False) + frame(9, b"hello") + frame(0, b'"jump"}'))
        data = b""
        while b"subscribe" not in data or b"hello" not in data:
            data += s.recv(4096)
        assert b"\x8a\x05hello" in data  # the pong


@pytest.mark.parametrize("headers, path, status", [
    ({"Origin": "http://evil.example"}, "", 403),
    ({"Sec-WebSocket-Version": "8"}, "", 426),
    ({"Sec-WebSocket-Protocol": "chat"}, "", 400),
    ({"Connection": "close"}, "", 426),
    ({"Sec-WebSocket-Key": ""}, "", 400), ({"Sec-WebSocket-Key": "x" * 200}, "", 400),
    ({"Sec-WebSocket-Protocol": "bearer." + "x" * 2000}, "", 400),
    ({}, "?since=yesterday", 400), ({}, "?hots=a", 400), ({}, "?" + "&".join(["host=a"] * 257), 400),
])
def test_an_upgrade_that_is_refused_says_why(served, headers, path, status):
    fields = {"Host": "x", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
              "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **headers}
    head = "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    got, answered, body = served.bridge.raw(f"GET /api/v1/ws/telemetry{path} HTTP/1.1\r\n{head}\r\n".encode())
    assert got == status, body
    assert json.loads(body)["status"] == status


def test_as_many_parameters_as_are_allowed_are_taken(served):
    headers = {f"X-{i}": "y" for i in range(40)}
    Socket(served.bridge, {"host": [f"host-{i}" for i in range(250)]}, headers=headers).close()


@pytest.mark.parametrize("offered, chosen", [
    ((), None), (("gputel",), "gputel"), (("bearer.{}",), "bearer.{}"), (("gputel", "bearer.{}"), "gputel"),
    (("bearer.{}", "gputel"), "gputel"), (("chat", "bearer.{}"), "bearer.{}"), (("x" * 200, "gputel"), "gputel"),
])
def test_one_of_the_subprotocols_that_were_offered_is_chosen(served, offered, chosen):
    """Browsers end the connection where it is none of them."""
    token = "gputel_" + "a" * 150
    client = Socket(served.bridge, subprotocols=[s.format(token) for s in offered])
    client.first("rev")
    assert client.socket.subprotocol == (chosen and chosen.format(token))
    client.close()


def test_a_token_alone_is_subprotocol_enough(served, tmp_path):
    made = served.start("bridge", "--new-token", "viewer")
    assert made.wait(10) == 0
    token = next(w for w in made.out().split() if w.startswith("gputel_"))
    (tmp_path / "tokens").write_text(next(s[s.index("viewer "):] for s in made.out().splitlines() if "viewer " in s) + "\n")
    bridge = Bridge(served, GATEWAY_TOKENS_FILE=tmp_path / "tokens")
    for protocols, headers in ((["bearer." + token], {}), (["gputel", "bearer." + token], {}),
                               ([], {"Authorization": "Bearer " + token})):
        Socket(bridge, subprotocols=protocols, headers=headers).close()
    for protocols in ([], ["gputel"], ["bearer." + token[:-1]], ["gputel", "bearer."]):
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            Socket(bridge, subprotocols=protocols)
        assert refused.value.status_code == 401, protocols
    assert token not in bridge.process.log()


def test_what_follows_the_head_at_once_is_the_first_command(served):
    with served.bridge.connect() as s:
        s.sendall(UPGRADE + frame(1, b'{"op":"jump"}'))
        data = b""
        while b"subscribe" not in data:
            more = s.recv(4096)
            assert more, data
            data += more


def test_a_refused_upgrade_is_one_request_for_the_rate_limit(system):
    bridge = Bridge(system, GATEWAY_RATE_LIMIT="1/s:20")
    left = []
    for _ in range(2):
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            Socket(bridge, {"since": "yesterday"})
        assert refused.value.status_code == 400
        left.append(int(refused.value.headers["RateLimit"].partition("r=")[2].partition(";")[0]))
    assert left[0] - left[1] <= 1


def test_places_are_limited_and_come_free(system):
    bridge = Bridge(system, WS_MAX_CONNECTIONS=3)
    clients = [Socket(bridge) for _ in range(3)]
    with pytest.raises(websockets.InvalidStatusCode) as refused:
        Socket(bridge)
    assert refused.value.status_code == 503
    clients.pop().close()
    wait_until(lambda: can_connect(bridge), 30, "a free place")
    for client in clients:
        client.close()


def can_connect(bridge):
    try:
        Socket(bridge).close()
        return True
    except websockets.InvalidStatusCode:
        return False


def test_switched_off_it_is_not_there(system):
    bridge = Bridge(system, WS_ENABLED="false")
    with pytest.raises(websockets.InvalidStatusCode) as refused:
        Socket(bridge)
    assert refused.value.status_code == 404


def test_sigterm_closes_them_with_going_away(served):
    client = Socket(served.bridge)
    events = Events(served.bridge)
    client.first("rev")
    assert served.bridge.stop() == 0
    wait_until(lambda: client.close_code is not None and events.ended, 30, "the ends")
    assert client.close_code == 1001


def test_who_does_not_read_is_cut_off_and_slows_nobody(served, tmp_path):
    """The silent one has a small buffer and reads nothing; the other gets everything meanwhile."""
    silent = socket.socket()
    silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    silent.connect(("127.0.0.1", served.bridge.port))
    silent.sendall(b"GET /api/v1/ws/telemetry HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    assert silent.recv(12) == b"HTTP/1.1 101"
    other = Socket(served.bridge)
    other.first("rev")
    before = served.bridge.process.peak_memory()
    publish(served, tmp_path / "a.csv", fleet(60_000, hosts=8))
    wait_until(lambda: len(other.rows()) == 60_000, 30, "all rows at the other")
    publish(served, tmp_path / "b.csv", numbered(0, 10))
    wait_until(lambda: len(other.rows()) == 60_010, 30, "it goes on at once")
    assert served.bridge.process.peak_memory() - before < 200 * 2**20
    wait_until(lambda: websockets_of(served.bridge) == 1, 30, "the silent one is gone")
    silent.close()
    other.close()


def websockets_of(bridge):
    for line in bridge.get("/metrics").text.splitlines():
        if line.startswith("gputel_websocket_clients "):
            return int(float(line.split()[1]))
    raise AssertionError("no gputel_websocket_clients")


# ---- server-sent events -------------------------------------------------------------------------


def test_server_sent_events_are_the_same_feed_and_resume(served, tmp_path):
    first = Events(served.bridge, host="host-1")
    assert first.answer.headers["Content-Type"].startswith("text/event-stream")
    wait_until(lambda: first.events, 30, "its first event")
    publish(served, tmp_path / "a.csv", numbered(0, 40) + numbered(40, 5, host="host-2"))
    wait_until(lambda: len(first.values()) == 40, 20, "the rows")
    last = next(i for _, i, _ in reversed(first.events) if i)
    first.close()
    publish(served, tmp_path / "b.csv", numbered(100, 40))
    second = Events(served.bridge, headers={"Last-Event-ID": last}, host="host-1")
    wait_until(lambda: len(second.values()) == 40, 20, "the rows since")
    publish(served, tmp_path / "c.csv", numbered(200, 40))
    wait_until(lambda: len(second.values()) == 80, 20, "new rows")
    assert first.values() + second.values() == [str(i) for i in [*range(40), *range(100, 140), *range(200, 240)]]
    second.close()
