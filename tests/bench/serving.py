"""Requests by wrk, what they ask for, and nginx as the one who serves files."""
import csv
import re
import statistics
import subprocess
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from lib import Process, free_port, wait_until
from watch import Usage

NGINX = Path("/usr/sbin/nginx")
THREADS, CONNECTIONS = 2, 8


@dataclass
class Served:
    """What a server did in a run; cpu: its seconds."""
    seconds: float
    n: int
    bytes: int  # of one answer
    cpu: float

    @property
    def requests(self):
        return self.n / self.seconds

    @property
    def mb(self):
        return self.requests * self.bytes / 1e6

    @property
    def cpu_us(self):
        return self.cpu / self.n * 1e6

    @property
    def cpu_per_mb(self):
        return self.cpu / (self.n * self.bytes / 1e6)


def family(pid):
    """A process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


class Wrk:
    """One URL under load. pid: the server."""

    def __init__(self, url, pid):
        self.url, self.pid = url, pid
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept-Encoding": "identity"})) as answer:
            self.bytes = len(answer.read())

    @staticmethod
    def describe():
        return f"wrk with {CONNECTIONS} connections on the same machine"

    def cpu(self):
        return sum(Usage._cpu(pid) for pid in family(self.pid))

    def run(self, seconds):
        before = self.cpu()
        out = subprocess.run(["wrk", f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "60s", self.url], check=True,
                             capture_output=True, text=True).stdout
        cpu = self.cpu() - before
        assert "Non-2xx" not in out and "Socket errors" not in out, out
        n, took = re.search(r"(\d+) requests in ([\d.]+)s", out).groups()
        return Served(float(took), int(n), self.bytes, cpu)

    @staticmethod
    def median(runs):
        def middle(figure):
            return statistics.median(getattr(run, figure) for run in runs)
        seconds, n = runs[0].seconds, middle("requests") * runs[0].seconds
        return Served(seconds, n, runs[0].bytes, middle("cpu_us") * n / 1e6)


class Window:
    """Times of the first GPU of a file."""

    def __init__(self, path):
        with open(path, newline="") as f:
            rows = csv.DictReader(f)
            first = next(rows)
            self.host, self.uuid = first["Hostname"], first["uuid"]
            self.stamps = list(dict.fromkeys([first["timestamp"], *(r["timestamp"] for r in rows)]))

    def middle(self, steps):
        at = (len(self.stamps) - steps) // 2
        self.stamps = self.stamps[at:at + steps]
        return self

    def ours(self, form):
        return f"/api/v1/gpus/{self.uuid}/telemetry?" + urllib.parse.urlencode(
            {"start_time": self.stamps[0], "end_time": self.stamps[-1], "format": form})

    def export(self):
        """VictoriaMetrics' way to say the same."""
        return "/api/v1/export?" + urllib.parse.urlencode(
            {"match[]": f'value{{uuid="{self.uuid}"}}', "start": self.stamps[0], "end": self.stamps[-1]})


CONF = """
daemon off; user root; worker_processes {workers}; pid nginx.pid; error_log error.log;
events {{ worker_connections 1024; }}
http {{
	access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; default_type text/plain;
	open_file_cache max=100;
	server {{ listen 127.0.0.1:{port}; root files; }}
}}
"""


class Nginx:
    def __init__(self, folder, port):
        self.folder, self.port, self.n = folder, port, 0
        (folder / "files").mkdir(parents=True)
        (folder / "nginx.conf").write_text(CONF.format(port=port, workers=THREADS))
        self.process = Process("nginx", [NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"],
                               {}, folder)

    @staticmethod
    def found():
        return NGINX.exists()

    @classmethod
    def start(cls, folder):
        nginx = cls(folder, free_port())
        wait_until(lambda: urllib.request.urlopen(nginx.serve(b"ready")).read() == b"ready", 10, "nginx answers")
        return nginx

    def serve(self, content):
        """The URL of these bytes."""
        self.n += 1
        (self.folder / "files" / str(self.n)).write_bytes(content)
        return f"http://127.0.0.1:{self.port}/{self.n}"

    def close(self):
        self.process.stop()
