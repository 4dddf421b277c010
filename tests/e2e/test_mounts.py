"""Mounts over data that changes: equal to one another, never torn, never shrinking, easy to end."""
import os
import re
import subprocess
import threading
import time

import pytest

from lib import mounts_at, wait_until
from rows import Expected, assert_tree, at, fleet, parse_rows, row, wait_for_rows, write_csv

UTIL = "metrics/DCGM_FI_DEV_GPU_UTIL"


def diff(a, b):
    """What `diff -r` says of two mounts; .meta/status has figures of the mount itself."""
    return subprocess.run(["diff", "-r", "--no-dereference", "-x", "status", a.path, b.path],
                          capture_output=True, text=True, check=False).stdout


def test_two_mounts_one_started_later_are_equal(system, tmp_path):
    system.collector()
    early = system.mount()
    rows = list(fleet(3000, hosts=5))
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows[:2000]), "--wait")
    middle = system.mount()
    system.stream("--csv", write_csv(tmp_path / "b.csv", rows[2000:]), "--wait")
    late = system.mount()
    for mount in (early, middle, late):
        wait_for_rows(mount, Expected(rows))
    wait_until(lambda: early.read(".meta/revision") == middle.read(".meta/revision") == late.read(".meta/revision"),
               10, "one revision")
    assert diff(early, late) == ""
    assert diff(early, middle) == ""


def test_a_mount_of_the_reference_beside_another_is_equal(reference):
    other = reference.system.mount()
    assert diff(reference.mount, other) == ""
    inodes = [os.lstat(m / "README").st_ino for m in (reference.mount, other)]
    assert inodes[0] == inodes[1]
    assert other.unmount() == 0


def test_unmounting_and_mounting_again_gives_the_same_tree_and_inodes(system, tmp_path):
    system.collector()
    rows = list(fleet(500))
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")

    def inodes(mount):
        return {os.path.relpath(os.path.join(d, n), mount.path): os.lstat(os.path.join(d, n)).st_ino
                for d, folders, files in os.walk(mount.path) for n in folders + files}
    first = system.mount()
    before = inodes(first)
    assert first.unmount() == 0
    second = system.mount(path=first.path)
    assert_tree(second, Expected(rows))
    assert inodes(second) == before


def test_umount_ends_the_daemon(system):
    mount = system.mount()
    subprocess.run(["fusermount3", "-u", mount.path], check=True)
    assert mount.process.wait(10) == 0


def test_a_dead_daemons_mount_point_is_cleaned_and_mounted_again(system, tmp_path):
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "a.csv", fleet(100)), "--wait")
    mount = system.mount()
    mount.process.kill()
    assert mounts_at(mount.path), "the kernel keeps a dead mount"
    again = system.mount(path=mount.path)
    assert_tree(again, Expected(fleet(100)))
    assert again.unmount() == 0


def test_without_f_it_returns_when_the_mount_answers(system, tmp_path):
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "a.csv", fleet(100)), "--wait")
    mount = system.mount()  # borrowed for its path and its clean-up
    assert mount.unmount() == 0
    parent = system.start("fs", mount.path)
    assert parent.wait(15) == 0
    assert mounts_at(mount.path)
    assert_tree(mount, Expected(fleet(100)))
    subprocess.run(["fusermount3", "-u", mount.path], check=True)
    wait_until(lambda: not mounts_at(mount.path), 30, "unmounted")


def test_a_mount_point_that_is_not_there_is_an_error(system, tmp_path):
    fs = system.start("fs", "-f", tmp_path / "nothing")
    assert fs.wait(10) in (1, 2)
    assert "nothing" in fs.log()


def test_an_empty_store_is_an_empty_tree(system):
    mount = system.mount()
    assert {n for n in mount.names() if not n.startswith(".")} == {"README"}
    assert mount.names(".by-uuid") == []


def test_a_value_that_changes_is_never_torn(system, tmp_path):
    """Readers in a loop while values change their length: every read is one of the values, whole."""
    system.collector()
    mount = system.mount()
    texts = ["7", "123456.789", "42", "1e-06", "99999999999999"]
    rows = [row(i / 100, texts[i % 5], metric=m) for i in range(1500) for m in ("A", "B")]
    seen, wrong, stop = set(), [], threading.Event()

    def read():
        while not stop.is_set():
            try:
                text = mount.read("host-1/0/metrics/A")
                (seen.add if text in known else wrong.append)(text)
                rows_now = parse_rows(mount.read("host-1/0/latest.csv"))
                if any(r[2] not in texts for r in rows_now):
                    wrong.append(rows_now)
            except FileNotFoundError:
                pass
            except (AssertionError, OSError) as e:
                wrong.append(e)
    known = {t + "\n" for t in texts}
    readers = [threading.Thread(target=read) for _ in range(2)]
    for r in readers:
        r.start()
    try:
        system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--rate", "1500", "--wait",
                      STREAMER_FLUSH_INTERVAL="10ms", COLLECTOR_FLUSH_INTERVAL="10ms")
    finally:
        stop.set()
        for r in readers:
            r.join()
    assert wrong == [] and len(seen) > 1


def test_a_row_file_only_grows_by_whole_rows(system, tmp_path):
    """A reader that looks again and again during a load sees each content begin with the last."""
    system.collector()
    mount = system.mount()
    rows = list(fleet(6000, hosts=2, gpus=1, metrics=3, step_s=0.01))
    streamer = system.streamer("--csv", write_csv(tmp_path / "a.csv", rows), "--rate", "4000")
    wait_until(lambda: "node-000/0" in mount.gpus(), 30, "the first rows")
    path = mount / "node-000/0/telemetry.csv"
    last, looks = b"", 0
    with open(path, "rb", buffering=0) as held:
        streaming = b""
        while streamer.running() or looks < 3:
            size = os.stat(path).st_size
            now = path.read_bytes()
            assert now.startswith(last) and now.endswith(b"\n") and b"\0" not in now
            assert len(last) <= size <= len(now)
            streaming += held.read(1 << 20)
            assert now.startswith(streaming[:len(now)])
            last, looks = now, looks + 1
    assert streamer.wait() == 0 and looks > 3
    wait_for_rows(mount, Expected(rows))


def test_tail_follows_a_live_log(system, tmp_path):
    system.collector()
    mount = system.mount()
    rows = [row(i / 10, i) for i in range(300)]
    file = write_csv(tmp_path / "a.csv", rows[:10])
    system.stream("--csv", file, "--wait")
    wait_until(lambda: mount.gpus(), 30, "the first rows")
    with open(tmp_path / "tail.out", "wb") as out, \
            subprocess.Popen(["tail", "-n", "+1", "-s", "0.05", "-F", mount / "host-1/0/telemetry.csv"],
                             stdout=out, stderr=subprocess.PIPE) as tail:
        try:
            for n in (50, 120, 300):
                write_csv(file, rows[:n])
                system.stream("--csv", file, "--wait")
                wait_until(lambda: (tmp_path / "tail.out").read_bytes().count(b"\n") == n + 1, 30, f"{n} rows from tail")
        finally:
            tail.terminate()
        assert tail.stderr.read() == b""
    assert [r[2] for r in parse_rows((tmp_path / "tail.out").read_text())] == [r["value"] for r in rows]
    assert (tmp_path / "tail.out").read_bytes() == (mount / "host-1/0/telemetry.csv").read_bytes()


def test_state_follows_the_age_of_the_newest_sample(system, tmp_path):
    """live up to STALE_AFTER (60 s), lost after ten times that; without new rows it changes by itself."""
    system.collector()
    mount = system.mount()
    now = int(time.time())
    ages = [0, 57, 120, 597, 700]
    rows = [{**row(value=55, gpu=str(g)), "timestamp": str(now - age)} for g, age in enumerate(ages)]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")

    def states():
        return [mount.read(f"host-1/{g}/state").strip() for g in range(len(ages))]
    wait_until(lambda: len(mount.gpus()) == len(ages), 30, "the GPUs")
    early = states()
    assert early[0] == "live" and early[2] == "stale" and early[4] == "lost"
    assert re.findall(r"^DCGM_FI_DEV_GPU_UTIL\{.*host-1.*\} 55\b", mount.read("host-1/0/latest.prom"), re.M)
    wait_until(lambda: states() == ["live", "stale", "stale", "lost", "lost"], 30, "states by age")
    assert mount.read(f"host-1/4/{UTIL}") == "55\n", "the last value stays"


def test_a_gpu_that_moves_to_another_host_is_linked_where_it_is(system, tmp_path):
    system.collector()
    rows = [row(0, 1, host="old", uuid="GPU-wanderer"), row(60, 2, host="new", uuid="GPU-wanderer")]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    assert os.readlink(mount / ".by-uuid/GPU-wanderer") == "../new/0"
    assert mount.read(".by-uuid/GPU-wanderer/" + UTIL) == "2\n"
    assert mount.gpus() == {"old/0", "new/0"}


def test_a_replaced_gpu_shows_the_new_uuid_and_keeps_each_rows_own(system, tmp_path):
    system.collector()
    rows = [row(0, 1, uuid="GPU-before"), row(60, 2, uuid="GPU-after")]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    assert mount.read("host-1/0/uuid") == "GPU-after\n"
    assert [r[3] for r in parse_rows(mount.read("host-1/0/telemetry.csv"))] == ["GPU-before", "GPU-after"]


@pytest.mark.parametrize("pod", ["one", "another, with a comma"])
def test_pods_are_in_the_rows(system, tmp_path, pod):
    system.collector()
    rows = [row(0, 1, pod=pod, namespace="ns", container="c"), row(1, 2)]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    assert [r[4:7] for r in parse_rows(mount.read("host-1/0/telemetry.csv"))] == [("c", pod, "ns"), ("", "", "")]
    assert parse_rows(mount.read("host-1/0/latest.csv"))[0][0] == at(1)
