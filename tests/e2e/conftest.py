"""Fixtures of the end-to-end tests; what they are made of is in lib.py.

    etcd        one for the whole run, without fsync; every test has a GPUTEL_PREFIX of its own in it
    own_etcd    one for this test alone, with fsync: to be stopped, killed and started again
    system      programs and mounts on etcd; own_system: on own_etcd
    reference   a system that has stored the real rows of ../shared/data/dcgm_metrics.csv, and its mount
"""
import faulthandler
import shutil
import signal
import sys
import threading
import types

import pytest

from lib import BIN, SEED, SHARED, SLOW, Etcd, System
from rows import read_csv

TEST_TAKES_S = 100  # at most; then the watchdog ends it


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: takes minutes; only with GPUTEL_SOAK set (make soak)")
    # A shell that puts us into the background has SIGINT ignored, and what is started here inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # with all that fixtures clean up


def pytest_report_header():
    return f"programs: {BIN}, GPUTEL_SEED={SEED}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Attaches the programs' logs to what failed."""
    report = (yield).get_result()
    if report.failed:
        for value in item.funcargs.values():
            logs = getattr(getattr(value, "system", value), "logs", None)
            for name, text in list(logs().items() if callable(logs) else ())[-8:]:
                report.sections.append((f"log of {name}", text[-6000:]))


@pytest.fixture(autouse=True)
def watchdog(request):
    """Ends a test that hangs, also in a system call on a dead mount."""
    def bite():
        faulthandler.dump_traceback(sys.__stderr__)
        for system in list(System.live):
            system.abort()

    patience = 12 if request.node.get_closest_marker("soak") else 1
    timer = threading.Timer(patience * TEST_TAKES_S * SLOW, bite)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


@pytest.fixture(scope="session")
def programs():
    for name in ("streamer", "collector", "fs", "bridge"):
        if not (BIN / f"gputel-{name}").exists():
            pytest.exit(f"{BIN}/gputel-{name} is missing: run make first", 2)
    if not shutil.which("etcd"):
        pytest.exit("etcd is missing: run make deps first", 2)


@pytest.fixture(scope="session")
def etcd(programs, tmp_path_factory):
    server = Etcd(tmp_path_factory.mktemp("etcd"), fsync=False).start()
    yield server
    server.stop()


@pytest.fixture
def own_etcd(programs, tmp_path):
    server = Etcd(tmp_path / "etcd").start()
    yield server
    server.stop()


@pytest.fixture
def system(etcd, tmp_path):
    s = System(etcd, tmp_path / "system")
    yield s
    s.close()


@pytest.fixture
def own_system(own_etcd, tmp_path):
    s = System(own_etcd, tmp_path / "system")
    yield s
    s.close()


@pytest.fixture(scope="session")
def reference_csv():
    path = SHARED / "data" / "dcgm_metrics.csv"
    if not path.exists():
        pytest.skip(f"the real rows are not here: {path} (GPUTEL_SHARED says where shared/ is)")
    return path


@pytest.fixture(scope="session")
def reference(etcd, reference_csv, tmp_path_factory):
    system = System(etcd, tmp_path_factory.mktemp("reference"))
    try:
        collector = system.collector()
        run = system.stream("--csv", reference_csv, "--wait")
        yield types.SimpleNamespace(system=system, collector=collector, run=run, mount=system.mount(),
                                    csv=reference_csv, rows=read_csv(reference_csv))
    finally:
        system.close()
