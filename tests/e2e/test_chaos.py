"""A short run of tests/chaos (make chaos), and the check of the check: what its oracle must find."""
import copy
import json
import os
import random
import subprocess
import sys
import types

import pytest

from lib import BIN, ROOT, SANITIZED, SLOW, System, wait_until
from rows import fleet, write_csv
from test_defects import holds_claims

sys.path.insert(0, str(ROOT / "tests" / "chaos"))

import failpoints  # noqa: E402
import oracle  # noqa: E402
from cluster import Cluster  # noqa: E402

ROUNDS, SEED = 10, "2026"


def test_ten_rounds_of_faults_lose_double_and_reorder_nothing():
    env = {**os.environ, "ROUNDS": str(ROUNDS), "SEED": SEED, "ROWS": "5000", "JOBS": "2", "WHERE": "three,one", "GPUTEL_BIN": str(BIN)}
    for name in ("FAULTS", "ONLY", "FAILPOINTS"):
        env.pop(name, None)
    run = subprocess.run([ROOT / "tests" / "chaos" / "run"], env=env, capture_output=True, text=True, timeout=90 * SLOW, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"\n{ROUNDS} rounds in " in run.stdout, run.stdout


@pytest.mark.parametrize("action", [failpoints.CRASH, failpoints.TERM, failpoints.TERM_TWICE])
def test_a_crash_or_signal_at_any_failpoint_loses_doubles_and_reorders_nothing(programs, tmp_path, action):
    """Each transaction of a streamer and of a collector that takes over from a dead one, before it is
    sent and after its answer (make chaos FAILPOINTS=1 does more)."""
    if SANITIZED:
        pytest.skip("failpoints are built without sanitizers")
    said = []
    place = failpoints.Place(tmp_path, SEED)
    try:
        wrong, hits = failpoints.explore(place, 800, lambda count: [1], said.append, actions=(action,), scenarios=(
            failpoints.streamer_after_a_dead_one, failpoints.collector_after_a_dead_one))
    finally:
        place.close()
    assert not wrong, "\n".join(said)
    assert set(hits) >= {f"{name}.{where}" for where in ("send", "receive") for name in
                         ("open_producer", "publish", "remove_owner", "agree", "take_host", "claim", "end", "recover")}
    assert sum(hits.values()) >= 14, "\n".join(said)


def test_a_crash_in_the_middle_of_merging_changes_no_row(programs, tmp_path):
    if SANITIZED:
        pytest.skip("failpoints are built without sanitizers")
    said, steps = [], {f"{name}.{where}" for name in ("merge", "seal") for where in ("send", "receive")}
    place = failpoints.Place(tmp_path, SEED)
    try:
        for _ in range(5):  # what is full when its time is over need not be sealed
            wrong, hits = failpoints.explore(place, 800, lambda count: [1], said.append, steps=steps,
                                             scenarios=[failpoints.collector_that_merges])
            assert not wrong, "\n".join(said)
            steps -= {name for name, n in hits.items() if n}
            if not steps:
                break
    finally:
        place.close()
    assert not steps, "\n".join(said)


# ---- the check of the check ----------------------------------------------------------------------

@pytest.fixture(scope="module")
def lived(programs, tmp_path_factory):
    """A real history in which a collector died and chunks were merged: sources, files of the mount, and all
    revisions."""
    folder = tmp_path_factory.mktemp("lived")
    cluster = Cluster(folder / "etcd").start()
    system = System(cluster, folder / "system", MQ_PROCESSING_TIMEOUT="2s", STREAMER_BATCH_SIZE=32,
                    STREAMER_FLUSH_INTERVAL="10ms", COLLECTOR_BATCH_SIZE=2, ETCD_MAINTENANCE="off")
    try:
        history, rows = [], list(fleet(3000, hosts=6, gpus=2))
        witness = oracle.Witness(cluster, system.prefix, cluster.revision() + 1, history)
        file = write_csv(folder / "a.csv", rows)
        system.stream("--csv", file)
        first = system.collector()
        wait_until(lambda: system.keys("/telemetry/data/"), 30, "first rows")
        wait_until(lambda: holds_claims(system, first), 30, "it holds claims")
        first.kill()
        assert system.collector("--drain").wait(30) == 0
        last = system.collector()
        wait_until(lambda: len(system.keys("/telemetry/data/")) == 12, 30, "each GPU's rows are in one chunk")
        assert last.stop() == 0
        ledger = witness.finish(20)
        assert oracle.balance(system, ledger) == []
        files = oracle.read_files(system.mount())
        yield types.SimpleNamespace(history=history, ledger=ledger, rows=rows, files=files)
    finally:
        system.close()
        cluster.close()


def replay(history):
    ledger = oracle.Ledger()
    for revision, events in history:
        ledger.apply(revision, events)
    ledger.finish()
    return ledger.violations


def find(history, kind, deleted=False):
    """(index of a revision, index of its event) whose key begins with kind; one that leads on, not the
    first nor the last of them."""
    found = [(i, j) for i, (_, events) in enumerate(history) for j, e in enumerate(events)
             if e.key.startswith(kind) and e.deleted == deleted]
    return found[len(found) // 2]


def edit(history, place, **fields):
    event = history[place[0]][1][place[1]]
    for name, value in fields.items():
        setattr(event, name, value)


def pointer_edit(history, place, **fields):
    edit(history, place, value=json.dumps({**json.loads(history[place[0]][1][place[1]].value), **fields}).encode())


def cut(history, place):
    del history[place[0]][1][place[1]]


def repeat_completion(h):
    i, _ = find(h, "/telemetry/data/")
    h.insert(i + 1, (h[i][0], copy.deepcopy(h[i][1])))


def lose_completion(h):
    del h[find(h, "/telemetry/data/")[0]]


def store_apart_from_the_claims_end(h):
    i, j = find(h, "/telemetry/data/")
    h.insert(i + 1, (h[i][0], [h[i][1].pop(j)]))


def shift_positions(h):
    i, j = find(h, "/telemetry/data/")
    value = bytearray(h[i][1][j].value)
    _, at = oracle.varint(value, 21)
    value[at] ^= 1  # the lowest bits of first_seq
    edit(h, (i, j), value=bytes(value))


def revive_consumer(h):
    i, j = find(h, "/consumers/")
    h.append((h[-1][0] + 1, [copy.deepcopy(h[i][1][j])]))


def rob_writer(h):
    i, j = find(h, "/telemetry/writers/")
    h.insert(i + 1, (h[i][0], [oracle.Event(h[i][1][j].key, False, b"somebody-else", False, 0)]))


def publish_without_record(h):
    i, _ = find(h, "/payload/")
    h[i] = h[i][0], [e for e in h[i][1] if not e.key.startswith("/producers/")]


def requeue_of(h):
    return next((i, j) for i, (_, events) in enumerate(h) for j, e in enumerate(events)
                if e.key.startswith("/queue/telemetry/") and not e.deleted
                and any(x.deleted and x.key.startswith("/processing/") for x in events))


def recover_before_the_end_of_the_session(h):
    i, _ = requeue_of(h)
    gone = next(k for k, (_, events) in enumerate(h) if any(e.deleted and e.key.startswith("/consumers/") for e in events))
    assert gone < i
    h.insert(i + 1, h.pop(gone))


def merge_of(h):
    """(index of a revision that merges chunks, index of a delete in it, of a put)."""
    def of(events, deleted):
        return [j for j, e in enumerate(events) if e.key.startswith("/telemetry/data/") and e.deleted == deleted]
    found = [(i, of(events, True), of(events, False)) for i, (_, events) in enumerate(h)]
    i, gone, put = [f for f in found if f[1] and f[2]][0]
    return i, gone[1], put[0]


def merge_changes(h, field):
    """The field-th number of a merged chunk's header is another one."""
    i, _, j = merge_of(h)
    value, at = bytearray(h[i][1][j].value), 21
    for _ in range(field):
        _, at = oracle.varint(value, at)
    value[at] ^= 1
    edit(h, (i, j), value=bytes(value))


def merge_changes_commits(h):
    i, _, j = merge_of(h)
    value = h[i][1][j].value
    chunk = oracle.decode_chunk(value)
    edit(h, (i, j), value=value.replace(as_varint(chunk.commits[0][0]), as_varint(chunk.commits[0][0] - 1)))


def as_varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


MUTATIONS = {
    "a merge leaves a part": lambda h: cut(h, merge_of(h)[:2]),
    "a merge puts nothing": lambda h: cut(h, merge_of(h)[::2]),
    "a merge changes positions": lambda h: merge_changes(h, 1),
    "a merge changes the number of rows": lambda h: merge_changes(h, 2),
    "a merge changes bytes that are read": lambda h: merge_changes(h, 3),
    "a merge changes the time of storing": lambda h: merge_changes(h, 6),
    "a merge changes commits": merge_changes_commits,
    "a payload is not put": lambda h: cut(h, find(h, "/payload/")),
    "a payload stays": lambda h: cut(h, find(h, "/payload/", deleted=True)),
    "a claim stays": lambda h: cut(h, find(h, "/processing/", deleted=True)),
    "a claim leaves the pointer in the queue": lambda h: cut(h, find(h, "/queue/telemetry/", deleted=True)),
    "a pointer vanishes with its claim": lambda h: cut(h, requeue_of(h)),
    "a chunk is lost": lambda h: cut(h, find(h, "/telemetry/data/")),
    "a completion comes twice": repeat_completion,
    "a completion never comes": lose_completion,
    "data appear apart from the end of the claim": store_apart_from_the_claims_end,
    "positions overlap or have a gap": shift_positions,
    "an attempt is not counted": lambda h: pointer_edit(h, find(h, "/processing/"), attempt=0),
    "a sequence is used again": lambda h: pointer_edit(h, find(h, "/queue/telemetry/"), sequence=1),
    "a publication moves no record": publish_without_record,
    "a session comes back from the dead": revive_consumer,
    "a living writer is robbed": rob_writer,
    "a claim is recovered from a living collector": recover_before_the_end_of_the_session,
    "a session has no lease": lambda h: edit(h, find(h, "/consumers/"), lease=0),
}


def test_the_oracle_finds_nothing_in_what_has_happened(lived):
    assert replay(lived.history) == []
    assert lived.ledger.moves["recover"] > 0 and lived.ledger.moves["complete"] > 0
    assert lived.ledger.moves["merge"] >= 12
    verdict = oracle.compare([lived.rows], lived.files)
    assert (verdict.sent, verdict.bad()) == (3000, 0), verdict.notes


@pytest.mark.parametrize("what", MUTATIONS)
def test_the_oracle_finds_a_history_in_which(lived, what):
    history = copy.deepcopy(lived.history)
    MUTATIONS[what](history)
    assert replay(history), what


def test_the_oracle_finds_each_row_that_is_lost_doubled_moved_or_changed(lived):
    rng = random.Random(int(SEED))
    path = max(lived.files, key=lambda p: len(lived.files[p]))
    for harm, expected in (("lose", (1, 0, 0, 0)), ("double", (0, 1, 0, 0)), ("swap", (0, 0, 1, 0)), ("change", (1, 0, 0, 1))):
        lines = lived.files[path].splitlines(keepends=True)
        i = rng.randrange(1, len(lines) - 1)
        if harm == "lose":
            del lines[i]
        elif harm == "double":
            lines.insert(i, lines[i])
        elif harm == "swap":
            lines[i], lines[i + 1] = lines[i + 1], lines[i]
        else:
            lines[i] = lines[i].replace("Z,", "Z,X", 1)
        verdict = oracle.compare([lived.rows], {**lived.files, path: "".join(lines)})
        assert (verdict.lost, verdict.doubled, verdict.disordered, verdict.foreign) == expected, harm
