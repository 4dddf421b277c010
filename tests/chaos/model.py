#!/usr/bin/env python3
"""An exhaustive model of the transactions of DESIGN §4: every interleaving, every fault, every state.

    python3 tests/chaos/model.py            all configurations, then all mutants; a table; exit 1 if one errs
    python3 tests/chaos/model.py --traces   with the shortest way to each mutant's failure

What is modelled is what common/queue.c, streamer/publisher.c and collector/{consumer,worker,writer,retention,dead}.c
send to etcd, compare by compare, and how they settle what Else reads. A breadth-first search visits every state
that can be reached and checks the invariants Q1-Q4 of common/queue.h in each of them; the first violation comes
with the shortest trace. The merge is here as it has to be. Three rules came out of this model,
and each has its mutant, last in the list:
  - A host is taken from a writer x only after a recovery whose list of sessions is as new as x's taking and does not
    show x. Not to see x among the members is not enough: the mirror of the writers may be ahead of that of the members.
  - Whoever finds itself to be a host's writer without knowing of it takes the host anew: a copy of an earlier taking
    came late, when the key was gone again.
  - A segment is dropped only if no chunk of it is newer than the decision, else a late copy drops what came after.

etcd is a map of keys and atomic compare-and-swap transactions. Revisions never return, so of a revision that an
actor holds it only matters whether it still is the key's: 1 = is current, 0 = "absent" was seen, -1 = stale, for
ever false. A write turns the 1 of everybody else's compares and notes of that key into -1. This is exact, and
makes the number of states finite. A session's key under a lease is a key that may vanish at any step; its id is
used again only when nobody remembers it. Actors of one kind are interchangeable (sorted).

A call is sent, later applied, and the answer is seen in the step that applies it; sending and applying are two
steps, so that anything can come between. The faults, of which a run has a fixed number:
    the answer is lost           it is sent again, and a "false" is settled by what Else reads
    a copy stays on the way      it is sent again, and the copy is applied at any later time, or never
    a crash                      with the call never sent, or on the way for ever later
    a session or an owner lost   while its process lives on (SIGSTOP, an early revoke)
    a bad payload, a give back at a stop, a replay, a hand that edits the writer's key, a chunk's lease
Without cost: a dead process's session ends, a process starts, a mirror catches up, a host is handed over.

"fair": from every state a good end must be reachable with no further fault and no copy coming late: everything
published and stored, or dead with a reason. So nothing is lost and nothing is stuck for ever.

What keeps it small, and why it may: rows are numbers in the order of the source; one host (hosts share nothing
but transactions: one that takes, claims for or completes several hosts has the compares of all of them, so to one
host's keys it does what a transaction of its own would, or nothing; a taking or claim that is refused for one of them
is sent again host by host); a read that a writer acts on compares the hold and is thus as good as made when it was
needed; a list shows what is there now, because the compares pin what it showed. In "consume" messages appear by a step
that stands for the streamers: "publish" shows that they can do nothing else, and "whole" has both.
"""
import gc
import sys
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

WRITER, RECORD = ("writer",), ("record",)
NEEDS_HOLD = {"claim", "complete", "part", "dead_letter", "give_back", "merge", "drop"}


class Violation(Exception):
    """Names the invariant that does not hold."""


# ---- etcd --------------------------------------------------------------------------------------------------


class Txn(NamedTuple):
    """If all of ifs then all of then. ifs: (tag, key, wanted), wanted: 1 the revision that is current, -1 one that
    was, 0 none, 2 none newer (a range compare: absent or current). then: (op, key, value), op: put, del, or store
    and append (a chunk goes behind the others). by: the session that sends it. what: for settling."""
    name: str
    by: int
    ifs: tuple
    then: tuple
    what: tuple = ()


def hopeless(txn):
    return any(want < 0 for _, _, want in txn.ifs)


def holds(kv, txn):
    return all(want == 2 or (want >= 0 and (key in kv) == want) for _, key, want in txn.ifs)


def run(kv, txn):
    """The keys after a successful transaction, and which it wrote. Q2 and Q3 are about this very step."""
    if txn.by and ("session", txn.by) not in kv:
        raise Violation(f"Q2: {txn.name} of session {txn.by} succeeds after its end")
    if txn.name == "take_host" and ("session", kv.get(WRITER)) in kv and kv[WRITER] != txn.by:
        raise Violation("Q3: a living writer is robbed of its host")
    if txn.name == "recover" and ("session", txn.what[0][1]) in kv:
        raise Violation("Q2: a claim is taken from a living session")
    if txn.by and txn.name in NEEDS_HOLD and kv.get(WRITER) != txn.by:
        raise Violation(f"Q3: {txn.name} succeeds, and session {txn.by} is not the host's writer")
    new, written = dict(kv), set()
    for op, key, value in txn.then:
        if op == "put":
            new[key] = value
        elif op == "del":
            if new.pop(key, None) is None:
                continue
        else:
            new[key] = new.get(key, ()) + (value,)
        written.add(key)
    if any(op == "store" for op, _, _ in txn.then):
        if not any(key[0] == "claim" and key in kv and kv[key] != new.get(key) for key in written):
            raise Violation(f"Q3: {txn.name} stores rows without ending or moving on a claim")
    return new, written


def staled(txn, written):
    if txn and any(want > 0 and key in written for _, key, want in txn.ifs):
        return txn._replace(ifs=tuple((tag, key, (want, -1, 0)[want] if want > 0 and key in written else want)
                                      for tag, key, want in txn.ifs))
    return txn


class State(NamedTuple):
    kv: frozenset  # of (key, value)
    procs: tuple
    net: tuple     # copies on the way that nobody waits for
    left: int      # faults


def actor(kind):
    """An actor is a tuple: call (what it has sent), and what it remembers. These are the defaults."""
    def touched(self, written):
        """Somebody wrote these keys."""
        return self._replace(call=staled(self.call, written)) if self.call else self

    def saw_birth(self, x):
        return self

    def runs(self):
        return False

    def decorate(cls):
        cls.kind = kind
        for name, value in {"touched": touched, "saw_birth": saw_birth, "runs": runs, "call": None, "sess": 0}.items():
            if not hasattr(cls, name):
                setattr(cls, name, value)
        return cls
    return decorate


class Step(NamedTuple):
    label: str
    proc: tuple
    put: dict = {}       # key → value, None: deleted
    cost: int = 0        # in faults
    born: int = 0        # a session


@dataclass(frozen=True)
class Config:
    name: str
    procs: tuple
    kv: dict
    check: object            # (config, kv) → None or the violation
    good: object             # (config, kv) → whether it is a good end
    faults: int = 1
    rows: int = 2
    batches: tuple = ((0,), (1,))  # what the abstract publisher publishes
    gpu: tuple = (0, 0, 0)   # of each row
    pairs: int = 99          # most (GPU, segment) pairs of a transaction
    attempts: int = 2
    allow: frozenset = frozenset({"lost", "late", "crash", "expire", "bad", "back", "replay"})
    drop: frozenset = frozenset()   # (transaction, tag of the compare that it lacks)
    rules: frozenset = frozenset()  # what else a mutant does differently
    fair: bool = True
    skip: frozenset = frozenset()   # invariants that are not asked of it

    def txn(self, name, by, ifs, then, what=()):
        return Txn(name, by, tuple(c for c in ifs if (name, c[0]) not in self.drop), tuple(then), what)


def session_if(x):
    return "session", ("session", x), 1


def successors(cfg, s):
    """(label, fair, state) of every step that can follow. A label is (proc, transaction, text), for tell(). A
    Violation that carries one: a step that is itself wrong."""
    kv, left, net = dict(s.kv), s.left, s.net

    def state(new, procs, net, left):
        if procs[0].kind == procs[1].kind and hash(procs[1]) < hash(procs[0]):  # they are interchangeable
            procs = (procs[1], procs[0]) + procs[2:]
        if net:
            net = tuple(sorted((t for t in net if not hopeless(t)), key=hash))
        return State(s.kv if new is kv else frozenset(new.items()), procs, net, left)

    def change(written, net):
        return tuple(p.touched(written) for p in s.procs), tuple(staled(t, written) for t in net) if net else net

    def applied(txn, label, net):
        if not holds(kv, txn):
            return False, kv, s.procs, net
        try:
            new, written = run(kv, txn)
        except Violation as v:
            v.label = label
            raise
        return True, new, *change(written, net)

    for i, p in enumerate(s.procs):
        t = p.call
        before, after = s.procs[:i], s.procs[i + 1:]
        if t:
            ok, new, procs, others = applied(t, (p, t, "true"), net)
            answered = procs[i]._replace(call=None).settle(cfg, t, ok, new)
            yield (p, t, str(ok).lower()), True, state(new, procs[:i] + (answered,) + procs[i + 1:], others, left)
            if left and ok and "lost" in cfg.allow:
                yield (p, t, "true, but the answer is lost"), False, state(new, procs, others, left - 1)
                if "guess" in cfg.rules and t.name == "complete":
                    guessed = p._replace(call=None).settle(cfg, t, True, kv)
                    yield (p, t, "no answer, taken for done"), False, \
                        state(kv, before + (guessed,) + after, net, left - 1)
            if left and "late" in cfg.allow and not hopeless(t):
                yield (p, t, "a copy stays on the way; sent again"), False, state(kv, s.procs, net + (t,), left - 1)
        else:
            for step in p.decide(cfg, kv, s):
                if step.cost > left:
                    continue
                new, procs, others = kv, s.procs, net
                if step.put:
                    new = {k: v for k, v in {**kv, **step.put}.items() if v is not None}
                    procs, others = change(step.put, net)
                if step.born:
                    procs = tuple(q.saw_birth(step.born) for q in procs)
                yield (p, None, step.label), not step.cost, state(
                    new, procs[:i] + (step.proc,) + procs[i + 1:], others, left - step.cost)
        if left and "crash" in cfg.allow and p.runs():
            down = before + (p.down(),) + after
            yield (p, None, "crashes"), False, state(kv, down, net, left - 1)
            if t and not hopeless(t):
                yield (p, t, "crashes, the call stays on the way"), False, state(kv, down, net + (t,), left - 1)
    for t in set(net):
        rest = list(net)
        rest.remove(t)
        ok, new, procs, others = applied(t, (None, t, "true"), tuple(rest))
        if ok:
            yield (None, t, "true"), False, state(new, procs, others, left)
    for key in kv:
        if key[0] == "session":
            lives = any(p.sess == key[1] for p in s.procs)
            if not lives or (left and "expire" in cfg.allow):
                procs, others = change((key,), net)
                yield (None, None, f"session {key[1]} ends{' while its process lives' if lives else ''}"), not lives, \
                    state({k: v for k, v in kv.items() if k != key}, procs, others, left - lives)


def tell(label):
    p, t, text = label
    what = t.what[0] if t and t.what else ""
    call = t and f"{t.name} {', '.join(str(x) for x in what) if isinstance(what, tuple) else what}".rstrip()
    return f"{p.who() + ': ' if p else 'late copy of ' if t else ''}{call + ' → ' if t else ''}{text}"


def unused(kv, s):
    """The least session id that nobody remembers."""
    used = {p.sess for p in s.procs} | {kv.get(WRITER)}
    used |= {k[1] for k in kv if k[0] in ("session", "claim")}
    for t in [*s.net, *(p.call for p in s.procs if p.call)]:
        used |= {t.by} | {k[1] for _, k, _ in t.ifs if k[0] == "session"}
    seen = 0
    for p in s.procs:
        seen |= getattr(p, "alive", 0) | getattr(p, "unseen", 0)
    return next(i for i in range(1, 99) if i not in used and not seen & bit(i))


def bit(x):
    return 1 << x


# ---- search ------------------------------------------------------------------------------------------------


@dataclass
class Result:
    config: Config
    states: int = 0
    steps: int = 0
    seconds: float = 0.0
    violation: str = ""
    trace: list = field(default_factory=list)


def explore(cfg):
    gc.disable()  # there is no cycle, and very much to look through
    begin, result = time.process_time(), Result(cfg)
    first = State(frozenset(cfg.kv.items()), cfg.procs, (), cfg.faults)
    index, origin, back, good = {first: 0}, [(-1, None)], [[]], []
    todo, same, verdicts = deque([first]), {}, {}

    def fail(at, text, *last):
        result.violation, result.trace = text, [tell(x) for x in last]
        while at > 0:
            result.trace.insert(0, tell(origin[at][1]))
            at = origin[at][0]

    def judge(keys):
        kv = dict(keys)
        return cfg.check(cfg, kv), cfg.good(cfg, kv)

    while todo and not result.violation:
        s = todo.popleft()
        at = index[s]
        verdict = verdicts.get(s.kv) or verdicts.setdefault(s.kv, judge(s.kv))
        if verdict[0]:
            fail(at, verdict[0])
            break
        if verdict[1]:
            good.append(at)
        try:
            for label, fair, n in successors(cfg, s):
                result.steps += 1
                to = index.get(n)
                if to is None:
                    to = len(origin)
                    n = State(same.setdefault(n.kv, n.kv), same.setdefault(n.procs, n.procs), n.net, n.left)
                    index[n] = to
                    origin.append((at, label))
                    back.append([])
                    todo.append(n)
                if fair:
                    back[to].append(at)
        except Violation as v:
            fail(at, str(v), v.label)
    if cfg.fair and not result.violation:
        reach, stack = bytearray(len(origin)), list(good)
        for at in good:
            reach[at] = 1
        while stack:
            for at in back[stack.pop()]:
                if not reach[at]:
                    reach[at] = 1
                    stack.append(at)
        if 0 in reach:
            fail(reach.index(0), "fair: nothing but another fault leads from here to a good end")
    result.states, result.seconds = len(origin), time.process_time() - begin
    return result


# ---- invariants of messages ----------------------------------------------------------------------------------


def cut(rows, batch):
    """A window into messages: a pure function of its rows and the batch size (window.h)."""
    return [rows[i:i + batch] for i in range(0, len(rows), batch)]


class Pointer(NamedTuple):
    rows: tuple
    attempt: int = 0
    part: int = 0
    again: bool = False  # replayed, or bad and given back: its place in the order is gone
    reason: str = ""


class Record(NamedTuple):
    """/producers/{source}. nonce: updated_ns, that is, which incarnation of which streamer wrote it."""
    epoch: int = 0
    nonce: int = 0
    sequence: int = 0
    offset: int = 0
    end: int = 0
    done: int = 0
    batch: int = 0


def pairs_of(cfg, rows):
    """Rows by GPU, in order of the first of each: what a part of a message is (worker.c, store_parts)."""
    found = {}
    for r in rows:
        found.setdefault(cfg.gpu[r], []).append(r)
    return list(found.items())


def rest_of(cfg, p):
    return [r for _, rows in pairs_of(cfg, p.rows)[p.part * cfg.pairs if p.part else 0:] for r in rows]


def check_messages(cfg, kv):
    where, stored, record, data = {}, [], Record(), {}
    for key, value in kv.items():
        kind = key[0]
        if kind in ("queue", "claim", "dead"):
            if key[-1] in where:
                return f"Q1: message {key[-1]} is in {where[key[-1]][0]} and in {kind}"
            where[key[-1]] = kind, value
        elif kind == "data":
            data[key] = value
        elif kind == "record":
            record = value
    if "Q1" not in cfg.skip:
        for u in {k[1] for k in kv if k[0] == "payload"} ^ set(where):
            what = "pointer without a payload" if u in where else "payload without a pointer"
            return f"Q1: message {u} has a {what}"
    for chunks in data.values():
        rows = [r for _, r, _ in chunks]
        stored += rows
        if len(set(rows)) < len(rows):
            return f"once: a row is stored twice: {rows}"
        if "positions" not in cfg.skip and [at for at, _, _ in chunks] != list(range(len(chunks))):
            return f"positions: not gapless: {[at for at, _, _ in chunks]}"
        order = [r for _, r, again in chunks if not again]
        if "order" not in cfg.skip and order != sorted(order):
            return f"order: rows are stored as {order}"
    here = list(stored)
    for kind, p in where.values():
        here += rest_of(cfg, p)
        if kind == "dead" and p.reason == "attempts" and p.attempt < cfg.attempts:
            return f"dead: a message is given up after {p.attempt} attempts"
    if len(set(here)) < len(here):
        return f"once: a row is there twice, in the queue or stored: {sorted(here)}"
    if "balance" not in cfg.skip:
        window = cut(range(record.offset, record.end), record.batch or 1) if record.end else []
        accepted = record.offset + sum(len(g) for g in window[:record.done])
        if sorted(here) != list(range(accepted)):
            return f"Q4, balance: {accepted} rows are published; queued, claimed, dead or stored are {sorted(here)}"
    return None


def good_messages(cfg, kv):
    """All published, and stored or dead."""
    return kv.get(RECORD, Record()).offset >= cfg.rows and not any(k[0] in ("queue", "claim") for k in kv)


def good_published(cfg, kv):
    return kv.get(RECORD, Record()).offset >= cfg.rows


# ---- streamers ---------------------------------------------------------------------------------------------


@actor("streamer")
class Streamer(NamedTuple):
    """streamer/publisher.c on one source, one message to a transaction. cut: how the window that it works on is
    grouped, in its memory; a window that is one message goes without a record of its own."""
    batch: int
    inc: int = 0          # incarnation; 0: down
    rec: Record = Record()
    ref: int = 0          # mod revision of rec
    opened: bool = False
    cut: tuple = ()       # (end, batch)
    call: Txn = None

    def who(self):
        return f"streamer {self.inc} (batch {self.batch})"

    def touched(self, written):
        if RECORD in written:
            return self._replace(ref=-1 if self.ref == 1 else self.ref, call=staled(self.call, written))
        return self._replace(call=staled(self.call, written)) if self.call else self

    def runs(self):
        return self.inc > 0

    def down(self):
        return Streamer(self.batch)

    def look(self, kv):
        return self._replace(rec=kv.get(RECORD, Record()), ref=int(RECORD in kv), opened=False, cut=())

    def decide(self, cfg, kv, s):
        if not self.inc:
            if kv.get(RECORD, Record()).offset < cfg.rows:
                others = [p for p in s.procs if p.kind == "streamer" and p.inc]
                used = {p.inc for p in others} | {kv.get(RECORD, Record()).nonce}
                used |= {t.what[-1] for t in s.net if not t.by and t.what}
                used |= {k[-1][1] for k in kv if k[0] in ("queue", "claim", "payload", "dead")}
                inc = next(i for i in range(1, 99) if i not in used)
                yield Step(f"starts as {inc}", self._replace(inc=inc).look(kv), cost=int(bool(others)))
        elif not self.opened:
            nxt = self.rec._replace(epoch=self.rec.epoch + 1, nonce=self.inc)
            yield Step("opens", self.send(cfg, "open_producer", nxt))
        elif self.cut or self.rec.end:
            end, batch = self.cut or (self.rec.end, self.batch if "regroup" in cfg.rules else self.rec.batch)
            yield Step("publishes", self._replace(cut=(end, batch)).publish(cfg, end, batch, self.rec.done))
        elif self.rec.offset < cfg.rows:
            ends = [cfg.rows] if "one window" in cfg.rules else range(self.rec.offset + 1, cfg.rows + 1)
            for end in ends:
                p = self._replace(cut=(end, self.batch))
                if end - self.rec.offset <= self.batch:
                    yield Step(f"publishes the window to {end}", p.publish(cfg, end, self.batch, 0))
                else:
                    nxt = self.rec._replace(end=end, done=0, batch=self.batch, nonce=self.inc)
                    yield Step(f"opens the window to {end}", p.send(cfg, "open_window", nxt))
        else:
            yield Step("is done", Streamer(self.batch))
        if "record lost" in cfg.rules and RECORD in kv:
            yield Step("the record is deleted by hand", self, {RECORD: None}, cost=1)

    def send(self, cfg, name, nxt, ifs=(), then=(), what=()):
        ifs = (("record", RECORD, self.ref), *ifs)
        return self._replace(call=cfg.txn(name, 0, ifs, (*then, ("put", RECORD, nxt)), (*what, self.inc)))

    def publish(self, cfg, end, batch, i, duplicate=False):
        groups = cut(tuple(range(self.rec.offset, end)), batch)
        if i >= len(groups):  # nothing is left of it: only the offset moves
            groups, i, duplicate = [()], 0, True
        last = i + 1 == len(groups)
        nxt = self.rec._replace(done=i + 1, nonce=self.inc)
        if last:
            nxt = nxt._replace(offset=end, end=0, done=0, batch=0)
        if duplicate:
            return self.send(cfg, "publish", nxt, what=("a duplicate",))
        u, idem = (self.rec.sequence + 1, self.inc), ("processed", self.rec.offset, end, i, groups[i])
        return self.send(cfg, "publish", nxt._replace(sequence=u[0]), (("idempotency", idem, 0),),
                         [("put", ("payload", u), groups[i]), ("put", ("queue", u), Pointer(groups[i]))]
                         + ([("put", idem, 1)] if "record lost" in cfg.rules else []), (f"rows {groups[i]}",))

    def settle(self, cfg, txn, ok, kv):
        """settle_producer, and what its callers make of it."""
        nxt, now, opening = txn.then[-1][2], kv.get(RECORD), txn.name == "open_producer"
        mine = self
        if not ok and now and self.ref == 1 and txn.name == "publish":
            end, batch = self.cut
            return self.publish(cfg, end, batch, self.rec.done, duplicate=True)
        same = now == nxt or (now and "no nonce" in cfg.rules and
                              now._replace(nonce=0, batch=0) == nxt._replace(nonce=0, batch=0))
        if not ok and not same:
            return self.look(kv) if opening else Streamer(self.batch)  # read again; or fenced
        mine = self._replace(rec=now if not ok else nxt, ref=1, opened=True)
        if opening or (nxt.end == 0 and nxt.offset != self.rec.offset):
            mine = mine._replace(cut=())
        return mine


@actor("publisher")
class Publisher(NamedTuple):
    """All that streamers can do to the queue: the next message appears, once."""
    def who(self):
        return "streamers"

    def decide(self, cfg, kv, s):
        rec = kv.get(RECORD, Record())
        if rec.sequence < len(cfg.batches):
            rows, u = cfg.batches[rec.sequence], (rec.sequence + 1, 0)
            yield Step(f"publish message {u[0]}, rows {rows}", self,
                       {("payload", u): rows, ("queue", u): Pointer(rows),
                        RECORD: rec._replace(sequence=u[0], offset=rec.offset + len(rows))})


# ---- collectors --------------------------------------------------------------------------------------------


class Claim(NamedTuple):
    """A pointer as its holder knows it: in the queue's mirror, or claimed."""
    u: tuple
    ref: int
    p: Pointer

    def __repr__(self):
        return f"message {self.u[0]}"


@actor("collector")
class Collector(NamedTuple):
    """A collector with one worker: consumer.c, worker.c, writer.c. alive, unseen and clean are only kept where the
    rule "mirror" asks for them: whom its mirror of /consumers shows, whose birth it has not shown yet, and whether
    recovered == deaths."""
    sess: int = 0          # 0: down
    mine: int = -2         # mod revision of the writer's key under which it holds the host; -2: it does not
    passed: bool = False   # the queue's mirror has passed the mark
    view: tuple = ()       # what that mirror shows
    claims: tuple = ()
    at: tuple = ()         # next position per GPU; (): not read yet
    alive: int = 0
    unseen: int = 0
    clean: bool = False
    call: Txn = None

    def who(self):
        return f"collector {self.sess}"

    def touched(self, written):
        p = self
        if p.call:
            p = p._replace(call=staled(p.call, written))
        if p.mine == 1 and WRITER in written:
            p = p._replace(mine=-1)
        if p.claims and any(("claim", p.sess, k.u) in written for k in p.claims):
            p = p._replace(claims=tuple(k._replace(ref=-1) if ("claim", p.sess, k.u) in written else k
                                        for k in p.claims))
        if p.view and any(("queue", k.u) in written for k in p.view):
            p = p._replace(view=tuple(k._replace(ref=-1) if ("queue", k.u) in written else k for k in p.view))
        return p

    def saw_birth(self, x):
        return self._replace(unseen=self.unseen | bit(x)) if self.sess else self

    def runs(self):
        return self.sess > 0

    def down(self):
        return Collector()

    # -- decisions

    def decide(self, cfg, kv, s):
        if not self.sess:
            yield self.start(cfg, kv, s)
            return
        if ("session", self.sess) not in kv:
            yield Step("finds its session lost", Collector())
        if "mirror" in cfg.rules:
            yield from self.follow(kv)
        held = self.mine != -2
        if held or "no mark" in cfg.rules:
            now = tuple(sorted(Claim(k[1], 1, v) for k, v in kv.items() if k[0] == "queue"))
            if now != self.view or (held and not self.passed):
                yield Step("its mirror of the queue catches up", self._replace(view=now, passed=held))
        if not held:
            yield from self.take(cfg, kv)
            return
        if self.claims:
            yield from self.work(cfg, kv)
        else:
            if self.passed and self.view:
                alone = self.view[0].p.attempt > 0
                yield Step("claims one", self.claim(cfg, self.view[:1]))
                if not alone and len(self.view) > 1 and not self.view[1].p.attempt:
                    yield Step("claims two", self.claim(cfg, self.view[:2]))
            yield Step("lets go of the host", self.release(cfg, kv))
        if "release early" in cfg.rules and self.claims:
            yield Step("lets go of the host", self.release(cfg, kv))

    def start(self, cfg, kv, s):
        x, keep = unused(kv, s), "mirror" in cfg.rules
        lives = sum(bit(k[1]) for k in kv if k[0] == "session") | bit(x)
        return Step(f"starts as session {x}", Collector(x, alive=lives * keep), {("session", x): 1}, born=x * keep)

    def follow(self, kv):
        """The mirror of /consumers, and recovery as main.c counts it."""
        lives = sum(bit(k[1]) for k in kv if k[0] == "session")
        if self.alive != lives or self.unseen:
            died = (self.alive | self.unseen) & ~lives
            yield Step("its mirror of the members catches up",
                       self._replace(alive=lives, unseen=0, clean=self.clean and not died))
        known = self.alive | self.unseen
        if not self.clean and not any(k[0] == "claim" and not known & bit(k[1]) for k in kv):
            yield Step("has recovered what it saw die", self._replace(clean=True))

    def may_take(self, cfg, kv, w):
        """That a session is dead and has no claims left stays true; so it matters not when a list showed it."""
        if "no recovery" in cfg.rules:
            return True
        if "mirror" in cfg.rules:
            return self.clean and (not w or not self.alive & bit(w))
        return not w or (("session", w) not in kv and not any(k[0] == "claim" and k[1] == w for k in kv))

    def take(self, cfg, kv):
        w, present = kv.get(WRITER, 0), WRITER in kv
        own = w == self.sess and "foreign hold" not in cfg.rules
        if not own and not self.may_take(cfg, kv, w):
            return
        if not present and not any(k[0] == "queue" for k in kv):
            return
        old = (("old", ("session", w), 0),) if w and not own else ()
        yield Step("goes for the host", self._replace(call=cfg.txn(
            "take_host", self.sess, (session_if(self.sess), ("writer", WRITER, int(present)), *old),
            [("put", WRITER, self.sess)])))

    def release(self, cfg, kv):
        forget = not self.view and not any(k[0] in ("data", "queue") for k in kv)
        then = [("del", WRITER, 0)] if forget else [("put", WRITER, 0)]
        return self._replace(call=cfg.txn("release_host", self.sess, self.fence(), then, ("forget",) * forget))

    def fence(self):
        return session_if(self.sess), ("hold", WRITER, self.mine)

    def claim(self, cfg, wanted, rest=()):
        """rest: in the view, to be claimed one by one after the attempt to claim all together."""
        ifs, then = [*self.fence()], []
        for k in wanted:
            ifs.append(("queue", ("queue", k.u), k.ref))
            then += [("del", ("queue", k.u), 0),
                     ("put", ("claim", self.sess, k.u), k.p._replace(attempt=k.p.attempt + 1))]
        return self._replace(view=tuple(k for k in self.view if k not in wanted),
                             call=cfg.txn("claim", self.sess, ifs, then, (tuple(wanted), rest)))

    def work(self, cfg, kv):
        """Ends its claims: together, the first alone, or a part of the first."""
        at = self.at
        if not at:
            if ("session", self.sess) not in kv or self.mine != 1:
                yield Step("reads the positions: no longer the writer", Collector())
                return
            at = tuple(len(kv.get(("data", g), ())) and kv["data", g][-1][0] + 1 for g in range(max(cfg.gpu) + 1))
        p, first = self._replace(at=at), self.claims[0]
        if (first.p.part + 1) * cfg.pairs < len(pairs_of(cfg, first.p.rows)):
            yield Step("stores a part", p.end(cfg, "part", (first,)))
        else:
            yield Step("stores the first", p.end(cfg, "complete", (first,)))
            if len(self.claims) > 1:
                yield Step("stores all", p.end(cfg, "complete", self.claims))
        if "bad" in cfg.allow:
            yield Step("finds a bad payload", p.end(cfg, "dead_letter", (first,)), cost=1)
        if "back" in cfg.allow:
            yield Step("is to stop", p.end(cfg, "give_back", self.claims), cost=1)
            if len(self.claims) > 1:
                yield Step("finds a bad payload, and the dead letters full", p.end(cfg, "give_back", (first,)), cost=1)

    def end(self, cfg, name, ending):
        ifs, then, at = [*self.fence()], [], list(self.at)
        for k in ending:
            key = ("claim", self.sess, k.u)
            ifs.append(("claim", key, k.ref))
            pairs = pairs_of(cfg, k.p.rows)[k.p.part * cfg.pairs if k.p.part else 0:]
            for g, rows in pairs[:cfg.pairs] if name in ("part", "complete") else ():
                for r in rows:
                    then.append(("store", ("data", g), (at[g], r, k.p.again)))
                    at[g] += 1
            bad = len(ending) < len(self.claims)
            moved = {"part": k.p._replace(part=k.p.part + 1), "dead_letter": k.p._replace(reason="bad"),
                     "give_back": k.p._replace(attempt=k.p.attempt - 1, again=k.p.again or bad)
                     }.get(name)
            if name == "part":
                then.append(("put", key, k.p if "part unrecorded" in cfg.rules else moved))
                continue
            then.append(("del", key, 0))
            if name == "complete":
                then.append(("del", ("payload", k.u), 0))
            else:
                then.append(("put", ("dead" if name == "dead_letter" else "queue", k.u), moved))
        return self._replace(call=cfg.txn(name, self.sess, ifs, then, (tuple(ending), tuple(at))))

    # -- answers

    def settle(self, cfg, txn, ok, kv):
        lives = ("session", self.sess) in kv
        if txn.name == "take_host":
            if ok or (lives and kv.get(WRITER) == self.sess):
                return self._replace(mine=1, passed="no mark" in cfg.rules, at=())
            return self._replace(view=()) if lives else Collector()
        if txn.name == "release_host":
            return self._replace(mine=-2, passed=False, view=(), at=(), claims=())
        if not ok and not lives:
            return Collector()
        return self.settle_claim(cfg, txn, ok, kv) if txn.name == "claim" else self.settle_ending(cfg, txn, ok, kv)

    def settle_claim(self, cfg, txn, ok, kv):
        wanted, rest = txn.what
        p, keys = self, [("claim", self.sess, k.u) for k in wanted]
        if ok or keys[0] in kv:  # an earlier try of ours: all or none
            won = [k for k, key in zip(wanted, keys) if ok or key in kv]
            p = p._replace(claims=p.claims + tuple(
                Claim(k.u, 1, k.p._replace(attempt=k.p.attempt + 1)) for k in won))
        elif len(wanted) > 1:
            refs = [want for tag, _, want in txn.ifs if tag == "queue"] or [k.ref for k in wanted]
            wanted = tuple(k._replace(ref=ref) for k, ref in zip(wanted, refs))
            p = p._replace(view=tuple(sorted(p.view + wanted)))
            return p.claim(cfg, wanted[:1], tuple(k.u for k in wanted[1:]))
        left = [k for k in p.view if k.u in rest]
        return p.claim(cfg, left[:1], tuple(k.u for k in left[1:])) if left else p

    def settle_ending(self, cfg, txn, ok, kv):
        """The session lives, so nobody else touches its claims: changed, they were changed by an earlier try."""
        ending, at = txn.what
        now = {k.u: k for k in self.claims}
        if not ok and any(("claim", self.sess, k.u) in kv and now[k.u].ref == 1 for k in ending):
            return Collector()  # -ESTALE: no longer the writer; it gives its session up
        ended = {k.u for k in ending}
        moved = tuple(Claim(k.u, 1, k.p._replace(part=k.p.part + ("part unrecorded" not in cfg.rules)))
                      for k in ending) if txn.name == "part" else ()
        mark = {"passed": False} if txn.name == "give_back" and "give back, no mark" not in cfg.rules else {}
        return self._replace(claims=moved + tuple(k for k in self.claims if k.u not in ended), at=at, **mark)


@actor("reaper")
class Reaper(NamedTuple):
    """queue_recover, by anyone: of the claims that a list has shown, one at a time. And the tool that replays."""
    call: Txn = None

    def who(self):
        return "recovery"

    def decide(self, cfg, kv, s):
        for key, p in kv.items():
            if key[0] == "claim" and (("session", key[1]) not in kv or ("recover", "dead") in cfg.drop):
                to = "queue" if p.attempt < cfg.attempts else "dead"
                moved = p if to == "queue" else p._replace(reason="attempts")
                yield Step("lists", Reaper(cfg.txn(
                    "recover", 0, (("dead", ("session", key[1]), 0), ("claim", key, 1)),
                    [("del", key, 0), ("put", (to, key[2]), moved)], (key,))))
            elif key[0] == "dead" and "replay" in cfg.allow:
                moved = p._replace(attempt=0, again=True, reason="", part=0 if "replay whole" in cfg.rules else p.part)
                yield Step("replays", Reaper(cfg.txn("replay", 0, (("letter", key, 1),), [
                    ("del", key, 0), ("put", ("queue", key[1]), moved)], (key,))), cost=1)

        if "rob" in cfg.allow and kv.get(WRITER):
            yield Step("the writer's key is emptied by hand", self, {WRITER: 0}, cost=1)

    def settle(self, cfg, txn, ok, kv):
        return Reaper()


# ---- the naive scheme --------------------------------------------------------------------------------------


@actor("naive")
class Naive(NamedTuple):
    """Claim = delete and put under a lease, without compares; then store; then acknowledge."""
    id: int
    step: str = "idle"
    u: tuple = ()
    p: Pointer = Pointer(())
    call: Txn = None

    def who(self):
        return f"collector {self.id}"

    def runs(self):
        return self.step != "idle"

    def down(self):
        return Naive(self.id)

    def decide(self, cfg, kv, s):
        for key, p in kv.items():
            if key[0] == "queue" and self.step == "idle":
                yield Step("sees the pointer", Naive(self.id, "claim", key[1], p, Txn("claim", 0, (), (
                    ("del", key, 0), ("put", ("claim", self.id, key[1]), p)), (key[1],))))
            if key[0] == "claim" and "expire" in cfg.allow:
                yield Step(f"sees the lease of collector {key[1]}'s claim run out", self, {key: None})

    def settle(self, cfg, txn, ok, kv):
        if self.step == "claim":  # then store and ack, as two writes; a copy of the rows is read with the claim
            at = len(kv.get(("data", 0), ()))
            then = tuple(("append", ("data", 0), (at, r, False)) for r in self.p.rows)
            return self._replace(step="store", call=Txn("store", 0, (), then, (self.u,)))
        if self.step == "store":
            return self._replace(step="ack", call=Txn("ack", 0, (), (("del", ("claim", self.id, self.u), 0),)))
        return Naive(self.id)


def check_naive(cfg, kv):
    stored = [r for _, r, _ in kv.get(("data", 0), ())]
    if len(set(stored)) < len(stored) and "once" not in cfg.skip:
        return f"once: a row is stored twice: {stored}"
    return None


def good_naive(cfg, kv):
    return ("data", 0) in kv


# ---- merging, dropping, leases -----------------------------------------------------------------------------


@actor("merger")
class Merger(NamedTuple):
    """A writer of one segment: stores a late row, merges chunks, drops the segment when its rows are past their
    retention. Rows 0 and 1 are past it, row 2 is not. A chunk is ("chunk", first row, last row) → first position."""
    sess: int = 0
    mine: int = -2
    at: int = -1          # next position; -1: to be read
    call: Txn = None

    def who(self):
        return f"writer {self.sess}"

    def touched(self, written):
        return self._replace(mine=-1 if self.mine == 1 and WRITER in written else self.mine,
                             call=staled(self.call, written))

    def runs(self):
        return self.sess > 0

    def down(self):
        return Merger()

    def decide(self, cfg, kv, s):
        if not self.sess:
            x = unused(kv, s)
            yield Step(f"starts as session {x}", Merger(x), {("session", x): 1})
            return
        if ("session", self.sess) not in kv:
            yield Step("finds its session lost", Merger())
        if self.mine == -2:
            w = kv[WRITER]
            if ("session", w) not in kv:
                yield Step("goes for the host", self._replace(call=cfg.txn("take_host", self.sess, (
                session_if(self.sess), ("writer", WRITER, 1), ("old", ("session", w), 0)),
                    [("put", WRITER, self.sess)])))
            return
        fence = session_if(self.sess), ("hold", WRITER, self.mine)
        chunks = sorted((k for k in kv if k[0] == "chunk"), key=lambda k: kv[k])
        if ("claim", 0, 2) in kv:
            at = self.at
            if at < 0:
                if self.mine != 1:
                    yield Step("reads the positions: no longer the writer", Merger())
                    return
                at = max((kv[k] + k[2] - k[1] + 1 for k in chunks), default=0)
            yield Step("stores row 2", self._replace(at=at, call=cfg.txn(
                "complete", self.sess, (*fence, ("claim", ("claim", 0, 2), 1)),
                [("del", ("claim", 0, 2), 0), ("put", ("chunk", 2, 2), at)], (at,))))
        for a, b in zip(chunks, chunks[1:]):
            parts = (("parts", a, 1), ("parts", b, 1))
            yield Step("merges", self._replace(call=cfg.txn(
                "merge", self.sess, (*fence, *parts),
                [("del", a, 0), ("del", b, 0), ("put", ("chunk", a[1], b[2]), kv[a])], (a[1:], b[1:]))))
        if chunks and all(k[2] < 2 for k in chunks):  # decided as the writer: it knows of no newer row
            every = [("chunk", a, b) for a in range(3) for b in range(a, 3)]  # a range compare, a range delete
            whole = tuple(("whole", k, 2 if k in chunks else 0) for k in every)
            then = [("del", k, 0) for k in every] + [("put", ("gone", r), 1) for r in (0, 1)]
            yield Step("drops the segment", self._replace(call=cfg.txn("drop", self.sess, (*fence, *whole), then)))
        if chunks and chunks[0][2] < 2:
            yield Step("the lease of the oldest chunk runs out", self, {
                chunks[0]: None, **{("gone", r): 1 for r in range(chunks[0][1], chunks[0][2] + 1)}}, cost=1)

    def settle(self, cfg, txn, ok, kv):
        lives = ("session", self.sess) in kv
        if txn.name == "take_host":
            return self._replace(mine=1, at=-1) if ok or (lives and kv.get(WRITER) == self.sess) else \
                self if lives else Merger()
        if not ok and (not lives or self.mine != 1):
            return Merger()
        if txn.name == "complete":
            return self._replace(at=txn.what[0] + 1)
        if txn.name == "drop":
            return self._replace(at=-1)
        return self


def check_segment(cfg, kv):
    at, seen = -1, []
    for k in sorted((k for k in kv if k[0] == "chunk"), key=lambda k: (kv[k], k)):
        seen += range(k[1], k[2] + 1)
        if 0 <= at != kv[k]:
            return f"positions: a chunk at {kv[k]} follows position {at - 1}"
        at = kv[k] + k[2] - k[1] + 1
    if len(set(seen)) < len(seen):
        return f"once: a row is in two chunks: {seen}"
    for r in seen:
        if r < 2 and ("gone", r) in kv:
            return f"gone: row {r} is there again"
    if 2 not in seen and ("claim", 0, 2) not in kv:
        return "lost: a row that was stored a moment ago is gone"
    return None


def good_segment(cfg, kv):
    return ("claim", 0, 2) not in kv


# ---- configurations ----------------------------------------------------------------------------------------

ALL = frozenset({"lost", "late", "crash", "expire", "bad", "back", "replay"})
LIVE = {("session", 1): 1, ("session", 2): 1}
PAIR = (Collector(1), Collector(2), Reaper())


def queued(*batches, live=2):
    kv, at = {("session", x): 1 for x in range(1, live + 1)}, 0
    for i, rows in enumerate(batches, 1):
        kv[("payload", (i, 0))], kv[("queue", (i, 0))] = rows, Pointer(rows)
        at += len(rows)
    kv[RECORD] = Record(sequence=len(batches), offset=at)
    return kv


CHUNKS = {("session", 1): 1, WRITER: 1, ("chunk", 0, 0): 0, ("chunk", 1, 1): 1, ("claim", 0, 2): 1}

CONSUME = Config("consume", PAIR, queued((0,), (1,)), check_messages, good_messages, faults=2)
SINGLE = replace(CONSUME, kv=queued((0,)), rows=1)
ARRIVE = Config("arrive", (*PAIR, Publisher()), LIVE, check_messages, good_messages)
PARTS = Config("parts", PAIR, queued((0, 1), (2,)), check_messages, good_messages, faults=2, rows=3, gpu=(0, 1, 0),
               pairs=1)
PUBLISH = Config("publish", (Streamer(1), Streamer(2)), {}, check_messages, good_published, faults=2, rows=3)
RECORD_LOST = Config("record lost", (Streamer(1), Streamer(1)), {}, check_messages, good_published, faults=2, rows=2,
                     rules=frozenset({"record lost", "one window"}), skip=frozenset({"balance"}))
WHOLE = Config("whole", (*PAIR, Streamer(1), Streamer(2)), LIVE, check_messages, good_messages, rows=2)
ROBBED = Config("robbed", PAIR, queued((0,), (1,)), check_messages, good_messages, faults=2,
                allow=frozenset({"rob", "late", "lost"}), skip=frozenset({"order"}))
SEGMENT = Config("segment", (Merger(1, 1), Merger()), CHUNKS, check_segment,
                 good_segment, faults=3)
NAIVE = Config("naive", (Naive(1), Naive(2)), queued((0,)), check_naive, good_naive, faults=0, rows=1, fair=False)


def with_faults(base, n, *allow, **other):
    return replace(base, faults=n, allow=frozenset(allow) or base.allow, **other)


LETTING_GO = with_faults(ARRIVE, 2, "late", "bad")

# What it is, in full, and for `make test`.
OURS = [
    ("2 messages, 2 collectors, recovery", CONSUME, replace(CONSUME, faults=1)),
    ("1 message, more faults", with_faults(SINGLE, 3, "late", "expire"), with_faults(SINGLE, 2, "late", "expire")),
    ("messages arrive meanwhile", ARRIVE, with_faults(ARRIVE, 1, "late", "crash")),
    ("a host let go for good, calls late", LETTING_GO, LETTING_GO),
    ("completion in parts, 2 messages", replace(PARTS, faults=1), with_faults(PARTS, 1, "late", "crash")),
    ("completion in parts, 1 message", replace(PARTS, kv=queued((0, 1)), rows=2),
     with_faults(PARTS, 1, "lost", "expire")),
    ("parts, dead letters, replays", with_faults(PARTS, 3, "late", "bad", "replay"),
     with_faults(PARTS, 2, "late", "bad", "replay")),
    ("the writer's key edited by hand", ROBBED, replace(ROBBED, faults=1)),
    ("2 streamers, batch sizes 1 and 2, 3 rows", PUBLISH, replace(PUBLISH, faults=1)),
    ("2 streamers, batch sizes 1 and 2, 2 rows", with_faults(PUBLISH, 3, rows=2), replace(PUBLISH, rows=2)),
    ("the producer's record deleted", RECORD_LOST, RECORD_LOST),
    ("2 streamers, 2 collectors, recovery", WHOLE, with_faults(WHOLE, 1, "crash", procs=(*PAIR, Streamer(1)))),
    ("merge, drop, leases, takeover", SEGMENT, replace(SEGMENT, faults=2)),
]


def mutant(what, base, expect, drop=(), rules=(), **other):
    return what, replace(base, drop=frozenset(drop), rules=base.rules | frozenset(rules), **other), expect


ONE = replace(CONSUME, faults=1)
NEWCOMER = with_faults(CONSUME, 1, "crash", kv=queued((0,), (1,), live=1),
                       procs=(Collector(1, alive=bit(1)), Collector(), Reaper()))

# Each must fail, and as it says. The first two are the check of the check.
MUTANTS = [
    mutant("the naive scheme: both claim it", NAIVE, "once"),
    mutant("the naive scheme: its leases lose rows", with_faults(NAIVE, 1, "expire", "crash", skip=frozenset({"once"}),
                                                                fair=True), "fair"),
    mutant("claim without the session", ONE, "Q2", [("claim", "session")]),
    mutant("claim without the hold", ROBBED, "Q3", [("claim", "hold")]),
    mutant("claim without the pointer's revision", ONE, "Q1", [("claim", "queue")]),
    mutant("complete without the session", ONE, "Q2", [("complete", "session")]),
    mutant("complete without the hold", ROBBED, "Q3", [("complete", "hold")]),
    mutant("complete without the claim's revision", ONE, "Q3", [("complete", "claim")]),
    mutant("a part without the claim's revision", PARTS, "Q3", [("part", "claim")]),
    mutant("a part not recorded in the claim", PARTS, "Q3", rules=["part unrecorded"]),
    mutant("dead-letter without the claim's revision", with_faults(CONSUME, 3, "late", "bad", "replay"), "Q1",
           [("dead_letter", "claim")]),
    mutant("give back without the claim's revision", with_faults(CONSUME, 2, "late", "back"), "Q1",
           [("give_back", "claim")]),
    mutant("give back, and not wait for one's own mirror", ONE, "order", rules=["give back, no mark"]),
    mutant("recover without the session's absence", ONE, "Q2", [("recover", "dead")]),
    mutant("recover without the claim's revision", with_faults(CONSUME, 2, "late", "crash"), "Q1",
           [("recover", "claim")]),
    mutant("replay without the letter's revision", with_faults(CONSUME, 3, "late", "bad", "replay"), "Q1",
           [("replay", "letter")]),
    mutant("replay forgets which parts are stored", with_faults(PARTS, 2, "bad", "replay"), "once",
           rules=["replay whole"]),
    mutant("take a host without waiting for recovery", ONE, "order", rules=["no recovery"]),
    mutant("serve a host without waiting for the mark", ONE, "order", rules=["no mark"]),
    mutant("take a host without its writer's absence", ONE, "Q3", [("take_host", "old")], ["no recovery"]),
    mutant("take a host without its key's revision", ONE, "Q3", [("take_host", "writer")]),
    mutant("let go of a host before its claims are ended", ONE, "order", rules=["release early"]),
    mutant("take a timeout for done", ONE, "positions", rules=["guess"]),
    mutant("publish without the record's revision", PUBLISH, "Q4", [("publish", "record")]),
    mutant("open a window without the record's revision", PUBLISH, "Q4", [("open_window", "record")]),
    mutant("open a producer without the record's revision", PUBLISH, "Q4", [("open_producer", "record")]),
    mutant("settle an opening without updated_at", PUBLISH, "Q4", rules=["no nonce"]),
    mutant("regroup an open window with one's own batch size", replace(PUBLISH, rows=2), "Q4", rules=["regroup"]),
    mutant("publish without idempotency keys, record lost", RECORD_LOST, "once", [("publish", "idempotency")]),
    mutant("merge without the session and the hold", SEGMENT, "Q2", [("merge", "hold"), ("merge", "session")]),
    mutant("merge without the parts' revisions", SEGMENT, "gone", [("merge", "parts")]),
    mutant("drop a segment, whatever is in it by now", SEGMENT, "lost", [("drop", "whole")]),
    mutant("trust one's mirror of the members", NEWCOMER, "order", rules=["mirror"]),
    mutant("not know one's own late taking", LETTING_GO, "fair", rules=["foreign hold"]),
]


# ---- all of it ---------------------------------------------------------------------------------------------


def check_ours(quick, i):
    what, full, short = OURS[i]
    return what, explore(short if quick else full)


def check_mutant(i):
    return MUTANTS[i][0], MUTANTS[i][2], explore(MUTANTS[i][1])


def print_trace(result):
    for n, line in enumerate(result.trace, 1):
        print(f"        {n:2}. {line}")


def main(args):
    begin, bad = time.perf_counter(), 0
    with ProcessPoolExecutor(2) as pool:
        ours = [pool.submit(check_ours, "--quick" in args, i) for i in range(len(OURS))]
        mutants = [pool.submit(check_mutant, i) for i in range(len(MUTANTS))]
        print(f"{'ours':48} faults  states    steps      s  result")
        for done in ours:
            what, r = done.result()
            print(f"{what:48} {r.config.faults:6} {r.states:7} {r.steps:8} {r.seconds:6.1f}  {r.violation or 'holds'}",
                  flush=True)
            bad += bool(r.violation)
            print_trace(r)
        print(f"\n{'mutants':56}  states      s  caught by")
        for done in mutants:
            what, expect, r = done.result()
            caught = r.violation.startswith(expect + ":") or r.violation.startswith(expect + ",")
            print(f"{what:56} {r.states:7} {r.seconds:6.1f}  {'' if caught else 'NOT AS EXPECTED: '}"
                  f"{r.violation or 'nothing'}", flush=True)
            bad += not caught
            if "naive" in what or "--traces" in args or not caught:
                print_trace(r)
    print(f"\n{f'{bad} NOT AS EXPECTED' if bad else 'All as expected'}, in {time.perf_counter() - begin:.0f} s "
          f"(the column s is the time of one CPU)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
