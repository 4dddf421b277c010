"""`make run`: examples/run.sh starts everything, shows values, and leaves nothing."""
import os
import re
import signal
import subprocess
import uuid

import pytest

from lib import BIN, ROOT, SLOW, abort_fuse, force_unmount, mounts_at, wait_until


def marked(mark):
    """Processes whose environment has the mark: all that run.sh has started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if mark.encode() in f.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


@pytest.fixture
def demo(programs, tmp_path):
    """Starts run.sh on request; afterwards ends what it left."""
    mark = uuid.uuid4().hex
    mount, tmp = tmp_path / "demo mnt", tmp_path / "tmp"
    tmp.mkdir()

    class Demo:
        path, folder, process = mount, tmp, None
        log = tmp_path / "run.log"

        def start(self, **env):
            env = {**{k: v for k, v in os.environ.items() if k not in ("ETCD_ENDPOINTS", "GPUTEL_PREFIX")},
                   "MOUNT": str(mount), "TMPDIR": str(tmp), "GPUTEL_BIN": str(BIN), "MARK": mark, **env}
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen([ROOT / "examples" / "run.sh"], env=env, stdout=log, stderr=log,
                                                stdin=subprocess.DEVNULL, start_new_session=True)
            return self.process

        def left(self):
            return {"processes": [p for p in marked(mark) if p != self.process.pid], "mounts": mounts_at(mount),
                    "files": os.listdir(tmp), "mount point": [p.name for p in tmp_path.iterdir() if p.name == mount.name]}

        def logs(self):
            return {"run.sh": self.log.read_text(errors="replace")}

    d = Demo()
    yield d
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)
    for minor in mounts_at(mount):
        abort_fuse(minor)
    force_unmount(mount)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_make_run_shows_values_and_leaves_nothing(demo, number):
    process = demo.start()
    wait_until(lambda: "In another shell" in demo.log.read_text() or process.poll() is not None, 60, "what to try")
    assert process.poll() is None, demo.log.read_text()
    printed = demo.log.read_text()
    file = re.search(r"cat (.*GPU_UTIL)$", printed, re.M)[1]
    with open(file) as f:
        assert re.fullmatch(r"\d+\n", f.read())
    log = re.search(r"tail -F (.*telemetry\.csv)$", printed, re.M)[1]
    size = os.stat(log).st_size
    wait_until(lambda: os.stat(log).st_size > size, 30, "further rows in the live log")
    process.send_signal(number)
    assert process.wait(40 * SLOW) == 0
    assert demo.left() == {"processes": [], "mounts": [], "files": [], "mount point": []}


def test_make_run_uses_the_etcd_it_is_given_and_keeps_a_folder_that_was_there(demo, etcd):
    demo.path.mkdir()
    prefix = "/demo-" + uuid.uuid4().hex
    process = demo.start(ETCD_ENDPOINTS=etcd.client, GPUTEL_PREFIX=prefix)
    wait_until(lambda: "In another shell" in demo.log.read_text() or process.poll() is not None, 60, "what to try")
    assert any(k.startswith(prefix + "/telemetry/gpus/") for k in etcd.items(prefix))
    process.send_signal(signal.SIGINT)
    assert process.wait(40 * SLOW) == 0
    etcd.delete(prefix)
    left = demo.left()
    assert left.pop("mount point") == [demo.path.name] and not any(left.values())


def test_make_run_says_what_is_wrong_when_it_cannot_start(demo, tmp_path):
    process = demo.start(CSV=str(tmp_path / "nothing.csv"))
    assert process.wait(20) == 1
    assert "nothing.csv" in demo.log.read_text()
    assert not any(demo.left().values())


def test_make_run_ends_with_the_log_of_what_has_ended(demo, tmp_path):
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    process = demo.start(CSV=str(empty))
    assert process.wait(60 * SLOW) == 1
    assert re.search(r"streamer has ended[\s\S]*empty\.csv", demo.log.read_text()), demo.log.read_text()
    assert not any(demo.left().values())
