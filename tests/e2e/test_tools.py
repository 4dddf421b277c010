"""Programs that know nothing of gputel, on the tree: what they copy, compare, count and map is what is there."""
import csv
import filecmp
import hashlib
import importlib.util
import mmap
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
import time

import pytest

from lib import System, wait_until
from rows import fleet, write_csv

HOST, GPU = "node-000", "node-000/0"


def run(*argv, status=0, **options):
    done = subprocess.run([str(a) for a in argv], capture_output=True, timeout=60, check=False, **options)
    assert done.returncode == status, (argv, done.returncode, done.stderr.decode())
    return done.stdout.decode()


@pytest.fixture(scope="module")
def rows():
    return list(fleet(12000, hosts=3, gpus=2, metrics=4, step_s=3))


@pytest.fixture(scope="module")
def tree(etcd, rows, tmp_path_factory):
    """A mount whose rows do not change any more."""
    system = System(etcd, tmp_path_factory.mktemp("tools"))
    try:
        system.collector(SEGMENT="10m")
        system.stream("--csv", write_csv(system.folder / "a.csv", rows), "--wait")
        yield system.mount()
    finally:
        system.close()


@pytest.fixture(scope="module")
def segment(tree):
    return max(tree.names(f"{GPU}/history"), key=lambda n: os.stat(tree / f"{GPU}/history/{n}").st_size)


def files_of(root):
    return sorted(os.path.relpath(os.path.join(d, f), root) for d, _, names in os.walk(root) for f in names)


def test_cp_cmp_and_diff(tree, tmp_path):
    run("cp", "-r", tree / HOST, tmp_path / "copy")
    assert run("diff", "-r", tree / HOST, tmp_path / "copy") == ""
    for f in files_of(tmp_path / "copy"):
        run("cmp", tree / HOST / f, tmp_path / "copy" / f)
    run("cp", "--sparse=always", tree / GPU / "telemetry.csv", tmp_path / "sparse")
    assert filecmp.cmp(tree / GPU / "telemetry.csv", tmp_path / "sparse", shallow=False)


def test_tar(tree, tmp_path):
    run("tar", "-C", tree.path, "-cf", tmp_path / "a.tar", HOST)
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = {m.name: m for m in tar.getmembers()}
        for f in files_of(tree / HOST):
            m = members[f"{HOST}/{f}"]
            if not m.issym():
                assert tar.extractfile(m).read() == (tree / HOST / f).read_bytes()
    run("tar", "-C", tree.path, "-df", tmp_path / "a.tar", HOST)


def test_rsync_finds_nothing_the_second_time(tree, tmp_path):
    first = run("rsync", "-acXi", f"{tree / HOST}/", f"{tmp_path}/copy/")
    assert "latest.csv" in first
    assert run("rsync", "-acXi", f"{tree / HOST}/", f"{tmp_path}/copy/") == ""
    assert run("rsync", "-ai", f"{tree / HOST}/", f"{tmp_path}/copy/") == "", "size and time are enough"


def test_du_counts_bytes_and_blocks(tree):
    size = sum(os.lstat(tree / HOST / f).st_size for f in files_of(tree / HOST) if not os.path.islink(tree / HOST / f))
    apparent = int(run("du", "-sb", tree / HOST).split()[0])
    assert size <= apparent <= size + 10000, "and folders and links"
    assert int(run("du", "-s", "-B1", tree / HOST).split()[0]) >= size


def test_find_by_age_and_size(tree):
    age = (time.time() - os.stat(tree / GPU).st_mtime) / 60
    gpus = {str(tree / g) for g in tree.gpus()}
    depth = ["-mindepth", "2", "-maxdepth", "2", "-type", "d", "-not", "-path", "*/.*"]
    assert set(run("find", tree.path, *depth, "-mmin", f"+{int(age) - 5}").split()) == gpus
    assert run("find", tree.path, *depth, "-mmin", f"-{int(age) - 5}") == ""
    big = run("find", tree / GPU / "history", "-size", "+1c", "-name", "*.csv").split()
    assert len(big) == len(tree.names(f"{GPU}/history"))
    names = run("find", tree.path, "-type", "f", "-path", "*/metrics/*").split()
    assert len(names) == 3 * 2 * 4


def test_grep_and_wc(tree, rows):
    mine = [r for r in rows if r["Hostname"] == HOST and r["gpu_id"] == "0"]
    found = run("grep", "-r", "DCGM_FI_TEST_1", tree / GPU / "history")
    assert len(found.splitlines()) == sum(r["metric_name"] == "DCGM_FI_TEST_1" for r in mine)
    lines = sum(int(run("wc", "-l", tree / GPU / "history" / n).split()[0]) - 1 for n in tree.names(f"{GPU}/history"))
    assert lines == len(mine)
    assert run("grep", "-rl", "lost", "--include=state", tree.path).count("\n") == 6


def test_sums_are_those_of_the_bytes(tree, segment):
    path = tree / GPU / "history" / segment
    assert run("sha256sum", path).split()[0] == hashlib.sha256(path.read_bytes()).hexdigest()
    value = tree / GPU / "metrics" / "DCGM_FI_TEST_0"
    assert run("sha256sum", value).split()[0] == hashlib.sha256(value.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["telemetry.csv", "latest.csv", "info.json", "metrics/DCGM_FI_TEST_0"])
def test_sendfile_and_splice(tree, tmp_path, name):
    path = tree / GPU / name
    want = path.read_bytes()
    with open(path, "rb") as source, open(tmp_path / "out", "wb+") as out:
        sent = 0
        while n := os.sendfile(out.fileno(), source.fileno(), sent, 1 << 20):
            sent += n
        assert (tmp_path / "out").read_bytes() == want
    read_end, write_end = os.pipe()
    got = []
    reader = threading.Thread(target=lambda: got.append(open(read_end, "rb").read()))
    reader.start()
    with open(path, "rb") as source, open(write_end, "wb"):
        while os.splice(source.fileno(), write_end, 1 << 16):
            pass
    reader.join(20)
    assert got == [want]


def test_a_socket_gets_a_file_by_sendfile(tree, segment):
    path = tree / GPU / "history" / segment
    a, b = socket.socketpair()
    got = []
    reader = threading.Thread(target=lambda: got.append(b.makefile("rb").read()))
    reader.start()
    with open(path, "rb") as source:
        a.sendfile(source)
    a.close()
    reader.join(20)
    b.close()
    assert got == [path.read_bytes()]


@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE])
def test_mapped_files_are_what_is_read(tree, segment, flags):
    path = tree / GPU / "history" / segment
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as m:
        assert m[:] == path.read_bytes()


def test_file_names_what_it_is(tree, segment):
    if not shutil.which("file"):
        pytest.skip("file is not installed")
    assert run("file", "-b", tree / GPU / "history" / segment).startswith("CSV")
    assert "JSON" in run("file", "-b", tree / GPU / "info.json")
    assert run("file", "-b", tree / GPU / "telemetry.csv").startswith("symbolic link to history/")


def test_git_keeps_the_tree_and_sees_no_change(tree, tmp_path):
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    env = {**os.environ, "GIT_DIR": str(tmp_path / "repository"), "GIT_WORK_TREE": str(tree / HOST), "HOME": str(tmp_path)}
    run("git", "init", "-q", env=env)
    run("git", "add", "-A", env=env, cwd=tree / HOST)
    run("git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "all", env=env, cwd=tree / HOST)
    assert len(run("git", "ls-files", env=env, cwd=tree / HOST).split()) == len(files_of(tree / HOST))
    assert run("git", "status", "--porcelain", env=env, cwd=tree / HOST) == ""


@pytest.mark.parametrize("memory_map", [False, True])
def test_pandas_reads_row_files(tree, rows, segment, memory_map):
    if not importlib.util.find_spec("pandas"):
        pytest.skip("python3-pandas is not installed")
    import pandas
    frame = pandas.read_csv(tree / GPU / "history" / segment, memory_map=memory_map)
    with open(tree / GPU / "history" / segment, newline="") as f:
        want = list(csv.DictReader(f))
    assert list(frame.columns) == list(want[0])
    assert frame["value"].astype(str).tolist() == [r["value"] for r in want]


def test_lsof_and_fuser_name_who_reads(tree, segment):
    if not shutil.which("lsof"):
        pytest.skip("lsof is not installed")
    path = tree / GPU / "history" / segment
    with open(path, "rb"):
        assert str(os.getpid()) in run("lsof", "-t", path).split()


def test_df_and_stat_f(tree):
    line = run("df", "--output=source,fstype,target", tree.path).splitlines()[1].split()
    assert line == ["gputel", "fuse.gputel", str(tree.path)]
    assert int(run("df", "--output=iused", tree.path).split()[1]) >= 0
    assert run("stat", "-f", "-c", "%T", tree.path).strip() == "fuseblk" or run("stat", "-f", "-c", "%t", tree.path).strip() == "65735546"


def test_copies_of_a_growing_log_are_whole_rows(system, tmp_path):
    """tar and rsync ask for the size, then read so many bytes."""
    system.base_env["SEGMENT"] = "24h"  # all in one file
    system.collector()
    mount = system.mount()
    rows = list(fleet(100000, hosts=1, gpus=1, metrics=3, start="2025-07-18T00:00:00Z"))
    process = system.streamer("--csv", write_csv(tmp_path / "a.csv", rows), "--rate", "2000")
    log = mount / f"{GPU}/telemetry.csv"
    wait_until(lambda: os.stat(log).st_size > 5000, 20, "the first rows")
    for _ in range(8):
        done = subprocess.run(["tar", "-C", mount.path, "-hcf", tmp_path / "a.tar", f"{GPU}/telemetry.csv"],
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0 or "changed as we read it" in done.stderr, done.stderr
        with tarfile.open(tmp_path / "a.tar") as tar:
            packed = tar.extractfile(f"{GPU}/telemetry.csv").read()
        run("rsync", "-aL", log, tmp_path / "copy.csv")
        run("cp", "-L", log, tmp_path / "copied.csv")
        now = log.read_bytes()
        for copy in (packed, (tmp_path / "copy.csv").read_bytes(), (tmp_path / "copied.csv").read_bytes()):
            assert now.startswith(copy) and copy.endswith(b"\n")
    process.stop(signal.SIGTERM)
