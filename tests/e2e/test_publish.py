"""From a CSV to rows in the store: what the streamer publishes, when, and what it says about it."""
import json
import re
import shutil
import signal
import subprocess
import time

import pytest

from lib import BIN, SLOW, wait_until
from rows import (Expected, assert_history, assert_tree, fleet, nanoseconds, parse_rows, read_csv, row, wait_for_rows,
                  write_csv)
from test_foreign import put


def test_the_real_rows_are_in_the_mount_within_seconds(own_system, reference_csv):
    own_system.collector()
    mount = own_system.mount()
    begin = time.monotonic()
    run = own_system.stream("--csv", reference_csv, "--wait")
    wait_until(lambda: len(mount.gpus()) == 247, 30, "247 GPUs")
    took = time.monotonic() - begin
    assert (run.rows, run.published, run.duplicate, run.no_value, run.invalid) == (2470, 2470, 0, 0, 0)
    assert_tree(mount, Expected(read_csv(reference_csv)))
    print(f"2,470 rows of 247 GPUs, from the start of the streamer to the mount: {took:.2f} s")


def test_a_second_run_publishes_nothing_and_says_why(reference):
    run = reference.system.stream("--csv", reference.csv, "--wait")
    assert (run.rows, run.published, run.duplicate) == (2470, 0, 2470)
    assert re.search(r"already|before|--again", run.log), run.log


def test_wait_is_for_what_earlier_runs_have_published_of_the_source_too(system, tmp_path):
    file = write_csv(tmp_path / "a.csv", fleet(200, hosts=4))
    assert system.stream("--csv", file, STREAMER_BATCH_SIZE=16).published == 200
    assert "not all of it was stored" in system.stream("--csv", file, "--wait=300ms", status=3).log
    waiting = system.streamer("--csv", file, "--wait")
    wait_until(lambda: "no collector is running" in waiting.log(), 30, "it waits")
    system.collector()
    assert waiting.wait(30) == 0
    assert "stored, at revision" in waiting.log() and not system.keys("/payload/")


def test_wait_fails_where_an_earlier_run_left_a_dead_letter_of_the_source(system, tmp_path):
    file, good = write_csv(tmp_path / "a.csv", fleet(20)), write_csv(tmp_path / "b.csv", fleet(20, prefix="other"))
    run = system.stream("--csv", file)
    for key, value in system.keys("/queue/telemetry/").items():
        put(system, key, json.dumps({**json.loads(value), "schema": "v9"}).encode())
    assert system.collector("--drain").wait(20) == 0
    log = system.stream("--csv", file, "--wait", status=1).log
    assert f"{run.messages} of {run.messages} messages were dead-lettered" in log
    system.collector()
    assert system.stream("--csv", good, "--wait").published == 20, "another source's dead letter is none of its own"


def test_the_same_file_under_another_name_is_published_once(reference, tmp_path):
    copy = shutil.copy(reference.csv, tmp_path / "another name.csv")
    run = reference.system.stream("--csv", copy, "--wait")
    assert (run.rows, run.published, run.duplicate) == (2470, 0, 2470)


def test_the_same_file_twice_on_one_command_line_is_published_once(system, tmp_path):
    system.collector()
    file = write_csv(tmp_path / "a.csv", fleet(100))
    copy = shutil.copy(file, tmp_path / "b.csv")
    run = system.stream("--csv", file, "--csv", copy, "--csv", file, "--wait")
    assert (run.published, run.duplicate) == (100, 200)
    assert_tree(system.mount(), Expected(fleet(100)))


def test_several_files_are_summed_up(system, tmp_path):
    system.collector()
    a, b = list(fleet(100, prefix="a")), list(fleet(60, prefix="b"))
    run = system.stream("--csv", write_csv(tmp_path / "a.csv", a), "--csv", write_csv(tmp_path / "b.csv", b), "--wait")
    assert (run.rows, run.published) == (160, 160)
    assert_tree(system.mount(), Expected(a + b))


def test_nothing_stays_in_the_queue_and_each_gpu_has_an_identity(reference):
    system = reference.system
    wait_until(lambda: not system.keys("/queue/telemetry/") and not system.keys("/processing/"), 30, "an empty queue")
    assert not system.keys("/payload/")
    assert not system.keys("/deadletter/")
    assert len(system.keys("/telemetry/gpus/")) == 247
    assert len(system.keys("/telemetry/writers/")) == 31


def test_what_was_published_is_what_was_stored(reference):
    def balanced():
        status = reference.mount.status()
        return int(status["messages_published"]) == int(status["messages_processed"]) > 0 \
            and status["queue_depth"] == "0"
    wait_until(balanced, 30, "published = processed in .meta/status")


@pytest.mark.parametrize("first, more", [(5, 5), (20, 300), (300, 200)])
def test_a_file_that_has_grown_gives_its_new_rows(system, tmp_path, first, more):
    system.collector()
    rows = list(fleet(first + more))
    file = write_csv(tmp_path / "growing.csv", rows[:first])
    assert system.stream("--csv", file, "--wait").published == first
    write_csv(file, rows[first:], append=True)
    assert system.stream("--csv", file, "--wait").published == more
    assert system.stream("--csv", file, "--wait").published == 0
    assert_tree(system.mount(), Expected(rows))


def test_a_last_line_without_its_end_is_a_row_and_what_follows_it_another(system, tmp_path):
    system.collector()
    rows = list(fleet(10))
    file = write_csv(tmp_path / "log.csv", rows[:5])
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    assert system.stream("--csv", file, "--wait").published == 5
    with open(file, "a") as f:
        f.write("\n")
    write_csv(file, rows[5:], append=True)
    assert system.stream("--csv", file, "--wait").published == 5
    assert_tree(system.mount(), Expected(rows))


def test_a_changed_published_part_makes_a_new_source_with_a_warning(system, tmp_path):
    system.collector()
    rows = list(fleet(200))
    file = write_csv(tmp_path / "edited.csv", rows)
    assert system.stream("--csv", file, "--wait").published == 200
    rows[150] = {**rows[150], "value": "424242"}  # far behind the first 4 KiB
    write_csv(file, rows)
    run = system.stream("--csv", file, "--wait")
    assert run.published == 200
    assert re.search(r"warn.*edited\.csv.*", run.log), run.log


def test_again_publishes_once_more(system, tmp_path):
    system.collector()
    rows = list(fleet(100))
    file = write_csv(tmp_path / "a.csv", rows)
    assert system.stream("--csv", file, "--wait").published == 100
    assert system.stream("--csv", file, "--wait", "--again").published == 100
    assert_history(system.mount(), Expected(rows + rows))


def test_standard_input_is_new_at_each_run(system, tmp_path):
    system.collector()
    rows = list(fleet(100))
    file = write_csv(tmp_path / "a.csv", rows)
    for _ in range(2):
        with open(file, "rb") as stdin:
            assert system.stream("--csv", "-", "--wait", stdin=stdin).published == 100
    assert_history(system.mount(), Expected(rows + rows))


def test_rows_of_many_hosts_are_gathered_for_longer(system, tmp_path):
    lines = write_csv(tmp_path / "a.csv", fleet(200, hosts=50, gpus=1, metrics=1)).read_bytes().splitlines(keepends=True)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        streamer = system.streamer("--csv", "-", stdin=cat.stdout, STREAMER_FLUSH_INTERVAL="10ms")
        cat.stdin.write(b"".join(lines[:101]))
        cat.stdin.flush()
        wait_until(lambda: "rows of 50 hosts at a time: they are gathered for 50 ms" in streamer.log(), 30, "it says so")
        cat.stdin.write(lines[101])
        cat.stdin.flush()
        wait_until(lambda: "gathered for STREAMER_FLUSH_INTERVAL again" in streamer.log(), 30, "one host is few")
        cat.stdin.write(b"".join(lines[102:]))
        cat.stdin.close()
        assert streamer.wait() == 0


def test_a_pipe_is_published_as_it_comes(system, tmp_path):
    system.collector()
    mount = system.mount()
    lines = write_csv(tmp_path / "a.csv", fleet(20)).read_bytes().splitlines(keepends=True)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        streamer = system.streamer("--csv", "-", stdin=cat.stdout)
        cat.stdin.write(b"".join(lines[:11]))
        cat.stdin.flush()
        wait_until(lambda: mount.gpus(), 30, "rows of an open pipe")
        cat.stdin.write(b"".join(lines[11:]))
        cat.stdin.close()
        assert streamer.wait() == 0
    assert "rows=20 published=20 " in streamer.out()
    wait_for_rows(mount, Expected(fleet(20)))


def test_wait_without_a_collector_says_so_within_five_seconds_and_goes_on_when_one_comes(system, tmp_path):
    file = write_csv(tmp_path / "a.csv", fleet(50))
    streamer = system.streamer("--csv", file, "--wait")
    wait_until(lambda: re.search("no .*collector", streamer.log()), 30, "a word about the missing collector")
    system.collector()
    assert streamer.wait() == 0
    assert "published=50 " in streamer.out()


def test_wait_with_a_limit_ends_there(system, tmp_path):
    run = system.stream("--csv", write_csv(tmp_path / "a.csv", fleet(50)), "--wait=1s", status=3)
    assert run.published == 50


def test_wait_cut_short_by_a_signal_exits_3(system, tmp_path):
    streamer = system.streamer("--csv", write_csv(tmp_path / "a.csv", fleet(50)), "--wait")
    wait_until(lambda: len(system.keys("/queue/telemetry/")) > 0, 30, "messages in the queue")
    wait_until(lambda: re.search("no .*collector", streamer.log()), 30, "waiting")
    assert streamer.stop() == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_file_cut_short_by_a_signal_exits_3_and_the_next_run_does_the_rest(system, tmp_path, number):
    system.collector()
    mount = system.mount()
    rows = list(fleet(4000))
    file = write_csv(tmp_path / "a.csv", rows)
    streamer = system.streamer("--csv", file, "--rate", "2000")
    wait_until(mount.gpus, 30, "first rows")
    assert streamer.stop(number) == 3
    begun = int(re.search(r"published=(\d+)", streamer.out())[1])
    assert 0 < begun < 4000
    run = system.stream("--csv", file, "--wait")
    assert run.published == 4000 - begun
    assert_tree(mount, Expected(rows))


def test_drain_ends_when_nothing_is_queued_or_claimed(system, tmp_path):
    rows = list(fleet(5000, hosts=12))
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows))
    assert system.keys("/queue/telemetry/")
    assert system.collector("--drain").wait() == 0
    assert not system.keys("/queue/telemetry/") and not system.keys("/processing/")
    assert_tree(system.mount(), Expected(rows))


def test_drain_cut_short_by_a_signal_exits_3(system, tmp_path):
    system.stream("--csv", write_csv(tmp_path / "a.csv", fleet(100)))
    etcd_gone = system.collector("--drain", ETCD_ENDPOINTS="127.0.0.1:1")
    wait_until(lambda: "127.0.0.1:1" in etcd_gone.log(), 30, "a word about etcd")
    assert etcd_gone.stop() == 3


def test_a_collector_that_runs_for_ever_exits_0_on_sigterm(system):
    collector = system.collector()
    wait_until(lambda: "collecting as" in collector.log(), 30, "a session")
    assert collector.stop() == 0
    assert not system.keys("/consumers/")


def test_two_collectors_share_the_hosts(system, tmp_path):
    collectors = [system.collector(COLLECTOR_ID=f"c{i}") for i in range(2)]
    wait_until(lambda: len([k for k in system.keys("/consumers/")]) == 2, 30, "two sessions")
    rows = list(fleet(20000, hosts=16))
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    writers = [v.decode() for v in system.keys("/telemetry/writers/").values()]
    assert len(writers) == 16 and len(set(writers)) == 2
    assert_tree(system.mount(), Expected(rows))
    assert [c.stop() for c in collectors] == [0, 0]


def test_rate_holds_the_streamer_to_rows_per_second(system, tmp_path):
    system.collector()
    begin = time.monotonic()
    system.stream("--csv", write_csv(tmp_path / "a.csv", fleet(1000)), "--rate", "1000")
    assert 0.7 < time.monotonic() - begin < 30 * SLOW


def test_speed_paces_by_the_recorded_times(system, tmp_path):
    system.collector()
    rows = [row(seconds, seconds) for seconds in (0, 30, 60)]
    begin = time.monotonic()
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--speed", "60")
    assert 0.8 < time.monotonic() - begin < 30 * SLOW


def test_time_now_gives_the_present_and_one_time_for_rows_of_one_stamp(system, tmp_path):
    system.collector()
    rows = [row(s, 10 * s + m, metric=f"M{m}", gpu=str(g)) for s in (0, 1) for m in range(3) for g in range(2)]
    before = time.time_ns()
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--time", "now", "--speed", "10", "--wait")
    after = time.time_ns()
    mount = system.mount()
    got = []
    for gpu in ("host-1/0", "host-1/1"):
        for name in mount.names(f"{gpu}/history"):
            got += parse_rows(mount.read(f"{gpu}/history/{name}"))
    assert len(got) == 12
    assert all(before - 10**9 <= nanoseconds(r[0]) <= after + 10**9 for r in got)
    stamps = {}
    for r in got:
        stamps.setdefault(int(r[2]) // 10, set()).add(r[0])
    assert [len(s) for s in stamps.values()] == [1, 1], stamps
    assert mount.read("host-1/0/state") == "live\n"


def test_loop_goes_on_with_present_times_until_it_is_told_to_stop(system, tmp_path):
    system.collector()
    mount = system.mount()
    file = write_csv(tmp_path / "a.csv", [row(s, s, gpu=str(g)) for s in range(5) for g in range(2)])
    streamer = system.streamer("--csv", file, "--loop", "--rate", "200")

    def length():
        return sum(mount.read(f"host-1/{g}/history/{f}").count("\n") - 1
                   for g in (0, 1) for f in mount.names(f"host-1/{g}/history"))
    wait_until(lambda: length() > 30, 20, "a fourth pass over the file")
    assert mount.read("host-1/0/state") == "live\n"
    assert abs(nanoseconds(parse_rows(mount.read("host-1/0/telemetry.csv"))[-1][0]) - time.time_ns()) < 20e9 * SLOW
    assert streamer.stop() == 0
    published = int(re.search(r"published=(\d+)", streamer.out())[1])
    wait_until(lambda: length() == published, 30, "what was published is stored")


def test_a_missing_file_is_an_error_after_the_other_files(system, tmp_path):
    system.collector()
    good = write_csv(tmp_path / "good.csv", fleet(50))
    run = system.stream("--csv", tmp_path / "nothing.csv", "--csv", good, "--wait", status=1)
    assert run.published == 50
    assert re.search(r"nothing\.csv: .*[Nn]o such file", run.log), run.log


def test_a_folder_is_no_file(system, tmp_path):
    run = system.stream("--csv", tmp_path, status=1)
    assert str(tmp_path) in run.log


def test_a_running_source_is_left_to_its_streamer(system, tmp_path):
    """Two streamers of one file: the second stands by, takes over when the first ends, and every row
    is there once."""
    system.collector()
    rows = list(fleet(3000))
    file = write_csv(tmp_path / "a.csv", rows)
    first = system.streamer("--csv", file, "--rate", "3000")
    second = system.streamer("--csv", file, "--rate", "3000", "--wait")
    assert first.wait() == 0 and second.wait() == 0
    runs = [int(re.search(r"published=(\d+)", p.out())[1]) for p in (first, second)]
    assert sum(runs) == 3000
    wait_for_rows(system.mount(), Expected(rows))


def test_programs_do_not_need_a_terminal_or_an_open_standard_input(system, tmp_path):
    system.collector()
    file = write_csv(tmp_path / "a.csv", fleet(10))
    result = subprocess.run(f'"{BIN}/gputel-streamer" --csv "{file}" --wait <&-', shell=True, env=system.base_env,
                            capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0 and "published=10 " in result.stdout, result
    assert "\r" not in result.stderr and "\x1b" not in result.stderr
