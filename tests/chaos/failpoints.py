"""A crash, a SIGTERM and two of them at every failpoint (common/failpoint.h): before each transaction
is sent, and after its answer is in.

A scenario leads a program, the target, through a part of its life. It runs once with FAILPOINT=x:0,
which tells what it passes; then once for every such place, n and action, with that happening to the
target at the n-th passing. It must end as it should, it is started again without, and the oracle
judges history, balance and rows. Scenarios run side by side: they mostly wait for leases.
"""
import collections
import concurrent.futures
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import oracle
from cluster import Cluster
from lib import ROOT, SLOW, Crash, Process, System, wait_until
from proxy import Pass, Proxies, Repeat
from rows import fleet, write_csv

# What is to happen to the target, and the statuses that it may then end with: 3 where finite work was
# cut short, else 0; 1 where a second signal ended it.
CRASH, TERM, TERM_TWICE = "", "term", "term2"
STATUS = {CRASH: {42}, TERM: {0, 3}, TERM_TWICE: {1}}
SIDE_BY_SIDE = 12
ENV = {"MQ_PROCESSING_TIMEOUT": "2s", "MQ_MAX_RETRIES": 20, "STREAMER_BATCH_SIZE": 32, "STREAMER_FLUSH_INTERVAL": "10ms",
       "MQ_BATCH_SIZE": 8, "COLLECTOR_BATCH_SIZE": 4, "COLLECTOR_FLUSH_INTERVAL": "10ms", "ETCD_MAINTENANCE": "off"}

SHAPE = {"hosts": 8, "gpus": 2, "metrics": 2, "step_s": 120}


def build():
    """Programs with failpoints; where they are."""
    given = os.environ.get("GPUTEL_FAILPOINT_BIN")
    if given:
        return Path(given)
    subprocess.run(["make", "-s", "-C", ROOT, "-j2", "FAILPOINTS=1", "streamer", "collector", "fs"], check=True,
                   capture_output=True, timeout=300)
    return ROOT / "build" / "failpoints" / "bin"


class Site(System):
    """A System whose programs have failpoints, and one of which, the target, is to hit one."""

    def __init__(self, place, folder, failpoint, n_rows, shape):
        super().__init__(place.cluster, folder, **ENV)
        self.bin, self.proxies, self.failpoint = place.bin, place.proxies, failpoint
        self.rows = list(fleet(n_rows, **shape))
        self.file = write_csv(folder / "load.csv", self.rows)
        self.passed, self.crashed, self.finite = [], False, True

    def start(self, program, *args, stdin=None, **env):
        name = f"{program}-{1 + sum(p.name.startswith(program) for p in self.processes)}"
        process = Process(name, [self.bin / f"gputel-{program}", *args],
                          {**self.base_env, **{k: str(v) for k, v in env.items()}}, self.folder, stdin)
        self.processes.append(process)
        return process

    def target(self, program, *args, **env):
        return self.start(program, *args, FAILPOINT=self.failpoint, **env)

    def note(self, target):
        """The target has ended, at the failpoint or as usual."""
        status = target.popen.returncode
        self.crashed = bool(re.search(r"^failpoint \S+ hit$", target.log(), re.M))
        allowed = STATUS[self.failpoint.split(":")[2]] if self.crashed else {0}
        if not self.finite:
            allowed -= {3}
        assert status in allowed, f"{target.name} ended with {status}, not {allowed}:\n{target.log()[-1500:]}"
        self.passed = re.findall(r"^failpoint (\S+)$", target.log(), re.M)

    def drain(self):
        assert self.collector("--drain").wait(40) == 0

    def has(self, under):
        return self.etcd.count(self.prefix + under) > 0

    def is_merged(self):
        """One chunk for each GPU (of a load within one segment)."""
        return self.etcd.count(self.prefix + "/telemetry/data/") == self.etcd.count(self.prefix + "/telemetry/gpus/")


# ---- scenarios -----------------------------------------------------------------------------------

def streamer_after_a_dead_one(site):
    """Takes over what a killed one left, in the middle of a window."""
    first = site.streamer("--csv", site.file, "--rate", "8000")
    wait_until(lambda: site.has("/payload/"), 10, "messages")
    first.kill()
    target = site.target("streamer", "--csv", site.file)
    target.wait(40)
    site.note(target)
    site.stream("--csv", site.file)
    site.drain()


def streamer_whose_requests_are_repeated(site):
    """Every request reaches etcd twice, and either answer may be the one that counts."""
    target = site.target("streamer", "--csv", site.file, ETCD_ENDPOINTS=site.proxies.client)
    target.wait(40)
    site.note(target)
    site.stream("--csv", site.file)
    site.drain()


def collector_after_a_dead_one(site):
    """Recovers a killed one's claims and takes its hosts."""
    site.stream("--csv", site.file)
    first = site.collector()
    wait_until(lambda: site.has("/telemetry/data/"), 10, "first rows")
    first.kill()
    target = site.target("collector", "--drain")
    target.wait(40)
    site.note(target)
    site.drain()


def collector_whose_requests_are_repeated(site):
    site.stream("--csv", site.file)
    target = site.target("collector", "--drain", ETCD_ENDPOINTS=site.proxies.client)
    target.wait(40)
    site.note(target)
    site.drain()


def collector_that_is_joined(site):
    """Lets go of hosts when another one comes, and is stopped in the end."""
    site.finite = False
    target = site.target("collector")
    streamer = site.streamer("--csv", site.file, "--rate", "2000")
    wait_until(lambda: site.has("/telemetry/data/") or not target.running(), 10, "first rows")
    second = site.collector()
    assert streamer.wait(30) == 0
    wait_until(lambda: not target.running() or not site.has("/queue/telemetry/"), 20, "the queue is empty")
    target.stop()
    site.note(target)
    second.stop()
    site.drain()


def collector_that_merges(site):
    """Many small chunks become few while rows come, and one for each GPU and segment after them."""
    site.finite = False
    site.stream("--csv", site.file)
    target = site.target("collector", COLLECTOR_BATCH_SIZE=1, ETCD_ENDPOINTS=site.proxies.client)
    wait_until(lambda: not target.running() or (not site.has("/queue/telemetry/") and site.is_merged()), 60, "all is merged")
    target.stop()
    site.note(target)
    site.drain()
    last = site.collector()
    wait_until(site.is_merged, 60, "all is merged")
    last.stop()


collector_that_merges.shape = {"hosts": 3, "gpus": 2, "metrics": 2, "step_s": 1}

SCENARIOS = (streamer_after_a_dead_one, streamer_whose_requests_are_repeated, collector_after_a_dead_one,
             collector_whose_requests_are_repeated, collector_that_is_joined, collector_that_merges)


# ---- running them --------------------------------------------------------------------------------

class Place:
    """What all scenarios share: programs, an etcd, and a proxy that repeats requests."""

    def __init__(self, folder, seed):
        self.folder, self.bin = folder, build()
        self.cluster = Cluster(folder / "etcd").start()
        self.proxies = Proxies([self.cluster.members[0].address])
        self.proxies.set(Repeat(random.Random(seed)))

    def close(self):
        self.proxies.set(Pass())
        self.proxies.close()
        self.cluster.close()


def judge(site, witness):
    """Everything that is wrong after a scenario."""
    oracle.wait_quiet(site.etcd, site.prefix, 20)
    ledger = witness.finish(30)
    verdict = oracle.compare([site.rows], oracle.read_files(site.mount()))
    wrong = ledger.violations[:5] + oracle.balance(site, ledger) + verdict.notes
    if ledger.places()["dead"]:
        wrong.append(f"{ledger.places()['dead']} messages are dead-lettered")
    return wrong


def run(place, scenario, failpoint, n_rows):
    """(passed, crashed, what is wrong) of a scenario."""
    folder = Path(tempfile.mkdtemp(dir=place.folder, prefix="case-"))
    site, wrong = None, []
    try:
        site = Site(place, folder, failpoint, n_rows, getattr(scenario, "shape", SHAPE))
        witness = oracle.Witness(place.cluster, site.prefix, place.cluster.revision() + 1)
        scenario(site)
        wrong = judge(site, witness)
    except (AssertionError, OSError, Crash) as e:
        wrong.append(f"{type(e).__name__}: {e}")
    finally:
        try:
            if site:
                site.close()
        except AssertionError as e:
            wrong.append(f"in the end: {e}")
        if not wrong:
            shutil.rmtree(folder, ignore_errors=True)
    if wrong:
        wrong.append(f"logs in {folder}")
    return (site.passed, site.crashed, wrong) if site else ([], False, wrong)


def explore(place, n_rows, choose_n, say, scenarios=SCENARIOS, actions=(CRASH,), seconds=None, steps=None):
    """Runs all, or only those failpoints; returns what is wrong, and how often each was hit.
    choose_n(count) are the passings to act at; past `seconds` no case is begun any more."""
    wrong, hits = [], collections.Counter()
    end = time.monotonic() + seconds * SLOW if seconds else None
    with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        normal = list(pool.map(lambda s: run(place, s, "x:0:", n_rows), scenarios))
        cases = []
        for scenario, (passed, _, bad) in zip(scenarios, normal):
            wrong += [f"{scenario.__name__}: {w}" for w in bad]
            counts = collections.Counter(p for p in passed if not steps or p in steps)
            say(f"{scenario.__name__} passes " + ", ".join(f"{k} {n}×" for k, n in sorted(counts.items())))
            cases += [(scenario, f"{name}:{n}:{action}") for action in actions
                      for name, count in sorted(counts.items()) for n in choose_n(count)]

        def one(case):
            if end and time.monotonic() > end:
                return case, (None, None, [])
            return case, run(place, *case, n_rows)
        for (scenario, failpoint), (_, crashed, bad) in pool.map(one, cases):
            hits[failpoint.partition(":")[0]] += bool(crashed)
            what = "skipped: no time" if crashed is None else "FAILED" if bad else "ok" if crashed else "not passed this time"
            say(f"{what:22s} {scenario.__name__} {failpoint}")
            for w in bad:
                say(f"    {w}")
                wrong.append(f"{scenario.__name__} {failpoint}: {w}")
    return wrong, hits


def main():
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    print(f"SEED={seed} FAILPOINTS=1", flush=True)
    rng = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="gputel-failpoints-"))
    begun = time.monotonic()
    place = Place(folder, seed)
    try:
        wrong, hits = explore(place, 3000, lambda count: sorted({1, min(2, count), rng.randint(1, count)}),
                              lambda text: print(text, flush=True), actions=(CRASH, TERM, TERM_TWICE))
    finally:
        place.close()
    print(f"{sum(hits.values())} crashes and signals at {len(+hits)} failpoints in {time.monotonic() - begun:.0f} s: "
          + (f"{len(wrong)} things are wrong" if wrong else "all well"))
    never = [name for name, n in hits.items() if not n]
    if never:
        print("never hit: " + ", ".join(never))
    if not wrong:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if wrong else 0
