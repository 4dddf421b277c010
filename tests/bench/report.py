"""Figures as a Markdown page: medians of the rounds, and what they are to the peer's."""
import os
import platform
import re
import statistics
from datetime import date
from pathlib import Path

from sides import Ours, Peer


def median(loads, figure):
    return statistics.median(figure(load) for load in loads)


def spread(values):
    return f"{min(values):,.0f}–{max(values):,.0f}"


# What is said of each load: title, how it is written, figure, whether more is better.
LINES = (
    ("rows/s", "{:,.0f}", lambda load: load.rows_per_s, True),
    ("CPU seconds per million rows, until readable", "{:.2f}", lambda load: load.cpu_per_million(), False),
    ("the same, until merging has ended", "{:.2f}", lambda load: load.settled_per_million, False),
    ("bytes stored per sample", "{:.2f}", lambda load: load.bytes_per_sample, False),
    ("rows/s read back", "{:,.0f}", lambda load: load.rows / load.read_seconds, True),
)


def machine():
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} × {model[1] if model else platform.machine()}, Linux {platform.release()}"


class Report:
    def __init__(self, peer_version, rounds):
        self.peer, self.rounds, self.sections = peer_version, rounds, []
        self.busy = os.getloadavg()[1]  # by others, before
        self.host_lines, self.fresh_lines = [], []

    def load(self, source, loads, memory, etcd):
        ours, peer = loads[Ours], loads.get(Peer)
        out = [f"## {source}", "", "| | gputel | VictoriaMetrics | gputel is |", "|---|---:|---:|---:|"]
        for title, form, figure, more in LINES:
            a = median(ours, figure)
            b = median(peer, figure) if peer else None
            ratio = "" if b is None else f"{a / b if more else b / a:.2f}× as good"
            out.append(f"| {title} | {form.format(a)} | {'–' if b is None else form.format(b)} | {ratio} |")
        out.append(f"| peak memory, MiB | {self.peaks(ours)} | {self.peaks(peer) if peer else '–'} | |")
        out += ["", *self.notes(source, ours, peer, memory, etcd), ""]
        self.sections.append("\n".join(out))

    @staticmethod
    def peaks(loads):
        return ", ".join(f"{name} {median(loads, lambda load: load.peak[name]) / 2**20:.0f}" for name in loads[0].peak)

    @staticmethod
    def shares(loads):
        return ", ".join(f"{name} {median(loads, lambda load: load.cpu_per_million(name)):.2f}" for name in loads[0].cpu)

    def notes(self, source, ours, peer, memory, etcd):
        speed = median(ours, lambda load: load.rows_per_s) * source.size / source.rows
        yield f"- CPU seconds per million rows: {self.shares(ours)}."
        yield f"- Rows/s of the rounds: gputel {spread([load.rows_per_s for load in ours])}" + \
            (f", VictoriaMetrics {spread([load.rows_per_s for load in peer])}." if peer else ".")
        yield f"- The file goes by at {speed / 1e6:.0f} MB/s; memchr over it in memory runs at " \
              f"{memory['bytes_per_s'] / 1e6:,.0f} MB/s ({memory['bytes_per_s'] / speed:.0f} times that)."
        if etcd:
            stored = median(ours, lambda load: load.stored_bytes / load.seconds)
            yield f"- Stored at {stored / 1e6:.2f} MB/s of keys and values; one caller of our client puts " \
                  f"{etcd['bytes_per_s'] / 1e6:.1f} MB/s into this etcd ({etcd['txn_per_s']:.0f} transactions of " \
                  f"256 KiB a second)."

    def hosts(self, hosts, loads):
        cost, rate = median(loads, lambda load: load.cpu_per_million()), median(loads, lambda load: load.rows_per_s)
        self.host_lines.append(f"| {hosts} | {loads[0].rows:,} | {rate:,.0f} | {cost:.2f} | {self.shares(loads)} | "
                               f"{self.peaks(loads)} |")

    def fresh(self, side, env, delays):
        ranked = sorted(delays)
        name = side.name + (" with " + ", ".join(f"{k}={v}" for k, v in env.items()) if env else "")
        self.fresh_lines.append(f"| {name} | {statistics.median(ranked) * 1e3:.0f} | "
                                f"{ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))] * 1e3:.0f} | {len(ranked)} |")

    def text(self):
        peer = f"VictoriaMetrics {self.peer} (Debian)" if self.peer else "no peer installed"
        out = ["# From the CSV file to stored and readable in the mount", "",
               f"`make bench`, {date.today()}: {machine()}; {peer}. Medians of {self.rounds}, the two taking turns; "
               f"exactly once, etcd with fsync. Load average of the machine before: {self.busy:.1f}.", "", *self.sections]
        if self.host_lines:
            out += ["## Cost against the number of hosts", "",
                    "| hosts | rows | rows/s | CPU s per million rows | of it | peak memory, MiB |",
                    "|---:|---:|---:|---:|---|---|", *self.host_lines, ""]
        if self.fresh_lines:
            out += ["## From a row's way in to its value's way out, ms", "", "| | p50 | p99 | rows |",
                    "|---|---:|---:|---:|", *self.fresh_lines, ""]
        return "\n".join(out)
