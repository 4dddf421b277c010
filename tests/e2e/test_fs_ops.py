"""The mount as a file system: what it refuses, lists, caches, and how it comes and goes."""
import errno
import mmap
import os
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lib import BIN, force_unmount, mounts_at, wait_until
from rows import fleet, row, write_csv

GPU = "host-1/0"
VALUE = f"{GPU}/metrics/DCGM_FI_DEV_GPU_UTIL"
SEGMENT = f"{GPU}/history/2025-07-18T2000Z.csv"
NOBODY = 65534


@pytest.fixture
def publish(system):
    """Stores rows and returns when they are stored."""
    system.collector()

    def run(rows):
        path = system.folder / f"rows-{len(system.processes)}.csv"
        return system.stream("--csv", write_csv(path, rows), "--wait")

    return run


@pytest.fixture
def open_folder():
    """A mount point that everybody can reach."""
    path = Path(tempfile.mkdtemp(prefix="gputel-"))
    path.chmod(0o755)
    yield path
    force_unmount(path, abort=True)
    path.rmdir()


@pytest.fixture
def small(system, publish, open_folder):
    """A mount that others may use, with one GPU, one metric and ten rows."""
    publish(row(s, value=10 + s) for s in range(10))
    mount = system.mount("-o", "allow_other", path=open_folder)
    wait_until(lambda: mount.read(VALUE) == "19\n")
    return mount


def as_user(uid, fn):
    """Runs fn in a child of that user; its text is what fn returned."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.write(w, str(fn()).encode())
        finally:
            os._exit(0)
    os.close(w)
    with open(r) as f:
        text = f.read()
    os.waitpid(pid, 0)
    return text


def error_of(fn):
    try:
        fn()
    except OSError as e:
        return errno.errorcode[e.errno]
    return "no error"


def writings(mount):
    """Every way to change something, by name."""
    file, folder, new = mount / VALUE, mount / GPU, mount / GPU / "new"
    return {
        "open for write": lambda: os.open(file, os.O_WRONLY),
        "open to read and write": lambda: os.open(mount / SEGMENT, os.O_RDWR),
        "open with O_TRUNC": lambda: os.open(file, os.O_RDONLY | os.O_TRUNC),
        "open to append": lambda: os.open(mount / SEGMENT, os.O_WRONLY | os.O_APPEND),
        "create": lambda: os.open(new, os.O_CREAT | os.O_WRONLY),
        "chmod": lambda: os.chmod(file, 0o600),
        "chown": lambda: os.chown(file, os.getuid(), os.getgid()),
        "truncate": lambda: os.truncate(file, 0),
        "link": lambda: os.link(file, new),
        "symlink": lambda: os.symlink("x", new),
        "mkdir": lambda: os.mkdir(new),
        "mkfifo": lambda: os.mkfifo(new),
        "mknod": lambda: os.mknod(new, 0o600 | stat.S_IFREG),
        "rename": lambda: os.rename(file, new),
        "rmdir": lambda: os.rmdir(mount / GPU / "history"),
        "unlink": lambda: os.unlink(file),
        "utimens": lambda: os.utime(file, (1, 1)),
        "utimens now": lambda: os.utime(folder),
        "setxattr": lambda: os.setxattr(file, "user.x", b"1"),
        "removexattr": lambda: os.removexattr(file, "user.gputel.rev"),
        "access": lambda: None if os.access(file, os.W_OK) else (_ for _ in ()).throw(OSError(errno.EROFS, "")),
    }


def test_every_kind_of_writing_is_refused_to_everyone(small):
    def refusals():
        return {name: error_of(fn) for name, fn in writings(small).items()}

    for got in (refusals(), eval(as_user(NOBODY, refusals))):
        assert set(got.values()) == {"EROFS"}, got


def test_with_restricting_options_permissions_come_first(system, publish, open_folder):
    publish([row()])
    mount = system.mount("-o", f"allow_other,umask=077,uid={NOBODY}", path=open_folder)
    path = mount / VALUE

    def outcome():
        return error_of(lambda: os.close(os.open(path, os.O_RDONLY)))

    assert as_user(NOBODY, outcome) == "no error"
    assert as_user(NOBODY - 1, outcome) == "EACCES"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o400


def test_attributes_are_those_of_a_read_only_file_system(small):
    for path, kind, mode in ((GPU, stat.S_ISDIR, 0o555), (VALUE, stat.S_ISREG, 0o444), (SEGMENT, stat.S_ISREG, 0o444)):
        st = os.stat(small / path)
        assert kind(st.st_mode) and stat.S_IMODE(st.st_mode) == mode
        assert (st.st_uid, st.st_gid) == (os.getuid(), os.getgid())
        assert st.st_atime_ns == st.st_mtime_ns
        assert st.st_blocks == (st.st_size + 511) // 512
    st = os.stat(small / GPU)
    folders = sum(e.is_dir(follow_symlinks=False) for e in os.scandir(small / GPU))
    assert st.st_nlink == 2 + folders
    assert os.stat(small / SEGMENT).st_size == len((small / SEGMENT).read_bytes())
    assert os.stat(small / SEGMENT).st_nlink == 1


def test_inode_numbers_are_those_of_the_listing_and_of_every_mount(system, small):
    other = system.mount()

    def numbers(mount):
        found = {}
        for folder, folders, files in os.walk(mount.path):
            for e in os.scandir(folder):
                assert e.inode() == os.lstat(e.path).st_ino
                found[os.path.relpath(e.path, mount.path)] = e.inode()
        return found

    assert numbers(small) == numbers(other)
    assert len(set(numbers(small).values())) == len(numbers(small))


def test_extended_attributes(small):
    assert int(os.getxattr(small / VALUE, "user.gputel.rev")) > 0
    assert os.listxattr(small / VALUE) == ["user.gputel.unit"]
    assert error_of(lambda: os.getxattr(small / VALUE, "user.none")) == "ENODATA"


def test_a_value_is_a_snapshot_from_offset_0(publish, small):
    fd = os.open(small / VALUE, os.O_RDONLY)
    try:
        assert os.pread(fd, 1, 0) == b"1"
        publish([row(20, value=543)])
        wait_until(lambda: small.read(VALUE) == "543\n")
        assert os.pread(fd, 10, 1) == b"9\n"
        assert os.pread(fd, 10, 3) == b""
        assert os.pread(fd, 10, 0) == b"543\n"
        assert os.pread(fd, 10, 1) == b"43\n"
    finally:
        os.close(fd)


def test_sizes_are_exact_while_rows_come(system, small):
    """What a stat says can be read, and what was read is never more than the next stat says."""
    path = write_csv(system.folder / "live.csv", fleet(3000, hosts=1, gpus=1, metrics=1, step_s=0.25, prefix="live"))
    lines = path.read_bytes().splitlines(keepends=True)
    feeder = system.streamer("--csv", "-", stdin=subprocess.PIPE, STREAMER_FLUSH_INTERVAL="5ms")

    def feed():
        with feeder.popen.stdin as pipe:
            for i in range(0, len(lines), 5):
                pipe.write(b"".join(lines[i:i + 5]))
                pipe.flush()
                time.sleep(0.005)

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        file = small / "live-000/0/history/2025-07-18T2000Z.csv"
        wait_until(file.exists)
        sizes = set()
        while feeder.running():
            before = os.stat(file).st_size
            data = file.read_bytes()
            after = os.stat(file).st_size
            assert before <= len(data) <= after
            assert b"\0" not in data and data.endswith(b"\n")
            sizes.add(after)
    finally:
        feeding.join()
    assert feeder.wait() == 0
    assert len(sizes) > 5
    wait_until(lambda: file.read_bytes().count(b"\n") == len(lines))


def test_a_growing_row_file_can_be_mapped_shared(small):
    with open(small / SEGMENT, "rb") as f:
        data = f.read()
        with mmap.mmap(f.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ) as m:
            assert m[:] == data


def test_copies_by_every_way_are_equal(system, small):
    source, target = small / SEGMENT, system.folder / "copy"
    data = source.read_bytes()
    with open(source, "rb") as s, open(target, "wb") as t:
        while os.sendfile(t.fileno(), s.fileno(), None, 1000):
            pass
    assert target.read_bytes() == data
    r, w = os.pipe()
    with open(source, "rb") as s:
        n = os.splice(s.fileno(), w, 1 << 16) if hasattr(os, "splice") else os.write(w, data)
        assert os.read(r, 1 << 16) == data[:n] and n == len(data)
    subprocess.run(["cp", source, target], check=True)
    assert target.read_bytes() == data


def test_two_mounts_show_the_same_tree(system, small):
    other = system.mount("-o", "allow_other")
    run = subprocess.run(["diff", "-r", "--no-dereference", "-x", ".meta", small.path, other.path],
                         capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")


def test_a_big_folder_lists_each_name_once_while_others_come(system, publish):
    gpus = 1500
    publish(row(gpu=g) for g in range(gpus))
    mount = system.mount()
    host = mount / "host-1"
    wait_until(lambda: sum(1 for _ in os.scandir(host)) == gpus + 1)
    first = set(os.listdir(host))
    late = [row(gpu=g) for g in range(gpus, gpus + 500)]
    path = write_csv(system.folder / "late.csv", late)
    feeder = system.streamer("--csv", path, "--wait")
    listings = 0
    while feeder.running():
        names = os.listdir(host)
        assert len(names) == len(set(names))
        assert first <= set(names)
        listings += 1
    assert listings > 3
    wait_until(lambda: len(os.listdir(host)) == gpus + 501)
    assert sum(1 for _ in os.scandir(host)) == gpus + 501


def test_a_descriptor_open_on_a_dropped_segment_gets_estale(system):
    system.collector(RETENTION="6s")
    system.stream("--csv", write_csv(system.folder / "rows.csv", [row(s) for s in range(10)]), "--wait")
    mount = system.mount()
    data = (mount / SEGMENT).read_bytes()
    fd = os.open(mount / SEGMENT, os.O_RDONLY)
    untouched = os.open(mount / SEGMENT, os.O_RDONLY)
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                assert os.pread(fd, 1 << 20, 0) == data
                assert os.fstat(fd).st_size == len(data)
            except OSError as e:
                assert e.errno == errno.ESTALE
                break
        for one in (fd, untouched):
            assert error_of(lambda: os.pread(one, 10, 0)) == "ESTALE"
            assert error_of(lambda: os.pread(one, 10, len(data))) == "ESTALE"
            wait_until(lambda: error_of(lambda: os.fstat(one)) == "ESTALE", 30, "its attributes are taken back")
        wait_until(lambda: mount.gpus() == set())
        assert not (mount / "host-1").exists()
    finally:
        os.close(fd)
        os.close(untouched)


# ---- coming and going -------------------------------------------------------------------------------


def fs(system, *args, **env):
    return subprocess.run([BIN / "gputel-fs", *args], env={**system.base_env, **env}, capture_output=True, text=True,
                          timeout=60)


def daemon_of(path):
    """The pid of the gputel-fs that was started for this mount point."""
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as f:
                argv = f.read().split(b"\0")
        except OSError:
            continue
        if argv[0].endswith(b"gputel-fs") and os.fsencode(path) in argv:
            return int(entry)
    return None


@pytest.fixture
def point(system):
    path = system.folder / "a mount point"
    path.mkdir()
    yield path
    pid = daemon_of(path)
    if pid:
        os.kill(pid, signal.SIGKILL)
    force_unmount(path, abort=True)


def test_it_returns_when_the_mount_answers(system, publish, point):
    publish([row(value=7)])
    run = fs(system, point)
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
    wait_until(lambda: (point / VALUE).read_text() == "7\n")
    line = next(l for l in open("/proc/self/mountinfo") if "a\\040mount\\040point" in l)
    assert "- fuse.gputel gputel " in line
    pid = daemon_of(point)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not mounts_at(point) and not os.path.exists(f"/proc/{pid}"))


def test_without_etcd_it_mounts_and_answers_eio(system, point):
    with socket.socket() as s:  # bound, but nobody listens
        s.bind(("127.0.0.1", 0))
        run = fs(system, point, ETCD_ENDPOINTS=f"127.0.0.1:{s.getsockname()[1]}")
        assert run.returncode == 0, run.stderr
        assert error_of(lambda: os.listdir(point)) == "EIO"
        assert error_of(lambda: os.stat(point / "host-1")) == "EIO"
        assert "etcd=down" in (point / ".meta/status").read_text()
        os.stat(point)


def test_unmounting_from_outside_ends_the_daemon(small):
    subprocess.run(["umount", small.path], check=True)
    assert small.process.wait(10) == 0


def test_a_busy_mount_is_left_lazily(small):
    with open(small / SEGMENT) as f:
        f.read(1)
        os.stat(small / GPU)
        assert small.process.stop(seconds=10) == 0
        assert not mounts_at(small.path)
        with pytest.raises(OSError):
            os.pread(f.fileno(), 10, 0)


def test_the_mount_point_of_a_dead_daemon_is_cleaned(system, small):
    for _ in range(2):
        small.process.kill()
        assert mounts_at(small.path)
        small = system.mount(path=small.path)
        wait_until(lambda: small.read(VALUE) == "19\n")
        assert len(mounts_at(small.path)) == 1


def test_what_cannot_be_mounted_on_is_said(system, small, point):
    file = system.folder / "file"
    file.write_text("")
    for path, text in ((small.path, "mounted there already"), (system.folder / "none", "does not exist"),
                       (file, "not a directory")):
        for options in ((), ("-f",)):
            run = fs(system, *options, path)
            assert run.returncode == 1
            assert text in run.stderr and str(path) in run.stderr
    assert not (system.folder / "none").exists()
    assert small.read(VALUE) == "19\n"


def test_options_are_checked(system, point):
    for args, text in ((["-o", "big_writes", point], "big_writes"), (["-o", "uid=joe", point], "uid"), ([], "MOUNTPOINT")):
        run = fs(system, *args)
        assert run.returncode == 2, run.stderr
        assert text in run.stderr
    assert not mounts_at(point)
    run = fs(system, point, "-o", "ro,nofail,_netdev,noauto,user,x-systemd.automount,allow_other,nosuid,nodev")
    assert run.returncode == 0, run.stderr


def test_a_stopped_daemon_does_not_hang_the_next_start(system, small):
    small.process.pause()
    start = time.monotonic()
    run = fs(system, small.path)
    small.process.resume()
    assert run.returncode == 1 and "does not answer" in run.stderr
    assert time.monotonic() - start < 30


def test_a_second_signal_ends_at_once(small):
    small.process.pause()
    small.process.send(signal.SIGTERM)
    small.process.send(signal.SIGINT)
    small.process.resume()
    assert small.process.wait(10) in (0, 1)
