"""A gputel-bridge under test, asked with requests and, where HTTP itself is what is tested, with bare sockets."""
import re
import socket
import ssl
import urllib.parse

import requests

from lib import SLOW, free_port, wait_until

PROBLEM = "application/problem+json"


class Bridge:
    def __init__(self, system, *args, ready=True, tls=None, **env):
        """tls: the certificate's file, which clients trust. A variable that is None is not set."""
        self.tls = tls
        env = {k: v for k, v in {"GATEWAY_RATE_LIMIT": "0", **env}.items() if v is not None}
        for _ in range(5):
            self.port = free_port()
            self.process = system.start("bridge", *args, GATEWAY_PORT=self.port, **env)
            wait_until(lambda: self.listens() or not self.process.running(), 30, "the bridge listens")
            if self.process.running() or "cannot listen" not in self.process.log():
                break
        assert self.process.running(), "gputel-bridge ended:\n" + self.process.log()
        self.session = requests.Session()
        self.session.trust_env = False
        self.headers = {"Accept-Encoding": "identity"}  # of every request
        if tls:
            self.session.verify = str(tls)
        if ready:
            wait_until(lambda: self.get("/readyz").status_code == 200, 20, "the bridge is ready")

    def listens(self):
        return "listening at" in self.process.log()

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def ask(self, method, path, **more):
        """The path goes out as it is written, .. and % included."""
        prepared = requests.Request(method, self.url + "/", params=more.pop("params", None),
                                    headers={**self.headers, **more.pop("headers", {})},
                                    data=more.pop("data", None)).prepare()
        query = prepared.url.partition("?")[2]
        prepared.url = self.url + path + (("&" if "?" in path else "?") + query if query else "")
        return self.session.send(prepared, timeout=30 * SLOW, verify=str(self.tls) if self.tls else True, **more)

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def fs(self, path, **more):
        return self.get("/api/v1/fs/" + urllib.parse.quote(path), **more)

    def json(self, path, **more):
        answer = self.get(path, **more)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        return answer.json()

    def pages(self, path, **params):
        """All records, page by page, by next_cursor."""
        while True:
            page = self.json(path, params=params)
            assert page["count"] == len(page["data"])
            yield from page["data"]
            if not page["has_more"]:
                assert "next_cursor" not in page
                return
            params = {**params, "cursor": page["next_cursor"]}

    def connect(self, timeout=20):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout * SLOW)
        if self.tls:
            context = ssl.create_default_context(cafile=str(self.tls))
            s = context.wrap_socket(s, server_hostname="127.0.0.1")
        return s

    def raw(self, data, timeout=20):
        """(status, headers, body) of the first answer to bytes on a connection of their own. (requests mends what is
        not percent-encoded properly.)"""
        with self.connect(timeout) as s:
            try:
                s.sendall(data)
            except OSError:
                pass  # it may refuse before it has all
            return read_answer(s)

    def stop(self):
        return self.process.stop()


def read_answer(s, method="GET"):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = s.recv(65536)
        assert piece, f"the connection ended after {data[:300]!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
    length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
    while len(body) < length:
        piece = s.recv(65536)
        assert piece, "the body is cut"
        body += piece
    return int(re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", lines[0])[1]), headers, body


def is_problem(answer, status):
    """A requests answer is a problem document of that status."""
    body = answer.json()
    return (answer.status_code == status and answer.headers["Content-Type"] == PROBLEM and body["status"] == status
            and body["title"] and body["detail"] and body["type"])
