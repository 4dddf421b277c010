"""A headless Chromium, spoken to over its DevTools protocol."""
import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import urllib.request

import websockets

from lib import SLOW, wait_until

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")


class Browser:
    """One page. Everything that went wrong in it is in faults."""

    def __init__(self, folder):
        self.loop = asyncio.new_event_loop()
        self.ids, self.faults = itertools.count(1), []
        log = open(folder / "chromium.log", "wb")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             "--window-size=1280,900", f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=log, stderr=log, start_new_session=True)
        log.close()
        port_file = folder / "profile" / "DevToolsActivePort"
        wait_until(lambda: port_file.exists() and len(port_file.read_text().split("\n")) > 1, 30, "chromium is there")
        self.port = port_file.read_text().split("\n")[0]
        self.socket = self.loop.run_until_complete(self.connect())
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    async def connect(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/json", timeout=20) as answer:
            page = next(t for t in json.load(answer) if t["type"] == "page")
        return await websockets.connect(page["webSocketDebuggerUrl"], max_size=2**26, ping_interval=None)

    async def ask(self, method, params):
        number = next(self.ids)
        await self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), 30 * SLOW))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.note(message)

    def note(self, message):
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.faults.append(params["exceptionDetails"].get("exception", {}).get("description", "an exception"))
        if message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))

    def call(self, method, **params):
        return self.loop.run_until_complete(self.ask(method, params))

    def open(self, url):
        self.call("Page.navigate", url=url)

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression, seconds=20):
        return wait_until(lambda: self.value(expression), seconds, expression)

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **({"text": "\r"} if key == "Enter" and
                                                                        kind == "keyDown" else {}))

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self):
        self.loop.run_until_complete(self.socket.close())
        os.killpg(self.process.pid, signal.SIGKILL)  # and its helpers
        self.process.wait()
        self.loop.close()
