"""Files that are measured with: made on the spot from a seed, kept in build/bench between runs."""
import csv
import subprocess
import sys
from datetime import datetime, timedelta, timezone

from lib import ROOT, SHARED

FOLDER = ROOT / "build" / "bench"
COLUMNS = ("timestamp", "metric_name", "gpu_id", "device", "uuid", "modelName", "Hostname",
           "container", "pod", "namespace", "value", "labels_raw")
GPUS, METRICS, INTERVAL_S = 8, 10, 15
WIDE_HOST = "train-001"


class Input:
    def __init__(self, name, path, rows):
        self.name, self.path, self.rows = name, path, rows
        self.size = path.stat().st_size

    def __str__(self):
        return f"{self.name}: {self.rows:,} rows, {self.size / 1e6:.0f} MB"


def cut_short(source, target, rows):
    """The header and so many rows; how many there were."""
    target.write(next(source))
    n = 0
    for n, line in enumerate(source, 1):
        target.write(line)
        if n == rows:
            break
    return n


def fleet(rows, hosts=31, seed=1):
    """Rows of so many hosts with 8 GPUs and 10 metrics each, as data/generate.py makes them; 31 hosts are
    the 247 GPUs of the real recording that it was modelled on, and one more."""
    path = FOLDER / f"fleet-{rows}-{hosts}-{seed}.csv"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        sweeps = -(-rows // (hosts * GPUS * METRICS))
        argv = [sys.executable, ROOT / "data" / "generate.py", "--hosts", str(hosts), "--gpus", str(GPUS),
                "--interval", f"{INTERVAL_S}s", "--duration", f"{sweeps * INTERVAL_S}s", "--seed", str(seed)]
        part = path.with_suffix(".part")
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as generator, open(part, "wb") as out:
            assert cut_short(generator.stdout, out, rows) == rows
            generator.stdout.close()
        part.rename(path)
    return Input(f"{hosts} hosts", path, rows)


def steady(steps):
    """Rows of one host whose GPUs do the same job all the time: so many steps of each series."""
    path, begin = FOLDER / f"steady-{steps}.csv", datetime(2025, 7, 18, 20, tzinfo=timezone.utc)
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(COLUMNS)
            for step in range(steps):
                stamp = (begin + timedelta(seconds=step * INTERVAL_S)).strftime("%Y-%m-%dT%H:%M:%SZ")
                for m in range(METRICS):
                    for g in range(GPUS):
                        value = 40 + (step * 7 + m * 13 + g * 3) % 60
                        writer.writerow((stamp, f"DCGM_FI_DEV_FIGURE_{m}", g, f"nvidia{g}", f"GPU-steady-{g}",
                                         "NVIDIA H100 80GB HBM3", "steady-1", "pytorch", "worker-0", "training",
                                         f"{value}.{step % 10}" if m % 2 else value, 'job="dcgm"'))
    return Input("steady", path, steps * METRICS * GPUS)


def wide():
    """A real recording (8 H100s, 16 metrics, each 100 ms), its columns turned into rows; None where it is
    not at hand."""
    source, path = SHARED / "data" / "h100_training_wide.csv", FOLDER / "wide.csv"
    if not source.exists():
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    n = 0
    with open(source, newline="") as f, open(path, "w", newline="") as out:
        lines, writer = csv.DictReader(f), csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        metrics = [c for c in lines.fieldnames if c not in ("timestamp", "phase", "gpu", "gpu_model")]
        writer.writerow(COLUMNS)
        for line in lines:
            stamp = datetime.fromtimestamp(round(float(line["timestamp"]) * 1000) / 1000, timezone.utc)
            stamp = stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            for metric in metrics:
                if not line[metric]:
                    continue
                n += 1
                writer.writerow((stamp, metric, line["gpu"], f"nvidia{line['gpu']}", f"GPU-{line['gpu']}",
                                 line["gpu_model"], WIDE_HOST, "", "", "", line[metric], ""))
    return Input("wide recording", path, n)
