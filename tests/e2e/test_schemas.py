"""Messages of the schemas v1beta1 and v1beta2: what other programs enqueue is stored as it was meant, or set
aside with everything that is wrong with it; --migrate brings them to v1 where they lie."""
import base64
import hashlib
import itertools
import json
import os
import re
import subprocess
import time

import pytest

from lib import ROOT, wait_until
from rows import Expected, assert_tree, fleet, row, wait_for_rows
from test_foreign import audit, put

IDS = itertools.count(time.time_ns())
ZEROS = {"older": "0", "migrated": "0", "became": "0", "invalid": "0"}


def example(system, name, *args, records):
    """Runs a file of examples/ as its reader would; returns what it prints."""
    env = {**os.environ, "ETCD_ENDPOINTS": system.etcd.client, "GPUTEL_PREFIX": system.prefix}
    done = subprocess.run([ROOT / "examples" / name, *args], input=records, env=env, capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def enqueue(system, records, schema="v1beta2", host="h", ident=None, pointer=(), at="/queue/telemetry/"):
    """One message, its payload given as bytes or to be made JSON of; returns its id."""
    ident = ident or f"{next(IDS):026d}"
    payload = records if isinstance(records, bytes) else json.dumps(records).encode()
    put(system, f"/payload/telemetry/{ident}", payload)
    put(system, at + ident, json.dumps({"host": host, "schema": schema, **dict(pointer)}).encode())
    return ident


def wide(rows):
    """Rows as wide records, those of a GPU and time together."""
    found = {}
    for r in rows:
        key = (r["timestamp"], r["Hostname"], r["gpu_id"])
        record = found.setdefault(key, {"timestamp": key[0], "hostname": key[1], "gpu_id": int(key[2]),
                                        "uuid": r["uuid"], "device": r["device"], "model_name": r["modelName"],
                                        "pod": r["pod"], "namespace": r["namespace"], "labels": r["labels_raw"]})
        record[r["metric_name"]] = r["value"]
    return list(found.values())


def drain(system):
    assert system.collector("--drain").wait(40) == 0


def letters(system):
    return {k.rpartition("/")[2]: json.loads(v) for k, v in system.keys("/deadletter/").items()}


def show(system, ident):
    process = system.collector("--dead-letters", "show", ident)
    assert process.wait(10) == 0, process.log()
    return process.out()


def assert_balance(system, **foreign):
    status, lines, out = audit(system)
    assert status == 0 and "balance=exact" in out, out
    for name, value in foreign.items():
        assert lines["foreign"][name] == str(value), out


# ---- the examples -----------------------------------------------------------------------------------------------

def test_the_example_with_etcdctl_enqueues_wide_records_and_values_keep_their_text(system):
    records = """[
      {"timestamp": "2025-07-18T20:42:34.50Z", "gpu_id": 0, "uuid": "GPU-1", "model_name": "it's an H100",
       "DCGM_FI_DEV_GPU_UTIL": 87, "DCGM_FI_DEV_POWER_USAGE": 431.200, "DCGM_FI_DEV_XID_ERRORS": null},
      {"timestamp": 1752871355, "host": "node-18", "gpu": "1", "metrics": {"uuid": -0, "T": "7e-06", "N": "N/A"}}
    ]"""
    assert len(example(system, "enqueue.sh", "node-17", records=records)[0]) == 26
    assert_balance(system, queued=1)
    drain(system)
    mount = system.mount()
    assert mount.gpus() == {"node-17/0", "node-18/1"}
    assert mount.read("node-17/0/metrics/DCGM_FI_DEV_GPU_UTIL") == "87\n"
    assert mount.read("node-17/0/metrics/DCGM_FI_DEV_POWER_USAGE") == "431.200\n"
    assert mount.read("node-17/0/model") == "it's an H100\n" and mount.read("node-17/0/uuid") == "GPU-1\n"
    assert "2025-07-18T20:42:34.50Z,DCGM_FI_DEV_GPU_UTIL,87,GPU-1," in mount.read("node-17/0/telemetry.csv")
    assert mount.names("node-17/0/metrics") == ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_POWER_USAGE"]
    assert mount.read("node-18/1/metrics/uuid") == "-0\n" and mount.read("node-18/1/metrics/T") == "7e-06\n"
    assert_balance(system, queued=0, stored=2, rows=4, no_value=2)
    wait_until(lambda: mount.status()["queue_depth"] == "0", 30, "the depth of an empty queue is 0")


def test_the_example_in_python_enqueues_rows_as_the_bridge_writes_them(system):
    rows = list(fleet(2400, hosts=1))
    lines = "".join(json.dumps({**r, "value": "VALUE"}).replace('"VALUE"', r["value"]) + "\n" for r in rows)
    ids = example(system, "enqueue.py", "--batch", "500", records=lines)
    assert len(ids) == 5 and ids == sorted(ids)
    assert_balance(system, queued=5)
    drain(system)
    assert_tree(system.mount(), Expected(rows))
    assert_balance(system, stored=5, rows=2400)


# ---- messages that become several ---------------------------------------------------------------------------------

@pytest.mark.parametrize("schema", ["v1beta1", "v1beta2"])
def test_records_of_several_hosts_are_stored_each_once_with_its_host(system, schema):
    """The fourth message is of the first one's host alone: it is stored without being split."""
    rows = list(fleet(4800, hosts=12))
    records = wide(rows) if schema == "v1beta1" else rows
    at = [0, *(len(records) * i // 3 for i in (1, 2)), len(records)]
    for a, b in itertools.pairwise(at):
        enqueue(system, records[a:b], schema, host="node-000", pointer={"rows": b - a})
    single = [row(10**4 + n, n, host="node-000", labels='job="dcgm"', uuid="GPU-0000-0") for n in range(50)]
    enqueue(system, single, host="node-000")
    for _ in range(2):
        system.collector()
    mount = system.mount()
    wait_for_rows(mount, Expected(rows + single))
    wait_until(lambda: not system.keys("/payload/"), 30, "nothing is left of them")
    assert_tree(mount, Expected(rows + single))
    assert_balance(system, stored=3 * 12 + 1, rows=4850, queued=0, processing=0, dead=0)


def test_a_message_of_more_hosts_than_a_transaction_holds_survives_the_death_of_its_collectors(system):
    rows = list(fleet(2400, hosts=400, gpus=1, metrics=6))
    enqueue(system, rows, host="node-399")
    for _ in range(6):
        collector = system.collector(MQ_PROCESSING_TIMEOUT="2s", MQ_MAX_RETRIES=100)
        # Part of it is in the queue when the collector dies.
        wait_until(lambda: len(system.keys("/payload/")) != 1, 20, "it is being split")
        collector.kill()
        wait_until(lambda: not system.keys("/consumers/"), 30, "its lease has run out")
    drain(system)
    assert_tree(system.mount(), Expected(rows))
    assert_balance(system, stored=400, rows=2400, dead=0)


def test_more_rows_of_a_host_than_a_message_may_have_are_stored_in_their_order(system):
    rows = [row(0, n, metric=f"M{n % 7}") for n in range(10_000)]
    keys = ("timestamp", "metric_name", "gpu_id", "value")
    enqueue(system, [{k: r[k] for k in keys} for r in rows], host="host-1")
    drain(system)
    text = system.mount().read("host-1/0/telemetry.csv")
    assert [line.split(",")[2] for line in text.splitlines()[1:]] == [str(n) for n in range(10_000)]
    assert_balance(system, rows=10_000)


# ---- what is invalid ----------------------------------------------------------------------------------------------

GOOD = {"timestamp": "2025-07-18T20:42:34Z", "hostname": "h", "gpu_id": "0", "metric_name": "M", "value": 1}
BAD = {
    "timestamp": ("yesterday", 'timestamp: expected a time (RFC 3339, or epoch seconds), got "yesterday"'),
    "hostname": (7, "Hostname: expected a string, got 7"),
    "gpu_id": (1.5, "gpu_id: expected a string or a whole number, got 1.5"),
    "metric_name": (["M"], "metric_name: expected a string, got an array"),
    "value": ("fast", 'value: expected a number, got "fast"'),
    "uuid": (1, "uuid: expected a string, got 1"),
    "device": (1, "device: expected a string, got 1"),
    "modelName": ({}, "modelName: expected a string, got an object"),
    "container": (True, "container: expected a string, got true"),
    "pod": (False, "pod: expected a string, got false"),
    "namespace": (0, "namespace: expected a string, got 0"),
    "labels": ("a=", "labels_raw: malformed labels"),
}


def test_each_invalid_field_is_told_with_its_record_and_what_was_expected(system):
    good = [GOOD, {**GOOD, "value": 2}]
    one = {name: enqueue(system, [*good, {**GOOD, name: value}]) for name, (value, _) in BAD.items()}
    every = enqueue(system, [GOOD, *({**GOOD, name: value} for name, (value, _) in BAD.items()), {}])
    drain(system)
    dead = letters(system)
    assert set(dead) == {*one.values(), every}
    for name, (_, reason) in BAD.items():
        assert dead[one[name]]["reason"].startswith(f"record 2: {reason}"), dead[one[name]]
        assert f"# record 2: {reason}" in show(system, one[name])
    text = show(system, every)
    for i, (_, reason) in enumerate(BAD.values(), 1):
        assert f"# record {i}: {reason}" in text
    for name in ("timestamp", "Hostname", "gpu_id", "metric_name", "value"):
        assert f"# record {len(BAD) + 1}: {name}: missing" in text or name == "Hostname"
    assert f"{len(BAD) + 4} faults in all" in dead[every]["reason"], dead[every]["reason"]
    assert not system.mount().gpus(), "a message is stored whole or not at all"
    assert_balance(system, dead=len(BAD) + 1)


PAYLOADS = {
    b"": "its payload is missing",
    b"not JSON": "payload: JSON line 1, column 1: value expected",
    b'{"a":1}': "payload: expected an array of records, got an object",
    b"[1]": "record 0: expected an object, got 1",
    b'[{"gpu_id":0,"timestamp":1,"value":NaN}]': "payload: JSON line 1, column 36: value expected",
}


def test_payloads_and_pointers_that_are_not_what_they_say_are_told(system):
    expected = {enqueue(system, payload): reason for payload, reason in PAYLOADS.items()}
    text = json.dumps([GOOD]).encode()
    for pointer, reason in (
            ({"rows": 2}, "rows: the payload has 1 records, the pointer says 2"),
            ({"bytes": 7}, f"bytes: the payload has {len(text)}, the pointer says 7"),
            ({"sha256": "0" * 64}, "SHA-256 mismatch"),
            ({"schema": "v9"}, 'schema version "v9" is not known here, only v1, v1beta1, v1beta2'),
            ({"part": 3}, "part: expected at most 1, got 3"),
            ({"expires_at": 1}, "expired"),
            ({"schema": "v1"}, "sha256: missing"),
            ({"schema": 1}, "schema: expected a string, got 1"),
            ({"host": None}, "host: missing"),
            ({"rows": -1}, "rows: expected a whole number from 0 to 2147483647, got -1"),
            ({"sha256": "beef"}, 'sha256: expected 64 hexadecimal digits in lower case, got "beef"'),
            ({"created_at": "now"}, "created_at: expected RFC 3339, or a whole number"),
    ):
        expected[enqueue(system, text, pointer=pointer)] = reason
    good = {"rows": 1, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest(), "source": "a/b",
            "created_at": "2025-07-18T20:42:34Z", "expires_at": None, "sequence": 3, "unknown": [1]}
    enqueue(system, text, pointer=good)
    drain(system)
    dead = letters(system)
    assert set(dead) == set(expected)
    for ident, reason in expected.items():
        assert reason in dead[ident]["reason"], dead[ident]
    assert system.mount().gpus() == {"h/0"}
    assert_balance(system, stored=1, rows=1)


def test_a_message_whose_key_is_no_ulid_is_dead_lettered_together_with_its_payload(system):
    enqueue(system, [GOOD], ident="telemetry-from-me")
    drain(system)
    (ident, letter), = letters(system).items()
    assert "its key is no ULID: expected 26" in letter["reason"]
    assert json.loads(base64.b64decode(letter["raw"])) == {"host": "h", "schema": "v1beta2"}
    assert system.keys("/payload/") == {f"/payload/telemetry/{ident}": json.dumps([GOOD]).encode()}
    assert not system.keys("/queue/telemetry/")


def test_a_dead_letter_is_stored_once_its_payload_is_put_right(system):
    ident = enqueue(system, [GOOD, {**GOOD, "value": "fast"}])
    drain(system)
    put(system, f"/payload/telemetry/{ident}", json.dumps([GOOD, {**GOOD, "value": 2}]).encode())
    assert "M,2," in show(system, ident)
    assert system.collector("--dead-letters", "replay", ident).wait(10) == 0
    drain(system)
    assert system.mount().read("h/0/telemetry.csv").count("\n") == 3
    assert_balance(system, stored=1, dead=0, rows=2)


# ---- upgrades -----------------------------------------------------------------------------------------------------

def migrate(system, status=0):
    """The figures of --migrate, by line."""
    process = system.collector("--migrate")
    assert process.wait(30) == status, process.log()
    return {line.partition(":")[0]: dict(re.findall(r"(\w+)=(\d+)", line)) for line in process.out().splitlines()}


def left_by_an_older_release(system):
    """Messages in the queue and set aside; returns the rows that are in them."""
    rows = list(fleet(3000, hosts=150, gpus=1))
    one, mine = rows[:1500], [r for r in rows[1500:] if r["Hostname"] == "node-003"]
    enqueue(system, one, host="node-000")
    enqueue(system, wide(mine), "v1beta1", host="node-003")
    rest = [r for r in rows[1500:] if r["Hostname"] == "node-004"]
    enqueue(system, rest, host="node-004", at="/deadletter/telemetry/",
            pointer={"reason": 'schema version "v1beta2" is not known here', "attempt": 1, "expires_at": 1})
    enqueue(system, [{}], host="node-005")
    enqueue(system, [{}], host="node-005", at="/deadletter/telemetry/",
            pointer={"reason": 'schema version "v1beta2" is not known here'})
    enqueue(system, [GOOD], at="/deadletter/telemetry/", pointer={"reason": "its collector died in each of 3 attempts"})
    return one + mine + rest


def test_migrate_brings_what_an_older_release_left_to_v1_and_does_nothing_the_second_time(system):
    rows = left_by_an_older_release(system)
    first = migrate(system)
    assert first["queued"] == {"older": "3", "migrated": "2", "became": "151", "invalid": "1"}
    assert first["dead letters"] == {"older": "2", "migrated": "1", "became": "1", "invalid": "1"}
    pointers = [json.loads(v) for v in system.keys("/queue/telemetry/").values()]
    assert len(pointers) == 152 and {p["schema"] for p in pointers} == {"v1"}
    assert sorted(p["reason"][:29] for p in letters(system).values()) == [
        "its collector died in each of", "record 0: timestamp: missing;", "record 0: timestamp: missing;"]
    kept = {k: v for k, v in system.keys().items() if not k.startswith("/telemetry")}
    again = migrate(system)
    assert again["queued"] == again["dead letters"] == ZEROS
    assert {k: v for k, v in system.keys().items() if not k.startswith("/telemetry")} == kept
    drain(system)
    assert_tree(system.mount(), Expected(rows))
    assert_balance(system, stored=152, dead=3)


def test_migrate_beside_running_collectors_and_another_migrate_stores_each_row_once(system):
    rows = list(fleet(6000, hosts=60))
    for i in range(0, 6000, 200):
        enqueue(system, rows[i:i + 200], host="node-000")
    others = [system.collector("--migrate") for _ in range(2)]
    for _ in range(2):
        system.collector()
    assert all(o.wait(40) == 0 for o in others)
    wait_until(lambda: not system.keys("/payload/"), 30, "all is stored")
    mount = system.mount()
    logs = [(g, mount.read(f"{g}/telemetry.csv").splitlines()[1:]) for g in mount.gpus()]
    # Three work on them at a time, so the order may be another.
    assert sorted((g, *line.split(",")[:3]) for g, lines in logs for line in lines) == sorted(
        (f"{r['Hostname']}/{r['gpu_id']}", r["timestamp"], r["metric_name"], r["value"]) for r in rows)
    assert_balance(system, rows=6000, dead=0, queued=0)


def test_migrate_names_what_this_release_cannot_read(system):
    enqueue(system, [GOOD])
    drain(system)
    figures = migrate(system)
    assert figures["chunks"] == figures["identities"] == {"current": "1", "unknown": "0"}
    assert figures["configuration"] == {"current": "1", "unknown": "0"}
    (key, value), = system.keys("/telemetry/data/").items()
    put(system, key, value[:3] + b"\2" + value[4:])
    assert migrate(system, status=1)["chunks"] == {"current": "0", "unknown": "1"}
    assert key in system.processes[-1].log()
