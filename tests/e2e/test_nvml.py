"""--nvml, against a double of NVIDIA's library (tests/lib/fake_nvml.c)."""
import csv
import io
import os
import socket
import subprocess

import pytest

from lib import ROOT, free_port, wait_until
from test_metrics import address, get, lint
from test_metrics import values as figures

FAKE = ROOT / "build" / "fake"


@pytest.fixture
def nvml(system):
    """A function that starts a streamer on the double, as its file says; says() changes that."""
    if not (FAKE / "libnvidia-ml.so.1").exists():
        env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        subprocess.run(["make", "-s", "build/fake/libnvidia-ml.so.1"], cwd=ROOT, env=env, check=True)
    file = system.folder / "nvml"

    def start(*lines, args=(), interval="100ms", **env):
        start.says(*lines)
        return system.streamer("--nvml", "--nvml-interval", interval, "--host", "node-1", *args,
                               LD_LIBRARY_PATH=FAKE, FAKE_NVML=file, **env)

    def says(*lines):
        temporary = file.with_suffix(".new")
        temporary.write_text("\n".join(lines) + "\n")
        temporary.rename(file)

    start.says = says
    return start


def rows_of(mount, gpu):
    with open(mount.path / "node-1" / gpu / "telemetry.csv", newline="") as f:
        return list(csv.DictReader(io.StringIO(f.read())))


def values(mount, gpu):
    folder = mount.path / "node-1" / gpu / "metrics"
    return {p.name.removeprefix("DCGM_FI_DEV_"): p.read_text().strip() for p in folder.iterdir()}


def test_each_gpu_is_there_under_the_names_and_in_the_units_of_dcgm(system, nvml):
    streamer = nvml("gpus 2")
    system.collector()
    mount = system.mount()
    wait_until(lambda: len(rows_of(mount, "1")) > 60, 20)
    got = values(mount, "1")
    expected = {"GPU_UTIL": "81", "MEM_COPY_UTIL": "41", "FB_TOTAL": "81920", "FB_USED": "19456", "FB_FREE": "61440",
                "FB_RESERVED": "1024", "POWER_USAGE": "67.352", "ENFORCED_POWER_LIMIT": "700.000",
                "TOTAL_ENERGY_CONSUMPTION": "123456789012346", "SM_CLOCK": "1980", "MEM_CLOCK": "2619",
                "GPU_TEMP": "51", "MEMORY_TEMP": "60", "ENC_UTIL": "1", "DEC_UTIL": "2", "FAN_SPEED": "30", "PSTATE": "0",
                "CLOCK_THROTTLE_REASONS": "4", "PCIE_REPLAY_COUNTER": "7", "PCIE_LINK_GEN": "5", "PCIE_LINK_WIDTH": "16",
                "ECC_SBE_VOL_TOTAL": "0", "ECC_DBE_VOL_TOTAL": "1", "ECC_SBE_AGG_TOTAL": "10", "ECC_DBE_AGG_TOTAL": "11",
                "CORRECTABLE_REMAPPED_ROWS": "0", "UNCORRECTABLE_REMAPPED_ROWS": "0", "ROW_REMAP_PENDING": "0",
                "ROW_REMAP_FAILURE": "0"}
    assert got == expected
    base = mount.path / "node-1" / "1"
    assert [(base / n).read_text().strip() for n in ("uuid", "model", "device", "driver", "state")] == [
        "GPU-0000-1", "NVIDIA H100 80GB HBM3", "nvidia1", "535.129.03", "live"]
    rounds = {}
    for r in rows_of(mount, "1"):
        rounds.setdefault(r["timestamp"], []).append(r["metric_name"])
    assert all(len(names) == len(expected) == len(set(names)) for names in rounds.values()), "one time a round"
    assert streamer.stop() == 0


def test_what_a_gpu_does_not_have_is_asked_for_once_and_what_fails_is_told_of_once(system, nvml):
    streamer = nvml("gpus 1", "unsupported FanSpeed", "unsupported MemoryInfo_v2", "failing PowerUsage")
    system.collector()
    mount = system.mount()
    wait_until(lambda: len(rows_of(mount, "0")) > 100, 20)
    got = values(mount, "0")
    assert "FAN_SPEED" not in got and "POWER_USAGE" not in got
    assert (got["FB_USED"], got.get("FB_RESERVED")) == ("20480", None), "an older library's memory"
    assert streamer.log().count("no fan speed: Not Supported") == 1
    assert streamer.log().count("power usage cannot be read: Unknown Error") == 1
    nvml.says("gpus 1")
    wait_until(lambda: values(mount, "0").get("POWER_USAGE") == "67.351", 20)
    assert "FAN_SPEED" not in values(mount, "0")


def test_a_lost_or_hanging_gpu_leaves_the_others_alone_and_comes_back(system, nvml):
    streamer = nvml("gpus 3")
    system.collector()
    mount = system.mount(STALE_AFTER="1s")
    states = lambda: [(mount.path / "node-1" / g / "state").read_text().strip() for g in "012"]  # noqa: E731
    wait_until(lambda: states() == ["live"] * 3, 20)
    nvml.says("gpus 3", "lost 1", "hang 2")
    wait_until(lambda: states()[0] == "live" and "live" not in states()[1:], 20)
    assert streamer.log().count("GPU 1 (GPU-0000-1) is lost: GPU is lost; the others go on") == 1
    nvml.says("gpus 3")
    wait_until(lambda: states() == ["live"] * 3, 20)
    assert streamer.log().count("GPU 1 (GPU-0000-1) is back") == 1
    nvml.says("gpus 3", "hang 2")
    assert streamer.stop() == 0, "a driver that does not answer does not keep it"


def test_what_fails_of_which_gpu_is_counted(system, nvml):
    url = address(nvml("gpus 2", "failing PowerUsage", "unsupported FanSpeed", METRICS_PORT=free_port()))

    def of(name, gpu, field=""):
        return figures(url).get(f'gputel_nvml_{name}{{gpu="{gpu}"{field}}}')

    wait_until(lambda: of("errors_total", 1, ',field="power usage"') is not None, 20, "it fails")
    lint(get(url + "/metrics")[2])
    assert of("errors_total", 1, ',field="fan speed"') is None, "it has none"
    assert (of("up", 0), of("up", 1)) == (1, 1) and of("rounds_total", 1) > 1
    nvml.says("gpus 2", "lost 1")
    wait_until(lambda: (of("up", 0), of("up", 1)) == (1, 0), 20, "one is lost")
    nvml.says("gpus 2")
    wait_until(lambda: of("up", 1) == 1, 20, "it is back")


def test_mig_instances_are_gpus_of_their_own(system, nvml):
    nvml("gpus 1", "mig 0 2")
    system.collector()
    mount = system.mount()
    wait_until(lambda: mount.gpus() == {"node-1/0", "node-1/0.1", "node-1/0.2"}, 20)
    wait_until(lambda: "FB_USED" in values(mount, "0.2"), 20)
    assert values(mount, "0.2") == {"FB_TOTAL": "10240", "FB_USED": "2048", "FB_FREE": "8192", "FB_RESERVED": "0"}
    assert (mount.path / "node-1" / "0.2" / "uuid").read_text() == "MIG-0000-0-2\n"
    assert 'GPU_I_PROFILE' in (mount.path / "node-1" / "0.2" / "info.json").read_text()


def test_an_xid_is_a_row_when_it_is_told_and_no_gauge_that_stays(system, nvml):
    streamer = nvml("gpus 1")
    system.collector()
    mount = system.mount()
    wait_until(lambda: rows_of(mount, "0"), 20)
    nvml.says("gpus 1", "xid 0 79")

    def xids():
        return [r["value"] for r in rows_of(mount, "0") if r["metric_name"] == "DCGM_FI_DEV_XID_ERRORS"]
    wait_until(xids, 20)
    before = len(rows_of(mount, "0"))
    wait_until(lambda: len(rows_of(mount, "0")) > before + 60, 20)
    assert xids() == ["79"] and "XID 79" in streamer.log()


def test_without_the_library_or_a_driver_or_a_gpu_it_says_so(system, nvml):
    streamer = system.streamer("--nvml", LD_LIBRARY_PATH="/nonexistent")
    assert streamer.wait() == 1
    assert "NVML cannot be loaded: libnvidia-ml.so.1" in streamer.log()
    streamer = nvml("nodriver")
    assert streamer.wait() == 1
    assert "NVML does not start: Driver Not Loaded" in streamer.log()
    streamer = nvml("gpus 0")
    assert streamer.wait() == 1
    assert "NVML shows no GPU on this machine" in streamer.log()


def test_without_a_host_it_is_this_machine(system, nvml):
    file = system.folder / "nvml"
    nvml.says("gpus 1")
    system.streamer("--nvml", LD_LIBRARY_PATH=FAKE, FAKE_NVML=file)
    system.collector()
    mount = system.mount()
    wait_until(lambda: mount.gpus() == {f"{socket.gethostname()}/0"}, 20)
