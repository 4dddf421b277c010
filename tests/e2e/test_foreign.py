"""What stands in the queue and no streamer here has published: stored or set aside, and counted apart."""
import base64
import json
import re

from lib import wait_until
from rows import Expected, fleet, wait_for_rows, write_csv

SMALL_MESSAGES = {"STREAMER_BATCH_SIZE": 16, "STREAMER_FLUSH_INTERVAL": "10ms"}
JUNK = "/processing/gone-0000000000000001/00000000000000000001_01ARZ3NDEKTSV4RRFFQ69G5FAV"


def put(system, key, value):
    system.etcd.call("/v3/kv/put", key=base64.b64encode((system.prefix + key).encode()).decode(),
                     value=base64.b64encode(value).decode())


def audit(system):
    """Exit status and the figures of the lines of --audit: {"messages": {"stored": 3, …}, …}."""
    process = system.collector("--audit")
    status = process.wait(10)
    lines = {line.partition(":")[0]: dict(re.findall(r"(\w+)=(\w+)", line)) for line in process.out().splitlines()}
    return status, lines, process.out()


def test_messages_of_a_deleted_record_are_stored_as_foreign_and_the_balance_holds(system, tmp_path):
    """Two sources, one of whose records somebody deletes while its messages are queued."""
    ours, theirs = list(fleet(400, hosts=4)), list(fleet(320, hosts=4, start="2025-07-19T00:00:00Z"))
    mine = system.stream("--csv", write_csv(tmp_path / "a.csv", ours), **SMALL_MESSAGES)
    before = set(system.keys("/producers/"))
    other = system.stream("--csv", write_csv(tmp_path / "b.csv", theirs), **SMALL_MESSAGES)
    (record,) = set(system.keys("/producers/")) - before
    system.etcd.delete(system.prefix + record)
    status, lines, out = audit(system)
    assert status == 0 and lines["foreign"]["queued"] == str(other.messages), out
    mount = system.mount()
    assert system.collector("--drain").wait(20) == 0
    status, lines, out = audit(system)
    assert status == 0 and "balance=exact" in out, out
    assert lines["foreign"]["stored"] == str(other.messages) and lines["messages"]["stored"] == str(mine.messages), out
    wait_for_rows(mount, Expected(ours + theirs))
    wait_until(lambda: mount.status()["queue_depth"] == "0", 30, "the depth of an empty queue is 0")
    assert mount.status()["messages_foreign"] == str(other.messages)


def test_a_foreign_dead_letter_that_is_dropped_leaves_the_balance_exact(system, tmp_path):
    run = system.stream("--csv", write_csv(tmp_path / "a.csv", list(fleet(64, hosts=1))), **SMALL_MESSAGES)
    for key, value in system.keys("/queue/telemetry/").items():
        put(system, key, json.dumps({**json.loads(value), "schema": "v9"}).encode())
    (record,) = [k for k in system.keys("/producers/") if k.count("/") == 2]
    kept = system.keys(record)[record]
    assert system.collector("--drain").wait(20) == 0
    letters = [k.rpartition("/")[2] for k in system.keys("/deadletter/")]
    assert len(letters) == run.messages
    assert system.collector("--dead-letters", "drop", letters[0]).wait(10) == 0
    assert audit(system)[0] == 0
    system.etcd.delete(system.prefix + record)
    assert audit(system)[1]["foreign"]["dead"] == str(run.messages - 1)
    assert system.collector("--dead-letters", "drop", letters[1]).wait(10) == 0
    put(system, record, kept)
    status, lines, out = audit(system)
    # The one that was dropped as foreign is missing from what the record, now back, has published.
    assert status == 1 and lines["messages"]["difference"] == "1", out


def test_what_a_dead_collector_left_that_is_no_message_is_dead_lettered_with_the_reason(system, tmp_path):
    """A damaged pointer would stay in /processing for ever, and --drain with it."""
    system.stream("--csv", write_csv(tmp_path / "a.csv", list(fleet(40, hosts=2))))
    put(system, JUNK, b'{"host": "h1", "rows": ')
    collector = system.collector("--drain")
    assert collector.wait(30) == 0
    assert re.search(r"warn .*no messages.*" + re.escape(JUNK), collector.log())
    assert not system.keys("/processing/")
    (key, value), = system.keys("/deadletter/").items()
    letter = json.loads(value)
    assert key.endswith("01ARZ3NDEKTSV4RRFFQ69G5FAV") and "JSON" in letter["reason"]
    assert base64.b64decode(letter["raw"]) == b'{"host": "h1", "rows": '
    assert audit(system)[0] == 0
    replay = system.collector("--dead-letters", "replay", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert replay.wait(10) == 1 and "was no message" in replay.log()
    assert system.collector("--dead-letters", "replay").wait(10) == 0
    assert list(system.keys("/deadletter/")) == [key], "what can never be stored is not tried again"
