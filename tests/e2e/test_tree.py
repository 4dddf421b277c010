"""The tree over the real rows: every name, its content and its attributes (DESIGN §5)."""
import csv
import errno
import io
import json
import os
import re
import stat
import subprocess
import tarfile

import pytest

from rows import LATEST, Expected, assert_tree, encode, nanoseconds, parse_rows, segment_file

UTIL = "metrics/DCGM_FI_DEV_GPU_UTIL"


@pytest.fixture(scope="module")
def expected(reference):
    return Expected(reference.rows)


@pytest.fixture(scope="module")
def gpu(expected):
    """One GPU to look at closely."""
    return sorted(expected.latest)[0]


def seconds(stamp):
    return nanoseconds(stamp) / 10**9


def walk(mount):
    """Paths of everything that is listed, relative to the root; .meta aside, which changes."""
    for folder, folders, files in os.walk(mount.path):
        if folder == str(mount.path):
            folders.remove(".meta")
        for name in folders + files:
            yield os.path.relpath(os.path.join(folder, name), mount.path)


def test_every_gpu_value_and_row_is_there(reference, expected):
    assert len(expected.history) == 247
    assert_tree(reference.mount, expected)


def test_the_root_holds_hosts_readme_and_the_dotted_folders(reference, expected):
    hosts = {g.split("/")[0] for g in expected.history}
    names = set(reference.mount.names())
    assert {n for n in names if not n.startswith(".")} == hosts | {"README"}
    assert names >= {".meta", ".by-uuid"}
    assert "cat " in reference.mount.read("README")


def test_a_host_holds_its_gpus_and_their_latest_rows(reference, expected):
    host = sorted(expected.latest)[0].split("/")[0]
    gpus = {g: m for g, m in expected.latest.items() if g.startswith(host + "/")}
    assert set(reference.mount.names(host)) == {g.split("/")[1] for g in gpus} | {"latest.csv"}
    rows = parse_rows(reference.mount.read(f"{host}/latest.csv"), LATEST)
    assert sorted(r[:5] for r in rows) == sorted(
        (r["Hostname"], r["gpu_id"], r["timestamp"], r["metric_name"], r["value"])
        for metrics in gpus.values() for r in metrics.values())


def test_a_gpu_holds_what_the_contract_names_and_nothing_else(reference, gpu):
    assert reference.mount.names(gpu) == sorted(
        ["uuid", "model", "device", "driver", "state", "info.json", "metrics", "latest.csv", "latest.json",
         "latest.prom", "stat", "telemetry.csv", "history"])


def test_identity_files_are_one_value_and_a_newline(reference, expected, gpu):
    r = next(iter(expected.latest[gpu].values()))
    assert reference.mount.read(f"{gpu}/uuid") == r["uuid"] + "\n"
    assert reference.mount.read(f"{gpu}/model") == r["modelName"] + "\n"
    assert reference.mount.read(f"{gpu}/device") == r["device"] + "\n"
    assert reference.mount.read(f"{gpu}/driver") == "535.129.03\n"
    assert reference.mount.read(f"{gpu}/state") == "lost\n", "rows of 2025"


def test_info_json_is_identity_labels_and_series(reference, expected, gpu):
    info = json.loads(reference.mount.read(f"{gpu}/info.json"))
    r = next(iter(expected.latest[gpu].values()))
    assert info["uuid"] == r["uuid"] and info["hostname"] == r["Hostname"] and info["gpu_id"] == r["gpu_id"]
    text = reference.mount.read(f"{gpu}/info.json")
    assert "dgx_dcgm_exporter" in text and "535.129.03" in text
    assert all(metric in text for metric in expected.latest[gpu])


def test_latest_csv_has_one_row_per_series(reference, expected, gpu):
    rows = parse_rows(reference.mount.read(f"{gpu}/latest.csv"))
    assert sorted(r[:4] for r in rows) == sorted(
        (r["timestamp"], r["metric_name"], r["value"], r["uuid"]) for r in expected.latest[gpu].values())


def test_latest_json_has_the_same_values_with_their_digits(reference, expected, gpu):
    text = reference.mount.read(f"{gpu}/latest.json")
    json.loads(text)
    for metric, r in expected.latest[gpu].items():
        assert metric in text
        assert re.search(rf'[:\s"]{re.escape(r["value"])}[,}}\s"]', text), (metric, r["value"])


def test_stat_is_metric_value_unit_time(reference, expected, gpu):
    lines = [line.split(" ") for line in reference.mount.read(f"{gpu}/stat").splitlines()]
    assert all(len(line) == 4 for line in lines)
    assert {line[0]: (line[1], line[3]) for line in lines} == {
        m: (r["value"], r["timestamp"]) for m, r in expected.latest[gpu].items()}
    units = {line[0]: line[2] for line in lines}
    assert units["DCGM_FI_DEV_POWER_USAGE"] == "W" and units["DCGM_FI_DEV_FB_USED"] == "MiB"


def test_latest_prom_is_without_stale_series(reference, gpu):
    lines = reference.mount.read(f"{gpu}/latest.prom").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [], "rows of 2025 are stale"


def test_telemetry_csv_links_to_the_newest_segment(reference, expected, gpu):
    assert os.readlink(reference.mount / f"{gpu}/telemetry.csv") == "history/" + max(expected.history[gpu])
    assert reference.mount.read(f"{gpu}/telemetry.csv") == reference.mount.read(f"{gpu}/history/{max(expected.history[gpu])}")


def test_row_files_quote_only_where_they_must(reference, gpu):
    lines = reference.mount.read(f"{gpu}/telemetry.csv").splitlines()
    assert lines[0] == "timestamp,metric_name,value,uuid,container,pod,namespace,labels"
    assert not any('"' in line for line in lines)
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ,", line) for line in lines[1:])


def test_by_uuid_links_to_the_place(reference, expected):
    links = {n: os.readlink(reference.mount / f".by-uuid/{n}") for n in reference.mount.names(".by-uuid")}
    assert links == {encode(next(iter(m.values()))["uuid"]): f"../{g}" for g, m in expected.latest.items()}
    uuid = sorted(links)[0]
    assert reference.mount.read(f".by-uuid/{uuid}/uuid") == uuid + "\n"


def test_meta_says_how_it_is(reference, expected):
    mount = reference.mount
    assert set(mount.names(".meta")) >= {"version", "revision", "status", "gpus.json", "latest.csv", "latest.prom"}
    assert re.fullmatch(r"\d+\.\d+\S*\n", mount.read(".meta/version"))
    assert int(mount.read(".meta/revision")) > 0
    status = mount.status()
    assert status["etcd"] == "up"
    for name in ("messages_published", "messages_processed", "queue_depth"):
        assert re.fullmatch(r"\d+", status[name]), name
    assert len(parse_rows(mount.read(".meta/latest.csv"), LATEST)) == 2470


def test_gpus_json_lists_every_gpu(reference, expected):
    document = json.loads(reference.mount.read(".meta/gpus.json"))
    gpus = document["data"] if isinstance(document, dict) else document
    assert {f"{encode(g['hostname'])}/{encode(g['gpu_id'])}" for g in gpus} == set(expected.latest)
    assert {g["state"] for g in gpus} == {"lost"}


def test_nothing_answers_to_other_names(reference, gpu):
    for name in ("nothing", f"{gpu}/nothing", f"{gpu}/metrics/nothing", f"{gpu}/history/2001-01-01T0000Z.csv",
                 f"{gpu}/metrics/dcgm_fi_dev_gpu_util", ".by-uuid/GPU-0", f"{gpu}/" + "x" * 255):
        with pytest.raises(FileNotFoundError):
            os.stat(reference.mount / name)
    with pytest.raises(NotADirectoryError):
        os.stat(reference.mount / f"{gpu}/uuid/nothing")
    with pytest.raises(OSError) as error:
        os.stat(reference.mount / ("x" * 256))
    assert error.value.errno in (errno.ENOENT, errno.ENAMETOOLONG)


def test_modes_are_read_only_for_all(reference):
    kinds = {stat.S_IFREG: 0o444, stat.S_IFDIR: 0o555, stat.S_IFLNK: 0o777}
    seen = set()
    for name in walk(reference.mount):
        st = os.lstat(reference.mount / name)
        kind = stat.S_IFMT(st.st_mode)
        seen.add(kind)
        assert stat.S_IMODE(st.st_mode) == kinds[kind], name
    assert seen == set(kinds)


def test_inode_numbers_are_unique_and_listed_as_they_are(reference):
    inodes = {}
    for name in walk(reference.mount):
        inodes.setdefault(os.lstat(reference.mount / name).st_ino, []).append(name)
    assert [names for names in inodes.values() if len(names) > 1] == []
    for entry in os.scandir(reference.mount.path):
        assert entry.inode() == entry.stat(follow_symlinks=False).st_ino, entry.name


def test_mtime_is_the_greatest_event_time(reference, expected, gpu):
    for metric, r in expected.latest[gpu].items():
        assert os.stat(reference.mount / f"{gpu}/metrics/{metric}").st_mtime == seconds(r["timestamp"])
    newest = max(seconds(r["timestamp"]) for r in expected.latest[gpu].values())
    for name in ("telemetry.csv", "latest.csv", "latest.json", "stat"):
        assert os.stat(reference.mount / f"{gpu}/{name}").st_mtime == newest, name
    assert os.stat(reference.mount / f"{gpu}/telemetry.csv").st_ctime > newest, "ctime is the commit's"


def test_find_mmin_finds_dead_gpus(reference):
    found = subprocess.run(["find", reference.mount.path, "-name", "latest.json", "-mmin", "+1"],
                           capture_output=True, text=True, check=True).stdout
    assert len(found.splitlines()) == 247


def test_sizes_are_exact_for_stat_wc_and_read(reference, gpu):
    names = [os.path.join(gpu, n) for n in os.listdir(reference.mount / gpu)]
    names += [f"{gpu}/{d}/{n}" for d in ("metrics", "history") for n in reference.mount.names(f"{gpu}/{d}")]
    names += [".meta/latest.csv", ".meta/version", "README", gpu.split("/")[0] + "/latest.csv"]
    files = [n for n in names if os.path.isfile(reference.mount / n)]
    assert len(files) > 20
    counted = subprocess.run(["wc", "-c", *(reference.mount / f for f in files)], capture_output=True, text=True, check=True)
    for name, line in zip(files, counted.stdout.splitlines()):
        data = (reference.mount / name).read_bytes()
        assert len(data) == os.stat(reference.mount / name).st_size == int(line.split()[0]), name
        assert os.stat(reference.mount / name).st_blocks == (len(data) + 511) // 512, name


def test_reads_at_any_offset_and_size_give_the_same_bytes(reference, gpu):
    path = reference.mount / f"{gpu}/telemetry.csv"
    whole = path.read_bytes()
    fd = os.open(path, os.O_RDONLY)
    try:
        for offset, size in ((0, 1), (1, 7), (60, 100), (len(whole) - 3, 100), (len(whole), 10), (len(whole) + 5, 10)):
            assert os.pread(fd, size, offset) == whole[offset:offset + size]
        os.lseek(fd, -20, os.SEEK_END)
        assert os.read(fd, 100) == whole[-20:]
    finally:
        os.close(fd)


def test_cp_cmp_and_tar_copy_it_as_it_is(reference, gpu, tmp_path):
    host = gpu.split("/")[0]
    subprocess.run(["cp", "-a", "--no-preserve=ownership,xattr", reference.mount / host, tmp_path], check=True)
    assert subprocess.run(["diff", "-r", "--no-dereference", reference.mount / host, tmp_path / host], check=False).returncode == 0
    subprocess.run(["cmp", reference.mount / f"{gpu}/telemetry.csv", tmp_path / f"{gpu}/telemetry.csv"], check=True)
    archive = subprocess.run(["tar", "-cf", "-", "-C", reference.mount.path, host], capture_output=True, check=True)
    assert archive.stderr == b""
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        assert tar.extractfile(f"{gpu}/{UTIL}").read() == (reference.mount / f"{gpu}/{UTIL}").read_bytes()
    subprocess.run(["chmod", "-R", "u+w", tmp_path / host], check=True)  # for pytest to remove it


def test_grep_and_awk_read_it(reference):
    lines = subprocess.run(f"grep -H . {reference.mount.path}/*/*/{UTIL}", shell=True, capture_output=True, text=True, check=True).stdout
    assert len(lines.splitlines()) == 247
    assert len(list(csv.reader(io.StringIO(reference.mount.read(".meta/latest.csv"))))) == 2471


WRITES = {
    "open for writing": lambda m, gpu: os.open(m / f"{gpu}/{UTIL}", os.O_WRONLY),
    "open for both": lambda m, gpu: os.open(m / f"{gpu}/{UTIL}", os.O_RDWR),
    "append": lambda m, gpu: os.open(m / f"{gpu}/telemetry.csv", os.O_WRONLY | os.O_APPEND),
    "open read-only and truncate": lambda m, gpu: os.open(m / f"{gpu}/{UTIL}", os.O_RDONLY | os.O_TRUNC),
    "truncate": lambda m, gpu: os.truncate(m / f"{gpu}/{UTIL}", 0),
    "create": lambda m, gpu: os.open(m / f"{gpu}/new", os.O_CREAT | os.O_WRONLY, 0o644),
    "create in the root": lambda m, gpu: os.open(m / "new", os.O_CREAT | os.O_WRONLY, 0o644),
    "mkdir": lambda m, gpu: os.mkdir(m / f"{gpu}/new"),
    "rmdir": lambda m, gpu: os.rmdir(m / gpu),
    "unlink": lambda m, gpu: os.unlink(m / f"{gpu}/{UTIL}"),
    "rename": lambda m, gpu: os.rename(m / f"{gpu}/uuid", m / f"{gpu}/uuid2"),
    "link": lambda m, gpu: os.link(m / f"{gpu}/uuid", m / f"{gpu}/uuid2"),
    "symlink": lambda m, gpu: os.symlink("uuid", m / f"{gpu}/uuid2"),
    "mknod": lambda m, gpu: os.mknod(m / f"{gpu}/pipe", 0o600 | stat.S_IFIFO),
    "chmod": lambda m, gpu: os.chmod(m / f"{gpu}/uuid", 0o666),
    "chown": lambda m, gpu: os.chown(m / f"{gpu}/uuid", 1, 1),
    "utime": lambda m, gpu: os.utime(m / f"{gpu}/uuid", (0, 0)),
    "setxattr": lambda m, gpu: os.setxattr(m / f"{gpu}/uuid", "user.x", b"1"),
}


@pytest.mark.parametrize("kind", WRITES)
def test_every_kind_of_write_gives_erofs(reference, gpu, kind):
    with pytest.raises(OSError) as error:
        WRITES[kind](reference.mount, gpu)
    assert errno.errorcode[error.value.errno] == "EROFS"


def test_access_says_readable_and_not_writable(reference, gpu):
    assert os.access(reference.mount / f"{gpu}/uuid", os.R_OK)
    assert not os.access(reference.mount / f"{gpu}/uuid", os.W_OK)


def test_history_names_are_the_segments_starts(reference, expected, gpu):
    assert reference.mount.names(f"{gpu}/history") == sorted({segment_file(r[0]) for rows in expected.history[gpu].values() for r in rows})
