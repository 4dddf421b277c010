"""The nemeses. Each is a function of a Round: called once, in the middle of the load, it does its harm,
heals what does not heal by itself, and returns. All that it chooses, it chooses with round.rng.

Its decorator says where it can work (one member, three, a small one), what the round's programs need
for it, and what it needs of the machine.
"""
import base64
import os
import shutil
import signal
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from cluster import Network, Refused, b64
from lib import BIN, wait_until
from proxy import Delay, Dribble, Hold, Pass, Repeat, Reset

LEASE_S = 5
ONE, THREE, SMALL = "one", "three", "small"
DAY_S = 86400


@dataclass
class Fault:
    name: str
    act: callable
    where: tuple = (THREE,)
    needs: callable = None      # returns a word about what is missing here, or None
    proxied: bool = False       # programs reach etcd through the proxies
    compacts: bool = False      # history goes in the middle: the witness reads along
    collectors: tuple = (1, 2)
    standby: bool = False       # a second streamer of the same sources
    env: dict = field(default_factory=dict)


FAULTS = {}


def fault(name, **how):
    def register(act):
        FAULTS[name] = Fault(name, act, **how)
        return act
    return register


def nap(rng, shortest, longest):
    """Between two deeds: a time drawn, not a wait for something."""
    time.sleep(rng.uniform(shortest, longest))


# ---- programs ------------------------------------------------------------------------------------

@fault("kill streamer", where=(THREE, ONE))
def kill_streamer(round):
    for _ in range(round.rng.randint(1, 4)):
        nap(round.rng, 0.1, 0.7)
        round.kill("streamer")
        nap(round.rng, 0, 0.3)
        round.start("streamer")


@fault("kill collector", where=(THREE, ONE))
def kill_collector(round):
    for _ in range(round.rng.randint(1, 2)):
        nap(round.rng, 0.1, 0.8)
        name = round.rng.choice(round.collectors)
        round.catch_with_claims(name)
        round.kill(name)
        nap(round.rng, 0, 0.8)
        round.start(name)


@fault("kill mount", where=(THREE, ONE))
def kill_mount(round):
    for _ in range(2):
        nap(round.rng, 0.2, 0.8)
        round.kill_mount()
        nap(round.rng, 0, 0.4)
        round.start_mount()


@fault("kill everything", where=(THREE, ONE))
def kill_everything(round):
    nap(round.rng, 0.2, 1.2)
    names = ["streamer", *round.collectors]
    round.rng.shuffle(names)
    round.catch_with_claims(round.rng.choice(round.collectors))
    for name in names:
        round.kill(name)
    for member in round.cluster.members:
        member.process.kill()
    nap(round.rng, 0, 0.5)
    round.cluster.heal()
    for name in names:
        round.start(name)


@fault("stop streamer and collectors", where=(THREE, ONE))
def stop_programs(round):
    """SIGTERM, sometimes twice, in the middle; each exit status must be one that the contract knows."""
    names = ["streamer", *round.collectors]
    round.rng.shuffle(names)
    for name in names:
        nap(round.rng, 0.1, 0.5)
        round.stop(name, second=round.rng.random() < 0.3)
        round.start(name)


@fault("pause collector past its lease", where=(THREE, ONE))
def pause_collector(round):
    nap(round.rng, 0.2, 0.8)
    name = round.rng.choice(round.collectors)
    paused = round.programs[name]
    round.catch_with_claims(name)
    paused.pause()
    if round.rng.random() < 0.5 and len(round.collectors) == 1:
        round.start("collector-9")  # another one, which takes over
    nap(round.rng, LEASE_S + 0.5, LEASE_S + 1.5)
    paused.resume()


@fault("two streamers of one source", where=(THREE, ONE), standby=True, collectors=(2,))
def standby(round):
    """One works, the other stands by; the one that works is killed, held up, or stopped."""
    for _ in range(round.rng.randint(1, 2)):
        nap(round.rng, 0.2, 0.8)
        name = round.rng.choice(["streamer", "streamer-2"])
        round.start(name)
        how = round.rng.choice(["kill", "pause", "stop"])
        if how == "kill":
            round.kill(name)
        elif how == "stop":
            round.stop(name)
        else:
            round.programs[name].pause()
            nap(round.rng, 1, LEASE_S + 1)
            round.programs[name].resume()
            continue
        nap(round.rng, 0, 0.3)
        round.start(name)


def no_clocks():
    if BIN.parent.name in ("address", "undefined", "thread"):
        return "sanitizers do not like what is preloaded"
    return None if shutil.which("cc") else "no C compiler for clock_shift.c"


@fault("clock jumps", where=(THREE, ONE), env={"RETENTION": "87600h"}, needs=no_clocks)
def clock_jumps(round):
    """Wall clocks of our programs, each on its own; the monotonic ones go on. Less than a month ahead,
    since past that a collector drops the records of sources that seem idle (collector/upkeep.h)."""
    for _ in range(round.rng.randint(3, 6)):
        nap(round.rng, 0.1, 0.5)
        name = round.rng.choice(["streamer", *round.collectors])
        round.set_clock(name, round.rng.choice([DAY_S, -3600, 600, -3 * DAY_S, 0, -2, 20 * DAY_S]))
        if round.rng.random() < 0.3:
            round.kill(name)
            round.start(name)


def clock_env(folder, name):
    """(the file with the shift, the environment) for a program."""
    library, file = folder / "clock_shift.so", folder / f"{name}.clock"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("clock_shift.c")],
                       check=True, timeout=60)
    shift_clock(file, 0)
    return file, {"LD_PRELOAD": library, "CLOCK_SHIFT": file}


def shift_clock(file, seconds):
    with open(file, "r+b" if file.exists() else "wb") as f:
        f.write(struct.pack("q", seconds))


# ---- members of etcd -----------------------------------------------------------------------------

def a_member(round):
    leader, others = round.cluster.leader()
    return leader if not others or round.rng.random() < 0.5 else round.rng.choice(others)


def revive(round, member):
    nap(round.rng, 0.2, 2)
    member.start(round.cluster)
    wait_until(member.healthy, 30, "the member is back")


@fault("kill follower")
def kill_follower(round):
    nap(round.rng, 0.2, 1.2)
    member = round.rng.choice(round.cluster.leader()[1])
    member.process.kill()
    revive(round, member)


@fault("kill leader")
def kill_leader(round):
    nap(round.rng, 0.2, 1.2)
    member = round.cluster.leader()[0]
    member.process.kill()
    revive(round, member)


@fault("kill all members", where=(THREE, ONE))
def kill_all_members(round):
    nap(round.rng, 0.2, 1.2)
    for member in round.rng.sample(round.cluster.members, len(round.cluster.members)):
        member.process.kill()
    nap(round.rng, 0.1, 2)
    round.cluster.heal()


@fault("pause member", where=(THREE, ONE))
def pause_member(round):
    for _ in range(round.rng.randint(1, 2)):
        nap(round.rng, 0.2, 0.8)
        member = a_member(round)
        member.process.pause()
        nap(round.rng, 0.5, 4)
        member.process.resume()


@fault("move leader")
def move_leader(round):
    for _ in range(round.rng.randint(2, 4)):
        nap(round.rng, 0.1, 0.7)
        leader, others = round.cluster.leader()
        target = round.cluster.member_id(round.rng.choice(others))
        try:
            round.ask(leader, "/v3/maintenance/transfer-leadership", targetID=target)
        except OSError:
            pass  # it was not the leader any more


@fault("revoke leases", where=(THREE, ONE))
def revoke_leases(round):
    """Of sessions, of streamers' ownership and of idempotency keys, while they are in use."""
    for _ in range(round.rng.randint(3, 6)):
        nap(round.rng, 0.05, 0.5)
        where = round.rng.choice(["/consumers/", "/producers/", "/processed/"])
        if where == "/consumers/":
            round.catch_with_claims(round.rng.choice(round.collectors))
        leases = round.cluster.leases(round.prefix + where)
        if leases:
            try:
                round.cluster.call("/v3/lease/revoke", ID=round.rng.choice(leases))
            except Refused:
                pass  # gone already


# ---- network -------------------------------------------------------------------------------------

def no_network():
    return None if os.geteuid() == 0 and Network.permitted() else "network namespaces are not permitted here"


@fault("cut member off", needs=no_network)
def cut_member(round):
    network = round.need_network()
    for _ in range(round.rng.randint(1, 2)):
        nap(round.rng, 0.2, 0.8)
        member = a_member(round)
        network.cut(member.number)
        nap(round.rng, 0.5, 3)
        network.mend(member.number)


@fault("cut all members off", needs=no_network)
def cut_all(round):
    network = round.need_network()
    nap(round.rng, 0.2, 1)
    for member in round.cluster.members:
        network.cut(member.number)
    nap(round.rng, 0.5, 3)
    for member in round.cluster.members:
        network.mend(member.number)


@fault("cut member from its peers", needs=no_network)
def cut_peers(round):
    """Programs go on talking to a member that has no quorum."""
    network = round.need_network()
    nap(round.rng, 0.2, 0.8)
    member = a_member(round)
    network.cut_from_peers(member.number)
    nap(round.rng, 1, 4)
    network.mend(member.number)


def through_proxy(round, mode, shortest, longest):
    nap(round.rng, 0.1, 0.6)
    round.proxies.set(mode)
    try:
        nap(round.rng, shortest, longest)
    finally:
        round.proxies.set(Pass())


PROXIED = {"where": (THREE, ONE), "proxied": True}


@fault("proxy delays", **PROXIED)
def proxy_delays(round):
    longest = round.rng.choice([0.01, 0.05, 0.3])
    through_proxy(round, Delay(round.rng, 0, longest), 1, 3)


@fault("proxy resets", **PROXIED)
def proxy_resets(round):
    through_proxy(round, Reset(round.rng, round.rng.choice([0.02, 0.1, 0.3])), 1, 3)


@fault("proxy blackholes", **PROXIED)
def proxy_blackholes(round):
    for _ in range(round.rng.randint(1, 3)):
        requests, answers = round.rng.choice([(True, True), (False, True), (True, False)])
        through_proxy(round, Hold(requests, answers), 0.3, 2.5)


@fault("proxy holds past the request timeout", env={"ETCD_REQUEST_TIMEOUT": "1s"}, **PROXIED)
def proxy_late(round):
    """The program gives up and asks again; then both arrive."""
    for _ in range(2):
        requests, answers = round.rng.choice([(False, True), (True, False)])
        through_proxy(round, Hold(requests, answers), 1.2, 2.5)


@fault("proxy dribbles", **PROXIED)
def proxy_dribbles(round):
    through_proxy(round, Dribble(round.rng), 1, 3)


@fault("proxy repeats", **PROXIED)
def proxy_repeats(round):
    through_proxy(round, Repeat(round.rng), 1, 3)


# ---- disks and space -----------------------------------------------------------------------------

def no_strace():
    return None if shutil.which("strace") else "strace is not installed"


def inject(member, how, seconds):
    """strace on a member for a while; every syscall of it is slower meanwhile."""
    tracer = subprocess.Popen(["strace", "-f", "-p", str(member.process.pid), "-o", "/dev/null", "-e", "trace=fdatasync",
                               "-e", f"inject=fdatasync:{how}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        member.process.popen.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(5)
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.wait()


@fault("slow disk", where=(THREE, ONE), needs=no_strace)
def slow_disk(round):
    nap(round.rng, 0.2, 0.8)
    inject(a_member(round), f"delay_exit={round.rng.choice([20, 100, 400]) * 1000}", round.rng.uniform(1, 3))


@fault("failing disk", where=(THREE, ONE), needs=no_strace)
def failing_disk(round):
    """fdatasync gives EIO: etcd ends itself, as it must."""
    nap(round.rng, 0.2, 0.8)
    member = a_member(round)
    inject(member, f"error=EIO:when={round.rng.randint(1, 20)}", 5)
    member.process.killed = True
    if not member.process.running():
        revive(round, member)


def fill(round):
    """Puts junk until there is NOSPACE. Returns where it lies."""
    junk, size = round.prefix + "/chaos/junk/", 768 * 1024
    blob = base64.b64encode(round.rng.randbytes(size * 3 // 4)).decode()
    for n in range(2 * round.cluster.quota // size):
        try:
            round.cluster.call("/v3/kv/put", key=b64(f"{junk}{n}"), value=b64(blob))
        except Refused as e:
            if "space" in e.text:
                return junk
            raise
    raise AssertionError("the quota is never reached")


@fault("full quota", where=(SMALL,), compacts=True)
def full_quota(round):
    """There is NOSPACE for a while; then the junk goes, and somebody compacts, defragments, disarms."""
    nap(round.rng, 0.2, 0.8)
    junk = fill(round)
    nap(round.rng, 0.5, 3)
    revision = round.cluster.delete(junk)
    wait_until(lambda: round.witness.next > revision, 20, "the witness has seen it")
    round.cluster.make_space(revision)


@fault("full quota, cleared by the collector", where=(SMALL,), compacts=True, env={"ETCD_MAINTENANCE": "on"})
def full_quota_cleared(round):
    """As before, but once the junk is gone and compacted the rest is for the collectors to do."""
    nap(round.rng, 0.2, 0.8)
    junk = fill(round)
    nap(round.rng, 0.5, 2)
    revision = round.cluster.delete(junk)
    wait_until(lambda: round.witness.next > revision, 20, "the witness has seen it")
    round.cluster.compact(revision)
    wait_until(lambda: not round.cluster.alarms(), 20, "the collectors have taken the alarm back")


@fault("compaction storm", where=(THREE, ONE), compacts=True)
def compaction_storm(round):
    """compact(now) every 100 ms, where now is what the witness has read."""
    over = threading.Event()
    end = time.monotonic() + round.rng.uniform(2, 4)
    while time.monotonic() < end and not over.wait(0.1):
        round.cluster.compact(round.witness.next - 1)
