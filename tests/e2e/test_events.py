"""inotify on the mount: files and folders tell of what changed, and of nothing else."""
import itertools
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from inotify import Watch
from lib import BIN, SLOW, Process, mounts_at, wait_until
from rows import at, fleet, nanoseconds, row, segment_file, write_csv
from test_fs_ops import NOBODY, as_user, error_of, open_folder, writings  # noqa: F401 (a fixture)
from test_survival import Supervised

GPU = "host-1/0"
KILLS = 60 if os.environ.get("GPUTEL_SOAK") else 6


@pytest.fixture
def feed(system, tmp_path):
    """feed(rows) stores them; returns when they are stored."""
    system.collector()
    n = iter(range(10**6))

    def store(rows):
        return system.stream("--csv", write_csv(tmp_path / f"{next(n)}.csv", rows), "--wait")
    return store


def test_a_value_tells_of_a_new_text_and_not_of_an_equal_one(feed, system):
    feed([row(0, "1"), row(0, "5", metric="B")])
    mount = system.mount()
    value = Watch(mount / f"{GPU}/metrics/DCGM_FI_DEV_GPU_UTIL")
    folder = Watch(mount / f"{GPU}/metrics")
    feed([row(1, "2"), row(1, "5", metric="B")])
    value.wait("MODIFY")
    folder.wait("MODIFY", "DCGM_FI_DEV_GPU_UTIL")
    assert mount.read(f"{GPU}/metrics/DCGM_FI_DEV_GPU_UTIL") == "2\n"
    feed([row(2, "2"), row(2, "6", metric="B")])
    folder.wait("MODIFY", "B")
    assert value.events() == [("MODIFY", "")]
    assert [e for e in folder.events() if e[1] != "B"] == [("MODIFY", "DCGM_FI_DEV_GPU_UTIL")]
    assert os.stat(mount / f"{GPU}/metrics/DCGM_FI_DEV_GPU_UTIL").st_mtime_ns == nanoseconds(at(2))


def test_a_row_file_and_what_sums_up_tell_of_new_rows(feed, system):
    feed([row(0)])
    mount = system.mount()
    name = segment_file(at(0))
    file = Watch(mount / f"{GPU}/history/{name}")
    link = Watch(mount / f"{GPU}/telemetry.csv")
    gpu = Watch(mount / GPU)
    host = Watch(mount / "host-1")
    meta = Watch(mount / ".meta/latest.csv")
    feed([row(1, "2")])
    for watch in (file, link, meta):
        watch.wait("MODIFY")
    for summary in ("latest.csv", "latest.json", "latest.prom", "stat"):
        gpu.wait("MODIFY", summary)
    host.wait("MODIFY", "latest.csv")
    assert {kind for kind, _ in gpu.events() + host.events() + file.events()} == {"MODIFY"}


def test_names_that_come_are_told_of_in_their_folder(feed, system):
    feed([row(0)])
    mount = system.mount()
    root, host, history, metrics = (Watch(mount / p) for p in
                                    ("", "host-1", f"{GPU}/history", f"{GPU}/metrics"))
    feed([row(3601, metric="NEW"), row(1, gpu="1"), row(1, host="host-2")])
    root.wait("CREATE", "host-2")
    host.wait("CREATE", "1")
    history.wait("CREATE", segment_file(at(3601)))
    metrics.wait("CREATE", "NEW")
    assert sorted(os.listdir(mount / f"{GPU}/metrics")) == ["DCGM_FI_DEV_GPU_UTIL", "NEW"]
    assert mount.read("host-2/0/metrics/DCGM_FI_DEV_GPU_UTIL") == "1\n"


def test_what_goes_is_told_of_in_its_folder_and_to_itself(feed, system):
    feed([row(0, gpu="1"), row(0), row(3601), row(0, host="host-2")])
    mount = system.mount()
    name = segment_file(at(0))
    root = Watch(mount.path)
    host = Watch(mount / "host-1")
    history = Watch(mount / f"{GPU}/history")
    file = Watch(mount / f"{GPU}/history/{name}")
    value = Watch(mount / f"{GPU}/metrics/DCGM_FI_DEV_GPU_UTIL")
    unseen = Watch(mount / "host-2")
    data = [k for k in system.keys("/telemetry/data/host-1/0/")]
    system.etcd.delete(system.prefix + min(data))
    history.wait("DELETE", name)
    file.wait("DELETE_SELF")
    assert os.listdir(mount / f"{GPU}/history") == [segment_file(at(3601))]
    system.etcd.delete(system.prefix + "/telemetry/gpus/host-1/0")
    host.wait("DELETE", "0")
    value.wait("DELETE_SELF")
    assert ("DELETE", "host-1") not in root.events()
    system.etcd.delete(system.prefix + "/telemetry/gpus/host-2")
    root.wait("DELETE", "host-2")
    unseen.wait("DELETE", "0")
    unseen.wait("DELETE_SELF")
    wait_until(lambda: mount.gpus() == {"host-1/1"}, 30, "one GPU is left")


def test_a_mount_made_without_rights_tells_too(feed, system, open_folder):  # noqa: F811
    """Through fusermount3, and by the mount's path instead of a clone."""
    if as_user(NOBODY, lambda: os.access("/dev/fuse", os.R_OK | os.W_OK)) != "True":
        pytest.skip("/dev/fuse is root's alone here")
    feed([row(0)])
    os.chown(open_folder, NOBODY, NOBODY)
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    out = system.folder / "events"
    fs = Process("fs-nobody", [*user, BIN / "gputel-fs", "-f", open_folder], system.base_env, system.folder)
    system.processes.append(fs)
    wait_until(lambda: mounts_at(open_folder), 30, "the mount appears")
    folders = [open_folder, open_folder / GPU / "metrics", open_folder / GPU / "history"]
    with open(out, "wb") as f:
        watcher = subprocess.Popen([*user, "inotifywait", "-m", "-q", "--format", "%e %f", "-e", "modify,create,delete",
                                    *folders], stdout=f)
    try:
        wait_until(lambda: Path(f"/proc/{watcher.pid}/fdinfo/3").read_text().count("inotify wd") == 3, 30, "watches")
        feed([row(1, 2), row(3601, 3, metric="B"), row(2, 1, host="host-2")])
        for event in ("MODIFY DCGM_FI_DEV_GPU_UTIL", "CREATE B", f"CREATE {segment_file(at(3601))}",
                      "CREATE,ISDIR host-2", f"MODIFY {segment_file(at(0))}"):
            wait_until(lambda: event in out.read_text().splitlines(), 10, event)
    finally:
        watcher.kill()
        watcher.wait()
    fs.send(signal.SIGTERM)
    assert fs.wait(20) == 0
    assert not mounts_at(open_folder)


# ---- while very much changes ------------------------------------------------------------------------

@pytest.fixture
def storm(system, tmp_path):
    """Values of 16 GPUs change all the time, and segments come."""
    system.collector(SEGMENT="1m")
    rows = list(fleet(60000, hosts=4, gpus=4, metrics=8, step_s=1))
    path = write_csv(tmp_path / "storm.csv", rows)
    system.start("streamer", "--csv", path, "--loop", "--rate", "6000", "--time", "source",
                 STREAMER_FLUSH_INTERVAL="20ms")
    wait_until(lambda: system.keys("/telemetry/gpus/"), 20, "rows are stored")
    return system


def watch_all(mount):
    """Watches every folder and every file of values and rows."""
    watch = Watch()
    for folder, _, files in os.walk(mount.path):
        if "/." in folder:
            continue
        try:
            watch.add(folder)
            for name in files:
                watch.add(Path(folder) / name)
        except FileNotFoundError:
            pass  # a segment went meanwhile
    return watch


def storming(mount):
    """All is watched, and events come."""
    wait_until(mount.gpus, 30, "GPUs are there")
    watch = watch_all(mount)
    wait_until(lambda: len(watch.events()) > 100, 20, "events come")
    return watch


def state(pid):
    """The state of a process as ps shows it; None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def touchers(pid):
    """Of a daemon: his process, or none while there is none."""
    found = [int(p) for f in Path(f"/proc/{pid}/task").glob("*/children") for p in f.read_text().split()]
    return [p for p in found if Path(f"/proc/{p}/comm").read_text() == "gputel-toucher\n"]


LOOKERS = ["find {} -ls", "find {} -name '*.csv' -exec cat + ", "find {} -type f -path '*/metrics/*' -exec head -qc 9 +"]


class Crowd:
    """Looks at everything on and on: names, attributes, rows, values."""

    def __init__(self, path):
        loop = "while :; do {}; done".format
        self.shells = [subprocess.Popen(["sh", "-c", loop(look.format(path))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True) for look in LOOKERS]

    def end(self):
        """All of it: where one hangs this does not return."""
        for shell in self.shells:
            os.killpg(shell.pid, signal.SIGKILL)
            assert shell.wait(20 * SLOW) == -signal.SIGKILL


@pytest.mark.soak
def test_a_daemon_killed_in_a_storm_of_events_leaves_nothing_hanging(storm):
    mount, slowest = storm.mount(), 0
    for _ in range(KILLS):
        watch, crowd = storming(mount), Crowd(mount.path)
        toucher, = touchers(mount.process.pid)
        mount.process.send(signal.SIGKILL)
        mount.process.killed = True
        began = time.monotonic()
        mount.process.wait(5)
        crowd.end()
        wait_until(lambda: state(toucher) in (None, "Z"), 30, "the toucher ends with its daemon")
        mount = storm.mount(path=mount.path)
        slowest = max(slowest, time.monotonic() - began)
        watch.close()
    print(f"{KILLS} kills, the slowest mount after one took {slowest:.2f} s")
    assert slowest < 5 * SLOW
    assert mount.unmount() == 0


@pytest.mark.soak
def test_a_supervised_daemon_killed_in_a_storm_of_events_leaves_nothing_hanging(storm):
    s, slowest = Supervised(storm), 0
    watch, crowd = storming(s.mount), Crowd(s.mount.path)
    for _ in range(KILLS):
        toucher, = touchers(s.daemon())
        began = time.monotonic()
        old = s.kill()
        os.listdir(s.mount / ".meta")
        slowest = max(slowest, time.monotonic() - began)
        wait_until(lambda: [state(pid) for pid in (old, toucher) if state(pid) not in (None, "Z")] == [], 30, "both have ended")
        watch.clear()
        wait_until(lambda: len(watch.events()) > 20, 20, "events come again")
    print(f"{KILLS} kills, the slowest answer after one took {slowest:.2f} s")
    assert slowest < 10 * SLOW
    crowd.end()
    watch.close()
    assert s.mount.unmount() == 0


def test_unmounting_in_a_storm_of_events_succeeds_at_once_and_ends_the_daemon(storm):
    for _ in range(5):
        mount = storm.mount()
        watch = storming(mount)
        done = subprocess.run(["umount", mount.path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert mount.process.wait(10) == 0
        watch.close()


def test_a_toucher_that_is_killed_is_replaced(storm):
    mount = storm.mount()
    watch = storming(mount)
    toucher, = touchers(mount.process.pid)
    os.kill(toucher, 9)
    wait_until(lambda: touchers(mount.process.pid) not in ([], [toucher]), 30, "another one")
    watch.clear()
    wait_until(lambda: len(watch.events()) > 100, 20, "events come again")
    assert mount.unmount() == 0


def test_everything_that_writes_is_refused_while_the_toucher_works(storm, open_folder):  # noqa: F811
    mount = storm.mount("-o", "allow_other", path=open_folder)
    watch = storming(mount)
    host = next(h for h in mount.names() if h.startswith("node-"))

    def refusals():
        at_node = Path(mount.path) / host / "0"
        class Moved:
            def __truediv__(self, name):
                name = name.replace("host-1/0", "").strip("/")
                if name.startswith("metrics/"):
                    name = "metrics/" + os.listdir(at_node / "metrics")[0]
                if name.startswith("history/"):
                    name = "history/" + os.listdir(at_node / "history")[0]
                return at_node / name if name else at_node
        return {name: error_of(fn) for name, fn in writings(Moved()).items()}

    for _ in range(5):
        for got in (refusals(), eval(as_user(NOBODY, refusals))):
            assert set(got.values()) == {"EROFS"}, got
    watch.close()


def test_who_opens_the_live_log_again_and_again_always_finds_it(system, tmp_path):
    """Over segment changes, with the folders watched, so that names are made by the toucher."""
    system.collector(SEGMENT="1m")
    rows = [row(s, s, gpu="0") for s in range(0, 3600, 5)]
    system.stream("--csv", write_csv(tmp_path / "first.csv", rows[:1]), "--wait")
    mount = system.mount()
    watch = Watch(mount / GPU, mount / f"{GPU}/history")
    stop, opens, missing, other = threading.Event(), itertools.count(), [], []

    def reopen():
        while not stop.is_set():
            try:
                with open(mount / f"{GPU}/telemetry.csv", "rb") as f:
                    if not f.read(4096).startswith(b"timestamp,"):
                        other.append("no header")
                next(opens)
            except FileNotFoundError as e:
                missing.append(str(e))
            except OSError as e:
                other.append(str(e))
    threads = [threading.Thread(target=reopen) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        system.stream("--csv", write_csv(tmp_path / "rest.csv", rows[1:]), "--rate", "120", "--wait",
                      STREAMER_FLUSH_INTERVAL="20ms")
        wait_until(lambda: len(mount.names(f"{GPU}/history")) == 60, 20, "60 segments")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    created = [name for kind, name in watch.events() if kind == "CREATE"]
    print(f"{next(opens)} opens over 59 changes of the segment")
    assert (missing, other) == ([], [])
    assert created == sorted(mount.names(f"{GPU}/history"))[1:], "each told of once"


# ---- what it costs ----------------------------------------------------------------------------------

@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("GPUTEL_SOAK"), reason="waits for a minute: make soak")
def test_what_nobody_holds_is_not_touched_after_a_minute(feed, system):
    """The watched file is told of on and on; the kernel forgets the rest, and the toucher rests from it."""
    names = [f"M{i}" for i in range(200)]
    feed([row(0, 0, metric=m) for m in names])
    mount = system.mount()
    for m in names:
        os.stat(mount / f"{GPU}/metrics/{m}")
    watch = Watch(mount / f"{GPU}/metrics/M7")
    toucher, = touchers(mount.process.pid)
    trace = system.folder / "trace"

    def touched(seconds, value):
        strace = subprocess.Popen(["strace", "-e", "trace=utimensat", "-o", trace, "-p", str(toucher)],
                                  stderr=subprocess.DEVNULL)
        wait_until(lambda: trace.exists(), 30, "strace is there")
        time.sleep(0.3)
        feed([row(seconds, value, metric=m) for m in names])
        watch.wait("MODIFY")
        time.sleep(0.5)
        strace.terminate()
        strace.wait()
        watch.clear()
        return len(re.findall("metrics/", trace.read_text()))
    assert touched(1, 1) == 200
    time.sleep(75)
    assert touched(2, 2) < 10, "only what is watched"
    assert mount.read(f"{GPU}/metrics/M9") == "2\n"


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@pytest.mark.parametrize("gpus, metrics", [(20, 25), (247, 15)])
def test_how_soon_watched_values_that_change_at_once_are_told_of(system, tmp_path, gpus, metrics):
    """From the commit's first visible byte to each file's event."""
    system.collector()

    def rows(second):
        return [row(second, second * 1000 + m, metric=f"M{m:02d}", gpu=str(g)) for g in range(gpus) for m in range(metrics)]
    system.stream("--csv", write_csv(tmp_path / "0.csv", rows(0)), "--wait")
    mount = system.mount()
    wait_until(lambda: len(mount.gpus()) == gpus, 30, "all GPUs")
    watch = Watch(*(mount / f"host-1/{g}/metrics/M{m:02d}" for g in range(gpus) for m in range(metrics)))
    last = os.open(mount / f"host-1/{gpus - 1}/metrics/M{metrics - 1:02d}", os.O_RDONLY)
    delays = []
    for second in range(1, 6):
        visible, stop = [], threading.Event()

        def look():
            before = os.pread(last, 100, 0)
            while not stop.is_set():
                if os.pread(last, 100, 0) != before:
                    visible.append(time.monotonic())
                    return
                time.sleep(0.0005)
        looker = threading.Thread(target=look)
        looker.start()
        watch.clear()
        streamer = system.start("streamer", "--csv", write_csv(tmp_path / f"{second}.csv", rows(second)), "--wait")
        end = time.monotonic() + 20 * SLOW
        while len({p for p, kind, _, _ in watch.seen if kind == "MODIFY"}) < metrics * gpus and time.monotonic() < end:
            watch.read(0.05)
        stop.set()
        looker.join()
        assert streamer.wait() == 0
        assert len({p for p, kind, _, _ in watch.seen}) == metrics * gpus
        delays += [max(0, when - visible[0]) for _, _, _, when in watch.seen]
    p50, p99 = (1000 * percentile(delays, share) for share in (0.5, 0.99))
    print(f"IN_MODIFY of {gpus * metrics} watched files that change at once: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    assert p99 < 5000 * SLOW
    os.close(last)
