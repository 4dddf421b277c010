"""Clients of the bridge's feed: a WebSocket that collects frames in a thread of its own, and server-sent events."""
import asyncio
import json
import threading
import urllib.parse

import requests
import websockets

from lib import SLOW, wait_until


class Socket:
    """Connects, and keeps every frame that comes. close_code is None while it is open."""

    def __init__(self, bridge, query=None, headers=None, subprotocols=("gputel",), **more):
        self.frames, self.close_code, self.error = [], None, None
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        url = bridge.url.replace("http", "ws", 1) + "/api/v1/ws/telemetry"
        if query:
            url += "?" + urllib.parse.urlencode(query, doseq=True)
        self.options = {"extra_headers": headers or {}, "subprotocols": subprotocols or None, "max_size": 2**26,
                        "compression": None, "ping_interval": None, **more}
        self.thread = threading.Thread(target=self.run, args=(url,), daemon=True)
        self.thread.start()
        assert self.ready.wait(20 * SLOW), "no answer to the upgrade"
        if self.error:
            raise self.error

    def run(self, url):
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self.receive(url))
            rest = asyncio.all_tasks(self.loop)
            self.loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        finally:
            self.ready.set()

    async def receive(self, url):
        try:
            self.socket = await websockets.connect(url, **self.options)
        except Exception as e:  # pylint: disable=broad-except
            self.error = e
            return
        self.ready.set()
        try:
            async for text in self.socket:
                self.frames.append(json.loads(text))
        except websockets.ConnectionClosed:
            pass
        self.close_code = self.socket.close_code

    def send(self, message):
        text = message if isinstance(message, (str, bytes)) else json.dumps(message)
        asyncio.run_coroutine_threadsafe(self.socket.send(text), self.loop).result(10 * SLOW)

    def rows(self):
        return [row for frame in list(self.frames) for row in frame.get("rows", ())]

    def values(self):
        return [str(row["value"]) for row in self.rows()]

    def first(self, key, seconds=20):
        """The first frame that has this key."""
        return wait_until(lambda: next((f for f in list(self.frames) if key in f), None), seconds, f"a frame with {key}")

    def close(self):
        if self.close_code is None and not self.error:
            asyncio.run_coroutine_threadsafe(self.socket.close(), self.loop)
        self.thread.join(10 * SLOW)
        self.loop.close()


class Events:
    """Server-sent events: (event, id, data) of each as they come."""

    def __init__(self, bridge, headers=None, **params):
        self.events = []
        self.answer = requests.get(bridge.url + "/api/v1/stream", params=params, headers=headers, stream=True,
                                   timeout=60 * SLOW)
        self.ended = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        fields = {}
        try:
            for line in self.answer.iter_lines(chunk_size=1):
                name, _, value = line.decode().partition(": ")
                if line and name:
                    fields[name] = value
                elif not line and "data" in fields:
                    self.events.append((fields.get("event", "message"), fields.get("id"), json.loads(fields["data"])))
                    fields = {}
        except (requests.RequestException, AttributeError, ValueError):
            pass
        self.ended = True

    def values(self):
        return [str(row["value"]) for _, _, data in list(self.events) for row in data.get("rows", ())]

    def close(self):
        self.answer.close()
        self.thread.join(10 * SLOW)
