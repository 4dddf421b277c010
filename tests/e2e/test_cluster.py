"""examples/cluster.sh: etcd of three members with TLS and users, two of each program; any one of each may die."""
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from lib import BIN, ROOT, free_port, wait_until

pytestmark = [pytest.mark.usefixtures("programs"),
              pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not there")]


class Cluster:
    def __init__(self, folder):
        self.folder, self.bridge = folder / "cluster", free_port()
        self.folder.mkdir()
        # outside the range that the kernel gives away by itself
        port = 20000 + os.getpid() % 1000 * 8
        env = {**os.environ, "FOLDER": str(self.folder), "PORT": str(port), "BRIDGE": str(self.bridge),
               "GPUTEL_BIN": str(BIN), "SEGMENT": "1h"}
        env = {k: v for k, v in env.items() if not k.startswith(("ETCD_", "ETCDCTL_"))}
        self.out = open(folder / "cluster.out", "w+b")
        self.process = subprocess.Popen([ROOT / "examples/cluster.sh"], env=env, stdout=self.out, stderr=self.out,
                                        stdin=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda: "etcd: source" in self.said() or self.process.poll() is not None, 120, "the cluster")
        assert self.process.poll() is None, self.said()

    def said(self):
        return Path(self.out.name).read_text()

    def pids(self, pattern):
        """Of programs whose command line has the pattern and this cluster's folder."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, ValueError):
                continue
            if entry.name.isdigit() and re.search(pattern, line):
                env = (entry / "environ").read_bytes() if os.access(entry / "environ", os.R_OK) else b""
                if str(self.folder) in line or str(self.folder).encode() in env:
                    found.append(int(entry.name))
        return found

    def etcdctl(self, user, *args):
        env = {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_CACERT": f"{self.folder}/tls/ca.pem"}
        secrets = dict(line.split("=", 1) for line in (self.folder / f"users/{user}.env").read_text().splitlines())
        endpoints = re.search(rb"ETCD_ENDPOINTS=([^\0]*)", Path(f"/proc/{self.pids('gputel-fs')[0]}/environ").read_bytes())
        env.update({"ETCDCTL_ENDPOINTS": endpoints[1].decode(), "ETCDCTL_CERT": f"{self.folder}/tls/client.pem",
                    "ETCDCTL_KEY": f"{self.folder}/tls/client.key",
                    "ETCDCTL_USER": f"{secrets['ETCD_USERNAME']}:{secrets['ETCD_PASSWORD']}"})
        return subprocess.run(["etcdctl", *args], env=env, capture_output=True, text=True, timeout=60, check=False)

    def get(self, n, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.bridge + n}{path}", timeout=10) as answer:
            return answer.read()

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            for pid in self.pids("gputel-|etcd"):
                os.kill(pid, signal.SIGKILL)
            for n in (1, 2):
                subprocess.run(["fusermount3", "-uqz", self.folder / f"fs-{n}"], check=False, capture_output=True)
            self.out.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("site"))
    yield c
    c.close()


def test_passwords_are_in_no_command_line_and_no_log(cluster):
    secrets = [line.split("=", 1)[1] for f in (cluster.folder / "users").glob("*.env")
               for line in f.read_text().splitlines() if line.startswith("ETCD_PASSWORD=")]
    assert len(secrets) == 5
    pids = cluster.pids("gputel-")
    assert len(pids) >= 8
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in pids]
    logs = [p.read_text() for p in cluster.folder.glob("*.log")]
    assert not any(secret in text for secret in secrets for text in lines + logs)


def test_a_cluster_with_tls_and_users_goes_on_when_one_of_each_is_killed(cluster):
    first, second = cluster.folder / "fs-1", cluster.folder / "fs-2"

    def rows():
        return int(re.search(r"^rows=(\d+)$", (second / ".meta/status").read_text(), re.M)[1])

    wait_until(lambda: rows() > 0, 60, "rows")
    for user, key in (("fs", "/telemetry/x"), ("streamer", "/telemetry/x"), ("bridge", "/telemetry/x")):
        result = cluster.etcdctl(user, "put", key, "1")
        assert result.returncode != 0 and "permission denied" in result.stderr, user
    for pattern in ("etcd --name etcd-0", "gputel-collector.*--service-id collector-1", "gputel-streamer.*streamer-1",
                    "gputel-bridge.*bridge-1", "gputel-fs.*fs-1"):
        for pid in cluster.pids(pattern):
            os.kill(pid, signal.SIGKILL)
    before = rows()
    wait_until(lambda: rows() > before, 90, "rows after one of each was killed")
    host = next(p.name for p in second.iterdir() if p.is_dir() and not p.name.startswith("."))
    wait_until(lambda: cluster.get(1, f"/api/v1/fs/{host}/0/uuid") == (second / host / "0/uuid").read_bytes(), 20, "the bridge")
    assert cluster.get(1, "/readyz")
