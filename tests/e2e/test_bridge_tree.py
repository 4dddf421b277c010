"""The bridge and the mount are two views of one tree: same names, bytes, sizes, times and versions."""
import gzip
import os
import re
import socket
import urllib.parse
from email.utils import formatdate, parsedate_to_datetime

import pytest

from bridge import Bridge, is_problem
from lib import wait_until
from rows import fleet, nanoseconds, row, write_csv

# They speak of the view that serves them.
EXEMPT = re.compile(r"\.meta/(status|version|revision|wait)(/|$)")
TYPES = {"directory": os.path.isdir, "symlink": os.path.islink, "file": os.path.isfile}


@pytest.fixture(scope="module")
def both(reference):
    bridge = Bridge(reference.system)
    reference.bridge = bridge
    yield reference
    bridge.stop()


def walk(bridge, folder=""):
    """Every entry of the tree, by the bridge's listings."""
    for entry in bridge.json("/api/v1/fs/" + urllib.parse.quote(folder))["entries"]:
        path = f"{folder}{entry['name']}"
        yield path, entry
        if entry["type"] == "directory":
            yield from walk(bridge, path + "/")


def nanoseconds_of(entry):
    return nanoseconds(entry["mtime"])


def test_every_node_is_the_same_in_both(both):
    """Names, types, sizes, times and bytes, and the version as a number."""
    mount, bridge, seen = both.mount, both.bridge, set()
    for path, entry in walk(bridge):
        seen.add(path)
        if EXEMPT.match(path) or path.startswith("README"):
            continue
        local = mount / path
        assert TYPES[entry["type"]](local), path
        stat = os.lstat(local)
        if entry["type"] != "directory":
            assert entry["size"] == stat.st_size, path
        if not path.startswith(".meta"):
            assert nanoseconds_of(entry) == stat.st_mtime_ns, path
    local = {os.path.relpath(os.path.join(folder, name), mount.path) for folder, folders, files in os.walk(mount.path)
             for name in folders + files}
    assert seen == local


def test_contents_are_the_same_bytes(both):
    mount, bridge = both.mount, both.bridge
    hosts = sorted(h for h in mount.names() if not h.startswith(".") and h != "README")
    compared = 0
    for path, entry in walk(bridge, hosts[0] + "/"):
        if entry["type"] != "file":
            continue
        answer = bridge.fs(path)
        assert answer.status_code == 200, path
        assert answer.content == (mount / path).read_bytes(), path
        assert len(answer.content) == entry["size"] == int(answer.headers["Content-Length"]), path
        compared += 1
    assert compared > 50
    for path in (".meta/gpus.json", ".meta/latest.csv", ".meta/latest.prom", "README"):
        assert bridge.fs(path).content == (mount / path).read_bytes(), path


def test_revisions_are_those_of_the_mount(both):
    for name in ("metrics/DCGM_FI_DEV_GPU_UTIL", "telemetry.csv", "stat", "uuid"):
        path = f"{sorted(both.mount.gpus())[0]}/{name}"
        try:
            rev = os.getxattr(both.mount / path, "user.gputel.rev").decode().strip()
        except OSError:
            pytest.skip("the mount has no such attribute here")
        assert both.bridge.fs(path).headers["X-Gputel-Revision"] == rev, path


def test_a_link_is_followed_and_says_where_to(both):
    gpu = sorted(both.mount.gpus())[0]
    answer = both.bridge.fs(f"{gpu}/telemetry.csv")
    target = os.readlink(both.mount / gpu / "telemetry.csv")
    assert answer.headers["Content-Location"] == f"/api/v1/fs/{gpu}/{target}"
    uuid = both.mount.read(f"{gpu}/uuid").strip()
    answer = both.bridge.fs(f".by-uuid/{uuid}/state")
    assert answer.headers["Content-Location"] == f"/api/v1/fs/{gpu}/state"
    assert "Content-Location" not in both.bridge.fs(f"{gpu}/state").headers


@pytest.mark.parametrize("path", [
    "..", "../etc/passwd", "%2e%2e/x", "{gpu}/../{gpu}/stat", "{gpu}/./stat", "{gpu}%2Fstat", "{gpu}/stat%00",
    "{gpu}/stat%2500", "{gpu}/stat/", "{gpu}//stat", "nothing", "{gpu}/metrics/NOTHING", "a" * 300,
    "{gpu}/stat/more", "%ff%fe", "{gpu}/.%2e/stat"])
def test_what_is_outside_or_unknown_is_404(both, path):
    gpu = sorted(both.mount.gpus())[0]
    assert is_problem(both.bridge.get("/api/v1/fs/" + path.replace("{gpu}", gpu)), 404), path


def test_names_are_encoded_once_more_in_urls(system, tmp_path):
    """A folder name of the tree is percent-encoded already; in a URL its % is %25."""
    system.collector()
    csv = write_csv(tmp_path / "odd.csv", [row(host="a b/c", gpu="0")])
    system.stream("--csv", csv, "--wait")
    bridge = Bridge(system)
    names = [e["name"] for e in bridge.json("/api/v1/fs/")["entries"]]
    assert "a%20b%2Fc" in names
    assert bridge.get("/api/v1/fs/a%2520b%252Fc/0/uuid").text == "GPU-a b/c-0\n"
    assert is_problem(bridge.get("/api/v1/fs/a%20b%2Fc/0/uuid"), 404)


def test_head_tells_what_get_would(both):
    gpu = sorted(both.mount.gpus())[0]
    for name in ("telemetry.csv", "stat", "metrics/DCGM_FI_DEV_GPU_UTIL", ""):
        path = f"/api/v1/fs/{gpu}/{name}"
        got, head = both.bridge.get(path), both.bridge.ask("HEAD", path)
        assert head.status_code == 200 and not head.content
        for header in ("ETag", "Content-Length", "Content-Type", "Last-Modified", "X-Gputel-Revision"):
            assert head.headers[header] == got.headers[header], (name, header)


def test_ranges_of_a_row_file(both):
    path = f"/api/v1/fs/{sorted(both.mount.gpus())[0]}/telemetry.csv"
    whole = both.bridge.get(path)
    data, n = whole.content, len(whole.content)
    for spec, piece in {"0-": data, "0-0": data[:1], "10-19": data[10:20], "-5": data[-5:], f"-{n + 9}": data,
                        f"{n - 1}-": data[-1:], f"5-{n + 100}": data[5:]}.items():
        answer = both.bridge.get(path, headers={"Range": f"bytes={spec}"})
        assert answer.status_code == 206 and answer.content == piece, spec
        assert answer.headers["Content-Range"].endswith(f"/{n}")
    for spec in (f"{n}-", f"{n + 5}-{n + 6}", "-0"):
        answer = both.bridge.get(path, headers={"Range": f"bytes={spec}"})
        assert is_problem(answer, 416) and answer.headers["Content-Range"] == f"bytes */{n}", spec
    for spec in ("bytes=5-2", "bytes=a-b", "rows=1-2", "bytes=0-1,3-4", "bytes="):
        assert both.bridge.get(path, headers={"Range": spec}).status_code == 200, spec


def test_after_a_304_the_connection_goes_on(both):
    path = f"/api/v1/fs/{sorted(both.mount.gpus())[0]}/telemetry.csv"
    etag = both.bridge.get(path).headers["ETag"]
    with socket.create_connection(("127.0.0.1", both.bridge.port), timeout=20) as s:
        for _ in range(3):
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nIf-None-Match: {etag}\r\n\r\n".encode())
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: s.recv(65536), b""))
    assert [line.split()[1] for line in answers.split(b"\r\n") if line.startswith(b"HTTP/")] == [b"304"] * 3 + [b"200"]
    heads = answers.split(b"\r\n\r\n")
    assert all(head.startswith(b"HTTP/1.1 ") for head in heads[:4]), "nothing stands between them"


def test_etags_and_dates_spare_the_bytes(both):
    path = f"/api/v1/fs/{sorted(both.mount.gpus())[0]}/"
    for name in ("telemetry.csv", "stat"):
        whole = both.bridge.get(path + name)
        stat = os.stat(both.mount / path.removeprefix("/api/v1/fs/") / name)
        etag = whole.headers["ETag"]
        for value in (etag, f'"x", {etag}', "*", "W/" + etag):
            answer = both.bridge.get(path + name, headers={"If-None-Match": value})
            assert answer.status_code == 304 and not answer.content and answer.headers["ETag"] == etag
        assert both.bridge.get(path + name, headers={"If-None-Match": '"x"'}).status_code == 200
        date = whole.headers["Last-Modified"]
        assert parsedate_to_datetime(date).timestamp() == int(stat.st_mtime)
        again = both.bridge.get(path + name, headers={"If-Modified-Since": date})
        assert again.status_code == 200 or (again.status_code == 304 and name == "telemetry.csv"), "a value may have had several of a date"
        later = formatdate(stat.st_mtime + 5, usegmt=True)
        assert both.bridge.get(path + name, headers={"If-Modified-Since": later}).status_code == 200
        assert both.bridge.get(path + name, headers={"If-Range": etag, "Range": "bytes=0-3"}).status_code == 206
        assert both.bridge.get(path + name, headers={"If-Range": '"x"', "Range": "bytes=0-3"}).status_code == 200


def test_a_late_row_is_not_hidden_by_a_date(system, tmp_path):
    """Last-Modified is the greatest event time, as in the mount, so that a late row does not move it."""
    system.collector()
    bridge, path = Bridge(system), "/api/v1/fs/host-1/0/telemetry.csv"

    def store(name, *seconds):
        before = bridge.get(path).content
        system.stream("--csv", write_csv(tmp_path / name, [row(s, value=s) for s in seconds]), "--wait")
        return wait_until(lambda: (a := bridge.get(path)).content != before and a, 30, "the rows")
    date = None
    for name, seconds in (("first.csv", (1, 5)), ("later.csv", (6, 9)), ("late.csv", (7,)), ("same.csv", (9,)), ("last.csv", (12,))):
        before, date = date, store(name, *seconds).headers["Last-Modified"]
        if before:
            assert bridge.get(path, headers={"If-Modified-Since": before}).status_code == 200, name
        assert (before == date) == (name in ("late.csv", "same.csv"))


def test_gzip_is_the_same_content_under_another_tag(both):
    def pair():  # of one revision: merging may commit between them
        plain = both.bridge.fs(".meta/latest.csv")
        packed = both.bridge.ask("GET", "/api/v1/fs/.meta/latest.csv", headers={"Accept-Encoding": "gzip"}, stream=True)
        raw = packed.raw.read(decode_content=False)
        assert packed.headers["Content-Encoding"] == "gzip" and gzip.decompress(raw) == plain.content
        assert packed.headers["ETag"] == plain.headers["ETag"][:-1] + '-gzip"'
        return plain, packed

    plain, packed = wait_until(pair, 30, "both of one revision")
    assert "Accept-Encoding" in packed.headers["Vary"] and "Accept-Encoding" in plain.headers["Vary"]
    for refusal in ("identity", "gzip;q=0", "br"):
        answer = both.bridge.get("/api/v1/fs/.meta/latest.csv", headers={"Accept-Encoding": refusal})
        assert "Content-Encoding" not in answer.headers
    part = both.bridge.get("/api/v1/fs/.meta/latest.csv", headers={"Accept-Encoding": "gzip", "Range": "bytes=0-99"})
    assert part.status_code == 206 and "Content-Encoding" not in part.headers


def test_of_a_growing_file_the_shorter_answer_begins_the_longer(system, tmp_path):
    """And a range that was begun goes on with If-Range, whatever came to the end meanwhile."""
    system.collector()
    rows = list(fleet(400, hosts=1, gpus=1))
    csv = write_csv(tmp_path / "grows.csv", rows[:100])
    system.stream("--csv", csv, "--wait")
    bridge = Bridge(system)
    path = "/api/v1/fs/node-000/0/telemetry.csv"
    first = bridge.get(path)
    half = len(first.content) // 2
    write_csv(csv, rows[100:], append=True)
    system.stream("--csv", csv, "--wait")
    wait_until(lambda: bridge.get(path).content.count(b"\n") == 401, 20, "all rows")
    last = bridge.get(path)
    assert last.content.startswith(first.content)
    rest = bridge.get(path, headers={"Range": f"bytes={half}-", "If-Range": first.headers["ETag"]})
    assert rest.status_code == 206 and first.content[:half] + rest.content == last.content


def test_a_file_longer_than_any_buffer_comes_whole(system, tmp_path):
    """Streamed in pieces, plain and compressed."""
    system.collector()
    n = 60000
    system.stream("--csv", write_csv(tmp_path / "long.csv", fleet(n, hosts=1, gpus=1, step_s=0)), "--wait")
    bridge, mount = Bridge(system), system.mount()
    path = "node-000/0/telemetry.csv"
    expected = (mount / path).read_bytes()
    assert expected.count(b"\n") == n + 1 and len(expected) > 2 << 20
    assert bridge.fs(path).content == expected
    assert bridge.fs(path, headers={"Accept-Encoding": "gzip"}).content == expected
    answer = bridge.fs(path, headers={"Range": "bytes=100000-2000000"})
    assert answer.content == expected[100000:2000001]
