"""Defects of two earlier designs of this pipeline, one test each for those that the other files do not
cover already (S1–S11 and H1–H10 of ../shared/reference/field.md §1.4, in the comments).

Elsewhere: S4 test_kill.py (stopped collectors and second signals); S8, S9, H7, H8, H9 concern REST and
WebSocket; S10 (old stamps) test_segments.py; H1 test_tree.py (the real DCGM rows); H3 test_kill.py,
test_load.py and tests/chaos.
"""
import base64
import json
import re
import sys
import time

import pytest

from lib import ROOT, wait_until
from rows import Expected, assert_tree, fleet, row, wait_for_rows, write_csv

sys.path.insert(0, str(ROOT / "tests" / "chaos"))

from proxy import Pass, Proxies  # noqa: E402

FAST = {"MQ_PROCESSING_TIMEOUT": "2s"}
SMALL_MESSAGES = {"STREAMER_BATCH_SIZE": 8, "STREAMER_FLUSH_INTERVAL": "10ms"}


def stored(system):
    """Messages and rows that the collectors count as stored."""
    counters = [json.loads(v) for v in system.keys("/stats/").values()]
    return tuple(sum(c[name] for c in counters) for name in ("messages_processed", "rows_stored"))


# S1 (a claim without a condition: all who listed a message own it), H5 (every collector does all the
# work; a backlog over 100, and what comes while it starts, is never read)
def test_four_collectors_that_see_one_backlog_store_each_message_once_between_them(system, tmp_path):
    first, second = list(fleet(4000, hosts=16)), list(fleet(4000, hosts=16, start="2025-07-19T00:00:00Z"))
    backlog = system.stream("--csv", write_csv(tmp_path / "a.csv", first), **SMALL_MESSAGES)
    assert backlog.messages > 300
    streamer = system.streamer("--csv", write_csv(tmp_path / "b.csv", second), "--wait", **SMALL_MESSAGES)
    for _ in range(4):
        system.collector()
    assert streamer.wait(30) == 0
    messages = int(re.search(r"messages=(\d+)", streamer.out())[1])
    wait_until(lambda: not system.keys("/payload/"), 20, "all is stored")
    assert stored(system) == (backlog.messages + messages, 8000)
    assert_tree(system.mount(), Expected(first + second))


def holds_claims(system, collector):
    """Its claims, with which it is left stopped; none while it has none."""
    collector.pause()
    time.sleep(0.1)  # what it has sent by now arrives
    found = system.keys("/processing/")
    if not found:
        collector.resume()
    return found


# S2 (the only copy hangs on the claim's lease), H4 (at most once: a message is deleted on receipt)
def test_messages_whose_collector_died_with_them_in_hand_are_stored_by_the_next(system, tmp_path):
    rows = list(fleet(4000, hosts=8))
    run = system.stream("--csv", write_csv(tmp_path / "a.csv", rows), **SMALL_MESSAGES)
    collector = system.collector(COLLECTOR_BATCH_SIZE=4, **FAST)
    claims = wait_until(lambda: holds_claims(system, collector), 15, "it holds claims")
    collector.kill()
    wait_until(lambda: not system.keys("/consumers/"), 30, "its lease has run out")
    left = {key.rpartition("_")[2] for key in system.keys("/processing/")}
    assert left == {key.rpartition("_")[2] for key in claims}
    assert left <= {key.rpartition("/")[2] for key in system.keys("/payload/")}, "what was claimed is still there"
    assert system.collector("--drain", **FAST).wait(20) == 0
    assert stored(system)[0] == run.messages
    assert_tree(system.mount(), Expected(rows))


class Poison(Pass):
    """Ends a collector that is about to store one certain message, as a fault in the message would."""

    def __init__(self, ulid):
        self.key = f"/payload/telemetry/{ulid}"
        self.victim = None
        self.deaths = 0

    async def request(self, data):
        head, _, body = data.partition(b"\r\n\r\n")
        if b"/v3/kv/txn" not in head.split(b"\r\n")[0]:
            return
        deleted = [op["request_delete_range"]["key"] for op in json.loads(body).get("success", [])
                   if "request_delete_range" in op]
        if any(base64.b64decode(key).decode().endswith(self.key) for key in deleted):
            self.deaths += 1
            self.victim.kill()
            raise ConnectionResetError


# S2 (retries and dead letters that are never reached)
def test_a_message_that_kills_its_collector_is_dead_lettered_and_its_neighbours_are_stored(system, tmp_path):
    rows = list(fleet(600, hosts=6))
    run = system.stream("--csv", write_csv(tmp_path / "a.csv", rows), **SMALL_MESSAGES)
    queued = {k.rpartition("/")[2]: json.loads(v) for k, v in system.keys("/queue/telemetry/").items()}
    lane = sorted(u for u, p in queued.items() if p["host"] == "node-002")
    poison = Poison(lane[len(lane) // 2])
    address = system.etcd.client.removeprefix("http://").split(":")
    proxies = Proxies([(address[0], int(address[1]))])
    proxies.set(poison)
    env = {"MQ_MAX_RETRIES": 3, "ETCD_ENDPOINTS": proxies.client, **FAST}
    try:
        for _ in range(8):
            poison.victim = collector = system.collector("--drain", **env)
            if collector.wait(30) == 0:
                break
        dead = {k.rpartition("/")[2]: json.loads(v) for k, v in system.keys("/deadletter/").items()}
        assert list(dead) == [lane[len(lane) // 2]], dead
        assert poison.deaths == 3 and re.search(r"died", dead[lane[len(lane) // 2]]["reason"])
        assert stored(system)[0] == run.messages - 1
    finally:
        proxies.close()
    assert system.collector("--audit").wait() == 0
    assert system.collector("--dead-letters", "replay").wait() == 0
    assert system.collector("--drain").wait(20) == 0
    assert not system.keys("/deadletter/") and stored(system) == (run.messages, 600)
    mount = system.mount()
    texts = [mount.read(f"{gpu}/history/{name}") for gpu in mount.gpus() for name in mount.names(f"{gpu}/history")]
    values = sorted(int(line.split(",")[2]) for text in texts for line in text.splitlines()[1:])
    assert values == list(range(1, 601))


# S3 (more operations than etcd takes in a transaction: nothing moves once 65 messages wait, or rows
# are dropped after they were acknowledged)
@pytest.mark.parametrize("shape", [{"hosts": 500, "gpus": 1}, {"hosts": 1, "gpus": 100}, {"hosts": 2, "gpus": 40}])
def test_a_backlog_larger_than_any_transaction_is_stored(system, tmp_path, shape):
    rows = list(fleet(4000, metrics=2, step_s=600, **shape))
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), MQ_BATCH_SIZE=10000)
    assert system.collector("--drain", MQ_BATCH_SIZE=10000, COLLECTOR_BATCH_SIZE=10000).wait(40) == 0
    assert stored(system)[1] == 4000
    assert_tree(system.mount(), Expected(rows))


def revision(etcd):
    return int(etcd.call("/v3/kv/range", key=base64.b64encode(b"x").decode())["header"]["revision"])


# S5 (six requests and three leases a row), H10 (three requests a row)
def test_rows_cost_few_transactions_and_no_leases_of_their_own(own_system, tmp_path):
    rows = list(fleet(20_000, hosts=8))
    own_system.collector()
    wait_until(lambda: own_system.keys("/consumers/"), 30, "the collector")
    before = revision(own_system.etcd)
    run = own_system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    assert run.published == 20_000
    assert revision(own_system.etcd) - before < 3 * run.messages + 40
    assert len(own_system.etcd.call("/v3/lease/leases").get("leases", [])) <= 4
    wait_until(lambda: not own_system.keys("/payload/"), 30, "all is stored")


# S6 (two readings with the same content are taken for a repeat), H2 (rows of one GPU and one second
# overwrite each other)
def test_equal_readings_of_one_second_are_all_kept_and_a_second_run_adds_none(system, tmp_path):
    rows = [row(0, "42") for _ in range(500)] + [row(0, n % 3, metric=f"DCGM_FI_M{n % 10}") for n in range(500)]
    file = write_csv(tmp_path / "a.csv", rows)
    system.collector()
    assert system.stream("--csv", file, "--wait", STREAMER_BATCH_SIZE=100).published == 1000
    assert system.stream("--csv", file, "--wait", STREAMER_BATCH_SIZE=70).duplicate == 1000
    wait_for_rows(system.mount(), Expected(rows))


# S7 (back-pressure drops rows)
def test_back_pressure_makes_rows_wait_and_drops_none(system, tmp_path):
    rows = list(fleet(3000, hosts=4))
    streamer = system.streamer("--csv", write_csv(tmp_path / "a.csv", rows), "--wait", THROTTLE_MAX_QUEUE_DEPTH=20,
                               MQ_BATCH_SIZE=8, **SMALL_MESSAGES)
    wait_until(lambda: len(system.keys("/queue/telemetry/")) > 20, 15, "the limit is passed")
    wait_until(lambda: re.search(r"paus|wait", streamer.log()), 15, "it says that it waits")
    assert len(system.keys("/queue/telemetry/")) <= 2 * 20 + 2 * 40, "it pauses past twice the limit"
    assert streamer.running()
    system.collector()
    assert streamer.wait(60) == 0
    assert re.search(r"rows=3000 published=3000 ", streamer.out())
    wait_for_rows(system.mount(), Expected(rows))


# S10 (a schema that is listed as known and then refused): what is unknown is set aside, with the reason
def test_a_message_of_an_unknown_schema_is_dead_lettered_with_the_reason(system, tmp_path):
    rows = list(fleet(200, hosts=2))
    run = system.stream("--csv", write_csv(tmp_path / "a.csv", rows), **SMALL_MESSAGES)
    key, value = sorted(system.keys("/queue/telemetry/").items())[-1]
    pointer = {**json.loads(value), "schema": "v9"}
    system.etcd.call("/v3/kv/put", key=base64.b64encode((system.prefix + key).encode()).decode(),
                     value=base64.b64encode(json.dumps(pointer).encode()).decode())
    assert system.collector("--drain").wait(20) == 0
    dead = {k.rpartition("/")[2]: json.loads(v) for k, v in system.keys("/deadletter/").items()}
    assert list(dead) == [key.rpartition("/")[2]] and "v9" in dead[key.rpartition("/")[2]]["reason"]
    assert set(system.keys("/payload/")) == {"/payload/telemetry/" + key.rpartition("/")[2]}
    assert stored(system)[0] == run.messages - 1


# S11 (two consumers with one COLLECTOR_ID collide)
def test_two_collectors_of_one_name_work_side_by_side(system, tmp_path):
    rows = list(fleet(6000, hosts=16))
    collectors = [system.collector(COLLECTOR_ID="twin") for _ in range(2)]
    wait_until(lambda: len(system.keys("/consumers/")) == 2, 30, "two sessions")
    assert system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait", **SMALL_MESSAGES).published == 6000
    assert all(c.running() and "lost" not in c.log() for c in collectors)
    writers = list(system.keys("/telemetry/writers/").values())
    assert len(set(writers)) == 2, "both have hosts"
    wait_for_rows(system.mount(), Expected(rows))


# H6 (nothing ever goes: etcd grows to its quota and stops)
def test_what_is_past_its_retention_leaves_nothing_behind_but_accounts(system, tmp_path):
    rows = list(fleet(3000, hosts=4))
    system.collector(RETENTION="2s")
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    kept = ("/producers/", "/stats/", "/processed/", "/consumers/", "/telemetry/config", "/queue/mark")
    wait_until(lambda: not [k for k in system.keys() if not k.startswith(kept)], 30, "what was stored is gone")
    leased = system.etcd.call("/v3/kv/range", **system.etcd.range_of(system.prefix + "/processed/"))["kvs"]
    assert all(int(kv.get("lease", 0)) for kv in leased), "idempotency keys go with their lease"
    assert system.mount().gpus() == set()
