"""What must hold whatever happened, told from etcd's own history and from what a mount shows.

Ledger   replays every revision of a prefix and knows which moves of a message are legal (DESIGN §4,
         common/queue.h). It has its own small decoder of pointers and chunk headers and shares no
         code with the programs.
Witness  fetches that history with one watch over the HTTP gateway: afterwards, or, where history is
         compacted in the round, from the beginning on.
Rows     every row that was sent against every row that a mount shows.
"""
import base64
import collections
import csv
import http.client
import io
import json
import re
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from cluster import under
from lib import SLOW, wait_until
from rows import ROW_FILE, segment_file

ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
END = "/chaos/end"  # put when all is quiet: the last thing a witness reads


# ---- chunk headers -------------------------------------------------------------------------------

@dataclass
class Chunk:
    """What a chunk header says of its rows (common/chunk.h)."""
    inline: bool
    identity: int
    incarnation: int
    segment: int
    first: int
    rows: int
    csv_bytes: int
    least: int    # event times, ns after the segment's start
    greatest: int
    stored: int
    commits: list  # [(revision, rows)]; of a fresh one empty until its revision is known

    @property
    def end(self):
        return self.first + self.rows

    def revisions(self):
        """Of each row, in order; None where older commits are folded."""
        out = []
        for i, (revision, rows) in enumerate(self.commits):
            folded = i + 1 < len(self.commits) and self.commits[i + 1][0] == revision
            out += [None if folded else revision] * rows
        return out


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


class Header:
    """A cursor on a header's fields."""

    def __init__(self, data, at):
        self.data, self.at = data, at

    def varint(self):
        value, self.at = varint(self.data, self.at)
        return value

    def skip(self, n):
        self.at += n

    def skip_name(self):
        n = self.varint()
        self.skip(16 if n in (1, 2) else max(0, n - 3))


def decode_chunk(data):
    """Up to the series, which follow the commits."""
    if data[:4] != b"gtc\1":
        raise ValueError(f"a chunk begins with {data[:4]!r}")
    flags, h = data[4], Header(data, 21)
    segment, first, rows, csv_bytes = (h.varint() for _ in range(4))
    unit = 10 ** data[h.at]
    h.skip(1)
    least = h.varint() * unit
    greatest = least + h.varint() * unit
    stored = h.varint()
    for _ in range(h.varint()):  # attributions
        for _ in range(4):
            h.skip_name()
    commits, revision = [], 0
    for _ in range(h.varint()):
        revision += h.varint()
        commits.append((revision, h.varint()))
    return Chunk(bool(flags & 1), int.from_bytes(data[5:13], "little"), int.from_bytes(data[13:21], "little"),
                 segment, first, rows, csv_bytes, least, greatest, stored, commits)


# ---- the history of messages ---------------------------------------------------------------------

@dataclass
class Event:
    key: str
    deleted: bool
    value: bytes
    created: bool  # the key was not there before
    lease: int


@dataclass
class Message:
    pointer: dict
    place: str          # queue | processing | dead | gone
    consumer: str = ""  # of a claim
    stored_rows: int = 0  # in parts so far


@dataclass
class Steps:
    """What one revision does, sorted by what it concerns."""
    queue: dict = field(default_factory=dict)       # ULID: Event
    processing: dict = field(default_factory=dict)  # ULID: [Event]
    dead: dict = field(default_factory=dict)
    payload: dict = field(default_factory=dict)
    chunks: dict = field(default_factory=dict)      # key: Event
    bodies: dict = field(default_factory=dict)
    producers: dict = field(default_factory=dict)   # source: Event
    writers: dict = field(default_factory=dict)     # host: Event
    consumers: dict = field(default_factory=dict)   # id: Event
    processed: int = 0                              # idempotency keys put

    def ulids(self):
        return sorted({*self.queue, *self.processing, *self.dead, *self.payload})


def sort_out(events):
    steps = Steps()
    for e in events:
        kind, _, name = e.key[1:].partition("/")
        last = name.rpartition("/")[2]
        if kind == "queue" and name.startswith("telemetry/"):
            steps.queue[last] = e
        elif kind == "payload":
            steps.payload[last] = e
        elif kind == "processing":
            steps.processing.setdefault(last.rpartition("_")[2], []).append(e)
        elif kind == "deadletter":
            steps.dead[last] = e
        elif kind == "consumers":
            steps.consumers[name] = e
        elif kind == "producers" and "/" not in name:
            steps.producers[name] = e
        elif kind == "processed":
            steps.processed += not e.deleted
        elif name.startswith("writers/"):
            steps.writers[last] = e
        elif name.startswith("data/"):
            steps.chunks[name[5:]] = e
        elif name.startswith("body/"):
            steps.bodies[name[5:]] = e
    return steps


class Ledger:
    """States of all messages, segments, sessions and writers, moved on revision by revision."""

    def __init__(self):
        self.violations = []
        self.revision = 0
        self.revisions = 0
        self.messages = {}
        self.payloads = set()
        self.alive, self.ended = set(), set()   # consumers
        self.writers = {}                       # host: consumer, or "" for none
        self.producers = {}                     # source: record
        self.segments = {}                      # (host, gpu, segment): {key: Chunk}
        self.bodies = set()
        self.done = {}                          # (source, host): highest sequence stored
        self.moves = collections.Counter()

    def wrong(self, text):
        self.violations.append(f"revision {self.revision}: {text}")

    def apply(self, revision, events):
        self.revision = revision
        self.revisions += 1
        steps = sort_out(events)
        self.sessions_begin(steps)
        self.take_over(steps)
        completed, parts = self.move_messages(steps)
        self.publish(steps)
        self.store(steps, completed, parts)
        self.sessions_end(steps)

    # -- sessions and writers

    def sessions_begin(self, steps):
        for name, e in steps.consumers.items():
            if e.deleted:
                continue
            if name in self.alive or name in self.ended:
                self.wrong(f"the id of consumer {name} is used again")
            if not e.lease:
                self.wrong(f"consumer {name} has no lease")
            self.alive.add(name)

    def sessions_end(self, steps):
        for name, e in steps.consumers.items():
            if e.deleted:
                self.alive.discard(name)
                self.ended.add(name)

    def take_over(self, steps):
        for host, e in steps.writers.items():
            now, old = "" if e.deleted else e.value.decode(), self.writers.get(host, "")
            if now and old and now != old and old in self.alive:
                self.wrong(f"host {host}: {now} took it from {old}, which is alive")
            if now and now not in self.alive:
                self.wrong(f"host {host}: its writer {now} has no session")
            self.writers[host] = now
            self.moves["take over" if now else "hand over"] += 1

    # -- messages

    def move_messages(self, steps):
        """Every message touched makes one legal move. Returns those completed, and those advanced."""
        completed, parts = [], []
        for ulid in steps.ulids():
            queued, dead, payload = (s.get(ulid) for s in (steps.queue, steps.dead, steps.payload))
            claims = steps.processing.get(ulid, [])
            move = self.name_move(queued, claims, dead, payload)
            message = self.messages.get(ulid)
            check = getattr(self, "on_" + move, None)
            if check is None or not check(ulid, message, queued, claims, dead):
                place = message.place if message else "absent"
                self.wrong(f"message {ulid} ({place}): illegal {move}: " + self.words(queued, claims, dead, payload))
                self.force(ulid, queued, claims, dead)
            self.moves[move] += 1
            if payload:
                (self.payloads.discard if payload.deleted else self.payloads.add)(ulid)
            if (self.messages[ulid].place == "gone") == (ulid in self.payloads):
                self.wrong(f"message {ulid} ({self.messages[ulid].place}): its payload "
                           + ("is still there" if ulid in self.payloads else "is missing"))
            if move == "complete":
                completed.append(ulid)
            elif move == "part":
                parts.append(ulid)
        return completed, parts

    @staticmethod
    def name_move(queued, claims, dead, payload):
        """The move that a combination of events is."""
        def sign(e):
            return "" if e is None else "-" if e.deleted else "+"
        claim = "".join(sorted(sign(c) for c in claims))
        return {
            ("+", "", "", "+"): "publish",
            ("-", "+", "", ""): "claim",
            ("", "-", "", "-"): "complete",
            ("", "+", "", ""): "part",
            ("+", "-", "", ""): "requeue",
            ("", "-", "+", ""): "dead_letter",
            ("-", "", "+", ""): "expire",
            ("+", "", "-", ""): "replay",
            ("", "", "-", "-"): "drop",
        }.get((sign(queued), claim, sign(dead), sign(payload)), "unknown")

    @staticmethod
    def words(queued, claims, dead, payload):
        return ", ".join(("-" if e.deleted else "+") + e.key for e in (queued, *claims, dead, payload) if e)

    def force(self, ulid, queued, claims, dead):
        """After an illegal move: believe what is there, so that one fault is told once."""
        message = self.messages.setdefault(ulid, Message({}, "absent"))
        puts = [(e, place) for e, place in ((queued, "queue"), (dead, "dead"), *((c, "processing") for c in claims))
                if e and not e.deleted]
        message.place = puts[0][1] if puts else "gone"
        if puts:
            message.pointer = json.loads(puts[0][0].value)

    def on_publish(self, ulid, message, queued, claims, dead):
        if message:
            return False
        pointer = json.loads(queued.value)
        self.messages[ulid] = Message(pointer, "queue")
        return pointer["attempt"] == 0 and pointer["part"] == 0

    def on_claim(self, ulid, message, queued, claims, dead):
        if not message or message.place != "queue" or not queued.deleted:
            return False
        pointer, consumer = json.loads(claims[0].value), claims[0].key.split("/")[2]
        legal = (pointer["attempt"] == message.pointer["attempt"] + 1 and consumer in self.alive
                 and pointer["part"] == message.pointer["part"] and self.writers.get(pointer["host"]) == consumer
                 and claims[0].created and not claims[0].lease)
        message.pointer, message.place, message.consumer = pointer, "processing", consumer
        return legal

    def holds(self, message, claim):
        """The claim is that of a living writer of the message's host."""
        return (message is not None and message.place == "processing" and message.consumer in self.alive
                and claim.key.split("/")[2] == message.consumer
                and self.writers.get(message.pointer["host"]) == message.consumer)

    def on_complete(self, ulid, message, queued, claims, dead):
        legal = self.holds(message, claims[0])
        if message:
            message.place = "gone"
        return legal

    def on_part(self, ulid, message, queued, claims, dead):
        legal = self.holds(message, claims[0])
        pointer = json.loads(claims[0].value)
        legal = legal and not claims[0].created and pointer["part"] == message.pointer["part"] + 1
        if message:
            message.pointer = pointer
        return legal

    def on_requeue(self, ulid, message, queued, claims, dead):
        """Given back by its living owner, whose attempt does not count, or recovered from a dead one."""
        if not message or message.place != "processing" or claims[0].key.split("/")[2] != message.consumer:
            return False
        pointer = json.loads(queued.value)
        less = 1 if message.consumer in self.alive else 0
        legal = pointer["attempt"] == message.pointer["attempt"] - less
        legal = legal and pointer["part"] == message.pointer["part"]
        self.moves["give back" if less else "recover"] += 1
        message.pointer, message.place = pointer, "queue"
        return legal

    def on_dead_letter(self, ulid, message, queued, claims, dead):
        if not message or message.place != "processing" or claims[0].key.split("/")[2] != message.consumer:
            return False
        message.pointer, message.place = json.loads(dead.value), "dead"
        return bool(message.pointer.get("reason"))

    def on_expire(self, ulid, message, queued, claims, dead):
        if not message or message.place != "queue":
            return False
        message.pointer, message.place = json.loads(dead.value), "dead"
        return bool(message.pointer.get("reason"))

    def on_replay(self, ulid, message, queued, claims, dead):
        if not message or message.place != "dead":
            return False
        message.pointer, message.place = json.loads(queued.value), "queue"
        return message.pointer["attempt"] == 0

    def on_drop(self, ulid, message, queued, claims, dead):
        if not message or message.place != "dead":
            return False
        message.place = "gone"
        return True

    # -- producers

    def publish(self, steps):
        new = collections.defaultdict(list)
        for ulid, e in steps.queue.items():
            pointer = self.messages[ulid].pointer
            if e.created and not e.deleted and pointer["source"] and not steps.processing.get(ulid) \
                    and ulid not in steps.dead:
                new[pointer["source"]].append(pointer)
        if sum(map(len, new.values())) > steps.processed:
            self.wrong("messages are published without an idempotency key each")
        for source, pointers in new.items():
            if source not in steps.producers:
                self.wrong(f"source {source}: messages are published, its record stays as it was")
        for source, e in steps.producers.items():
            if e.deleted:
                continue
            record, old = json.loads(e.value), self.producers.get(source, {"sequence": 0, "epoch": 0, "rows": 0, "messages": 0})
            pointers = sorted(new.get(source, []), key=lambda p: p["sequence"])
            sequences = [p["sequence"] for p in pointers]
            if sequences != list(range(old["sequence"] + 1, record["sequence"] + 1)):
                self.wrong(f"source {source}: sequence {old['sequence']} → {record['sequence']}, messages {sequences}")
            if record["epoch"] < old["epoch"] or any(p["epoch"] != record["epoch"] for p in pointers):
                self.wrong(f"source {source}: epoch {old['epoch']} → {record['epoch']}")
            if record["rows"] - old["rows"] != sum(p["rows"] for p in pointers) \
                    or record["messages"] - old["messages"] != len(pointers):
                self.wrong(f"source {source}: its record counts other rows than were published")
            self.producers[source] = record

    # -- chunks

    def store(self, steps, completed, parts):
        touched = {self.messages[u].pointer["host"] for u in (*completed, *parts)}
        removed, rows = collections.defaultdict(list), collections.Counter()
        for key, e in steps.bodies.items():
            (self.bodies.discard if e.deleted else self.bodies.add)(key)
        for key, e in sorted(steps.chunks.items()):
            if e.deleted:
                found = [s for s, chunks in self.segments.items() if key in chunks and s[:2] == tuple(key.split("/")[:2])]
                for s in found:
                    removed[s].append(self.segments[s].pop(key))
        for key, e in sorted((k, e) for k, e in steps.chunks.items() if not e.deleted):
            host, gpu, _ = key.split("/")
            try:
                chunk = decode_chunk(e.value)
            except (ValueError, IndexError) as error:
                self.wrong(f"chunk {key}: {error}")
                continue
            chunk.commits = chunk.commits or [(self.revision, chunk.rows)]
            place = (host, gpu, chunk.segment)
            if not chunk.inline and key not in self.bodies:
                self.wrong(f"chunk {key} has no body")
            if place in removed:
                self.merge(place, key, chunk, removed[place])
                continue
            if host not in touched:
                self.wrong(f"chunk {key} appears in a revision that completes no message of its host")
            self.append(place, key, chunk)
            rows[host] += chunk.rows
        for place, chunks in removed.items():
            if chunks:
                self.wrong(f"{place}: chunks vanish: {chunks}")
        self.account(completed, parts, rows)

    def append(self, place, key, chunk):
        known = self.segments.setdefault(place, {})
        if known:
            last = max(known.values(), key=lambda c: c.end)
            if chunk.first != last.end:
                self.wrong(f"{place}: positions [{chunk.first}, {chunk.end}) follow {last.end}")
            if chunk.incarnation != last.incarnation:
                self.wrong(f"{place}: another incarnation of a segment that is there")
        elif chunk.first != 0:
            self.wrong(f"{place}: its first position is {chunk.first}")
        if key in known:
            self.wrong(f"chunk {key} is written over")
        known[key] = chunk

    def merge(self, place, key, chunk, parts):
        """One chunk in place of adjacent ones: their very positions, bytes, times and commits."""
        mine = sorted((p for p in parts if chunk.first <= p.first < chunk.end), key=lambda p: p.first)
        at = chunk.first
        for p in mine:
            if p.first != at:
                self.wrong(f"{place}: merged parts are not adjacent at {at}")
            at = p.end
        if at != chunk.end:
            self.wrong(f"{place}: a merge of [{chunk.first}, {at}) is [{chunk.first}, {chunk.end})")
        for p in mine:
            parts.remove(p)
        if mine:
            self.same_content(place, chunk, mine)
        self.segments[place][key] = chunk
        self.moves["merge"] += 1

    def same_content(self, place, chunk, parts):
        for what, now, was in (("csv bytes", chunk.csv_bytes, sum(p.csv_bytes for p in parts)),
                               ("least time", chunk.least, min(p.least for p in parts)),
                               ("greatest time", chunk.greatest, max(p.greatest for p in parts)),
                               ("time of storing", chunk.stored, max(p.stored for p in parts)),
                               ("incarnations", {(chunk.identity, chunk.incarnation)},
                                {(p.identity, p.incarnation) for p in parts})):
            if now != was:
                self.wrong(f"{place}: a merge changes its {what} from {was} to {now}")
        now, was = chunk.revisions(), [r for p in parts for r in p.revisions()]
        if len(now) != len(was) or now[-1] is None or any(n not in (None, w) for n, w in zip(now, was)):
            self.wrong(f"{place}: a merge changes its commits: {chunk.commits} of {[p.commits for p in parts]}")

    def account(self, completed, parts, rows):
        """What is stored in a revision are the rows of the messages that it completes, in their order."""
        due = collections.Counter()
        for ulid in sorted(completed, key=lambda u: self.messages[u].pointer.get("sequence", 0)):
            message = self.messages[ulid]
            p = message.pointer
            due[p["host"]] += p["rows"] - message.stored_rows
            lane = p["source"], p["host"]
            if p["source"] and p["sequence"] <= self.done.get(lane, 0):
                self.wrong(f"message {ulid}: sequence {p['sequence']} of host {p['host']} is stored after "
                           f"{self.done[lane]}")
            self.done[lane] = max(self.done.get(lane, 0), p["sequence"])
        for ulid in parts:
            message = self.messages[ulid]
            host = message.pointer["host"]
            part = rows[host] - due[host]
            message.stored_rows += part
            due[host] += part
            if not 0 < message.stored_rows < message.pointer["rows"]:
                self.wrong(f"message {ulid}: {message.stored_rows} of {message.pointer['rows']} rows stored in parts")
        for host in due.keys() | rows.keys():
            if due[host] != rows[host]:
                self.wrong(f"host {host}: messages of {due[host]} rows end, {rows[host]} rows are stored")

    # -- the end

    def finish(self):
        """All is quiet: whatever was published is stored or dead."""
        left = [u for u, m in self.messages.items() if m.place not in ("gone", "dead")]
        if left:
            self.wrong(f"{len(left)} messages never come to an end, first {left[0]} ({self.messages[left[0]].place})")

    def places(self):
        return collections.Counter(m.place for m in self.messages.values())

    def dead_rows(self):
        return sum(m.pointer["rows"] - m.stored_rows for m in self.messages.values() if m.place == "dead")

    def stored_rows(self):
        return sum(c.rows for chunks in self.segments.values() for c in chunks.values())


def balance(system, ledger):
    """Published = stored + dead, in messages and rows, as /producers and /stats have it and as the
    history has it. What does not hold, in words."""
    keys = system.keys()
    producers = [json.loads(v) for k, v in keys.items() if re.fullmatch(r"/producers/[^/]+", k)]
    stats = collections.Counter()
    for k, v in keys.items():
        if k.startswith("/stats/"):
            stats.update({name: n for name, n in json.loads(v).items() if isinstance(n, int)})
    dead = [json.loads(v) for k, v in keys.items() if k.startswith("/deadletter/")]
    left = [k for k in keys if k.startswith(("/queue/telemetry/", "/processing/"))]
    wrong = [f"{len(left)} messages are queued or claimed"] if left else []
    for what, published, stored, buried in (
            ("messages", sum(p["messages"] for p in producers), stats["messages_processed"], len(dead)),
            ("rows", sum(p["rows"] for p in producers), stats["rows_stored"], ledger.dead_rows())):
        if published != stored + buried:
            wrong.append(f"{what}: {published} published, {stored} stored, {buried} dead")
    if stats["rows_stored"] != ledger.stored_rows():
        wrong.append(f"rows: {stats['rows_stored']} stored by the counters, {ledger.stored_rows()} in chunks")
    payloads = [k for k in keys if k.startswith("/payload/")]
    if len(payloads) != len(dead) + len(left):
        wrong.append(f"{len(payloads)} payloads of {len(dead) + len(left)} messages")
    return wrong


# ---- fetching the history ------------------------------------------------------------------------

class Witness:
    """A watch of the whole prefix from a revision on, taken up again on another member when it breaks."""

    def __init__(self, cluster, prefix, revision, history=None):
        self.cluster, self.prefix, self.next = cluster, prefix, revision
        self.ledger = Ledger()
        self.history = history  # a list to which everything is added as it is read, or None
        self.ended = self.failed = None
        self.thread = None
        self.pending = []

    def start(self, seconds):
        self.thread = threading.Thread(target=self.run, args=(seconds,), name="witness", daemon=True)
        self.thread.start()
        return self

    def finish(self, seconds):
        """Reads up to the end mark, which is put here."""
        self.ended = self.cluster.put(self.prefix + END, "end")
        if self.thread is None:
            self.run(seconds)
        else:
            self.thread.join(seconds * SLOW)
            if self.thread.is_alive():
                self.failed = "the witness does not come to an end"
        if self.failed:
            self.ledger.wrong(self.failed)
        self.ledger.finish()
        return self.ledger

    def run(self, seconds):
        end = time.monotonic() + seconds * SLOW
        members = self.cluster.members
        for turn in range(10**6):
            try:
                if self.watch(members[turn % len(members)], end):
                    return
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.05)
            if self.failed:
                return
            if time.monotonic() > end:
                self.failed = f"the history could not be read past revision {self.next}"
                return

    def watch(self, member, end):
        """True: the end mark was read."""
        where = urlsplit(member.client)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=5)
        self.pending = []
        try:
            body = {"create_request": {**under(self.prefix), "start_revision": str(self.next)}}
            connection.request("POST", "/v3/watch", json.dumps(body))
            answer = connection.getresponse()
            while time.monotonic() < end:
                line = answer.readline()
                if not line:
                    return False
                if self.take(json.loads(line)):
                    return True
        finally:
            connection.close()
        return False

    def take(self, message):
        if "error" in message:
            raise OSError(str(message))
        result = message["result"]
        if result.get("canceled"):
            if int(result.get("compact_revision", 0)):
                self.failed = f"history from {self.next} on is compacted at {result['compact_revision']}"
            raise OSError("canceled")
        by_revision = collections.defaultdict(list)
        for e in result.get("events", []):
            by_revision[int(e["kv"]["mod_revision"])].append(e)
        for revision in sorted(by_revision):
            if revision < self.next:
                continue  # known already
            events = [self.event(e) for e in by_revision[revision]]
            self.next = revision + 1
            if any(e.key == END for e in events):
                return True
            events = [e for e in events if not e.key.startswith("/chaos/")]
            self.ledger.apply(revision, events)
            if self.history is not None:
                self.history.append((revision, events))
        return False

    def event(self, e):
        kv = e["kv"]
        return Event(base64.b64decode(kv["key"]).decode()[len(self.prefix):], e.get("type") == "DELETE",
                     base64.b64decode(kv.get("value", "")), kv.get("create_revision") == kv["mod_revision"],
                     int(kv.get("lease", 0)))


# ---- rows ----------------------------------------------------------------------------------------

@dataclass
class Verdict:
    sent: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    foreign: int = 0
    notes: list = field(default_factory=list)

    def note(self, text):
        if len(self.notes) < 5:
            self.notes.append(text)

    def bad(self):
        return self.lost + self.doubled + self.disordered + self.foreign


def read_files(mount):
    """{host/gpu/history/file: text} of all row files."""
    return {f"{gpu}/history/{name}": mount.read(f"{gpu}/history/{name}")
            for gpu in sorted(mount.gpus()) for name in mount.names(f"{gpu}/history")}


def compare(sources, files):
    """sources: lists of rows as they were sent, each with a value that no other row has."""
    verdict = Verdict(sent=sum(map(len, sources)))
    sent = {r["value"]: (r, s, i) for s, rows in enumerate(sources) for i, r in enumerate(rows)}
    seen = collections.Counter()
    for path, text in files.items():
        host, gpu, _, name = path.split("/")
        last = {}  # of each source, the place of its last row in this file
        table = list(csv.reader(io.StringIO(text, newline="")))
        if tuple(table[0]) != ROW_FILE or not text.endswith("\n"):
            verdict.note(f"{path} is no row file: {text[:100]!r} … {text[-60:]!r}")
            verdict.foreign += 1
        for fields in table[1:]:
            row, source, place = sent.get(fields[2] if len(fields) > 2 else "", (None, 0, 0))
            if row is None or tuple(fields[:7]) != tuple(row[c] for c in ROW_FILE[:7]) or \
                    (host, gpu, name) != (row["Hostname"], row["gpu_id"], segment_file(row["timestamp"])):
                verdict.foreign += 1
                verdict.note(f"{path}: row {fields} was never sent so")
                continue
            seen[fields[2]] += 1
            if seen[fields[2]] > 1:
                verdict.doubled += 1
                verdict.note(f"{path}: row {fields[2]} is there {seen[fields[2]]} times")
            elif place < last.get(source, -1):
                verdict.disordered += 1
                verdict.note(f"{path}: row {fields[2]} follows a later one of its source")
            last[source] = max(place, last.get(source, -1))
    for value, (row, _, _) in sent.items():
        if not seen[value]:
            verdict.lost += 1
            verdict.note(f"row {value} of {row['Hostname']}/{row['gpu_id']} is lost")
    return verdict


def wait_quiet(cluster, prefix, seconds):
    """Until nothing is queued or claimed."""
    wait_until(lambda: not cluster.count(prefix + "/queue/telemetry/") and not cluster.count(prefix + "/processing/"),
               seconds, "nothing is queued or claimed")
