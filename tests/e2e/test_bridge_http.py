"""How the bridge behaves as a server: errors, limits, tokens, CORS, rate limit, TLS, shutdown, its own description."""
import contextlib
import hashlib
import json
import re
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests

from bridge import PROBLEM, Bridge, is_problem, read_answer
from lib import BIN, SLOW, wait_until
from rows import fleet, row, write_csv

REQUEST = b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n"


@pytest.fixture(scope="module")
def bridge(reference):
    b = Bridge(reference.system)
    yield b
    b.stop()


def problem_of(answer):
    status, headers, body = answer
    document = json.loads(body)
    assert headers["content-type"] == PROBLEM and document["status"] == status
    assert document["title"] and document["detail"] and document["type"]
    return status


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_an_unknown_path_is_404_and_a_wrong_method_405_with_allow(bridge):
    assert is_problem(bridge.get("/api/v2/gpus"), 404)
    assert is_problem(bridge.get("/api/v1/gpus/"), 404)
    for above in ("/api", "/api/v1"):
        assert is_problem(bridge.get(above), 404), "what is above the tree is no folder of it"
    for method in ("POST", "PUT", "DELETE", "PATCH", "BREW"):
        answer = bridge.ask(method, "/api/v1/gpus", data=b"x")
        assert is_problem(answer, 405) and answer.headers["Allow"] == "GET, HEAD, OPTIONS", method
    answer = bridge.ask("OPTIONS", "/api/v1/gpus")
    assert answer.status_code == 204 and answer.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_a_problem_names_request_and_path(bridge):
    answer = bridge.get("/nothing", headers={"X-Request-Id": "mine-17"})
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"] == "mine-17"
    assert answer.json()["instance"] == "/nothing"
    assert re.fullmatch(r"[0-9a-f]{16}", bridge.get("/nothing", headers={"X-Request-Id": "a b\x01"}).headers["X-Request-Id"])


def test_trace_ids_are_in_the_log_of_who_debugs_however_many_requests_there_are(reference):
    b = Bridge(reference.system, LOG_LEVEL="debug")
    traces = [f"4bf92f3577b34da6a3ce929d0e0e{i:04x}" for i in range(30)]
    for trace in traces:
        b.get("/nothing", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    wait_until(lambda: all(t in b.process.log() for t in traces), 30, "the trace ids in the log")
    b.stop()


def test_what_accept_excludes_is_406(bridge):
    assert is_problem(bridge.get("/api/v1/gpus", headers={"Accept": "text/html"}), 406)
    assert is_problem(bridge.get("/api/v1/gpus/0/telemetry", headers={"Accept": "image/png, text/html"}), 406)
    for accept in ("*/*", "application/*", "text/html, application/json;q=0.1"):
        assert bridge.get("/api/v1/gpus", headers={"Accept": accept}).status_code == 200, accept
    prefers = bridge.get("/api/v1/telemetry/latest", headers={"Accept": "application/json;q=0.5, text/csv"})
    assert prefers.headers["Content-Type"].startswith("text/csv") and "Accept" in prefers.headers["Vary"]


def test_a_plain_get_of_the_websocket_is_426(bridge):
    answer = bridge.get("/api/v1/ws/telemetry")
    assert is_problem(answer, 426) and answer.headers["Upgrade"] == "websocket"


def test_websockets_that_are_switched_off_are_404(reference):
    off = Bridge(reference.system, WS_ENABLED="false")
    assert is_problem(off.get("/api/v1/ws/telemetry"), 404)
    off.stop()


@pytest.mark.parametrize("data, status", [
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET /\r\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400),
    (REQUEST % (b"/" + b"a" * 9000, b""), 414),
    (b"GET /" + b"a" * 40000, 414),
    (REQUEST % (b"/", b"A: " + b"b" * 64000 + b"\r\n"), 431),
    (REQUEST % (b"/", b"A: " + b"b" * 1000000 + b"\r\n"), 431),
    (REQUEST % (b"/", b"".join(b"A%d: b\r\n" % i for i in range(200))), 431),
])
def test_what_is_no_proper_request_is_refused_with_a_problem(bridge, data, status):
    assert problem_of(bridge.raw(data)) == status


def test_later_requests_of_a_connection_have_the_same_limits(bridge):
    for data, status in ((REQUEST % (b"/" + b"a" * 9000, b""), 414), (REQUEST % (b"/", b"A: " + b"b" * 40000 + b"\r\n"), 431)):
        with bridge.connect() as s:
            s.sendall(REQUEST % (b"/healthz", b""))
            assert read_answer(s)[0] == 200
            s.sendall(data)
            assert problem_of(read_answer(s)) == status


def test_bodies_have_a_ceiling(bridge):
    """100 MiB are refused before they are sent, and a small one with a GET is of no account."""
    assert problem_of(bridge.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n")) == 413
    assert problem_of(bridge.raw(b"POST /api/v1/gpus HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n")) in (405, 413)
    assert bridge.ask("GET", "/healthz", data=b"x" * 1000).status_code == 200


def test_chunked_bodies_have_the_same_ceiling(bridge):
    with bridge.connect() as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(100):
                s.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            s.sendall(b"0\r\n\r\n")
            status = read_answer(s)[0]
        except (OSError, AssertionError):
            status = None  # cut off
        assert status in (413, None)
    assert bridge.get("/healthz").status_code == 200


def test_a_connection_is_kept_and_requests_may_be_pipelined(bridge):
    with bridge.connect() as s:
        s.sendall(REQUEST % (b"/healthz", b"") * 3 + REQUEST % (b"/nothing", b""))
        stream = s.makefile("rb")
        seen = []
        for _ in range(4):
            seen.append(int(stream.readline().split()[1]))
            length = 0
            while (line := stream.readline().strip()):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            stream.read(length)
        assert seen == [200, 200, 200, 404]


def test_a_head_in_many_small_pieces_is_taken(bridge):
    with bridge.connect() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in REQUEST % (b"/healthz", b""):
            s.sendall(bytes([byte]))
        assert read_answer(s)[0] == 200


# ---- slow, silent and many -------------------------------------------------------------------------------------------


def test_slow_openers_are_cut_off(bridge):
    """Whatever they dribble."""
    with bridge.connect(60) as silent, bridge.connect(60) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        end, ended = time.monotonic() + 40 * SLOW, False
        while not ended and time.monotonic() < end:
            try:
                slow.sendall(b"X-A: b\r\n")
                slow.settimeout(0.5)
                ended = slow.recv(100) == b""
            except socket.timeout:
                pass
            except OSError:
                ended = True
        assert ended
        silent.settimeout(40 * SLOW)
        try:
            assert silent.recv(100) == b""
        except ConnectionError:
            pass
    assert bridge.get("/healthz").status_code == 200


def test_half_a_head_and_an_end_is_answered_at_once(bridge):
    for data in (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"G"):
        with bridge.connect(5) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            assert problem_of(read_answer(s)) == 400


def test_ten_thousand_idle_connections_keep_nobody_out(reference):
    """As many as the machine's limit of files allows."""
    b = Bridge(reference.system)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = min(10000, hard - 1000)
    idle = []
    try:
        for i in range(many):
            s = socket.create_connection(("127.0.0.1", b.port), timeout=20 * SLOW)
            s.sendall(REQUEST % (b"/healthz", b"") if i % 2 else b"GET /hea")
            idle.append(s)
            if i % 1000 == 999:
                assert b.get("/readyz").status_code == 200
        assert b.json("/api/v1/gpus")["count"] > 0
    finally:
        for s in idle:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert b.stop() == 0


# ---- tokens ----------------------------------------------------------------------------------------------------------


def new_token(name="tester"):
    out = subprocess.run([BIN / "gputel-bridge", "--new-token", name], capture_output=True, text=True, check=True).stdout
    token = re.search(r"gputel_[A-Za-z0-9_-]{43}", out)[0]
    line = re.search(rf"({name} [0-9a-f]{{64}})\n", out)[1]
    assert hashlib.sha256(token.encode()).hexdigest() in line
    return token, line


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_with_tokens_only_they_may_read(reference, tmp_path):
    token, line = new_token()
    file = tmp_path / "tokens"
    file.write_text(f"# who may read\n\n{line}\n")
    b = Bridge(reference.system, GATEWAY_TOKENS_FILE=file)
    for path in ("/api/v1/gpus", "/api/v1/fs/", "/metrics", "/openapi.json", "/nothing"):
        answer = b.get(path)
        assert is_problem(answer, 401) and answer.headers["WWW-Authenticate"].startswith("Bearer"), path
        assert is_problem(b.get(path, headers=bearer(token[:-1])), 401), path
        assert is_problem(b.get(path, headers={"Authorization": f"Basic {token}"}), 401), path
        assert b.get(path, headers=bearer(token)).status_code == (404 if path == "/nothing" else 200), path
    for path in ("/healthz", "/readyz"):
        assert b.get(path).status_code == 200
    second, second_line = new_token("second")
    file.write_text(second_line + "\n")
    b.process.send(signal.SIGHUP)
    wait_until(lambda: b.get("/api/v1/gpus", headers=bearer(second)).status_code == 200, 30, "the new token")
    assert is_problem(b.get("/api/v1/gpus", headers=bearer(token)), 401)
    file.write_text("nonsense\n")
    b.process.send(signal.SIGHUP)
    wait_until(lambda: "tokens not reloaded" in b.process.log(), 30, "the complaint")
    assert b.get("/api/v1/gpus", headers=bearer(second)).status_code == 200
    assert token not in b.process.log() and second not in b.process.log()
    b.stop()


def test_a_token_may_be_for_some_hosts_only(system, tmp_path):
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "rows.csv", fleet(64, hosts=4, gpus=1)), "--wait")
    token, line = new_token("team")
    file = tmp_path / "tokens"
    file.write_text(f"{line} read=node-000,node-00[23]\n")
    b = Bridge(system, GATEWAY_TOKENS_FILE=file)
    b.headers.update(bearer(token))
    mine = ["node-000", "node-002", "node-003"]
    assert [h["hostname"] for h in b.json("/api/v1/hosts")["data"]] == mine
    assert [g["hostname"] for g in b.json("/api/v1/gpus")["data"]] == mine
    assert sorted({r["hostname"] for r in b.json("/api/v1/telemetry/latest")["data"]}) == mine
    assert sorted({r["hostname"] for r in b.pages("/api/v1/gpus/0/telemetry", limit=1000)}) == mine
    assert [e["name"] for e in b.json("/api/v1/fs/")["entries"]] == ["README"] + mine
    assert b.get("/api/v1/fs/node-002/0/uuid").text == "GPU-0002-0\n"
    seen = b.json("/api/v1/gpus")["data"][0]["last_seen"]
    assert b.get(f"/api/v1/fs/.at/{seen}/node-002/0/stat").status_code == 200
    for past in ("", "/node-001", "/node-001/0/stat"):
        assert is_problem(b.get(f"/api/v1/fs/.at/{seen}{past}"), 403), past
    for path in ("/api/v1/fs/node-001/", "/api/v1/fs/node-001/0/stat", "/api/v1/fs/.by-uuid/GPU-0001-0/uuid",
                 "/api/v1/fs/.meta/latest.csv", "/api/v1/metrics", "/api/v1/queue", "/metrics",
                 "/api/v1/gpus/GPU-0001-0", "/api/v1/gpus/node-001:0/telemetry"):
        assert is_problem(b.get(path), 403), path
    b.stop()


def test_sighup_reads_the_configuration_again(reference, tmp_path):
    """Who may read, how much, and from where changes at once; of what cannot the log says so."""
    ours, (token, line) = "https://a.example", new_token()
    (tmp_path / "tokens").write_text(line + "\n")
    file = tmp_path / "conf"
    file.write_text("GATEWAY_RATE_LIMIT=0\n")
    b = Bridge(reference.system, "--config", file, GATEWAY_RATE_LIMIT=None)

    def reload(text, until):
        file.write_text(text)
        b.process.send(signal.SIGHUP)
        wait_until(until, 10, text)

    def asks(**headers):
        return b.get("/api/v1/hosts", headers=headers)
    reload("GATEWAY_RATE_LIMIT=1/s:3\n", lambda: "RateLimit" in asks().headers)
    wait_until(lambda: asks().status_code == 429, 30, "too many")
    reload(f"GATEWAY_RATE_LIMIT=0\nGATEWAY_CORS_ORIGINS={ours}\n",
           lambda: asks(Origin=ours).headers.get("Access-Control-Allow-Origin") == ours)
    assert asks().status_code == 200
    reload(f"GATEWAY_RATE_LIMIT=0\nGATEWAY_TOKENS_FILE={tmp_path / 'tokens'}\nWS_MAX_CONNECTIONS=7\n",
           lambda: asks().status_code == 401)
    assert asks(Origin=ours, **bearer(token)).status_code == 200
    assert "Access-Control-Allow-Origin" not in asks(Origin=ours, **bearer(token)).headers
    assert re.search("WS_MAX_CONNECTIONS changed .*; a restart is needed for it", b.process.log())
    reload("GATEWAY_RATE_LIMIT=0\nGATEWAY_TRUSTED_PROXIES=somewhere\n",
           lambda: "configuration not reloaded: 1 fault" in b.process.log())
    assert asks().status_code == 401, "what was in force stays so"
    reload("GATEWAY_RATE_LIMIT=1/s:2\nGATEWAY_TRUSTED_PROXIES=127.0.0.1\n",
           lambda: asks(Forwarded="for=192.0.2.1").status_code == 429)
    assert asks(Forwarded="for=192.0.2.2").status_code == 200
    assert b.process.log().count("everybody on this machine may read") == 2, "it says that it has opened"
    b.stop()


@pytest.mark.parametrize("text", ["name", "name abc", "na/me " + "0" * 64, "name " + "0" * 64 + " wrote=x", "a " + "0" * 64 + " read=x y"])
def test_a_malformed_file_of_tokens_ends_the_start(system, tmp_path, text):
    file = tmp_path / "tokens"
    file.write_text(text + "\n")
    process = system.start("bridge", GATEWAY_TOKENS_FILE=file, GATEWAY_PORT=18999)
    assert process.wait() == 2
    assert f"{file}:1" in process.log()


def test_a_malformed_name_is_no_token(system):
    process = system.start("bridge", "--new-token", "a b")
    assert process.wait() == 2 and "a b" in process.log()


def test_without_tokens_it_says_who_may_read(reference):
    b = Bridge(reference.system)
    assert "everybody on this machine may read" in b.process.log()
    b.stop()
    b = Bridge(reference.system, GATEWAY_HOST="0.0.0.0")
    assert re.search(r"warn .*no tokens are set .*everybody who reaches 0\.0\.0\.0 may read", b.process.log())
    b.stop()


# ---- CORS ------------------------------------------------------------------------------------------------------------


def test_pages_of_configured_origins_may_read(reference):
    ours, other = "https://grafana.example:3000", "https://evil.example"
    b = Bridge(reference.system, GATEWAY_CORS_ORIGINS=f"https://a.example, {ours}")
    answer = b.get("/api/v1/gpus", headers={"Origin": ours})
    assert answer.headers["Access-Control-Allow-Origin"] == ours and "Origin" in answer.headers["Vary"]
    for name in ("ETag", "Link", "RateLimit", "X-Gputel-Revision", "traceparent"):
        assert name in answer.headers["Access-Control-Expose-Headers"]
    assert b.get("/nothing", headers={"Origin": ours}).headers["Access-Control-Allow-Origin"] == ours
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    answer = b.ask("OPTIONS", "/api/v1/gpus", headers={"Origin": ours, **preflight})
    assert answer.status_code == 204 and "GET" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"] and answer.headers["Access-Control-Max-Age"]
    for headers in ({"Origin": other}, {}):
        for answer in (b.get("/api/v1/gpus", headers=headers), b.ask("OPTIONS", "/api/v1/gpus", headers={**headers, **preflight})):
            assert not [h for h in answer.headers if h.startswith("Access-Control")]
    b.stop()


def test_preflight_needs_no_token(reference, tmp_path):
    (tmp_path / "tokens").write_text(new_token()[1] + "\n")
    b = Bridge(reference.system, GATEWAY_CORS_ORIGINS="https://a.example", GATEWAY_TOKENS_FILE=tmp_path / "tokens")
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    assert b.ask("OPTIONS", "/api/v1/gpus", headers=headers).headers["Access-Control-Allow-Origin"] == "https://a.example"
    refused = b.get("/api/v1/gpus", headers=headers)
    assert is_problem(refused, 401) and refused.headers["Access-Control-Allow-Origin"], "a page may read why"
    b.stop()


# ---- rate limit ------------------------------------------------------------------------------------------------------


def test_the_rate_of_a_client_is_limited(reference):
    b = Bridge(reference.system, GATEWAY_RATE_LIMIT="1/s:5")
    answers = [b.get("/api/v1/hosts") for _ in range(7)]
    assert [a.status_code for a in answers[:5]] == [200] * 5
    refused = answers[-1]
    assert is_problem(refused, 429) and int(refused.headers["Retry-After"]) >= 1
    assert refused.headers["RateLimit-Policy"] == '"default";q=5;w=5'
    assert re.fullmatch(r'"default";r=0;t=\d+', refused.headers["RateLimit"])
    assert re.fullmatch(r'"default";r=4;t=1', answers[0].headers["RateLimit"])
    assert all(b.get(path).status_code == 200 for path in ("/healthz", "/readyz", "/metrics") for _ in range(5))
    wait_until(lambda: b.get("/api/v1/hosts").status_code == 200, 20, "it may ask again")
    b.stop()


def test_clients_behind_a_trusted_proxy_are_told_apart(reference):
    b = Bridge(reference.system, GATEWAY_RATE_LIMIT="1/s:2", GATEWAY_TRUSTED_PROXIES="127.0.0.0/8, 10.1.0.0/16")

    def codes(headers, n=4):
        return {b.get("/api/v1/hosts", headers=headers).status_code for _ in range(n)}
    assert 429 in codes({"Forwarded": "for=192.0.2.1"})
    assert 429 not in codes({"Forwarded": 'for="[2001:db8::1]:4711"'}, 2)
    assert 429 in codes({"Forwarded": 'for="[2001:db8::2]"'}), "the same /64 is one client"
    assert 429 not in codes({"X-Forwarded-For": "198.51.100.7, 10.1.2.3"}, 2)
    assert 429 in codes({"X-Forwarded-For": "203.0.113.99, 198.51.100.7, 10.1.9.9"}), "what it says of itself is no use"
    b.stop()
    b = Bridge(reference.system, GATEWAY_RATE_LIMIT="1/s:2")
    assert 429 in {b.get("/api/v1/hosts", headers={"Forwarded": f"for=192.0.2.{i}"}).status_code for i in range(5)}
    b.stop()


# ---- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem", "-out",
                    folder / "cert.pem", "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return folder


def test_tls_serves_the_same(reference, certificate):
    b = Bridge(reference.system, tls=certificate / "cert.pem", GATEWAY_TLS_CERT=certificate / "cert.pem",
               GATEWAY_TLS_KEY=certificate / "key.pem")
    for path in (".meta/latest.csv", "README", f"{sorted(reference.mount.gpus())[0]}/telemetry.csv"):
        assert b.fs(path).content == (reference.mount / path).read_bytes()
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", b.port)), server_hostname="localhost") as s:
        assert s.selected_alpn_protocol() == "http/1.1"
        s.sendall(REQUEST % (b"/healthz", b"") * 2)
        assert read_answer(s)[0] == 200
    assert problem_of(b.raw(b"GET / HTTP/9\r\n\r\n")) == 400
    with socket.create_connection(("127.0.0.1", b.port), timeout=20 * SLOW) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert not plain.recv(1000).startswith(b"HTTP/1.1")
    assert b.get("/healthz").status_code == 200
    assert b.stop() == 0


def test_certificate_and_key_must_fit(system, certificate, tmp_path):
    subprocess.run(["openssl", "genrsa", "-out", tmp_path / "other.pem", "2048"], check=True, capture_output=True)
    process = system.start("bridge", GATEWAY_TLS_CERT=certificate / "cert.pem", GATEWAY_TLS_KEY=tmp_path / "other.pem",
                           GATEWAY_PORT=18998)
    assert process.wait() != 0 and "other.pem" in process.log()
    process = system.start("bridge", GATEWAY_TLS_CERT=certificate / "cert.pem")
    assert process.wait() == 2 and "GATEWAY_TLS_KEY" in process.log()


# ---- shutdown --------------------------------------------------------------------------------------------------------


def hammer(b, results, stop):
    """Requests on kept connections until the bridge is gone; notes every answer that was cut."""
    session = requests.Session()
    while not stop.is_set():
        try:
            answer = session.get(b.url + "/api/v1/telemetry/latest", timeout=30 * SLOW)
            results.append(answer.status_code)
            answer.json()
        except requests.exceptions.ConnectionError as e:
            if "Connection refused" in str(e):
                return
            results.append(repr(e))
        except Exception as e:
            results.append(repr(e))


def test_a_stop_under_load_cuts_nothing(reference):
    b = Bridge(reference.system)
    results, stop = [], threading.Event()
    threads = [threading.Thread(target=hammer, args=(b, results, stop)) for _ in range(4)]
    for t in threads:
        t.start()
    wait_until(lambda: len(results) > 50, 20, "requests under way")
    assert b.stop() == 0
    stop.set()
    for t in threads:
        t.join()
    assert set(results) == {200}, set(results)


def test_while_it_drains_it_is_not_ready_and_finishes_what_was_asked(system, tmp_path):
    """A reader that takes its time gets all of it: more than the kernel's buffers hold."""
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "long.csv", fleet(100000, hosts=1, gpus=1)), "--wait", seconds=90)
    b = Bridge(system, SHUTDOWN_TIMEOUT="60s")
    kept = requests.Session()
    whole = len(b.get("/api/v1/gpus/0/telemetry?format=ndjson").content)
    with b.connect() as slow:
        slow.sendall(b"GET /api/v1/gpus/0/telemetry?format=ndjson HTTP/1.0\r\n\r\n")
        got = slow.recv(1000)
        assert kept.get(b.url + "/readyz", timeout=10).status_code == 200
        b.process.send(signal.SIGTERM)
        wait_until(lambda: kept.get(b.url + "/readyz", timeout=10).status_code == 503, 30, "not ready")
        answer = b.get("/readyz")
        assert answer.json()["reasons"] == ["draining"] and answer.headers["Connection"] == "close"
        assert b.process.running()
        pieces = [got]
        while pieces[-1]:
            pieces.append(slow.recv(1 << 20))
    assert len(b"".join(pieces).partition(b"\r\n\r\n")[2]) == whole
    assert b.process.wait() == 0


def test_what_does_not_end_in_time_is_cut_and_counted(system, tmp_path):
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "long.csv", fleet(100000, hosts=1, gpus=1)), "--wait", seconds=90)
    b = Bridge(system, SHUTDOWN_TIMEOUT="1s")
    with b.connect() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(b"GET /api/v1/gpus/0/telemetry?format=ndjson HTTP/1.1\r\nHost: x\r\n\r\n")
        stuck.recv(100)
        assert b.stop() == 1
    assert "1 requests were cut at SHUTDOWN_TIMEOUT" in b.process.log()


# ---- its own description ---------------------------------------------------------------------------------------------


def test_openapi_describes_what_is_there(bridge):
    """Every path of it answers as it says, and every parameter of it is taken."""
    document = bridge.json("/openapi.json")
    assert document["openapi"].startswith("3.1")
    gpu = bridge.json("/api/v1/gpus")["data"][0]
    values = {"id": gpu["id"], "host": gpu["hostname"], "path": "README"}
    ids = [op["operationId"] for path in document["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids))
    for path, operations in document["paths"].items():
        if "get" not in operations:  # test_ingest.py
            assert set(operations) == {"post"}, path
            continue
        assert re.findall(r"{(\w+)}", path) == [p["name"] for p in operations["get"]["parameters"] if p["in"] == "path"]
        target = re.sub(r"{(\w+)}", lambda m: values[m[1]], path)
        types = list(operations["get"]["responses"]["200"]["content"])
        if path in ("/api/v1/ws/telemetry", "/api/v1/stream"):  # no answers that end
            continue
        answer = bridge.get(target)
        assert answer.status_code == 200, path
        assert set(operations["get"]["responses"]["200"]["headers"]) == {"X-Request-Id", "traceparent"} <= \
            {h if h != "x-request-id" else "X-Request-Id" for h in answer.headers}, path
        assert types == ["*/*"] or answer.headers["Content-Type"].split(";")[0] in types, path
        if answer.headers["Content-Type"] == "application/json":
            schema = operations["get"]["responses"]["200"]["content"].get("application/json", {}).get("schema")
            assert bool(schema) == ("has_more" in answer.json()), path
        for p in operations["get"]["parameters"]:
            if p["in"] == "query":
                again = bridge.get(target, params={p["name"]: "\x7f"})
                assert again.status_code != 400 or "unknown parameter" not in again.json()["detail"], (path, p["name"])
        unknown = bridge.get(target, params={"no_such_parameter": 1})
        assert is_problem(unknown, 400) and "no_such_parameter" in unknown.json()["detail"], path


def test_own_metrics_tell_of_the_queue_what_the_queue_does(bridge):
    queue = bridge.json("/api/v1/queue")
    metrics = dict(line.rsplit(" ", 1) for line in bridge.get("/metrics").text.splitlines() if line[0] != "#")
    for name in ("messages_published", "messages_processed", "rows_published", "rows_stored"):
        assert int(metrics[f"gputel_{name}_total"]) == queue[name] > 0, name
    assert int(metrics["gputel_queue_depth"]) == queue["queue_depth"]
    assert float(metrics["gputel_processing_lag_seconds"]) == queue["processing_lag_ms"] / 1000
    assert float(metrics["gputel_throttle_rate"]) == float(queue["throttle_rate"])


def test_own_metrics_count_requests_by_route(bridge):
    bridge.get("/api/v1/fs/README")
    text = bridge.get("/metrics").text
    assert re.search(r'^gputel_http_requests_total\{route="/api/v1/fs/\{path…\}",code="200"\} [1-9]', text, re.M)
    assert re.search(r"^gputel_gpus [1-9]", text, re.M) and "gputel_etcd_up 1" in text
    families = re.findall(r"^# TYPE (\S+)", text, re.M)
    assert len(families) == len(set(families))
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? \S+', line), line
