"""Folders beside the hosts, which lead to GPUs by what is known of them, and extended attributes."""
import os
import time

from lib import wait_until
from rows import at, encode, row, write_csv

UTIL = "DCGM_FI_DEV_GPU_UTIL"


def links(mount, folder):
    return {n: os.readlink(mount / folder / n) for n in mount.names(folder)}


def test_by_model_holds_every_gpu_of_a_model(system, tmp_path):
    system.collector()
    rows = [row(0, 1, host="a", gpu="0"), row(0, 2, host="b", gpu="1", modelName="NVIDIA A100-SXM4"),
            row(0, 3, host="b", gpu="7"), row(0, 4, host="c", modelName="")]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    h100 = encode("NVIDIA H100 80GB HBM3")
    assert mount.names(".by-model") == sorted([h100, encode("NVIDIA A100-SXM4")])
    assert links(mount, f".by-model/{h100}") == {"a:0": "../../a/0", "b:7": "../../b/7"}
    assert mount.read(f".by-model/{h100}/b:7/metrics/{UTIL}") == "3\n"


def test_by_pod_follows_the_newest_sample(system, tmp_path):
    system.collector()
    mount = system.mount()

    def publish(name, rows):
        system.stream("--csv", write_csv(tmp_path / name, rows), "--wait")

    publish("a.csv", [row(0, 1, pod="train-0", namespace="ml"), row(0, 1, gpu="1", pod="train-1", namespace="ml")])
    wait_until(lambda: mount.names(".by-pod") == ["ml"], 30, "the namespace")
    assert links(mount, ".by-pod/ml/train-0") == {"host-1:0": "../../../host-1/0"}
    publish("late.csv", [row(-60, 1, pod="older", namespace="ml")])
    publish("b.csv", [row(60, 2, pod="serve", namespace="web")])
    wait_until(lambda: mount.names(".by-pod") == ["ml", "web"], 30, "the other namespace")
    assert mount.names(".by-pod/ml") == ["train-1"], "neither the pod that left nor that of a late row"
    assert mount.read(f".by-pod/web/serve/host-1:0/metrics/{UTIL}") == "2\n"
    publish("c.csv", [row(120, 3)])
    wait_until(lambda: mount.names(".by-pod") == ["ml"], 30, "the pod is gone with an idle sample")


def test_a_gpu_that_pods_share_is_in_all_of_them(system, tmp_path):
    system.collector()
    rows = [row(0, 1, pod="old", namespace="n"), row(60, 2, pod="a", namespace="n"),
            row(60, 3, metric="DCGM_FI_DEV_FB_USED", pod="b", namespace="n")]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    assert mount.names(".by-pod/n") == ["a", "b"]


def test_folders_of_links_list_in_order_of_inode_and_the_same_everywhere(reference):
    other = reference.system.mount()
    for folder in (".by-uuid", ".by-model", ".by-pod"):
        for path, folders, files in os.walk(reference.mount / folder):
            relative = os.path.relpath(path, reference.mount.path)
            entries = [(e.name, e.inode()) for e in os.scandir(path)]
            assert entries == [(e.name, e.inode()) for e in os.scandir(other / relative)]
            assert [i for _, i in entries] == sorted(i for _, i in entries)
    models = sum(len(reference.mount.names(f".by-model/{m}")) for m in reference.mount.names(".by-model"))
    assert models == 247
    other.unmount()


def test_attributes_tell_unit_revision_and_age(system, tmp_path):
    system.collector()
    now = at(0, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    rows = [dict(row(value=300, metric="DCGM_FI_DEV_POWER_USAGE"), timestamp=now),
            dict(row(value=1, metric="SOMETHING_ELSE"), timestamp=now)]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    power, other = (mount / f"host-1/0/metrics/{m}" for m in ("DCGM_FI_DEV_POWER_USAGE", "SOMETHING_ELSE"))
    assert os.getxattr(power, "user.gputel.unit") == b"W"
    assert os.listxattr(power) == ["user.gputel.unit"]
    assert os.listxattr(other) == []
    revision = int(mount.read(".meta/revision"))
    assert int(os.getxattr(power, "user.gputel.rev")) == revision
    for path in (power, mount / "host-1/0", mount / "host-1/0/telemetry.csv"):
        first = int(os.getxattr(path, "user.gputel.age_ms"))
        assert 0 <= first < 60_000
        wait_until(lambda: int(os.getxattr(path, "user.gputel.age_ms")) > first, 30, "time passes")
