"""A daemon that is killed while a thread of it waits in the kernel for its own answer: nothing stays hanging.

What it tells the kernel of a file waits there for a READ of the same page that is under way. Here the READ is held
up by a proxy that lets nobody have bodies of chunks.
"""
import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from inotify import LIBC
from lib import ROOT, mounts_at, wait_until
from rows import row, write_csv
from test_survival import Supervised

sys.path.insert(0, str(ROOT / "tests" / "chaos"))

from proxy import Hold, Pass, Proxies  # noqa: E402

MNT_DETACH = 2
LOG = "host-1/0/telemetry.csv"
LOOK = "import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ); print(m[-1])"


class HoldBodies(Hold):
    """Whoever asks for a body waits."""

    def __init__(self):
        super().__init__(answers=False)
        self.held = 0

    async def request(self, data):
        head, _, body = data.partition(b"\r\n\r\n")
        if b"/kv/" in head and any(b"/telemetry/body/" in base64.b64decode(key) for key in keys_in(json.loads(body))):
            self.held += 1
            await super().request(data)


def keys_in(request):
    """Of a range, or of the ranges in a transaction."""
    if isinstance(request, list):
        return [key for part in request for key in keys_in(part)]
    if not isinstance(request, dict):
        return []
    return [request["key"]] * ("key" in request) + [key for part in request.values() for key in keys_in(part)]


def waits_in_kernel(pid):
    """Whether a thread of it waits beyond signals."""
    return any(stat.read_text().rsplit(")", 1)[1].split()[0] == "D" for stat in Path(f"/proc/{pid}/task").glob("*/stat"))


@pytest.fixture
def proxies(etcd):
    url = urlsplit(etcd.client)
    p = Proxies([(url.hostname, url.port)])
    yield p
    p.close()


@pytest.fixture
def hanging(system, proxies, tmp_path):
    """Makes a daemon whose notifying thread hangs as long as bodies are held; returns who looks at the page."""
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "a.csv", [row(i, f"{random.random():.12f}") for i in range(500)]), "--wait")
    lookers = []

    def hang(mount, pid):
        assert os.stat(mount / LOG).st_size > 4096
        hold = HoldBodies()
        proxies.set(hold)
        looker = subprocess.Popen([sys.executable, "-c", LOOK, mount / LOG], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lookers.append(looker)
        wait_until(lambda: hold.held, 30, "a READ that is held up")
        system.stream("--csv", write_csv(tmp_path / "b.csv", [row(1000, 1)]), "--wait")
        wait_until(lambda: waits_in_kernel(pid), 30, "the daemon waits for that READ")
        return looker
    yield hang
    for looker in lookers:
        looker.kill()
        looker.communicate()


def away(proxies):
    """As a mount has it that asks through them, and waits for long."""
    return {"ETCD_ENDPOINTS": proxies.client, "ETCD_REQUEST_TIMEOUT": "60s"}


def test_without_a_successor_the_connection_is_ended_and_the_daemon_with_it(system, proxies, hanging):
    mount = system.mount(**away(proxies))
    looker = hanging(mount, mount.process.pid)
    began = time.monotonic()
    mount.process.send(signal.SIGKILL)
    mount.process.killed = True
    mount.process.wait(5)
    print(f"ended after {time.monotonic() - began:.2f} s")
    assert looker.wait(20) != 0, "the page cannot be had"
    proxies.set(Pass())
    again = system.mount(path=mount.path)
    assert os.stat(again / LOG).st_size > 4096
    assert again.unmount() == 0


def test_a_successor_answers_what_the_daemon_waited_for(system, proxies, hanging):
    s = Supervised(system, **away(proxies))
    daemon = s.daemon()
    looker = hanging(s.mount, daemon)
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: "hangs in the kernel" in s.supervisor.log(), 30, "the supervisor sees it")
    proxies.set(Pass())
    wait_until(lambda: not Path(f"/proc/{daemon}").exists(), 20, "the daemon has ended")
    assert looker.communicate(timeout=60) == (b"10\n", b""), "the page, late"
    assert s.supervisor.log().count("going on with the mount") == 1
    assert s.mount.unmount() == 0


def test_a_supervised_mount_that_is_unmounted_while_no_daemon_is_there_stays_so(system):
    s = Supervised(system)
    daemon = s.daemon()
    s.supervisor.pause()
    os.kill(daemon, signal.SIGKILL)
    assert LIBC.umount2(os.fsencode(s.mount.path), MNT_DETACH) == 0  # umount(8) asks the mount first
    s.supervisor.resume()
    assert s.supervisor.wait(20) == 0
    assert "unmounted meanwhile" in s.supervisor.log()
    assert not mounts_at(s.mount.path)
