"""Options, configuration and exit statuses that all programs share (DESIGN §2). Needs no etcd."""
import os
import re
import subprocess

import pytest

from lib import BIN, SANITIZER_ENV

PROGRAMS = {  # a command line that is complete
    "streamer": ["--csv", "rows.csv"],
    "collector": [],
    "fs": ["mountpoint"],
    "bridge": [],
}
OWN_NUMBER = {"streamer": "MQ_BATCH_SIZE", "collector": "MQ_BATCH_SIZE", "fs": "FS_WORKERS",
              "bridge": "WS_MAX_CONNECTIONS"}

pytestmark = [pytest.mark.usefixtures("programs"), pytest.mark.parametrize("program", PROGRAMS)]


def call(program, *args, **env):
    clean = {"PATH": os.environ["PATH"], "ETCD_ENDPOINTS": "127.0.0.1:1", **SANITIZER_ENV, **env}
    return subprocess.run([BIN / f"gputel-{program}", *args], env=clean, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=20, check=False)


def shown(result, variable):
    """The line of --print-config about a variable."""
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if re.search(rf"\b{variable}\b", line)]
    assert len(lines) == 1, result.stdout
    return lines[0]


def test_version_is_one_line_with_the_programs_name(program):
    result = call(program, "--version")
    assert result.returncode == 0
    assert re.fullmatch(rf"gputel-{program} \d+\.\d+\S*\n", result.stdout), result.stdout


def test_help_goes_to_stdout_and_names_every_common_option(program):
    result = call(program, "--help")
    assert result.returncode == 0 and result.stderr == ""
    for option in ("--help", "--version", "--config", "--print-config", "--check-config", "ETCD_ENDPOINTS"):
        assert option in result.stdout


def test_help_names_the_programs_own_options(program):
    own = {"streamer": ("--csv", "--loop", "--rate", "--speed", "--time", "--wait", "--again"),
           "collector": ("--drain",), "fs": ("-f", "-o", "MOUNTPOINT"), "bridge": ("--new-token",)}
    text = call(program, "--help").stdout
    assert [o for o in own[program] if o not in text] == []


def test_a_right_configuration_passes_the_check(program):
    result = call(program, "--check-config", *PROGRAMS[program], LOG_LEVEL="debug", **{OWN_NUMBER[program]: "7"})
    assert (result.returncode, result.stderr) == (0, "")


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(program, tmp_path):
    file = tmp_path / "conf"
    file.write_text('# the file\nLOG_LEVEL="error"\n\nMQ_BATCH_SIZE=11\n')
    args = ["--print-config", *PROGRAMS[program]]

    def level(*more, **env):
        return shown(call(program, *more, *args, **env), "LOG_LEVEL").lower()

    line = level()
    assert "info" in line and "default" in line
    line = level("--config", str(file))
    assert "error" in line and ("file" in line or str(file) in line)
    line = level("--config", str(file), LOG_LEVEL="debug")
    assert "debug" in line and "env" in line
    line = level("--config", str(file), "--log-level", "warn", LOG_LEVEL="debug")
    assert "warn" in line and "flag" in line
    assert level("--log-level=warn") == level("--log-level", "warn")


def test_secrets_are_masked(program):
    result = call(program, "--print-config", *PROGRAMS[program], ETCD_USERNAME="root", ETCD_PASSWORD="hunter2")
    assert "root" in shown(result, "ETCD_USERNAME")
    assert "hunter2" not in result.stdout + result.stderr


@pytest.mark.parametrize("variable, value", [
    ("ETCD_MAX_INFLIGHT", "many"), ("ETCD_MAX_INFLIGHT", "0"), ("ETCD_MAX_INFLIGHT", "12 "), ("ETCD_MAX_INFLIGHT", ""),
    ("ETCD_REQUEST_TIMEOUT", "5"), ("ETCD_REQUEST_TIMEOUT", "-5s"), ("SHUTDOWN_TIMEOUT", "1h30"),
    ("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml"), ("ETCD_ENDPOINTS", "ftp://etcd:2379"), ("ETCD_MAX_INFLIGHT", "0x10"),
])
def test_a_malformed_value_is_an_error_that_names_variable_and_value(program, variable, value):
    result = call(program, *PROGRAMS[program], **{variable: value})
    assert result.returncode == 2, result.stderr
    assert variable in result.stderr and value.strip() in result.stderr


@pytest.mark.parametrize("value", ["zero", "0", "100001", "-1"])
def test_a_number_out_of_its_range_is_an_error(program, value):
    result = call(program, *PROGRAMS[program], **{OWN_NUMBER[program]: value})
    assert result.returncode == 2, result.stderr
    assert OWN_NUMBER[program] in result.stderr and value in result.stderr


def test_the_check_names_every_fault(program):
    result = call(program, "--check-config", *PROGRAMS[program], LOG_LEVEL="loud", **{OWN_NUMBER[program]: "many"})
    assert result.returncode == 2
    assert all(word in result.stderr for word in (OWN_NUMBER[program], "many", "LOG_LEVEL", "loud"))


def test_an_unknown_name_in_the_file_is_an_error_with_its_line(program, tmp_path):
    file = tmp_path / "conf"
    file.write_text("LOG_LEVEL=info\nLOG_LEVLE=warn\n")
    result = call(program, "--config", str(file), "--check-config", *PROGRAMS[program])
    assert result.returncode == 2
    assert "LOG_LEVLE" in result.stderr and f"{file}:2" in result.stderr


def test_a_missing_configuration_file_is_an_error(program, tmp_path):
    result = call(program, "--config", str(tmp_path / "nothing"), *PROGRAMS[program])
    assert result.returncode == 2 and "nothing" in result.stderr


def test_an_unknown_option_is_a_usage_error(program):
    result = call(program, "--frobnicate", *PROGRAMS[program])
    assert result.returncode == 2 and "--frobnicate" in result.stderr


def test_an_incomplete_or_overlong_command_line_is_a_usage_error(program):
    wrong = {"streamer": [[], ["--csv"], ["--csv", "a.csv", "stray"], ["--csv", "a.csv", "--rate", "fast"],
                          ["--csv", "a.csv", "--rate", "0"], ["--csv", "a.csv", "--time", "never"],
                          ["--csv", "a.csv", "--wait=soon"]],
             "collector": [["stray"], ["--drain=yes"]],
             "fs": [[], ["-o"], ["one", "two", "three"]],
             "bridge": [["stray"], ["--new-token"]]}
    for args in wrong[program]:
        result = call(program, *args)
        assert result.returncode == 2, (args, result.stderr)
        assert result.stderr, args
