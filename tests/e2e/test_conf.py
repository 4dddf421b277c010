"""Variables: what they are made known by cannot disagree, and SIGHUP changes those that can change."""
import re
import signal
import subprocess

import pytest

from bridge import Bridge
from lib import BIN, ROOT, wait_until
from rows import fleet, row, write_csv

PROGRAMS = ("streamer", "collector", "fs", "bridge")
SAMPLE = ROOT / "examples" / "gputel.conf"
CONTRACT = """
ETCD_ENDPOINTS ETCD_DIAL_TIMEOUT ETCD_REQUEST_TIMEOUT ETCD_MAX_INFLIGHT ETCD_USERNAME ETCD_PASSWORD ETCD_CACERT
ETCD_CERT ETCD_KEY ETCD_MAINTENANCE ETCD_QUOTA GPUTEL_PREFIX SERVICE_ID MQ_BATCH_SIZE MQ_MAX_RETRIES
MQ_PROCESSING_TIMEOUT MQ_DEDUP_TTL MQ_MESSAGE_TTL THROTTLE_ENABLED THROTTLE_MAX_QUEUE_DEPTH THROTTLE_MAX_QUEUE_BYTES
THROTTLE_MAX_LAG THROTTLE_RATE CIRCUIT_FAILURES CIRCUIT_OPEN STREAMER_BATCH_SIZE STREAMER_FLUSH_INTERVAL
STREAMER_BUFFER STREAMER_ID COLLECTOR_ID COLLECTOR_WORKERS COLLECTOR_BATCH_SIZE COLLECTOR_FLUSH_INTERVAL
COLLECTOR_BUFFER RETENTION RETENTION_BYTES SEGMENT STALE_AFTER FS_CACHE FS_WORKERS GATEWAY_HOST GATEWAY_PORT
GATEWAY_CORS_ORIGINS GATEWAY_TOKENS_FILE GATEWAY_RATE_LIMIT GATEWAY_TRUSTED_PROXIES GATEWAY_TLS_CERT GATEWAY_TLS_KEY
WS_ENABLED WS_MAX_CONNECTIONS WS_PING_INTERVAL SHUTDOWN_TIMEOUT LOG_LEVEL LOG_FORMAT METRICS_PORT""".split()


def ask(system, program, *args):
    return subprocess.run([BIN / f"gputel-{program}", *args], env=system.base_env, capture_output=True, text=True,
                          timeout=20, check=False)


def names(text, form):
    return {m[1] for m in re.finditer(form, text, re.M)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_sample_file_is_what_every_program_prints_and_takes(system, program):
    assert ask(system, program, "--print-config=sample").stdout == SAMPLE.read_text(), "make generated"
    result = ask(system, program, "--check-config", "--config", SAMPLE)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_sample_file_knows_the_contracts_variables():
    assert set(CONTRACT) <= names(SAMPLE.read_text(), r"^#([A-Z_]+)=")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_manual_and_effective_values_name_the_same_variables(system, program):
    effective = names(ask(system, program, "--print-config").stdout, r"^([A-Z_]+)=")
    assert effective == names(ask(system, program, "--help").stdout, r"^  ([A-Z_]+)\b")
    assert effective == names(ask(system, program, "--print-config=man").stdout, r"^\.B ([A-Z_]+)$")
    assert {"LOG_LEVEL", "ETCD_ENDPOINTS"} <= effective


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_manuals_sections_are_right_for_man(system, program):
    text = ".TH test 1\n" + ask(system, program, "--print-config=man").stdout
    result = subprocess.run(["groff", "-k", "-man", "-Tutf8", "-ww", "-z"], input=text, capture_output=True, text=True,
                            timeout=20, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def reload(process, conf, text):
    """Changes the file and waits until the process has said so of its last variable."""
    before, last = len(process.log()), text.split("=")[-2].split()[-1]
    conf.write_text(text)
    process.send(signal.SIGHUP)
    wait_until(lambda: last in process.log()[before:], what=f"{last} is spoken of")
    return process.log()[before:]


def test_a_collector_takes_over_another_retention(system, tmp_path):
    conf = tmp_path / "conf"
    conf.write_text("RETENTION=24h\n")
    collector = system.collector("--config", conf, SEGMENT="1m", COLLECTOR_WORKERS=2)
    system.stream("--csv", write_csv(tmp_path / "a.csv", fleet(200)), "--wait")
    assert system.keys("/telemetry/data")
    log = reload(collector, conf, "COLLECTOR_WORKERS=3\nRETENTION=1s\n")
    assert 'RETENTION changed from "24h" to "1s"; in force now' in log
    wait_until(lambda: not system.keys("/telemetry/data"), 20, "what is stored is dropped")
    log = reload(collector, conf, "RETENTION=24h\n")
    system.stream("--csv", write_csv(tmp_path / "b.csv", fleet(200, prefix="other")), "--wait")
    chunks = [k for k in system.keys("/telemetry/data") if "other" in k]
    assert chunks and collector.running()


def test_a_collector_takes_over_the_bytes_that_may_be_kept(system, tmp_path):
    conf = tmp_path / "conf"
    conf.write_text("")
    collector = system.collector("--config", conf, SEGMENT="1m")
    system.stream("--csv", write_csv(tmp_path / "a.csv", fleet(6000, hosts=2, step_s=10)), "--wait")

    def oldest():
        return min(k.rsplit("/", 1)[1] for k in system.keys("/telemetry/data"))

    first = oldest()
    reload(collector, conf, "RETENTION_BYTES=40KiB\n")
    wait_until(lambda: oldest() > first, 40, "the oldest segments are dropped")


def test_a_streamer_that_is_held_back_goes_on_when_throttling_ends(system, tmp_path):
    conf = tmp_path / "conf"
    conf.write_text("THROTTLE_MAX_QUEUE_DEPTH=1\n")
    rows = write_csv(tmp_path / "a.csv", (row(i, host=f"host-{i % 40}") for i in range(4000)))
    streamer = system.streamer("--csv", rows, "--config", conf, STREAMER_FLUSH_INTERVAL="1ms", STREAMER_BATCH_SIZE=1)
    wait_until(lambda: "publishing paused" in streamer.log(), 20, "it pauses")
    log = reload(streamer, conf, "STREAMER_ID=other\nTHROTTLE_ENABLED=false\n")
    assert 'THROTTLE_ENABLED changed from "true" to "false"; in force now' in log
    assert 'STREAMER_ID changed' in log and "a restart is needed" in log
    assert streamer.wait(60) == 0
    assert "published=4000" in streamer.out()


def test_the_bridge_takes_over_when_a_gpu_is_stale(system, tmp_path):
    conf = tmp_path / "conf"
    conf.write_text("STALE_AFTER=60s\n")
    system.collector()
    system.stream("--csv", write_csv(tmp_path / "a.csv", [row()]), "--wait")
    bridge = Bridge(system, "--config", conf)

    def state():
        return bridge.json("/api/v1/gpus")["data"][0]["state"]

    wait_until(lambda: state() == "lost", what="a sample of last year is lost")
    reload(bridge.process, conf, "STALE_AFTER=8760h\n")
    assert state() != "lost"
    assert bridge.fs("host-1/0/state").text.strip() == state()


@pytest.mark.parametrize("program", ("collector", "fs", "bridge"))
def test_a_faulty_file_changes_nothing(system, tmp_path, program):
    conf = tmp_path / "conf"
    conf.write_text("LOG_LEVEL=info\n")
    start = {"collector": lambda: system.collector("--config", conf),
             "fs": lambda: system.mount("--config", conf).process,
             "bridge": lambda: Bridge(system, "--config", conf).process}
    process = start[program]()
    if program == "collector":
        wait_until(lambda: "collecting as" in process.log(), what="it is at work")
    log = reload(process, conf, "LOG_LEVEL=debug\nMQ_BATCH_SIZE=none\n")
    assert f"{conf}:2: MQ_BATCH_SIZE" in log
    wait_until(lambda: "configuration not reloaded: 1 fault" in process.log(), what="it says so")
    assert "LOG_LEVEL" not in process.log()
    reload(process, conf, "LOG_LEVEL=debug\n")
    assert process.running()
