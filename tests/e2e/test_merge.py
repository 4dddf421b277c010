"""Chunks are merged, sealed and dropped behind the readers' backs (DESIGN §4 Order, Retention; §5 law 1)."""
import os
import random
import re
import time

from lib import SEED, wait_until
from rows import Expected, assert_tree, at, fleet, row, wait_for_rows, write_csv

SMALL = {"STREAMER_BATCH_SIZE": 16, "COLLECTOR_BATCH_SIZE": 1, "COLLECTOR_FLUSH_INTERVAL": "1ms"}


def chunks(system):
    return len(system.keys("/telemetry/data/"))


def merged(system, seconds=30):
    """Each GPU and segment (of an hour) is in one chunk."""
    def one_each():
        places = [re.sub(r"_[^_]*$", "", k) for k in system.keys("/telemetry/data/")]
        hours = {k.rpartition("/")[0] + str(int(k.rpartition("/")[2]) // (3600 * 10**9)) for k in places}
        return len(places) == len(hours)
    wait_until(one_each, seconds, "one chunk for each GPU and segment")


def files(mount):
    """All row files: {path: (inode, bytes, times)}."""
    found = {}
    for gpu in mount.gpus():
        for name in mount.names(f"{gpu}/history"):
            st = os.stat(mount / f"{gpu}/history/{name}")
            found[f"{gpu}/history/{name}"] = (st.st_ino, mount.read(f"{gpu}/history/{name}"), st.st_mtime_ns, st.st_ctime_ns)
    return found


def test_what_a_mount_shows_stays_the_same_to_the_byte_while_chunks_are_merged(system, tmp_path):
    rows = list(fleet(4000, hosts=3, gpus=2, metrics=3, step_s=20))
    collector = system.collector(**SMALL)
    mount, cold = system.mount(), system.mount("-o", "ro", FS_CACHE="1MiB")
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait", **SMALL)
    wait_for_rows(mount, Expected(rows))
    before, many = files(mount), chunks(system)
    revision = mount.read(".meta/revision")
    opened = {path: open(mount / path, newline="") for path in before}
    parts = {path: f.read(1000) for path, f in opened.items()}
    while chunks(system) > len(before):
        now = files(cold)
        assert {p: v[:3] for p, v in now.items()} == {p: v[:3] for p, v in before.items()}
    merged(system)
    assert many > len(before), "there was something to merge"
    assert files(mount) == before
    assert mount.read(".meta/revision") == revision
    for path, f in opened.items():
        assert parts[path] + f.read() == before[path][1]
        f.close()
    fresh = system.mount()
    assert files(fresh) == before
    assert_tree(fresh, Expected(rows))
    for name in ("latest.csv", "latest.json", "stat", "info.json"):
        assert fresh.read(f"node-000/0/{name}") == mount.read(f"node-000/0/{name}")
    collector.stop()
    late = [row(5 + i, i, metric="DCGM_FI_TEST_0", host="node-000", gpu="0", labels='job="dcgm"') for i in range(3)]
    system.collector(**SMALL)
    system.stream("--csv", write_csv(tmp_path / "late.csv", late), "--wait")
    wait_for_rows(mount, Expected(rows + late))
    merged(system)
    assert_tree(system.mount(), Expected(rows + late))


def test_merging_goes_on_after_a_collector_was_killed_in_it(system, tmp_path):
    rows = list(fleet(3000, hosts=4, gpus=2, metrics=2))
    first = system.collector(MQ_PROCESSING_TIMEOUT="2s", **SMALL)
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait", **SMALL)
    many = chunks(system)
    wait_until(lambda: chunks(system) < many, 20, "merging has begun")
    first.kill()
    system.collector(MQ_PROCESSING_TIMEOUT="2s")
    merged(system, 40)
    assert_tree(system.mount(), Expected(rows))


def test_retention_by_bytes_drops_the_oldest_first_and_keeps_the_rest(system, tmp_path):
    rows = [r for h in range(8) for r in fleet(3000, hosts=2, gpus=2, metrics=2, start=at(3600 * h)[:-1] + "Z")]
    rng = random.Random(SEED)
    for r in rows:
        r["value"] = str(rng.randrange(10**8))  # so that they take some room
    collectors = [system.collector(RETENTION_BYTES="50KiB") for _ in range(2)]
    mount = system.mount()
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")

    def taken():
        kvs = system.keys("/telemetry/data/"), system.keys("/telemetry/body/")
        return sum(len(k) + len(v) for kv in kvs for k, v in kv.items())
    wait_until(lambda: taken() < 50 * 1024, 40, "what is stored fits")
    time.sleep(3)  # nothing that fits goes
    every = Expected(rows)
    for gpu, history in every.history.items():
        left = mount.names(f"{gpu}/history")
        assert left == sorted(history)[-len(left):], "the newest are left"
        assert 0 < len(left) < len(history)
    assert taken() > 16 * 1024
    assert all(c.running() for c in collectors)


def test_without_any_collector_leases_end_what_is_stored(own_system, tmp_path):
    system = own_system
    rows = list(fleet(2000, hosts=2, gpus=2))
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows))
    assert system.collector("--drain", RETENTION="1s", SEGMENT="1m").wait(20) == 0
    kvs = system.etcd.call("/v3/kv/range", **system.etcd.range_of(system.prefix + "/telemetry/data/"))["kvs"]
    leases = {kv["lease"] for kv in kvs}
    assert leases and "0" not in leases
    for lease in leases:
        ttl = int(system.etcd.call("/v3/lease/timetolive", ID=lease)["grantedTTL"])
        assert 121 <= ttl <= 121 + 2 * 60, "RETENTION and two segments"
    mount = system.mount()
    assert mount.gpus()
    for lease in leases:  # as when their time has come
        system.etcd.call("/v3/lease/revoke", ID=lease)
    wait_until(lambda: not mount.gpus(), 30, "the folders are gone")
    assert system.mount().gpus() == set()
    system.collector(RETENTION="1h", SEGMENT="1m")
    wait_until(lambda: not system.keys("/telemetry/gpus/"), 20, "their identities go too")
