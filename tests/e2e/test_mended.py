"""What failed once and was found by people who tried to break it."""
import base64
import os
import time

from lib import wait_until
from rows import row, write_csv


def put(system, key, value):
    system.etcd.call("/v3/kv/put", key=base64.b64encode((system.prefix + key).encode()).decode(),
                     value=base64.b64encode(value.encode()).decode())


def test_what_is_no_message_is_dead_lettered_and_does_not_keep_a_drain_waiting(system, tmp_path):
    system.stream("--csv", write_csv(tmp_path / "a.csv", [row(i, i) for i in range(3)]))
    put(system, "/queue/telemetry/01M84A1Q4T5ZT7TP35E6T2V2A3", "garbage{")
    put(system, "/queue/telemetry/notaulid", "{}")
    assert system.collector("--drain").wait(20) == 0
    assert not system.keys("/queue/telemetry/")
    assert len(system.keys("/deadletter/telemetry/")) == 2
    audit = system.collector("--audit")
    assert audit.wait(10) == 0, audit.out()


def test_labels_too_long_for_a_file_name_cost_neither_their_row_nor_its_neighbours(system, tmp_path):
    system.collector()
    rows = [row(i, i) for i in range(5)]
    rows.append(row(9, 7, metric="ERR", labels='err_msg="' + "x" * 280 + '"'))
    assert system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait").published == 6
    mount = system.mount()
    names = mount.names("host-1/0/metrics")
    assert "DCGM_FI_DEV_GPU_UTIL" in names
    [hashed] = [n for n in names if n.startswith('ERR{labels="')]
    assert mount.read(f"host-1/0/metrics/{hashed}") == "7\n"
    assert "x" * 280 in mount.read("host-1/0/telemetry.csv")


def test_hosts_and_gpus_named_like_fixed_files_are_reachable(system, tmp_path):
    system.collector()
    rows = [row(0, 1, host="README"), row(0, 2, host="h", gpu="latest.csv")]
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    mount = system.mount()
    assert mount.read("%52EADME/0/metrics/DCGM_FI_DEV_GPU_UTIL") == "1\n"
    assert mount.read("h/%6Catest.csv/metrics/DCGM_FI_DEV_GPU_UTIL") == "2\n"
    assert mount.read("README").startswith("GPU telemetry")


def test_a_file_without_one_valid_row_fails(system, tmp_path):
    run = system.stream("--csv", write_csv(tmp_path / "a.csv", [row(0, "abc"), row(1, "def")]), status=1)
    assert run.invalid == 2


def test_a_streamer_waiting_for_the_writer_of_a_named_pipe_stops_when_asked(system, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    streamer = system.streamer("--csv", pipe)
    time.sleep(0.5)  # it may be anywhere before or in its wait: the answer is the same
    assert streamer.stop(seconds=20) == 3


def test_a_named_pipe_is_read_to_the_end_of_its_writer(system, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    streamer = system.streamer("--csv", pipe)
    write_csv(pipe, [row(i, i) for i in range(10)])
    assert streamer.wait(20) == 0
    wait_until(lambda: "published=10 " in streamer.out(), 30, "the summary")
