"""Rows as CSV, and what the tree must show for them.

The oracle knows nothing of the programs: it reads the CSV with Python's own reader and applies
DESIGN §3 and §5. A row is a dict with the columns' names.
"""
import csv
import io
import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache

from lib import wait_until

COLUMNS = ("timestamp", "metric_name", "gpu_id", "device", "uuid", "modelName", "Hostname",
           "container", "pod", "namespace", "value", "labels_raw")
ROW_FILE = ("timestamp", "metric_name", "value", "uuid", "container", "pod", "namespace", "labels")
LATEST = ("hostname", "gpu_id") + ROW_FILE
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
START = "2025-07-18T20:42:00Z"


def at(seconds, start=START):
    """A stamp, so many seconds (with fraction, if it has one) after start."""
    t = datetime.strptime(start, "%Y-%m-%dT%H:%M:%SZ") + timedelta(seconds=seconds)
    return t.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if t.microsecond else "%Y-%m-%dT%H:%M:%SZ")


def row(seconds=0, value="1", metric="DCGM_FI_DEV_GPU_UTIL", host="host-1", gpu="0", labels="", **more):
    return {"timestamp": at(seconds), "metric_name": metric, "gpu_id": gpu, "device": f"nvidia{gpu}",
            "uuid": f"GPU-{host}-{gpu}", "modelName": "NVIDIA H100 80GB HBM3", "Hostname": host,
            "container": "", "pod": "", "namespace": "", "value": str(value), "labels_raw": labels, **more}


def fleet(n, hosts=4, gpus=4, metrics=4, step_s=1, start=START, prefix="node"):
    """n rows of interleaved hosts as an exporter's dump has them; values count up, so that every row
    is unlike every other. A generator."""
    names = [f"DCGM_FI_TEST_{m}" for m in range(metrics)]
    done = sweep = 0
    while True:
        stamp = at(sweep * step_s, start)
        for metric in names:
            for h in range(hosts):
                for g in range(gpus):
                    if done == n:
                        return
                    done += 1
                    yield {"timestamp": stamp, "metric_name": metric, "gpu_id": str(g), "device": f"nvidia{g}",
                           "uuid": f"GPU-{h:04x}-{g}", "modelName": "NVIDIA H100 80GB HBM3",
                           "Hostname": f"{prefix}-{h:03d}", "container": "", "pod": f"job-{sweep // 50}",
                           "namespace": "test", "value": str(done), "labels_raw": 'job="dcgm"'}
        sweep += 1


def write_csv(path, rows, append=False):
    with open(path, "a" if append else "w", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        if not append:
            writer.writeheader()
        writer.writerows(rows)
    return path


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


@lru_cache(maxsize=None)
def nanoseconds(stamp):
    """Of an RFC 3339 stamp in UTC."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", stamp)
    assert match, f"{stamp!r} is no RFC 3339 time in UTC"
    whole = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return int((whole - EPOCH).total_seconds()) * 10**9 + int((match[2] or "0").ljust(9, "0"))


@lru_cache(maxsize=None)
def segment_file(stamp, segment_s=3600):
    seconds = nanoseconds(stamp) // 10**9 // segment_s * segment_s
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H%MZ.csv")


def encode(name):
    """A name as a path component."""
    out = "".join(c if re.match(r'[A-Za-z0-9._:{}=",-]', c) else "".join(f"%{b:02X}" for b in c.encode())
                  for c in name)
    return "%2E" + out[1:] if out.startswith(".") else out


class Expected:
    """The tree's rows and latest values after these rows were stored in this order."""

    def __init__(self, rows, segment_s=3600):
        self.history = {}  # host/gpu: {file: [row file's fields without labels]}
        self.latest = {}   # host/gpu: {metric: row}
        self.n = 0
        for r in rows:
            self.n += 1
            gpu = f"{encode(r['Hostname'])}/{encode(r['gpu_id'])}"
            fields = (r["timestamp"], r["metric_name"], r["value"], r["uuid"], r["container"], r["pod"], r["namespace"])
            files = self.history.setdefault(gpu, {})
            files.setdefault(segment_file(r["timestamp"], segment_s), []).append(fields)
            latest = self.latest.setdefault(gpu, {})
            old = latest.get(r["metric_name"])
            if old is None or nanoseconds(r["timestamp"]) >= nanoseconds(old["timestamp"]):
                latest[r["metric_name"]] = r


def parse_rows(text, header=ROW_FILE):
    """The rows of a row file (or latest.csv) as tuples of all fields; checks its form."""
    assert text.endswith("\n"), f"ends in the middle of a row: {text[-80:]!r}"
    assert "\0" not in text
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert tuple(lines[0]) == header
    assert all(len(line) == len(header) for line in lines)
    return [tuple(line) for line in lines[1:]]


def difference(got, expected):
    """In words, the first place where two lists differ; None if they do not."""
    for i, (a, b) in enumerate(zip(got, expected)):
        if a != b:
            return f"row {i + 1} of {len(got)}: got {a}, expected {b}"
    if len(got) != len(expected):
        more = (got if len(got) > len(expected) else expected)[min(len(got), len(expected))]
        return f"{len(got)} rows, expected {len(expected)}; the first of the rest: {more}"
    return None


def assert_history(mount, expected, gpus=None):
    """Every history file holds its rows exactly once, in the source's order."""
    for gpu in gpus or expected.history:
        files = expected.history[gpu]
        assert mount.names(f"{gpu}/history") == sorted(files), gpu
        for name, rows in files.items():
            got = [r[:7] for r in parse_rows(mount.read(f"{gpu}/history/{name}"))]
            wrong = difference(got, rows)
            assert not wrong, f"{gpu}/history/{name}: {wrong}"


def assert_values(mount, expected):
    for gpu, metrics in expected.latest.items():
        assert mount.names(f"{gpu}/metrics") == sorted(encode(m) for m in metrics), gpu
        for metric, r in metrics.items():
            assert mount.read(f"{gpu}/metrics/{encode(metric)}") == r["value"] + "\n", f"{gpu} {metric}"


def assert_tree(mount, expected):
    assert mount.gpus() == set(expected.history)
    assert_values(mount, expected)
    assert_history(mount, expected)


def wait_for_rows(mount, expected, seconds=30):
    """Waits until the mount shows as many rows as are expected; then everything must be right."""
    for gpu, files in expected.history.items():
        for name, rows in files.items():
            wait_until(lambda: mount.read(f"{gpu}/history/{name}").count("\n") > len(rows), seconds,
                       f"{len(rows)} rows in {gpu}/history/{name}")
    assert_tree(mount, expected)
