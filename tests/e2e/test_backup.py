"""A backup of etcd put back, as examples/OPERATIONS.md says: the store as it was, and what had come after it
published once more."""
import shutil
import subprocess

from lib import wait_until
from rows import fleet, write_csv

GPU = "node-000/0"


def etcdctl(*argv):
    done = subprocess.run(["etcdctl", *map(str, argv)], env={"PATH": "/usr/bin:/bin", "ETCDCTL_API": "3"},
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def put_back(etcd, backup):
    """etcd with what the backup has, at the same address."""
    etcd.stop()
    shutil.rmtree(etcd.folder / "data")
    etcdctl("snapshot", "restore", backup, "--data-dir", etcd.folder / "data", "--name", "test",
            "--initial-cluster", f"test={etcd.peer}", "--initial-advertise-peer-urls", etcd.peer)
    etcd.start()


def lines(mount):
    """All rows of the GPU; [] while there is nothing to be seen."""
    try:
        names = mount.names(f"{GPU}/history")
        return [line for n in names for line in mount.read(f"{GPU}/history/{n}").splitlines()[1:]]
    except OSError:
        return []


def test_a_backup_put_back_is_the_store_and_what_came_later_is_published_once_more(own_system, tmp_path):
    system, etcd = own_system, own_system.etcd
    system.base_env["MQ_PROCESSING_TIMEOUT"] = "2s"
    rows = list(fleet(400, hosts=1, gpus=1, metrics=2))
    source = write_csv(tmp_path / "a.csv", rows[:200])
    collector, mount = system.collector(), system.mount()
    system.stream("--csv", source, "--wait")
    early = lines(mount)
    etcdctl("--endpoints", etcd.client, "snapshot", "save", tmp_path / "backup")
    write_csv(source, rows[200:], append=True)
    system.stream("--csv", source, "--wait")
    wait_until(lambda: len(lines(mount)) == 400, 20, "all rows")
    assert mount.unmount() == 0 and collector.stop() == 0
    put_back(etcd, tmp_path / "backup")
    mount = system.mount()
    wait_until(lambda: lines(mount) == early, 20, "the mount shows the backup")
    system.collector()
    again = system.stream("--csv", source, "--wait")
    assert (again.published, again.duplicate) == (200, 200)
    wait_until(lambda: len(set(lines(mount))) == len(lines(mount)) == 400, 20, "each row once")
    assert system.collector("--audit").wait(20) == 0
