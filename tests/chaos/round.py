"""One round: a load on fresh keys, one fault in the middle of it, and the oracle's verdict."""
import os
import random
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field

import oracle
from cluster import post
from faults import LEASE_S, SMALL, clock_env, shift_clock
from lib import SLOW, Crash, System, wait_until
from rows import fleet, write_csv

RATE = 4000            # rows per second of a streamer
ROUND_TAKES_S = 90     # at most; then everything that may hang is aborted
# After SIGTERM, which may come before the program has begun.
EXITS = {"streamer": {0, 1, 3, -signal.SIGTERM}, "collector": {0, 1, -signal.SIGTERM}}


@dataclass
class Result:
    number: int
    fault: str
    where: str
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    illegal: int = 0
    unbalanced: int = 0
    judged: bool = False
    seconds: float = 0
    notes: list = field(default_factory=list)
    moves: dict = field(default_factory=dict)  # what the history has seen, by name

    def bad(self):
        return bool(self.lost or self.doubled or self.disordered or self.illegal or self.unbalanced or self.notes)


class Sampler(threading.Thread):
    """Reads a row file now and then: what was read once must stay the beginning of the file."""

    def __init__(self, round):
        super().__init__(name="sampler", daemon=True)
        self.round, self.rng = round, random.Random(round.rng.random())
        self.seen, self.changed = {}, []
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            mount = self.round.mount
            try:
                gpu = self.rng.choice(sorted(mount.gpus()) or [None])
                for name in mount.names(f"{gpu}/history") if gpu else []:
                    self.look(f"{gpu}/history/{name}", mount.read(f"{gpu}/history/{name}"))
            except OSError:
                pass  # the mount is gone for the moment, or etcd is

    def look(self, path, text):
        old = self.seen.get(path, "")
        if not text.startswith(old) or (text and not text.endswith("\n")):
            self.changed.append(f"{path}: what could be read has changed: {old[-80:]!r} → {text[:len(old)][-80:]!r}")
        self.seen[path] = text

    def stop(self):
        self.over.set()
        self.join(10)


class Feeder(threading.Thread):
    """Lets the round's files grow, the first quarter of which is there; a streamer that has come to
    their end is started again. finish() waits until all is written."""

    PIECES = 20

    def __init__(self, round):
        super().__init__(name="feeder", daemon=True)
        self.round, self.step_s = round, 0.75 * round.rows / round.rate / self.PIECES

    def run(self):
        for piece in range(self.PIECES):
            time.sleep(self.step_s)
            for file, rows in zip(self.round.files, self.round.sources):
                rest = rows[len(rows) // 4:]
                write_csv(file, rest[len(rest) * piece // self.PIECES:len(rest) * (piece + 1) // self.PIECES], append=True)
            with self.round.lock:
                streamer = self.round.programs["streamer"]
                if not streamer.running() and not streamer.killed and streamer not in self.round.stopped:
                    self.round.start("streamer")

    def finish(self):
        self.join(30 * SLOW)
        assert not self.is_alive(), "the files are not written"


class Round:
    def __init__(self, number, seed, fault, place, folder, rows=None):
        self.fault, self.place, self.cluster, self.proxies = fault, place, place.cluster, place.proxies
        self.folder = folder / f"round-{number}"
        self.rng = random.Random(f"{seed}/{number}")
        self.result = Result(number, fault.name, place.name)
        self.programs, self.clocks = {}, {}
        drawn = self.rng.randint(10_000, 20_000)
        self.rows = rows or drawn
        self.rate = self.rng.choice([RATE, RATE, 2 * RATE])
        self.stopped, self.lock = set(), threading.RLock()
        self.witness = self.system = self.mount = self.sampler = None

    # ---- what faults use

    @property
    def prefix(self):
        return self.system.prefix

    def start(self, name):
        with self.lock:
            if name not in self.programs or not self.programs[name].running():
                self.launch(name)

    def launch(self, name):
        program = name.partition("-")[0]
        env = dict(self.clocks[name][1]) if name in self.clocks else {}
        args = []
        if program == "streamer":
            args = [a for f in self.files for a in ("--csv", f)] + ["--rate", str(self.rate)]
            env["STREAMER_ID"] = name
        else:
            env["COLLECTOR_ID"] = name
        self.programs[name] = self.system.start(program, *args, **env)

    def kill(self, name):
        self.programs[name].kill()

    def stop(self, name, second=False):
        process = self.programs[name]
        self.stopped.add(process)
        process.send(signal.SIGTERM)
        if second:
            time.sleep(self.rng.uniform(0, 0.1))
            process.send(signal.SIGTERM)
        status = process.wait(20)
        if status not in EXITS[name.partition("-")[0]]:
            self.note(f"{process.name} ended with {status} after SIGTERM")

    def start_mount(self):
        self.mount = self.system.mount(path=self.folder / "mnt", ready=False)

    def kill_mount(self):
        self.mount.process.kill()

    def catch_with_claims(self, name):
        """Waits a little for the moment in which that collector has claims; often there is one."""
        end = time.monotonic() + 0.5
        while time.monotonic() < end and not self.cluster.count(f"{self.prefix}/processing/{name}-"):
            pass

    def set_clock(self, name, seconds):
        shift_clock(self.clocks[name][0], seconds)

    def need_network(self):
        assert self.cluster.network, "the members have no namespaces of their own"
        return self.cluster.network

    def note(self, text):
        self.result.notes.append(text)

    # ---- the round

    def make_load(self):
        """One file or several of the same hosts, one of which may still be growing."""
        hosts, gpus = self.rng.randint(16, 32), self.rng.randint(1, 3)
        n_files = self.rng.choice([1, 1, 2, 4])
        start = self.rng.choice(["2025-07-18T20:42:00Z", "2025-02-28T23:30:10Z"])
        self.sources, self.files = [], []
        for s in range(n_files):
            rows = [{**r, "value": str(s * 1_000_000 + int(r["value"]))}
                    for r in fleet(self.rows // n_files, hosts, gpus, metrics=4, step_s=self.rng.choice([10, 60]), start=start)]
            self.sources.append(rows)
            self.files.append(self.folder / f"load-{s}.csv")
        self.feeder = Feeder(self) if self.rng.random() < 0.5 else None
        for file, rows in zip(self.files, self.sources):
            write_csv(file, rows[:len(rows) // 4] if self.feeder else rows)

    def begin(self):
        self.folder.mkdir(parents=True)
        self.make_load()
        self.system = System(
            self.cluster, self.folder / "programs", MQ_PROCESSING_TIMEOUT=f"{LEASE_S}s", MQ_MAX_RETRIES=20,
            ETCD_ENDPOINTS=self.proxies.client if self.fault.proxied else self.cluster.client,
            STREAMER_BATCH_SIZE=self.rng.choice([16, 64, 256]), STREAMER_FLUSH_INTERVAL=self.rng.choice(["10ms", "30ms", "100ms"]),
            MQ_BATCH_SIZE=self.rng.choice([4, 32]), COLLECTOR_FLUSH_INTERVAL=self.rng.choice(["10ms", "50ms"]), **{"ETCD_MAINTENANCE": "off", **self.fault.env})
        self.witness = oracle.Witness(self.cluster, self.prefix, self.cluster.revision() + 1)
        if self.fault.compacts:
            self.witness.start(ROUND_TAKES_S)
        self.collectors = [f"collector-{i + 1}" for i in range(self.rng.choice(self.fault.collectors))]
        streamers = ["streamer", "streamer-2"] if self.fault.standby else ["streamer"]
        if self.fault.name == "clock jumps":
            for name in (*streamers, *self.collectors):
                self.clocks[name] = clock_env(self.folder, name)
        for name in (*self.collectors, *streamers):
            self.start(name)
        self.start_mount()

    def play(self):
        self.sampler = sampler = Sampler(self)
        sampler.start()
        if self.feeder:
            self.feeder.start()
        wait_until(lambda: self.cluster.count(self.prefix + "/telemetry/data/"), 15, "first rows are stored")
        self.fault.act(self)
        self.cluster.heal()
        self.finish_load()
        sampler.stop()

    def finish_load(self):
        """Whatever the fault has left: every row is published and stored in the end."""
        for name in self.collectors:
            if not self.programs[name].running():
                status = self.programs[name].popen.returncode
                if not self.programs[name].killed:
                    self.note(f"{self.programs[name].name} ended by itself with {status}")
                self.start(name)
        if self.feeder:
            self.feeder.finish()
        rest = [p for p in self.system.processes if p.name.startswith("streamer")]
        wait_until(lambda: not any(p.running() for p in rest), 60, "the streamers are done")
        for p in rest:
            if p.popen.returncode and not p.killed and p not in self.stopped:
                self.note(f"{p.name} ended by itself with {p.popen.returncode}")
        run = self.system.stream(*[a for f in self.files for a in ("--csv", f)], "--wait", seconds=60)
        if run.published + run.duplicate != self.rows_sent():
            self.note(f"the last streamer counts {run.published} + {run.duplicate} of {self.rows_sent()} rows")
        oracle.wait_quiet(self.cluster, self.prefix, 40)

    def rows_sent(self):
        return sum(map(len, self.sources))

    def judge(self):
        """Fills the result from the history, the counters and two mounts."""
        result, ledger = self.result, self.witness.finish(60)
        result.illegal = len(ledger.violations)
        result.notes += ledger.violations[:5]
        unbalanced = oracle.balance(self.system, ledger)
        result.unbalanced = len(unbalanced)
        result.notes += unbalanced
        if ledger.places()["dead"]:
            self.note(f"{ledger.places()['dead']} messages are dead-lettered")
        fresh = oracle.read_files(self.system.mount(path=self.folder / "mnt-fresh"))
        verdict = oracle.compare(self.sources, fresh)
        result.rows, result.lost, result.doubled, result.disordered = (
            verdict.sent, verdict.lost, verdict.doubled, verdict.disordered)
        result.notes += verdict.notes
        result.judged = True
        self.judge_live_mount(fresh)
        result.moves = ledger.moves

    def judge_live_mount(self, fresh):
        """The mount that lived through it shows the very bytes of the one that starts now."""
        try:
            wait_until(lambda: oracle.read_files(self.mount) == fresh, 20, "both mounts show the same")
        except AssertionError:
            live = oracle.read_files(self.mount)
            paths = [p for p in sorted(fresh.keys() | live.keys()) if fresh.get(p) != live.get(p)]
            self.note(f"the mounts differ in {len(paths)} files, first {paths[0]}: {len(live.get(paths[0], ''))} bytes, "
                      f"a new mount shows {len(fresh.get(paths[0], ''))}")
        for path, text in self.sampler.seen.items():
            if not fresh.get(path, "").startswith(text):
                self.sampler.changed.append(f"{path}: what could be read is not in the file any more")
        self.result.notes += self.sampler.changed[:3]

    def run(self):
        begun = time.monotonic()
        watchdog = threading.Timer(ROUND_TAKES_S * SLOW, self.abort)
        watchdog.daemon = True
        watchdog.start()
        try:
            self.attempt(self.begin)
            if not self.result.notes:
                self.attempt(self.play)
                self.attempt(self.judge)  # also what came of a round that got stuck
        finally:
            watchdog.cancel()
            self.end()
        self.result.seconds = time.monotonic() - begun
        return self.result

    def attempt(self, step):
        try:
            step()
        except (AssertionError, OSError, Crash) as e:
            self.note(f"{step.__name__}: {type(e).__name__}: {e}" + (f" ({e.__cause__})" if e.__cause__ else ""))

    def abort(self):
        self.note(f"the round takes more than {ROUND_TAKES_S * SLOW:g} s")
        if self.system:
            self.system.abort()

    def end(self):
        for clean in (self.cluster.heal, self.system.close if self.system else None, self.forget):
            try:
                if clean:
                    clean()
            except (AssertionError, OSError, Crash) as e:
                self.note(f"in the end: {e}")
        if not self.result.bad() and not os.environ.get("KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self):
        """Keeps etcd small: what was judged is not needed any more."""
        if self.place.name == SMALL:
            self.cluster.make_space(self.cluster.revision())
        else:
            self.cluster.compact(self.cluster.revision())

    def ask(self, member, path, **body):
        return post(member.client, path, body)


__all__ = ["Round", "Result"]
