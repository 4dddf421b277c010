"""--scrape: exporters as they are met, and what becomes of those that do not behave."""
import csv
import io
import signal

import pytest

from exporter_double import OPENMETRICS, Exporter, dcgm
from lib import free_port, wait_until


@pytest.fixture
def exporters():
    """A function that makes one; all are closed."""
    made = []

    def make(shows, **more):
        made.append(Exporter(shows, **more))
        return made[-1]

    yield make
    for e in made:
        e.close()


def scrape(system, *targets, interval="100ms", more=(), **env):
    args = [a for t in targets for a in ("--scrape", getattr(t, "url", t))]
    return system.streamer(*args, "--scrape-interval", interval, *more, **env)


def rows_of(mount, gpu):
    with open(mount.path / gpu / "telemetry.csv", newline="") as f:
        return list(csv.DictReader(io.StringIO(f.read())))


def counts(streamer):
    return dict(pair.split("=") for pair in streamer.out().split())


def test_what_dcgm_exporter_shows_is_there_with_its_text_its_labels_and_its_host(system, exporters):
    text = ("# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).\n# TYPE DCGM_FI_DEV_SM_CLOCK gauge\n"
            + dcgm("1980", "DCGM_FI_DEV_SM_CLOCK")
            + dcgm("67.351000", "DCGM_FI_DEV_POWER_USAGE", container="train", namespace="ml", pod="job-0")
            + dcgm("7e-06", "DCGM_FI_PROF_DRAM_ACTIVE")
            + dcgm("9223372036854775794", "DCGM_FI_DEV_MEMORY_TEMP")
            + dcgm("3", "DCGM_FI_DEV_FB_USED", GPU_I_ID="5", GPU_I_PROFILE="1g.10gb")
            + "go_goroutines 17\n")
    streamer = scrape(system, exporters(lambda n: text))
    system.collector()
    mount = system.mount()
    base = mount.path / "node-1" / "0"
    wait_until(lambda: (base / "metrics" / "DCGM_FI_PROF_DRAM_ACTIVE").read_text() == "7e-06\n", 20)
    assert (base / "metrics" / "DCGM_FI_DEV_POWER_USAGE").read_text() == "67.351000\n"
    assert (base / "uuid").read_text() == "GPU-node-1-0\n"
    assert (base / "model").read_text() == "NVIDIA H100 80GB HBM3\n"
    assert (base / "driver").read_text() == "535.129.03\n"
    assert not (base / "metrics" / "DCGM_FI_DEV_MEMORY_TEMP").exists()
    power = [r for r in rows_of(mount, "node-1/0") if r["metric_name"] == "DCGM_FI_DEV_POWER_USAGE"][0]
    assert (power["container"], power["namespace"], power["pod"]) == ("train", "ml", "job-0")
    assert (mount.path / "node-1" / "0.5" / "metrics" / "DCGM_FI_DEV_FB_USED").read_text() == "3\n"
    assert mount.gpus() == {"node-1/0", "node-1/0.5"}
    assert streamer.stop() == 0
    got = {k: int(v) for k, v in counts(streamer).items()}
    assert got["rows"] == got["published"] + got["no_value"] and got["no_value"] * 4 == got["published"]


def test_behind_a_prometheus_the_exported_pod_counts(system, exporters):
    line = dcgm("1", exported_pod="job-7", exported_namespace="ml", exported_container="c", pod="dcgm-exporter-x",
                namespace="gpu-operator", container="exporter", instance="10.0.0.1:9400")
    scrape(system, exporters(lambda n: line))
    system.collector()
    mount = system.mount()
    row = wait_until(lambda: rows_of(mount, "node-1/0"), 20)[0]
    assert (row["pod"], row["namespace"], row["container"]) == ("job-7", "ml", "c")
    assert "exported" not in row["labels"]


def test_nvidia_gpu_exporter_gets_its_index_model_and_the_names_that_mean_the_same(system, exporters):
    uuid = 'uuid="df6e7a7c-7314-46f8-abc4-b88b36dcf3aa"'
    text = (f"nvidia_smi_temperature_gpu{{{uuid}}} 34\n"
            f"nvidia_smi_utilization_gpu_ratio{{{uuid}}} 0.42\n"
            f"nvidia_smi_memory_used_bytes{{{uuid}}} 7.06740224e+08\n"
            f'nvidia_smi_gpu_info{{driver_version="471.11",name="NVIDIA GeForce RTX 2080 SUPER",{uuid}}} 1\n'
            f"nvidia_smi_index{{{uuid}}} 3\n"
            "nvidia_smi_failed_scrapes_total 0\n")
    scrape(system, exporters(lambda n: text), more=("--host", "desk-9"))
    system.collector()
    mount = system.mount()
    base = mount.path / "desk-9" / "3"
    wait_until(lambda: (base / "metrics" / "DCGM_FI_DEV_GPU_TEMP").read_text() == "34\n", 20)
    assert (base / "metrics" / "nvidia_smi_utilization_gpu_ratio").read_text() == "0.42\n"
    assert (base / "metrics" / "nvidia_smi_memory_used_bytes").read_text() == "7.06740224e+08\n"
    assert (base / "uuid").read_text() == "GPU-df6e7a7c-7314-46f8-abc4-b88b36dcf3aa\n"
    assert (base / "model").read_text() == "NVIDIA GeForce RTX 2080 SUPER\n"
    assert (base / "driver").read_text() == "471.11\n"


def test_timestamps_of_the_samples_count_also_in_openmetrics(system, exporters):
    text = dcgm("1", "A_total", stamp="1752871354.5") + dcgm("2", "B", stamp="1.752871355e+09") + "# EOF\n"
    scrape(system, exporters(lambda n: text, content_type=OPENMETRICS))
    system.collector()
    mount = system.mount()
    rows = wait_until(lambda: rows_of(mount, "node-1/0"), 20)
    assert {(r["metric_name"], r["timestamp"]) for r in rows} == {
        ("A_total", "2025-07-18T20:42:34.5Z"), ("B", "2025-07-18T20:42:35Z")}


def test_of_ten_targets_the_seven_that_behave_lose_no_scrape(system, exporters):
    """One hangs, one is dead, one sends garbage; and an eleventh sends more than anybody wants."""
    good = [exporters(lambda n, h=h: dcgm(n, "COUNTER", host=f"node-{h}")) for h in range(7)]
    hanging = exporters(lambda n: "")
    hanging.hang.set()
    garbage = exporters(lambda n: bytes(range(256)) * 64)
    too_much = (dcgm("1", "COUNTER", host="huge") * 100_000).encode()
    assert len(too_much) > 16 << 20
    huge = exporters(lambda n: too_much)
    dead = f"http://127.0.0.1:{free_port()}/metrics"
    streamer = scrape(system, *good, hanging, garbage, huge, dead, interval="1s")
    system.collector()
    mount = system.mount()
    wait_until(lambda: min(e.requests for e in good) >= 7, 30, "seven scrapes of each")
    assert streamer.stop() == 0
    for h, e in enumerate(good):
        def seen(h=h):
            return [int(r["value"]) for r in rows_of(mount, f"node-{h}/0")]
        wait_until(lambda e=e, seen=seen: len(seen()) >= e.requests - 1, 20)
        # The last answer may have been broken off by the stop.
        assert seen() in (list(range(1, e.requests + 1)), list(range(1, e.requests)))
        assert e.connections == 1, "its connection is kept"
    assert mount.gpus() == {f"node-{h}/0" for h in range(7)}
    log = streamer.log()
    assert log.count(f"{hanging.url}: is down: no whole answer within 1000 ms") == 1
    assert log.count(f"{garbage.url}: is down: the answer has no sample: line 1: ") == 1
    assert log.count(f"{huge.url}: is down: the answer has more than 16 MiB") == 1
    assert log.count(f"{dead}: is down: ") == 1
    assert log.count(" is up") == 7


def test_a_target_that_dies_leaves_a_stale_gpu_and_is_back_with_the_next_scrape(system, exporters):
    exporter = exporters(lambda n: dcgm(n))
    port = exporter.port
    streamer = scrape(system, exporter)
    system.collector()
    mount = system.mount(STALE_AFTER="1s")
    state = mount.path / "node-1" / "0" / "state"
    prom = mount.path / "node-1" / "0" / "latest.prom"
    wait_until(lambda: state.read_text() == "live\n", 20)
    assert "DCGM_FI_DEV_GPU_UTIL" in prom.read_text()
    exporter.hang.set()
    wait_until(lambda: state.read_text() in ("stale\n", "lost\n"), 20)
    wait_until(lambda: "DCGM_FI_DEV_GPU_UTIL" not in prom.read_text(), 20)
    wait_until(lambda: "is down" in streamer.log(), 20)
    exporter.close()
    exporters(lambda n: dcgm(n), port=port)
    wait_until(lambda: state.read_text() == "live\n", 20)
    wait_until(lambda: streamer.log().count(": is up") == 2, 20)


def test_lines_that_are_wrong_cost_themselves_and_are_told_of_once(system, exporters):
    text = "DCGM_BAD{gpu=\"0\" 1\n" + dcgm("1") + dcgm("many", "DCGM_WORD") + dcgm("2", "DCGM_LABEL", **{"1x": "y"})
    streamer = scrape(system, exporters(lambda n: text))
    system.collector()
    mount = system.mount()
    wait_until(lambda: len(rows_of(mount, "node-1/0")) >= 3, 20)
    assert streamer.stop() == 0
    got = {k: int(v) for k, v in counts(streamer).items()}
    assert got["invalid"] == 3 * got["published"]
    assert streamer.log().count("3 of its lines are invalid; the first: line 1: the labels do not end") == 1


def test_what_is_taken_in_waits_for_etcd_and_what_finds_no_room_is_told_of(own_system, exporters):
    system = own_system
    many = 400
    exporter = exporters(lambda n: "".join(dcgm(n, f"M{i}") for i in range(many)))
    system.collector()
    mount = system.mount()
    streamer = scrape(system, exporter, STREAMER_BUFFER="64KiB")
    wait_until(lambda: rows_of(mount, "node-1/0"), 20)
    system.etcd.process.pause()
    wait_until(lambda: "its scrapes are skipped: no room for 400 rows" in streamer.log(), 20)
    system.etcd.process.resume()
    wait_until(lambda: "its scrapes are taken again" in streamer.log(), 30)
    assert streamer.stop() == 0
    published = int(counts(streamer)["published"])
    rows = wait_until(lambda: (r := rows_of(mount, "node-1/0")) and len(r) == published and r, 20)
    values = [int(r["value"]) for r in rows if r["metric_name"] == "M0"]
    assert len(values) * many == published, "scrapes are taken whole"
    assert values == sorted(set(values)), "each at most once"
    assert values != list(range(1, len(values) + 1)), "some were skipped"


def test_a_stop_breaks_off_what_hangs(system, exporters):
    exporter = exporters(lambda n: "")
    exporter.hang.set()
    streamer = scrape(system, exporter, interval="5s")
    wait_until(lambda: exporter.requests, 20)
    assert streamer.stop(signal.SIGINT) == 0
    assert counts(streamer)["rows"] == "0" and "is down" not in streamer.log()


def test_killed_and_started_again_it_publishes_nothing_twice(system, exporters):
    exporter = exporters(lambda n: dcgm(n))
    system.collector()
    mount = system.mount()
    for kills in range(1, 4):
        streamer = scrape(system, exporter)
        wait_until(lambda k=kills: len(rows_of(mount, "node-1/0")) >= 5 * k, 20)
        streamer.kill()
    values = [int(r["value"]) for r in rows_of(mount, "node-1/0")]
    assert values == sorted(set(values))


@pytest.mark.parametrize("args, reason", [
    (["--scrape", "node-1:9400"], "--scrape: \"node-1:9400\" is not an address (expected e.g. "),
    (["--scrape", "http://a/", "--scrape-interval", "10ms"], "--scrape-interval: \"10ms\" is not an interval"),
    (["--scrape", "http://a/", "--csv", "x"], "--scrape and --nvml go with their intervals and --host only"),
    (["--scrape-interval", "1s", "--csv", "x"], "--scrape-interval: there is no --scrape"),
])
def test_what_does_not_go_together_is_a_usage_error(system, args, reason):
    streamer = system.streamer(*args)
    assert streamer.wait() == 2
    assert reason in streamer.log()
