"""`gputel-fs --csv`: the tree of CSV files without a store is the tree of a store that got them."""
import os
import subprocess

import pytest

from lib import EDGE, mounts_at, wait_until
from rows import Expected, assert_tree, fleet, row, write_csv


def diff(a, b):
    """.meta has figures of the mount itself."""
    return subprocess.run(["diff", "-r", "--no-dereference", "-x", ".meta", a.path, b.path],
                          capture_output=True, text=True, check=False).stdout


def offline(system, *files, **env):
    options = [o for f in files for o in ("--csv", f)]
    return system.mount(*options, ETCD_ENDPOINTS="127.0.0.1:1", **env)


def test_the_reference_file_gives_the_same_tree_as_a_store(reference):
    mount = offline(reference.system, reference.csv)
    assert diff(reference.mount, mount) == ""
    for name in ("gpus.json", "latest.csv", "latest.prom"):
        assert mount.read(f".meta/{name}") == reference.mount.read(f".meta/{name}")
    links = {n: os.readlink(mount / ".by-uuid" / n) for n in mount.names(".by-uuid")}
    assert links == {n: os.readlink(reference.mount / ".by-uuid" / n) for n in links} and len(links) == 247
    status = mount.status()
    assert status["etcd"] == "none" and status["rows"] == str(len(reference.rows))
    assert mount.unmount() == 0


@pytest.mark.parametrize("name", ["labels.csv", "mig.csv", "hostile_names.csv", "times.csv", "value_texts.csv", "duplicates.csv",
                                  "bad_values.csv", "quoted_newline.csv", "no_trailing_newline.csv"])
def test_odd_files_give_the_same_tree_as_a_store(system, name):
    system.collector()
    system.stream("--csv", EDGE / name, "--wait")
    stored, mount = system.mount(), offline(system, EDGE / name)
    assert diff(stored, mount) == ""
    assert stored.gpus() == mount.gpus()


def test_several_files_and_segments(system, tmp_path):
    rows = list(fleet(9000, hosts=3, metrics=3, step_s=7))
    files = [write_csv(tmp_path / f"{i}.csv", rows[i * 3000:(i + 1) * 3000]) for i in range(3)]
    system.collector(SEGMENT="10m")
    for f in files:
        system.stream("--csv", f, "--wait")
    mount = offline(system, *files, SEGMENT="10m")
    assert_tree(mount, Expected(rows, segment_s=600))
    stored = system.mount()
    wait_until(lambda: diff(stored, mount) == "", 30, "the same")


def test_files_may_follow_one_another_and_hosts_be_chosen(system, tmp_path):
    a = write_csv(tmp_path / "a.csv", [row(0, 1, host="a")])
    b = write_csv(tmp_path / "b.csv", [row(0, 2, host="b"), row(0, 3, host="c")])
    mount = system.mount("-o", "host=[ab]", "--csv", a, b)
    assert mount.gpus() == {"a/0", "b/0"}


def test_inode_numbers_are_the_same_in_the_next_mount(system, tmp_path):
    path = write_csv(tmp_path / "a.csv", list(fleet(500)))

    def inodes(mount):
        return {os.path.relpath(os.path.join(d, n), mount.path): os.lstat(os.path.join(d, n)).st_ino
                for d, folders, files in os.walk(mount.path) for n in folders + files}
    first = offline(system, path)
    before = inodes(first)
    first.unmount()
    assert inodes(offline(system, path)) == before


@pytest.mark.parametrize("name, word", [("binary.csv", "binary"), ("empty.csv", "empty"), ("no_header.csv", "no header"),
                                        ("nowhere.csv", "No such file")])
def test_what_is_no_recording_is_an_error(system, tmp_path, name, word):
    folder = tmp_path / "m"
    folder.mkdir()
    process = system.start("fs", "-f", "--csv", EDGE / name, folder)
    assert process.wait() == 1
    assert name in process.log() and word in process.log()
    assert not mounts_at(folder)
