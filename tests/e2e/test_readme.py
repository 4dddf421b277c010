"""Every shell command of README.md is run as it stands there, on a system like that of `make run`, or has a
reason here why it is not."""
import os
import re
import select
import shutil
import signal
import subprocess
import types

import pytest

from bridge import Bridge
from lib import BIN, ROOT, SLOW, System, free_port, wait_until
from rows import row, write_csv

NOT_RUN = {
    r"make (run|test|deb|&&)": "test_run.py and test_install.py do, and what runs this",
    r"(editor|systemctl) |curl localhost:8080/readyz": "of an installed system: test_install.py checks the units",
    r"bin/gputel-.* \[": "a synopsis: --help is compared with it in test_cli.py",
    r"gputel-streamer --scrape": "of exporters at other machines: test_scrape.py",
    r"bin/gputel-streamer .*(--follow|'logs/)": "of files that nobody has: test_follow.py, test_shapes.py",
}
ENDLESS = r"watch |tail -F|inotifywait|curl -N|cat \S*/stream$"
QUIET = r"cp |curl -C|find |grep -l lost"  # say nothing when all is well


def commands():
    """Those behind a $ in a fenced block, and indented lines that begin with a program; what is said about one
    stands behind two blanks."""
    fenced = False
    for line in (ROOT / "README.md").read_text().splitlines():
        fenced ^= line.startswith("```")
        found = re.match(r"\$ (.+)" if fenced else r"    ((?:A=|[a-z][\w/-]* ).+)", line)
        if found:
            yield re.split(r"  +", found[1])[0]


def why_not(command):
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, command)), None)


RUN = [c for c in commands() if not why_not(c) and not c.startswith("A=")]


@pytest.fixture(scope="module")
def place(etcd, tmp_path_factory):
    """What `make run` starts, and the files that commands speak of."""
    folder = tmp_path_factory.mktemp("readme")
    metrics = free_port()
    system = System(etcd, folder / "system", METRICS_PORT=metrics)
    (folder / "elsewhere").mkdir()
    (folder / "bin").symlink_to(BIN)
    write_csv(folder / "rows.csv", [row(i, i) for i in range(3)])
    shutil.copy(folder / "rows.csv", folder / "FILE")
    (folder / "rows.ndjson").write_text('{"timestamp":"2025-07-18T20:42:34Z","hostname":"n","gpu_id":"0",'
                                        '"metric_name":"M","value":1}\n')
    try:
        system.collector()
        system.streamer("--csv", ROOT / "data" / "telemetry.csv", "--loop", "--speed", "15")
        mount = system.mount(path=folder / "mnt")
        bridge = Bridge(system)
        wait_until(lambda: (mount / "ams1-r08-hgx02/0/metrics/DCGM_FI_DEV_GPU_TEMP").exists(), 30, "values")
        ports = {":8080": f":{bridge.port}", ":9400": f":{metrics}", ":9401": f":{metrics + 1}"}
        yield types.SimpleNamespace(folder=folder, mount=mount, ports=ports, env=system.base_env)
    finally:
        system.close()


class Shell:
    def __init__(self, script, folder, env):
        self.process = subprocess.Popen(["bash", "-c", script], cwd=folder, env={**env, "TERM": "xterm"},
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)

    def begins_to_speak(self):
        return select.select([self.process.stdout], [], [], 20 * SLOW)[0] and self.process.stdout.read(1)

    def end(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.communicate()

    def wait(self):
        try:
            said, log = self.process.communicate(timeout=60 * SLOW)
        except subprocess.TimeoutExpired:
            return None, *self.end()
        return self.process.returncode, said, log


def as_here(place, command):
    for there, here in place.ports.items():
        command = command.replace(there, here)
    return command.replace("/elsewhere", str(place.folder / "elsewhere"))


def test_each_command_has_one_reason_not_to_be_run_and_each_reason_a_command():
    all_of_them = list(commands())
    assert len(RUN) >= 25
    for pattern in NOT_RUN:
        assert any(re.match(pattern, c) for c in all_of_them), pattern


@pytest.mark.parametrize("command", RUN)
def test_a_command_of_the_readme_does_what_it_says(place, command):
    for word in re.findall(r"(?:^|\| *|&& *)([\w/.-]+)", re.sub(r"'[^']*'", "''", command)):
        if not (shutil.which(word) or word == "cd" or word.startswith("bin/")):
            pytest.skip(f"{word} is not installed")
    tree = "$A" not in command and not re.search(r"\bmnt\b|bin/|curl", command)
    base = re.search(r"^    (A=\S+)", (ROOT / "README.md").read_text(), re.M)[1]
    script = as_here(place, f'{base}; curl() {{ command curl -fsS "$@"; }}; {command}')
    shell = Shell(script, place.mount.path if tree else place.folder, place.env)
    if re.match(ENDLESS, command):
        assert shell.begins_to_speak(), shell.end()
        shell.end()
        return
    status, said, log = shell.wait()
    assert status in ({0, 1} if command.startswith("grep -l lost") else {0}), (status, said, log)
    assert said or re.match(QUIET, command), log
