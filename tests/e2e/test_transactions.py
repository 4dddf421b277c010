"""What a collector puts into one transaction: no more than etcd takes, and nothing twice."""
import base64
import json
import random

from lib import wait_until
from rows import Expected, row, wait_for_rows, write_csv


def drain(system):
    collector = system.collector("--drain")
    assert collector.wait(60) == 0
    assert "session was lost" not in collector.log()


def test_many_messages_of_a_host_with_many_gpus_are_stored_in_transactions_that_etcd_takes(system, tmp_path):
    """32 messages and 30 GPUs with a header, a body and an identity each would be 155 operations."""
    rng = random.Random(1)
    rows = [row(seconds=s, gpu=str(g), value=rng.random()) for s in range(32 * 12) for g in range(30)]
    run = system.stream("--csv", write_csv(tmp_path / "a.csv", rows), STREAMER_BATCH_SIZE=360, STREAMER_FLUSH_INTERVAL="1m")
    assert run.messages == 32
    drain(system)
    wait_for_rows(system.mount(), Expected(rows))


def test_an_identity_that_changes_before_and_after_a_dead_letter_is_stored(system, tmp_path):
    """Three messages of one turn: the second cannot be stored, the third has a metric more."""
    rows = [row(seconds=s, metric=m, value=s) for s, m in enumerate("AAAABBBBCCCC")]
    run = system.stream("--csv", write_csv(tmp_path / "a.csv", rows), STREAMER_BATCH_SIZE=4)
    assert run.messages == 3
    key, value = sorted(system.keys("/queue/telemetry/").items())[1]
    damaged = json.dumps({**json.loads(value), "schema": "v9"}).encode()
    system.etcd.call("/v3/kv/put", key=base64.b64encode((system.prefix + key).encode()).decode(),
                     value=base64.b64encode(damaged).decode())
    drain(system)
    assert len(system.keys("/deadletter/")) == 1
    wait_for_rows(system.mount(), Expected(rows[:4] + rows[8:]))


def test_a_host_of_any_name_keeps_its_writer(system, tmp_path):
    """Also one whose name is a single sign: no key that a collector deletes by the way is its own."""
    rows = [row(seconds=s, host=h, value=s) for s in range(4) for h in ("-", ".", "x", "=")]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), STREAMER_BATCH_SIZE=2)
    collector, mount = system.collector(), system.mount()
    wait_for_rows(mount, Expected(rows))
    more = [row(seconds=7200 + s, host=h, value=s) for s in range(4) for h in ("-", ".", "x", "=")]
    system.stream("--csv", write_csv(tmp_path / "b.csv", more), STREAMER_BATCH_SIZE=2)
    wait_for_rows(mount, Expected(rows + more))
    wait_until(lambda: not system.keys("/processing/"), 30, "all is stored")
    assert "session was lost" not in collector.log()
