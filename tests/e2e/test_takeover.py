"""A collector that is gone, held up or told to stop, and who goes on in its place."""
import base64
import collections
import os
import re
import signal
import time

import pytest

from lib import SLOW, wait_until
from rows import Expected, assert_tree, fleet, wait_for_rows, write_csv
from test_defects import holds_claims
from test_foreign import audit

SMALL_MESSAGES = {"STREAMER_BATCH_SIZE": 32, "STREAMER_FLUSH_INTERVAL": "10ms"}
HOSTS = 32
SOAK = [pytest.mark.soak, pytest.mark.skipif(not os.environ.get("GPUTEL_SOAK"), reason="a minute and more: make soak")]


def names(system, under):
    """Keys under a prefix, without their values."""
    kvs = system.etcd.call("/v3/kv/range", keys_only=True, **system.etcd.range_of(system.prefix + under)).get("kvs", [])
    return [base64.b64decode(kv["key"]).decode()[len(system.prefix):] for kv in kvs]


def writers(system):
    """{host: consumer}"""
    return {k.rpartition("/")[2]: v.decode() for k, v in system.keys("/telemetry/writers/").items()}


# ---- held up -------------------------------------------------------------------------------------

@pytest.mark.parametrize("lease_s,held_s", [(2, 4), pytest.param(30, 60, marks=SOAK)])
def test_what_a_collector_completes_after_its_lease_and_a_takeover_is_refused(own_system, tmp_path, lease_s, held_s):
    """Stopped with claims in hand for twice its lease, then let go on in the middle of its transaction."""
    lease = {"MQ_PROCESSING_TIMEOUT": f"{lease_s}s", "COLLECTOR_BATCH_SIZE": 4}
    rows = list(fleet(20_000, hosts=8))
    file = write_csv(tmp_path / "a.csv", rows)
    run = own_system.stream("--csv", file, **SMALL_MESSAGES)
    held = own_system.collector(**lease)
    wait_until(lambda: own_system.keys("/telemetry/data/"), 30, "first rows")
    claims = wait_until(lambda: holds_claims(own_system, held), 30, "it holds claims")
    stopped = time.monotonic()
    other = own_system.collector(**lease)
    wait_until(lambda: not own_system.keys("/payload/"), 2 * lease_s + 20, "the other one has stored all")
    consumer = next(iter(claims)).split("/")[2]
    assert consumer not in writers(own_system).values(), "its hosts are the other one's"
    time.sleep(max(0, stopped + held_s - time.monotonic()))  # how long it is held up is what is tested
    held.resume()
    wait_until(lambda: "starting anew" in held.log(), 15, "it knows that its session is over")
    assert own_system.keys("/processing/") == {}
    status, lines, out = audit(own_system)
    assert status == 0 and "balance=exact" in out, out
    assert lines["messages"]["stored"] == str(run.messages) and lines["rows"]["stored"] == "20000", out
    assert_tree(own_system.mount(), Expected(rows))
    assert held.stop() == 0 and other.stop() == 0


# ---- gone ----------------------------------------------------------------------------------------

def test_hosts_of_a_killed_collector_flow_again_soon_after_its_lease(own_system, tmp_path):
    lease_s = 2
    rows = list(fleet(32_000, hosts=16))
    file = write_csv(tmp_path / "a.csv", rows)
    first, second = (own_system.collector(MQ_PROCESSING_TIMEOUT=f"{lease_s}s") for _ in range(2))
    streamer = own_system.streamer("--csv", file, "--rate", "4000", **SMALL_MESSAGES)
    wait_until(lambda: len(writers(own_system)) == 16 and len(set(writers(own_system).values())) == 2, 30, "both have hosts")
    ids = {k.split("/")[2] for k, v in own_system.keys("/consumers/").items() if f'"pid":{first.pid}' in v.decode().replace(" ", "")}
    lost = {h for h, w in writers(own_system).items() if w in ids} if ids else set()
    assert lost, (own_system.keys("/consumers/"), writers(own_system))
    first.kill()
    killed = time.monotonic()
    before = set(names(own_system, "/telemetry/data/"))
    gaps = {}

    def all_flow():
        for key in set(names(own_system, "/telemetry/data/")) - before:
            gaps.setdefault(key.split("/")[3], time.monotonic() - killed)
        return lost <= set(gaps)
    # What it had sent itself by then arrives at once; only what the other one stores counts.
    wait_until(lambda: not ids & set(writers(own_system).values()), 20, "its hosts are taken")
    before, taken = set(names(own_system, "/telemetry/data/")), time.monotonic() - killed
    wait_until(all_flow, 20, "rows of all of its hosts")
    print(f"lease {lease_s} s: hosts taken after {taken:.2f} s, rows of all of them after {max(gaps[h] for h in lost):.2f} s")
    assert max(gaps[h] for h in lost) < (lease_s + 20) * SLOW
    assert streamer.wait(60) == 0 and second.running()
    wait_for_rows(own_system.mount(), Expected(rows))


# ---- several -------------------------------------------------------------------------------------

def revision(system):
    return int(system.etcd.call("/v3/kv/range", key="eA==")["header"]["revision"])


def drain_with(system, file, n):
    """(seconds, transactions, {consumer: hosts}) in which n collectors store what a streamer has queued."""
    run = system.stream("--csv", file, **SMALL_MESSAGES)
    begun, first = time.monotonic(), revision(system)
    collectors = [system.collector() for _ in range(n)]
    wait_until(lambda: not names(system, "/payload/"), 60, "all is stored")
    seconds, transactions = time.monotonic() - begun, revision(system) - first
    wait_until(lambda: len(set(writers(system).values())) == n, 30, "all have hosts")
    wait_until(lambda: max(collections.Counter(writers(system).values()).values()) <= HOSTS / n, 30, "even shares")
    shares = collections.Counter(writers(system).values())
    for c in collectors:
        assert c.stop() == 0
    assert run.published == 48_000
    return seconds, transactions, shares


def test_four_collectors_share_the_hosts_evenly_and_cost_etcd_little_more_than_one(own_system, tmp_path):
    """Times are printed; what is asserted is how many transactions, each with its fsync, they take."""
    file = write_csv(tmp_path / "a.csv", fleet(48_000, hosts=HOSTS))
    one, one_transactions, _ = drain_with(own_system, file, 1)
    own_system.base_env["GPUTEL_PREFIX"] = own_system.prefix = own_system.prefix + "-4"
    four, transactions, shares = drain_with(own_system, file, 4)
    print(f"one collector {one:.2f} s and {one_transactions} transactions, four {four:.2f} s and {transactions}: "
          f"{one / four:.2f} times the throughput; shares {sorted(shares.values())}")
    assert sum(shares.values()) == HOSTS and max(shares.values()) <= 1.2 * min(shares.values())
    assert transactions <= 2 * one_transactions


# ---- told to stop while etcd does not answer -----------------------------------------------------

@pytest.mark.parametrize("program", ["collector", "streamer"])
@pytest.mark.parametrize("signals", [1, 2])
def test_a_stop_without_etcd_ends_in_time_and_says_what_is_left(own_system, tmp_path, program, signals):
    rows = list(fleet(20_000, hosts=8))
    file = write_csv(tmp_path / "a.csv", rows)
    env = {"SHUTDOWN_TIMEOUT": "2s" if signals == 1 else "60s", "MQ_PROCESSING_TIMEOUT": "60s", **SMALL_MESSAGES}
    if program == "collector":
        own_system.stream("--csv", file, **SMALL_MESSAGES)
        process = own_system.collector(COLLECTOR_BATCH_SIZE=4, **env)
    else:
        process = own_system.streamer("--csv", file, "--rate", "8000", **env)
    wait_until(lambda: own_system.keys("/telemetry/data/" if program == "collector" else "/payload/"), 30, "it is at work")
    own_system.etcd.process.pause()
    try:
        before = len(process.log().splitlines())
        for _ in range(signals):
            process.send(signal.SIGTERM)
            time.sleep(0.05)  # signals that are pending together are one
        assert process.wait(30) == 1
        said = [line for line in process.log().splitlines()[before:] if re.search(r"shutdown|left|given back", line)]
        assert len(said) == (signals == 1), process.log()
    finally:
        own_system.etcd.process.resume()
    if program == "streamer":
        run = own_system.stream("--csv", file)
        assert run.published + run.duplicate == 20_000
    own_system.collector(MQ_PROCESSING_TIMEOUT="2s")
    if program == "collector":
        own_system.etcd.call("/v3/lease/revoke", ID=lease_of_dead(own_system, process))
    wait_for_rows(own_system.mount(), Expected(rows))


def lease_of_dead(system, process):
    """Its session's, which outlives it by a minute."""
    kvs = system.etcd.call("/v3/kv/range", **system.etcd.range_of(system.prefix + "/consumers/"))["kvs"]
    return next((kv["lease"] for kv in kvs if str(process.pid) in base64.b64decode(kv["value"]).decode()), 0)
