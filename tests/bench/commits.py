"""When commits are in etcd, as a watch sees them.

Run as a program it prints, for each key that a commit made new, CLOCK_MONOTONIC and the key:

    commits.py ENDPOINT PREFIX
"""
import base64
import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path


class Commits:
    """Commits of rows: times[host] are those at which one of that host was seen."""

    def __init__(self, endpoint, prefix):
        argv = [sys.executable, Path(__file__), endpoint, prefix + "/telemetry/data/"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.times, self.start = {}, len(prefix + "/telemetry/data/")
        assert self.process.stdout.readline() == "watching\n"
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        for line in self.process.stdout:
            when, key = line.split()
            times = self.times.setdefault(key[self.start:].split("/")[0], [])
            if not times or float(when) != times[-1]:  # chunks of one commit are seen at once
                times.append(float(when))

    def first_after(self, host, when):
        return next((t for t in self.times.get(host, ()) if t >= when), None)

    def close(self):
        self.process.kill()
        self.process.wait()


def is_fresh(events):
    """Not of a merge, which removes what it joins."""
    return not any(e.get("type") == "DELETE" for e in events)


def main(endpoint, prefix):
    raw = prefix.encode()
    request = {"key": base64.b64encode(raw).decode(),
               "range_end": base64.b64encode(raw[:-1] + bytes([raw[-1] + 1])).decode()}
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(endpoint).netloc)
    connection.request("POST", "/v3/watch", json.dumps({"create_request": request}))
    for line in connection.getresponse():
        now, result = time.monotonic(), json.loads(line)["result"]
        if result.get("created"):
            print("watching", flush=True)
        events = result.get("events", [])
        if is_fresh(events):
            for e in events:
                print(f"{now:.6f} {base64.b64decode(e['kv']['key']).decode()}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
