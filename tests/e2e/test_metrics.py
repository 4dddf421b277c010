"""What looks after the programs: /metrics, /healthz and /readyz of each, and the same figures in .meta/status."""
import re
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from bridge import Bridge
from exporter_double import Exporter, dcgm
from lib import free_port, wait_until
from rows import fleet, row, write_csv

LOGGED = re.compile(r"metrics are at (http://127\.0\.0\.1:\d+)/metrics")
COUNTERS = ["gputel_" + name + "_total" for name in (
    "messages_published", "messages_consumed", "messages_processed", "messages_duplicated", "messages_invalid",
    "messages_throttled", "batches_processed", "database_errors", "publish_errors", "csv_read_errors")]
GAUGES = ["gputel_queue_depth", "gputel_throttle_rate", "gputel_processing_lag_seconds"]
EVERYWHERE = {"gputel_build_info": "gauge", "gputel_etcd_up": "gauge", "process_cpu_seconds_total": "counter",
              "process_resident_memory_bytes": "gauge", "process_open_fds": "gauge",
              "process_start_time_seconds": "gauge", "gputel_etcd_request_duration_seconds": "histogram"}
OWN = {
    "streamer": {"gputel_rows_published_total": "counter"},
    "collector": {"gputel_processing_latency_seconds": "histogram", "gputel_rows_stored_total": "counter"},
    "fs": {"gputel_fuse_requests_total": "counter", "gputel_watch_lag_seconds": "histogram",
           "gputel_cache_bytes": "gauge", "gputel_chunks": "gauge"},
    "bridge": {"gputel_http_requests_total": "counter", "gputel_http_request_duration_seconds": "histogram",
               "gputel_websocket_clients": "gauge", "gputel_feed_lagged_total": "counter"},
}


def get(url):
    """Status, type and text."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.headers["Content-Type"], e.read().decode()


def address(process):
    """Where a program says that its metrics are."""
    return wait_until(lambda: LOGGED.search(process.log()), what="it says where")[1]


def types(text):
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))


def values(url):
    lines = get(url + "/metrics")[2].splitlines()
    return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def lint(text):
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30,
                            check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", ""), result.stderr + result.stdout


def endless(system, tmp_path, *args, **env):
    """A streamer that publishes for ever."""
    return system.streamer("--csv", write_csv(tmp_path / "loop.csv", fleet(400)), "--loop", "--speed", "50", *args, **env)


@pytest.fixture
def fleet_of_programs(system, tmp_path):
    """One of each at work: {name: address}."""
    port = free_port()
    collector = system.collector(METRICS_PORT=port)
    streamer = endless(system, tmp_path, METRICS_PORT=port)
    mount = system.mount(METRICS_PORT=port)
    bridge = Bridge(system)
    wait_until(lambda: mount.gpus(), 20, "rows come")
    return {"streamer": address(streamer), "collector": address(collector), "fs": address(mount.process),
            "bridge": bridge.url, "mount": mount, "json": bridge.json}


@pytest.mark.parametrize("program", OWN)
def test_metrics_are_right_for_promtool_and_have_the_contracts_names(fleet_of_programs, program):
    url = fleet_of_programs[program]
    bridge = fleet_of_programs["bridge"]
    wait_until(lambda: get(url + "/metrics")[0] == get(bridge + "/readyz")[0] == 200, 20, "it answers")
    status, kind, text = get(url + "/metrics")
    assert status == 200 and kind.startswith("text/plain; version=0.0.4")
    lint(text)
    expected = {**EVERYWHERE, **OWN[program]}
    if program != "fs":
        expected.update({name: "counter" for name in COUNTERS}, **{name: "gauge" for name in GAUGES})
    found = types(text)
    assert {name: found.get(name) for name in expected} == expected


def test_counters_move_with_the_data_and_agree_with_the_status(fleet_of_programs):
    programs = fleet_of_programs

    def moved():
        s, c, f, b = (values(programs[name]) for name in ("streamer", "collector", "fs", "bridge"))
        assert s["gputel_messages_published_total"] >= c["gputel_messages_processed_total"] - s["gputel_queue_depth"] > 3
        assert c["gputel_messages_consumed_total"] >= c["gputel_messages_processed_total"] > 3
        assert c["gputel_processing_latency_seconds_count"] == c["gputel_messages_processed_total"]
        assert c['gputel_processing_latency_seconds_bucket{le="+Inf"}'] == c["gputel_processing_latency_seconds_count"]
        assert c["gputel_batches_processed_total"] > 1 and c["gputel_hosts_owned"] == 4
        assert s['gputel_etcd_request_duration_seconds_count{kind="publish"}'] > 1
        assert c['gputel_etcd_request_duration_seconds_count{kind="claim"}'] > 1
        assert f["gputel_rows"] > 100 and f["gputel_gpus"] == b["gputel_gpus"] == 16
        assert f["gputel_watch_lag_seconds_count"] > 1 and f['gputel_fuse_requests_total{op="lookup"}'] > 1
        assert s["gputel_throttle_rate"] == b["gputel_throttle_rate"] == 1
        return True

    wait_until(moved, 30, "all have counted")


def test_the_status_has_the_bare_names_and_the_queue_the_same(system, tmp_path):
    system.collector()
    csv = tmp_path / "a.csv"
    write_csv(csv, [row(i, host=f"host-{i % 5}") for i in range(50)])
    with open(csv, "a", encoding="ascii") as f:
        f.write("no,row\n")
    system.stream("--csv", csv, "--wait")
    system.stream("--csv", csv, "--again", "--wait")
    mount, bridge = system.mount(), Bridge(system)
    status, queue, metrics = mount.status(), bridge.json("/api/v1/queue"), values(bridge.url)
    for name in COUNTERS + ["gputel_messages_dropped_total", "gputel_rows_published_total", "gputel_rows_stored_total"]:
        bare = name[len("gputel_"):-len("_total")]
        assert int(status[bare]) == queue[bare] == metrics[name], bare
    assert queue["messages_published"] == queue["messages_processed"] == queue["messages_consumed"] == 10
    assert queue["rows_stored"] == 100
    assert queue["csv_read_errors"] == 2 and queue["messages_invalid"] == queue["database_errors"] == 0
    assert 1 <= queue["batches_processed"] <= 10
    assert {"queue_depth", "processing_lag_ms", "processing_latency_ms", "throttle_rate"} <= queue.keys()


def test_back_pressure_is_counted_in_messages(system, tmp_path):
    rows = write_csv(tmp_path / "a.csv", (row(i, host=f"host-{i % 40}") for i in range(400)))
    streamer = system.streamer("--csv", rows, THROTTLE_MAX_QUEUE_DEPTH=1, STREAMER_FLUSH_INTERVAL="1ms",
                               STREAMER_BATCH_SIZE=1, MQ_BATCH_SIZE=10, METRICS_PORT=free_port())
    url = address(streamer)
    wait_until(lambda: values(url)["gputel_throttle_rate"] == 0, 20, "it pauses")
    collector = system.collector(METRICS_PORT=free_port())
    wait_until(lambda: values(url).get("gputel_messages_throttled_total", 0) > 0, 20, "what waited is counted")
    wait_until(lambda: values(address(collector))["gputel_messages_processed_total"] > 0, 20, "it goes on")


def of_target(url, target):
    """{name: value} of a target that is scraped."""
    end = f'{{target="{target}"}}'
    return {k.removesuffix(end): v for k, v in values(url).items() if k.endswith(end)}


def test_each_target_that_is_scraped_has_its_figures_and_a_dead_one_is_down(system):
    dead = f"http://127.0.0.1:{free_port()}/metrics"
    good = Exporter(lambda n: dcgm(n) + dcgm("N/A", "EMPTY") + dcgm("9223372036854775794", "EMPTY") + "go_info 1\n")
    streamer = system.streamer("--scrape", good.url, "--scrape", dead, "--scrape-interval", "100ms",
                               METRICS_PORT=free_port())
    url = address(streamer)

    def counted():
        return min(of_target(url, t).get("gputel_scrapes_total", 0) for t in (good.url, dead)) > 2

    wait_until(counted, 20, "both were scraped")
    lint(get(url + "/metrics")[2])
    up, down = of_target(url, good.url), of_target(url, dead)
    assert (up["gputel_scrape_up"], up["gputel_scrape_samples"], up["gputel_scrapes_failed_total"]) == (1, 1, 0)
    assert up["gputel_scrape_duration_seconds"] > 0
    assert up["gputel_scrape_other_samples_total"] > 2
    assert (down["gputel_scrape_up"], down["gputel_scrape_samples"], down["gputel_scrapes_skipped_total"]) == (0, 0, 0)
    assert down["gputel_scrapes_failed_total"] > 2
    assert values(url)['gputel_no_value_total{metric="EMPTY"}'] > 2
    good.hang.set()
    wait_until(lambda: of_target(url, good.url)["gputel_scrape_up"] == 0, 20, "it is down")
    good.close()


def test_a_files_rows_without_a_value_are_counted_by_metric(system, tmp_path):
    rows = write_csv(tmp_path / "a.csv", [row(i, value="[N/A]" if i % 4 else "1") for i in range(40)])
    streamer = system.streamer("--csv", rows, "--follow", METRICS_PORT=free_port())
    url = address(streamer)
    wait_until(lambda: values(url)["gputel_rows_no_value_total"] == 30, 20, "all are read")
    lint(get(url + "/metrics")[2])
    assert sum(v for k, v in values(url).items() if k.startswith("gputel_no_value_total{")) == 30


def test_a_message_that_cannot_be_stored_is_counted_as_invalid(system, tmp_path):
    system.stream("--csv", write_csv(tmp_path / "a.csv", [row()]))
    key = next(iter(system.etcd.items(system.prefix + "/payload/")))
    put(system.etcd, key, b"garbage")
    collector = system.collector(METRICS_PORT=free_port())
    wait_until(lambda: values(address(collector))["gputel_messages_invalid_total"] == 1, 20, "it is dead-lettered")
    assert system.mount().status()["messages_invalid"] == "1"


def put(etcd, key, value):
    import base64
    etcd.call("/v3/kv/put", key=base64.b64encode(key.encode()).decode(), value=base64.b64encode(value).decode())


def test_readiness_tells_what_is_missing(own_system):
    collector = own_system.collector(METRICS_PORT=free_port())
    url = address(collector)
    wait_until(lambda: get(url + "/readyz")[0] == 200, what="it is ready")
    assert get(url + "/healthz")[::2] == (200, '{"status":"ok"}\n')
    own_system.etcd.kill()
    wait_until(lambda: '"etcd"' in get(url + "/readyz")[2], 30, "it knows that etcd is gone")
    status, kind, text = get(url + "/readyz")
    assert (status, kind) == (503, "application/problem+json") and '"reasons":[' in text
    assert get(url + "/healthz")[0] == 200
    assert values(url)["gputel_etcd_up"] == 0
    own_system.etcd.start()
    wait_until(lambda: get(url + "/readyz")[0] == 200, 40, "it is ready again")
    assert values(url)["gputel_database_errors_total"] > 0


def test_a_taken_port_gives_the_next_one(system, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        streamer = endless(system, tmp_path, METRICS_PORT=port)
        url = address(streamer)
        taken = int(url.rsplit(":", 1)[1])
        assert taken > port and f"port {port} is taken" in streamer.log()
        assert get(url + "/healthz")[0] == 200


def test_the_programs_ports_follow_each_other(system):
    port = free_port()
    collector = system.collector(METRICS_PORT=port)
    mount = system.mount(METRICS_PORT=port)
    assert address(collector).endswith(f":{port + 1}") or "is taken" in collector.log()
    assert address(mount.process).endswith(f":{port + 2}") or "is taken" in mount.process.log()


def test_without_a_port_nothing_listens(system):
    collector = system.collector()
    wait_until(lambda: "collecting as" in collector.log(), what="it works")
    assert "metrics are at" not in collector.log()


def talk(url, request):
    """What the port says to some bytes."""
    host, port = url.rpartition("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as s:
        s.sendall(request)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    return answer


def test_what_is_no_request_for_it_gets_an_answer_too(system):
    collector = system.collector(METRICS_PORT=free_port())
    url = address(collector)
    for request, status in ((b"POST /metrics HTTP/1.1\r\n\r\n", b"405"), (b"GET / HTTP/1.1\r\n\r\n", b"404"),
                            (b"GET /metrics\r\n\r\n", b"400"), (b"\r\n\r\n", b"400"),
                            (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"200")):
        assert talk(url, request).split()[1] == status, request
    head = talk(url, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert head.endswith(b"\r\n\r\n") and b"200 OK" in head


def test_silent_connections_do_not_keep_others_out(system):
    collector = system.collector(METRICS_PORT=free_port())
    url = address(collector)
    host, port = url.rpartition("/")[2].split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        assert get(url + "/healthz")[0] == 200
    finally:
        for s in silent:
            s.close()


class Manager:
    """The socket of a service manager."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.path, self.heard = str(path), []

    def lines(self):
        try:
            while True:
                self.heard += self.socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            return self.heard


@pytest.mark.parametrize("program", OWN)
def test_a_service_manager_hears_of_start_life_and_end(system, tmp_path, program):
    manager = Manager(tmp_path / "notify")
    env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "300000"}
    start = {"streamer": lambda: endless(system, tmp_path, **env), "collector": lambda: system.collector(**env),
             "fs": lambda: system.mount(**env).process, "bridge": lambda: Bridge(system, **env).process}
    process = start[program]()
    wait_until(lambda: manager.lines().count("READY=1") == 1 and manager.lines().count("WATCHDOG=1") > 2,
               what="it is ready, and well")
    assert any(line.startswith("STATUS=") for line in manager.lines())
    process.stop()
    assert "STOPPING=1" in manager.lines()
    manager.socket.close()
