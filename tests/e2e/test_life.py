"""How a mount begins and ends: mount(8) and fstab, ordinary users, dead mount points."""
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from lib import BIN, ROOT, force_unmount, mounts_at, wait_until
from rows import row, write_csv


@pytest.fixture
def folder():
    """A mount point that everybody can reach."""
    path = Path(tempfile.mkdtemp(prefix="gputel-"))
    path.chmod(0o755)
    (path / "m").mkdir()
    yield path / "m"
    force_unmount(path / "m", abort=True)
    shutil.rmtree(path)


@pytest.fixture
def helper(tmp_path):
    """gputel-fs under the name by which mount(8) calls it."""
    link = tmp_path / "mount.gputel"
    link.symlink_to(BIN / "gputel-fs")
    return link


def run(system, *argv, **env):
    return subprocess.run([str(a) for a in argv], env={**system.base_env, **env}, capture_output=True, text=True, timeout=60,
                          check=False)


def source_of(path):
    line = next(x for x in Path("/proc/self/mountinfo").read_text().splitlines() if x.split()[4] == str(path))
    return line.split(" - ")[1].split()[1]


def daemons_at(path):
    found = subprocess.run(["pgrep", "-f", f"gputel-fs.*{path}"], capture_output=True, text=True, check=False)
    return found.stdout.split()


def umount(path):
    wait_until(lambda: subprocess.run(["umount", path], capture_output=True, check=False).returncode == 0, 30, "umount")


def test_mounts_helper_mounts_and_umount_ends_the_daemon(system, folder, helper, tmp_path):
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "a.csv", [row(0, 1)]), "--wait")
    source = system.etcd.client.removeprefix("http://")
    done = run(system, helper, source, folder, "-o", "rw,noauto,_netdev,nofail,x-systemd.automount,user=joe,allow_other",
               ETCD_ENDPOINTS="127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert os.listdir(folder / "host-1") and source_of(folder) == source
    again = run(system, helper, source, folder)
    assert again.returncode == 32 and "mounted there already" in again.stderr
    umount(folder)
    wait_until(lambda: not daemons_at(folder), 30, "the daemon ends")


def test_fstabs_options_may_name_a_configuration_and_the_supervisor(system, folder, helper, tmp_path):
    config = tmp_path / "gputel.env"
    config.write_text(f"ETCD_ENDPOINTS={system.etcd.client}\nGPUTEL_PREFIX={system.prefix}\n")
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run([helper, "gputel", folder, "-o", f"ro,supervise,config={config}"], env=env, capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "etcd=up" in (folder / ".meta/status").read_text()
    assert source_of(folder) == "gputel"
    umount(folder)
    wait_until(lambda: not daemons_at(folder), 30, "daemon and supervisor end")


def test_mount_8_finds_the_helper(system, folder):
    link = Path("/sbin/mount.fuse.gputel")
    if os.geteuid() or link.exists() or link.is_symlink():
        pytest.skip("needs root and a free name in /sbin")
    link.symlink_to(BIN / "gputel-fs")
    try:
        source = system.etcd.client.removeprefix("http://")
        done = run(system, "mount", "-t", "fuse.gputel", source, folder, "-o", "allow_other,_netdev")
        assert done.returncode == 0, done.stderr
        assert os.listdir(folder / ".meta")
        umount(folder)
    finally:
        link.unlink()


def test_the_helper_refuses_what_mount_would_not_say(system, folder, helper):
    assert run(system, helper, "only-one").returncode == 1
    wrong = run(system, helper, "x:1", folder, "-o", "no_such_option")
    assert wrong.returncode == 1 and "no_such_option" in wrong.stderr
    assert run(system, helper, "x:1", folder, "-f").returncode == 0, "all but mounting"
    assert not mounts_at(folder)


def test_ordinary_users_mount_and_unmount(system, folder, tmp_path):
    if os.geteuid():
        pytest.skip("needs root to become somebody else")
    if os.stat("/dev/fuse").st_mode & 0o006 != 0o006:
        pytest.skip("/dev/fuse is not for everybody here")
    nobody = pwd.getpwnam("nobody")
    folder.parent.chmod(0o777)
    shutil.chown(folder, nobody.pw_uid)
    program = folder.parent / "gputel-fs"
    shutil.copy(BIN / "gputel-fs", program)
    log = open(tmp_path / "log", "wb")
    process = subprocess.Popen([program, "-f", folder], env=system.base_env, user=nobody.pw_uid, group=nobody.pw_gid,
                               extra_groups=[], stderr=log)
    try:
        wait_until(lambda: mounts_at(folder) or process.poll() is not None, 30, "the mount")
        assert process.poll() is None, (tmp_path / "log").read_text()
        seen = subprocess.run(["ls", folder / ".meta"], user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[],
                              capture_output=True, text=True, timeout=20, check=False)
        assert "status" in seen.stdout, seen.stderr

        def gone():
            return subprocess.run(["fusermount3", "-u", folder], user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[],
                                  capture_output=True, check=False).returncode == 0
        wait_until(gone, 30, "fusermount3 -u")
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
        log.close()


@pytest.mark.parametrize("options", [(), ("--supervise",)])
def test_a_dead_daemons_mount_point_is_mounted_again(system, folder, options):
    first = system.start("fs", "-f", folder)
    wait_until(lambda: mounts_at(folder) and os.listdir(folder / ".meta"), 30, "the mount")
    first.kill()
    wait_until(lambda: not daemons_at(folder), 30, "its helpers end")
    second = system.start("fs", "-f", *options, folder)
    wait_until(lambda: os.listdir(folder / ".meta"), 30, "the mount again")
    assert len(mounts_at(folder)) == 1
    assert second.stop(signal.SIGTERM) == 0
    assert not mounts_at(folder)


def test_the_unit_says_what_survival_needs():
    unit = (ROOT / "fs/gputel-fs.service").read_text()
    for line in ("Type=notify", "KillMode=process", "WatchdogSec=60", "Restart=on-failure"):
        assert re.search(f"^{line}$", unit, re.M), line
    assert int(re.search(r"^FileDescriptorStoreMax=(\d+)$", unit, re.M)[1]) >= 2
    assert not re.search(r"^(Protect(System|Home)|Private(Tmp|Mounts|Devices)|ReadWritePaths)=", unit, re.M), "mounts would be private"
