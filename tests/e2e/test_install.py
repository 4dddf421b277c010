"""`make install` and what it installs: pages, units, completion. Needs no etcd."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lib import BIN

TOP = Path(__file__).resolve().parents[2]
PROGRAMS = ["streamer", "collector", "fs", "bridge"]

pytestmark = pytest.mark.usefixtures("programs")


def make(*args):
    """Not under the flags of the make that runs these tests, and without making anew (-o) the programs that are tested
    all around."""
    programs = [Path(BIN) / f"gputel-{p}" for p in PROGRAMS]
    made = [p.stat().st_mtime_ns for p in programs]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SAN")}
    result = subprocess.run(["make", "--no-print-directory", "-s", "-C", TOP, *(f"--old-file={p}" for p in programs), *args,
                             f"BIN={BIN}", "all="], env=env,
                            capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [p.stat().st_mtime_ns for p in programs] == made


def files(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or p.is_file()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    make("install", f"DESTDIR={folder}", "PREFIX=/usr")
    return folder


def test_everything_is_where_the_system_looks_for_it(installed):
    there = files(installed)
    for p in PROGRAMS:
        assert {f"usr/bin/gputel-{p}", f"usr/share/man/man1/gputel-{p}.1", f"usr/lib/systemd/system/gputel-{p}.service",
                f"usr/share/bash-completion/completions/gputel-{p}"} <= there
    assert {"usr/sbin/mount.gputel", "usr/share/man/man5/gputel.5", "etc/gputel/gputel.conf",
            "usr/share/doc/gputel/OPERATIONS.md", "etc/default/gputel-streamer", "usr/lib/tmpfiles.d/gputel.conf", "usr/lib/sysusers.d/gputel.conf"} <= there
    assert (installed / "usr/sbin/mount.gputel").resolve() == installed / "usr/bin/gputel-fs"


def test_uninstall_leaves_configuration_only_and_install_keeps_what_was_changed(tmp_path):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/gputel")
    conf = tmp_path / "opt/gputel/etc/gputel/gputel.conf"
    conf.write_text("LOG_LEVEL=debug\n")
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/gputel")
    assert conf.read_text() == "LOG_LEVEL=debug\n"
    unit = (tmp_path / "opt/gputel/lib/systemd/system/gputel-collector.service").read_text()
    assert "ExecStart=/opt/gputel/bin/gputel-collector --config /opt/gputel/etc/gputel/gputel.conf" in unit
    make("uninstall", f"DESTDIR={tmp_path}", "PREFIX=/opt/gputel")
    assert files(tmp_path) == {"opt/gputel/etc/gputel/gputel.conf", "opt/gputel/etc/default/gputel-streamer"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_installed_configuration_is_right(installed, program):
    lines = subprocess.run([BIN / f"gputel-{program}", "--config", installed / "etc/gputel/gputel.conf", "--print-config"],
                           capture_output=True, text=True, timeout=20, check=True).stdout
    assert "ETCD_ENDPOINTS" in lines


def test_manual_pages_have_no_fault_and_name_every_option(installed):
    pages = sorted((installed / "usr/share/man").rglob("*.[158]"))
    assert len(pages) == 6
    for page in pages:
        text = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", page], capture_output=True, text=True,
                              timeout=60, check=True, env={**os.environ, "MANWIDTH": "200", "LC_ALL": "C.UTF-8"})
        assert text.stderr == "", page
        shown = re.sub(".\b", "", text.stdout).replace("‐", "-")
        assert "@" not in shown, page
        if page.name.startswith("gputel-") and page.suffix == ".1":
            options = subprocess.run([BIN / page.stem, "--help"], capture_output=True, text=True, timeout=20, check=True)
            for option in re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", options.stdout, re.M):
                assert option in shown, (page, option)


def unit_of(installed, program):
    text = (installed / f"usr/lib/systemd/system/gputel-{program}.service").read_text()
    return {k: v for k, v in re.findall(r"^(\w+)=(.*)$", text, re.M)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_command_of_the_unit_is_a_right_one(installed, program):
    words = unit_of(installed, program)["ExecStart"].replace("$STREAMER_ARGS", "--csv x.csv").split()
    words = [str(installed) + w if w.startswith(("/usr/", "/etc/")) else w for w in words]
    result = subprocess.run([*words, "--check-config"], capture_output=True, text=True, timeout=20, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not there")
@pytest.mark.parametrize("program", PROGRAMS)
def test_systemd_finds_no_fault_in_the_unit_and_calls_it_safe(installed, program, tmp_path):
    unit = tmp_path / f"gputel-{program}.service"
    text = (installed / f"usr/lib/systemd/system/gputel-{program}.service").read_text()
    unit.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.M).replace("/usr/bin/", f"{installed}/usr/bin/"))
    result = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    most = 46 if program == "fs" else 30  # whose mount the others have to see: its unit says why
    result = subprocess.run(["systemd-analyze", "security", "--offline=yes", f"--threshold={most}", unit], capture_output=True,
                            text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout[-200:]


def test_completion_offers_the_options_that_a_program_has(installed):
    script = f"""source {installed}/usr/share/bash-completion/completions/gputel-collector
COMP_WORDS=(gputel-collector --dr) COMP_CWORD=1
_gputel gputel-collector
echo "${{COMPREPLY[@]}}"
COMP_WORDS=(gputel-collector --dead-letters re) COMP_CWORD=2
_gputel gputel-collector
echo "${{COMPREPLY[@]}}" """
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20, check=False,
                            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"})
    assert result.stdout == "--drain\nreplay\n", result.stderr
