"""Exactly once and in order, whoever is killed or held up when."""
import random
import re
import signal
import time

from lib import SEED, SLOW, wait_until
from rows import Expected, assert_tree, fleet, wait_for_rows, write_csv

FAST = {"MQ_PROCESSING_TIMEOUT": "2s", "MQ_MAX_RETRIES": 50}


def published(run):
    return int(re.search(r"published=(\d+)", run.out())[1])


def test_every_row_is_there_once_and_in_order_after_kills_at_random_moments(own_system, tmp_path):
    """100,000 rows through two collectors and a streamer; one of the three is killed and started again
    every few hundred milliseconds until all is published, then the rest is waited for."""
    print("GPUTEL_SEED", SEED)
    rng = random.Random(SEED)
    rows = list(fleet(100_000, hosts=16, gpus=8, metrics=4))
    file = write_csv(tmp_path / "load.csv", rows)
    mount = own_system.mount()
    start = {"streamer": lambda: own_system.streamer("--csv", file, "--rate", "25000"),
             "collector-a": lambda: own_system.collector(**FAST),
             "collector-b": lambda: own_system.collector(**FAST)}
    running = {name: begin() for name, begin in start.items()}
    kills = dict.fromkeys(start, 0)
    while running["streamer"].running() or min(kills.values()) < 2:
        time.sleep(rng.uniform(0.05, 0.4) * SLOW)  # the moment of the kill, not a wait for something
        name = rng.choice(sorted(start, key=lambda n: (kills[n], n))[:2])
        if running[name].running():
            running[name].kill()
        elif name == "streamer":
            assert running[name].popen.returncode == 0, running[name].log()[-2000:]
        kills[name] += 1
        running[name] = start[name]()
        assert sum(kills.values()) < 200, "the load makes no progress"
    last = own_system.stream("--csv", file, "--wait", seconds=90)
    assert last.published + last.duplicate == 100_000
    wait_for_rows(mount, Expected(rows))
    assert_tree(own_system.mount(), Expected(rows))
    wait_until(lambda: not own_system.keys("/queue/telemetry/") and not own_system.keys("/processing/"), 30, "an empty queue")
    assert not own_system.keys("/deadletter/") and not own_system.keys("/payload/")


def test_a_collector_that_was_held_up_past_its_lease_stores_nothing_twice(own_system, tmp_path):
    rows = list(fleet(30_000, hosts=8))
    file = write_csv(tmp_path / "a.csv", rows)
    mount = own_system.mount()
    held = own_system.collector(**FAST)
    streamer = own_system.streamer("--csv", file, "--rate", "10000")
    wait_until(lambda: mount.gpus(), 30, "first rows")
    held.pause()
    own_system.collector(**FAST)
    assert streamer.wait() == 0
    wait_until(lambda: len(own_system.keys("/consumers/")) == 1, 15, "the held one's session is over")
    held.resume()
    assert own_system.stream("--csv", file, "--wait").published == 0
    wait_for_rows(mount, Expected(rows))


def test_a_stopped_collector_hands_over_at_once(own_system, tmp_path):
    """SIGTERM gives back what was claimed: nobody waits for a lease (90 s here)."""
    rows = list(fleet(20_000, hosts=8))
    file = write_csv(tmp_path / "a.csv", rows)
    first = own_system.collector(MQ_PROCESSING_TIMEOUT="90s")
    streamer = own_system.streamer("--csv", file, "--rate", "10000", "--wait")
    wait_until(lambda: own_system.keys("/telemetry/data/"), 30, "first rows")
    own_system.collector(MQ_PROCESSING_TIMEOUT="90s")
    assert first.stop() == 0
    assert streamer.wait(50) == 0
    assert_tree(own_system.mount(), Expected(rows))


def test_a_killed_streamers_next_run_goes_on_where_it_was(system, tmp_path):
    rows = list(fleet(8000))
    file = write_csv(tmp_path / "a.csv", rows)
    for _ in range(3):
        streamer = system.streamer("--csv", file, "--rate", "8000")
        before = len(system.keys("/payload/"))
        wait_until(lambda: len(system.keys("/payload/")) > before, 30, "messages")
        streamer.kill()
    run = system.stream("--csv", file)
    assert run.published + run.duplicate == 8000 and run.duplicate > 0
    assert system.collector("--drain").wait() == 0
    assert_tree(system.mount(), Expected(rows))


def test_a_second_signal_ends_at_once_and_loses_nothing(system, tmp_path):
    rows = list(fleet(5000))
    file = write_csv(tmp_path / "a.csv", rows)
    streamer = system.streamer("--csv", file, "--rate", "2000")
    wait_until(lambda: system.keys("/payload/"), 30, "messages")
    streamer.send(signal.SIGTERM)
    streamer.send(signal.SIGTERM)
    assert streamer.wait(5) in (1, 3)
    collector = system.collector()
    assert system.stream("--csv", file, "--wait").published > 0
    collector.send(signal.SIGTERM)
    collector.send(signal.SIGTERM)
    assert collector.wait(5) in (0, 1)
    assert_tree(system.mount(), Expected(rows))
