"""The two that are compared: gputel (streamer, collector, mount, an etcd of its own with fsync on) and
VictoriaMetrics, each on an empty folder. load() takes a file from its first byte to "all rows can be
read", and says what that took."""
import base64
import json
import os
import resource
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

from lib import Etcd, Process, System, free_port, wait_until
from watch import Clock, Usage

PEER = Path(os.environ.get("BENCH_PEER", "/usr/bin/victoria-metrics"))
MINUTES = 60


def children_cpu():
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime


class Load:
    """What one load took. cpu, peak: by program; settled: CPU when merging had ended as well."""

    def __init__(self, rows, seconds, cpu, peak):
        self.rows, self.seconds, self.cpu, self.peak = rows, seconds, cpu, peak
        self.settled, self.stored_bytes, self.read_seconds = {}, 0, 0.0

    @property
    def rows_per_s(self):
        return self.rows / self.seconds

    def cpu_per_million(self, name=None):
        return (self.cpu[name] if name else sum(self.cpu.values())) / self.rows * 1e6

    @property
    def settled_per_million(self):
        return sum(self.settled.values()) / self.rows * 1e6

    @property
    def bytes_per_sample(self):
        return self.stored_bytes / self.rows


def until_quiet(figure, seconds=8, most=3 * MINUTES):
    """Waits until figure() has been the same for so long."""
    end, last, since = time.monotonic() + most, figure(), time.monotonic()
    while time.monotonic() - since < seconds and time.monotonic() < end:
        time.sleep(0.25)
        now = figure()
        if now != last:
            last, since = now, time.monotonic()
    return last


class Ours:
    name = "gputel"

    def __init__(self, folder, **env):
        self.folder = folder
        self.etcd = Etcd(folder / "etcd").start()
        self.system = System(self.etcd, folder, **env)
        self.collector = self.system.collector()
        self.mount = self.system.mount()
        self.usage = Usage(etcd=self.etcd.process.pid, collector=self.collector.pid,
                           mount=self.mount.process.pid)

    def close(self):
        self.usage.close()
        self.system.close()
        self.etcd.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def load(self, source):
        before, clock = children_cpu(), Clock()
        streamer = self.system.streamer("--csv", source.path, "--wait")
        self.usage.add("streamer", streamer.pid)
        assert streamer.wait(20 * MINUTES) == 0, streamer.log()
        self.usage.took("streamer", children_cpu() - before)
        wait_until(lambda: self.rows() == source.rows, 60, "all rows are in the mount")
        load = Load(source.rows, clock(), self.usage.so_far(), self.usage.peak)
        self.settle(load)
        load.read_seconds = self.read(source.rows)
        return load

    def rows(self):
        return int(self.mount.status()["rows"])

    def settle(self, load):
        until_quiet(lambda: self.mount.status()["chunks"])
        load.settled = self.usage.so_far()
        load.stored_bytes = self.stored_bytes()

    def stored_bytes(self):
        """Keys and values of what is stored (and not of the queue's bookkeeping), page by page."""
        prefix = self.system.prefix + "/telemetry/"
        where, total = Etcd.range_of(prefix), 0
        while True:
            page = self.etcd.call("/v3/kv/range", **where, limit=2000)
            kvs = page.get("kvs", [])
            total += sum(len(base64.b64decode(kv["key"])) + len(base64.b64decode(kv.get("value", ""))) for kv in kvs)
            if not page.get("more"):
                return total
            where["key"] = base64.b64encode(base64.b64decode(kvs[-1]["key"]) + b"\0").decode()

    def read(self, rows):
        """Seconds to read every row file through the mount; all rows must be there, once."""
        clock, lines, files = Clock(), 0, 0
        for gpu in sorted(self.mount.gpus()):
            for name in self.mount.names(f"{gpu}/history"):
                files += 1
                with open(self.mount / f"{gpu}/history/{name}", "rb", buffering=0) as f:
                    while piece := f.read(1 << 20):
                        lines += piece.count(b"\n")
        assert lines - files == rows, f"{lines - files} rows can be read, expected {rows}"
        return clock()

    def freshness(self, rows, pause_s, stamp):
        """Seconds from a row's way into the streamer to its value in the mount, of each row."""
        out = []
        read_end, write_end = os.pipe()
        streamer = self.system.streamer("--csv", "-", stdin=read_end)
        os.close(read_end)
        metric = self.mount / "fresh-1/0/metrics/fresh"
        with open(write_end, "w") as pipe:
            pipe.write("timestamp,metric_name,gpu_id,Hostname,value\n")
            for i in range(rows):
                clock = Clock()
                pipe.write(f"{stamp(i)},fresh,0,fresh-1,{i}\n")
                pipe.flush()
                self.await_value(metric, f"{i}\n")
                out.append(clock())
                time.sleep(pause_s)
        assert streamer.wait(MINUTES) == 0, streamer.log()
        return out[1:]  # the first one also makes the host

    @staticmethod
    def await_value(path, text):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                if path.read_text() == text:
                    return
            except OSError:
                pass
            time.sleep(0.0005)
        raise AssertionError(f"{path} does not become {text!r}")


# The columns of the files, as that program wants them told. All of them become labels, as with us.
FORMAT = "1:time:rfc3339,2:label:metric_name,3:label:gpu_id,4:label:device,5:label:uuid,6:label:modelName," \
         "7:label:Hostname,8:label:container,9:label:pod,10:label:namespace,11:metric:value,12:label:labels_raw"
FRESH_FORMAT = "1:time:rfc3339,2:label:metric_name,3:label:gpu_id,4:label:Hostname,5:metric:value"


class Peer:
    name = "VictoriaMetrics"

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        argv = [PEER, f"-storageDataPath={folder / 'data'}", f"-httpListenAddr={self.url[7:]}",
                "-retentionPeriod=100y", "-loggerLevel=ERROR", "-search.maxUniqueTimeseries=1000000"]
        self.process = Process("victoria-metrics", argv, dict(os.environ), folder)
        wait_until(lambda: self.get("/health"), 20, "VictoriaMetrics answers")
        self.usage = Usage(victoria=self.process.pid)

    @staticmethod
    def version():
        """As Debian says it; None where it is not installed."""
        if not PEER.exists():
            return None
        out = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "victoria-metrics"], capture_output=True,
                             text=True, check=False).stdout
        return out.split("+")[0].split("-")[0] or "?"

    def close(self):
        self.usage.close()
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def get(self, path, **query):
        with urllib.request.urlopen(self.url + path + "?" + urllib.parse.urlencode(query), timeout=600) as answer:
            return answer.read().decode()

    def send(self, file, columns):
        """A streaming upload; what curl uses is not counted."""
        url = f"{self.url}/api/v1/import/csv?format={columns}"
        argv = ["curl", "-sS", "--fail", "-X", "POST", "-H", "Expect:", "-T", "-", url]
        subprocess.run(argv, stdin=file, check=True, stdout=subprocess.DEVNULL)

    def load(self, source):
        clock = Clock()
        with open(source.path, "rb", buffering=0) as f:
            os.lseek(f.fileno(), len(open(source.path, "rb").readline()), os.SEEK_SET)
            self.send(f, FORMAT)
        self.get("/internal/force_flush")
        wait_until(lambda: self.rows() == source.rows, 60, "VictoriaMetrics has all rows")
        load = Load(source.rows, clock(), self.usage.so_far(), self.usage.peak)
        self.get("/internal/force_merge")
        until_quiet(self.stored_bytes)
        load.settled, load.stored_bytes = self.usage.so_far(), self.stored_bytes()
        load.read_seconds = self.read(source.rows)
        return load

    def rows(self):
        answer = self.get("/api/v1/query", query="sum(count_over_time(value[5y]))", time="2027-01-01T00:00:00Z", nocache=1)
        result = json.loads(answer)["data"]["result"]
        return int(result[0]["value"][1]) if result else 0

    def stored_bytes(self):
        return sum(f.stat().st_size for folder in ("data", "indexdb")
                   for f in (self.folder / "data" / folder).rglob("*") if f.is_file())

    def read(self, rows):
        """Seconds of an export as CSV of everything."""
        query = urllib.parse.urlencode({"match[]": "value", "format": "__timestamp__:rfc3339,metric_name,gpu_id,Hostname,__value__"})
        clock, lines = Clock(), 0
        with urllib.request.urlopen(f"{self.url}/api/v1/export/csv?{query}", timeout=600) as answer:
            while piece := answer.read(1 << 20):
                lines += piece.count(b"\n")
        assert lines == rows, f"{lines} rows can be read, expected {rows}"
        return clock()

    def freshness(self, rows, pause_s, stamp):
        out = []
        for i in range(rows):
            clock = Clock()
            line = f"{stamp(i)},fresh,0,fresh-1,{i}\n".encode()
            request = urllib.request.Request(f"{self.url}/api/v1/import/csv?format={FRESH_FORMAT}", line)
            urllib.request.urlopen(request, timeout=30).close()
            query = {"match[]": 'value{metric_name="fresh"}'}
            end = time.monotonic() + 30
            while f"[{i}]" not in (text := self.get("/api/v1/export", **query)) and f",{i}]" not in text:
                assert time.monotonic() < end, f"{i} is not to be seen"
                time.sleep(0.005)
            out.append(clock())
            time.sleep(pause_s)
        return out[1:]
