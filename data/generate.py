#!/usr/bin/env python3
"""Writes GPU telemetry as dcgm-exporter rows are dumped: the long form, every field quoted.

    data/generate.py > data/telemetry.csv          the file in this folder, byte for byte
    data/generate.py --hosts 100 --duration 1h --interval 5s --seed 7

Hosts are scraped one after another within each interval; a scrape is all GPUs of metric 1, then of
metric 2, and so on, with one stamp. Every GPU has its own random walk, seeded by (seed, host, gpu),
and every host its own chain of jobs. A shorter run is the head of a longer one.
"""
import argparse
import csv
import os
import random
import re
import sys
from datetime import datetime, timedelta, timezone

COLUMNS = ("timestamp", "metric_name", "gpu_id", "device", "uuid", "modelName", "Hostname",
           "container", "pod", "namespace", "value", "labels_raw")
MODEL = "NVIDIA H100 80GB HBM3"
DRIVER = "550.90.07"
FRAMEBUFFER_MIB = 81007  # FB_USED + FB_FREE, always
IDLE_W, FULL_W = 71.0, 690.0

# kind: (load while it works, framebuffer in MiB, decoder load, container, namespace, pod name)
JOBS = {
    "train": (0.97, 74200, 0.0, "pytorch", "llm-pretrain", "llama3-8b-run{run}-worker-{host}"),
    "finetune": (0.88, 52300, 0.0, "pytorch", "research", "mixtral-lora-{run}-{host}"),
    "serve": (0.42, 61800, 0.3, "triton", "serving", "video-embed-{run}-{gpu}"),
}
SETUP_S, RAMP_S = 30, 60                   # weights are loaded, then the load rises
CHECKPOINT_S, CHECKPOINT_LENGTH_S = 180, 20  # a training job pauses to write one


class Job:
    """What runs on some GPUs of a host from start to end, in seconds of the whole run."""

    def __init__(self, kind, start, end, gpus, run):
        self.kind, self.start, self.end, self.gpus, self.run = kind, start, end, gpus, run
        self.load, self.memory, self.decode, self.container, self.namespace, self.pod = JOBS[kind]

    def phase(self, t):
        """Load from 0 to 1 at t: set-up, ramp, work with dips for checkpoints."""
        age = t - self.start
        if age < SETUP_S:
            return 0.02
        if age < SETUP_S + RAMP_S:
            return self.load * (age - SETUP_S) / RAMP_S
        if self.kind == "train" and age % CHECKPOINT_S < CHECKPOINT_LENGTH_S:
            return 0.08
        return self.load


class Host:
    """A name and a chain of jobs without end, drawn as time goes on."""

    def __init__(self, seed, index, gpus):
        self.index = index
        self.name = f"ams1-r{7 + index // 2:02d}-hgx{1 + index % 2:02d}"
        self.rng = random.Random(f"{seed}/{index}")
        self.job = None
        self.free_at = self.rng.uniform(0, 90)
        self.gpus = [Gpu(seed, index, g) for g in range(gpus)]

    def job_at(self, t):
        if self.job and t >= self.job.end:
            self.free_at = self.job.end + self.rng.uniform(45, 150)
            self.job = None
        if not self.job and t >= self.free_at:
            kind = ("train", "finetune", "serve")[int(self.rng.random() * 3)]
            half = len(self.gpus) // 2
            gpus = len(self.gpus) if kind == "train" else max(1, half)
            run = f"{int(self.rng.random() * 0x10000):04x}"
            self.job = Job(kind, self.free_at, self.free_at + self.rng.uniform(300, 700), gpus, run)
        return self.job

    def scrape(self, t):
        """Advances every GPU to t; returns (gpu, job or None) in order."""
        job = self.job_at(t)
        out = []
        for gpu in self.gpus:
            mine = job if job and gpu.index < job.gpus else None
            gpu.advance(mine, t)
            out.append((gpu, mine))
        return out


class Gpu:
    def __init__(self, seed, host, index):
        self.rng = random.Random(f"{seed}/{host}/{index}")
        digits = "".join(f"{int(self.rng.random() * 16):x}" for _ in range(32))
        self.uuid = "GPU-" + "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        self.index = index
        self.inlet = 24 + self.rng.uniform(0, 5)  # °C that it idles at, almost
        self.busy = self.copy = self.decode = self.memory = 0.0
        self.power = IDLE_W
        self.temperature = self.inlet + 4

    def advance(self, job, t):
        """One step of the walk: load follows the phase, power follows load, temperature power."""
        noise = self.rng.gauss(0, 1)
        want = job.phase(t) if job else 0.0
        wobble = 0.15 if job and job.kind == "serve" else 0.02
        self.busy = min(1.0, max(0.0, want + wobble * noise)) if want else 0.0
        self.copy = self.busy * (0.55 + 0.05 * self.rng.random())
        self.decode = self.busy * job.decode * self.rng.uniform(0.5, 1.5) if job else 0.0
        self.memory = job.memory + 40 * self.rng.random() if job and t - job.start > 10 else 4
        target = IDLE_W + (FULL_W - IDLE_W) * (0.25 * (self.busy > 0.01) + 0.75 * self.busy) + self.rng.gauss(0, 3)
        self.power = max(IDLE_W - 5, self.power + 0.8 * (target - self.power))
        self.temperature += 0.3 * (self.inlet + 4 + 40 * (self.power - IDLE_W) / (FULL_W - IDLE_W) - self.temperature)

    def readings(self):
        used = int(self.memory)
        clock = 1980 - 15 * int(9 * self.rng.random() * (self.power > 600)) if self.busy > 0.01 else 345
        return {
            "DCGM_FI_DEV_GPU_UTIL": round(100 * self.busy),
            "DCGM_FI_DEV_MEM_COPY_UTIL": round(100 * self.copy),
            "DCGM_FI_DEV_ENC_UTIL": 0,
            "DCGM_FI_DEV_DEC_UTIL": round(100 * self.decode),
            "DCGM_FI_DEV_FB_USED": used,
            "DCGM_FI_DEV_FB_FREE": FRAMEBUFFER_MIB - used,
            "DCGM_FI_DEV_GPU_TEMP": round(self.temperature),
            "DCGM_FI_DEV_POWER_USAGE": f"{self.power:.3f}".rstrip("0").rstrip("."),
            "DCGM_FI_DEV_SM_CLOCK": clock,
            "DCGM_FI_DEV_MEM_CLOCK": 2619,
        }


def labels(full, metric, host, gpu):
    """labels_raw: what no column has, or with --labels full all that Prometheus sends."""
    pairs = {"DCGM_FI_DRIVER_VERSION": DRIVER, "instance": f"{host.name}:9400", "job": "dcgm-exporter"}
    if full:
        pairs.update(Hostname=host.name, UUID=gpu.uuid, __name__=metric, device=f"nvidia{gpu.index}",
                     gpu=gpu.index, modelName=MODEL)
    return ",".join(f'{k}="{v}"' for k, v in sorted(pairs.items()))


def rows(args):
    hosts = [Host(args.seed, h, args.gpus) for h in range(args.hosts)]
    sweep = 0
    while sweep * args.interval < args.duration:
        for host in hosts:
            # whole seconds, as dcgm rows have them; hosts take turns within the interval
            t = sweep * args.interval + int(args.interval * host.index / args.hosts)
            stamp = (args.start + timedelta(seconds=t)).strftime("%Y-%m-%dT%H:%M:%SZ")
            scrape = [(gpu, job, gpu.readings()) for gpu, job in host.scrape(t)]
            for metric in scrape[0][2]:
                for gpu, job, values in scrape:
                    pod = job.pod.format(run=job.run, host=host.index, gpu=gpu.index) if job else ""
                    yield (stamp, metric, gpu.index, f"nvidia{gpu.index}", gpu.uuid, MODEL, host.name,
                           job.container if job else "", pod, job.namespace if job else "",
                           values[metric], labels(args.labels == "full", metric, host, gpu))
        sweep += 1


def seconds(text):
    match = re.fullmatch(r"([1-9][0-9]*)([smh]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration (15s, 20m, 1h)")
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def instant(text):
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time (2025-07-18T20:00:00Z)") from None


def main():
    parser = argparse.ArgumentParser(description="DCGM-shaped GPU telemetry as CSV on stdout.")
    parser.add_argument("--hosts", type=positive, default=4)
    parser.add_argument("--gpus", type=positive, default=8, help="per host (8)")
    parser.add_argument("--duration", type=seconds, default="15m", help="15s, 20m, 1h (15m)")
    parser.add_argument("--interval", type=seconds, default="15s", help="between two scrapes of a host (15s)")
    parser.add_argument("--start", type=instant, default="2025-07-18T20:40:00Z", help="first stamp")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--labels", choices=("short", "full"), default="short",
                        help="labels_raw without or with what other columns say already (short)")
    args = parser.parse_args()

    print(",".join(COLUMNS))
    csv.writer(sys.stdout, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows(args))


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
