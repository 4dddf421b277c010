"""Every shape of CSV goes in by one command and comes out with the same text, host, GPU and time."""
import csv
import gzip
import json
import subprocess
from datetime import datetime, timezone

import pytest

from bridge import Bridge
from lib import SHARED, System, wait_until
from rows import parse_rows

P = "DCGM_FI_DEV_"


# Columns of data/h100_training_wide.csv, in its order.
TRAINING = {"power_w": "DEV_POWER_USAGE", "temp_c": "DEV_GPU_TEMP", "mem_used_mib": "DEV_FB_USED",
            "mem_total_mib": "DEV_FB_TOTAL", "gpu_util_pct": "DEV_GPU_UTIL", "mem_util_pct": "DEV_MEM_COPY_UTIL",
            "sm_active": "PROF_SM_ACTIVE", "tensor_active": "PROF_PIPE_TENSOR_ACTIVE",
            "dram_active": "PROF_DRAM_ACTIVE", "fp16_active": "PROF_PIPE_FP16_ACTIVE",
            "pcie_tx_bytes_s": "PROF_PCIE_TX_BYTES", "pcie_rx_bytes_s": "PROF_PCIE_RX_BYTES",
            "nvlink_tx_bytes_s": "PROF_NVLINK_TX_BYTES", "nvlink_rx_bytes_s": "PROF_NVLINK_RX_BYTES",
            "throttle_reasons": "DEV_CLOCK_THROTTLE_REASONS", "energy_mj": "DEV_TOTAL_ENERGY_CONSUMPTION"}
TRAINING = {column: "DCGM_FI_" + name for column, name in TRAINING.items()}


@pytest.fixture(scope="module")
def shop(etcd, tmp_path_factory):
    system = System(etcd, tmp_path_factory.mktemp("shapes"))
    try:
        system.collector()
        system.shown = system.mount()
        system.bridge = Bridge(system)
        yield system
    finally:
        system.close()


def rows_of(mount, gpu):
    got = []
    for name in mount.names(f"{gpu}/history"):
        got += [r[:3] for r in parse_rows(mount.read(f"{gpu}/history/{name}"))]
    return got


def rest_rows(shop, gpu, **window):
    """What the bridge says of it, values with their digits."""
    answer = shop.bridge.get(f"/api/v1/gpus/{gpu.replace('/', ':')}/telemetry", params={"limit": 1000, **window})
    data = json.loads(answer.text, parse_int=str, parse_float=str)["data"]
    return [(r["timestamp"], r["metric_name"], r["value"]) for r in data]


def rest_latest(shop, host):
    answer = shop.bridge.get("/api/v1/telemetry/latest", params={"host": host})
    data = json.loads(answer.text, parse_int=str, parse_float=str)["data"]
    return {(f"{r['hostname']}/{r['gpu_id']}", r["metric_name"]): (r["timestamp"], r["value"]) for r in data}


# name: text, options, {host/gpu: rows}, counts that are not 0 besides rows and published
SHAPES = {
    "wide": ("timestamp,gpu_id,uuid,device,model_name,hostname,gpu_utilization,memory_used_mb,power_draw\n"
             "2025-07-18 20:42:34,0,GPU-w,nvidia0,H100,wide,87,1024,73.20\n",
             [], {"wide/0": [("2025-07-18T20:42:34Z", P + "GPU_UTIL", "87"), ("2025-07-18T20:42:34Z", P + "FB_USED", "1024"),
                             ("2025-07-18T20:42:34Z", P + "POWER_USAGE", "73.20")]}, {}),
    "aliases": ("Power W, HOST ,GPU,Time\n431.5,alias,3,1752871354174\n", [],
                {"alias/3": [("2025-07-18T20:42:34.174Z", P + "POWER_USAGE", "431.5")]}, {}),
    "nvidia-smi": ("timestamp, index, name, utilization.gpu [%], memory.used [MiB], pstate\n"
                   "2025/07/18 20:42:34.123, 1, NVIDIA H100, 87 %, [N/A], P0\n\n"
                   "2025/07/18 20:42:35.123, 1, NVIDIA H100, x, 5 MiB, P2\n", ["--host", "smi"],
                   {"smi/1": [("2025-07-18T20:42:34.123Z", P + "GPU_UTIL", "87"), ("2025-07-18T20:42:34.123Z", P + "PSTATE", "0"),
                              ("2025-07-18T20:42:35.123Z", P + "FB_USED", "5"), ("2025-07-18T20:42:35.123Z", P + "PSTATE", "2")]},
                   {"no_value": 1, "invalid": 1}),
    "amd-smi": ("timestamp,gpu,power_usage,hotspot_temperature,gfx_clk,gfx,mem,vram_used\n"
                "1752871354,0,140,45,132,7,2,283\n", ["--host", "amd"],
                {"amd/0": [("2025-07-18T20:42:34Z", P + m, v) for m, v in (
                    ("POWER_USAGE", "140"), ("GPU_TEMP", "45"), ("SM_CLOCK", "132"), ("GPU_UTIL", "7"),
                    ("MEM_COPY_UTIL", "2"), ("FB_USED", "283"))]}, {}),
    "blanks": ("time,gpu,gpu_util,power\n1752871354,0,4294967295,140737488355328.0\n1752871355,0,inf,2147483632\n"
               "1752871356,0,5,6\n", ["--host", "blank"],
               {"blank/0": [("2025-07-18T20:42:36Z", P + "GPU_UTIL", "5"), ("2025-07-18T20:42:36Z", P + "POWER_USAGE", "6")]},
               {"no_value": 4}),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("packing", ["", "gz", "zst"])
def test_a_shape_comes_out_as_it_went_in(shop, tmp_path, name, packing):
    text, options, expected, counts = SHAPES[name]
    path = tmp_path / f"{name}.csv"
    path.write_text(text)
    if packing:  # the same source: nothing new
        subprocess.run(["gzip", path] if packing == "gz" else ["zstd", "-q", "--rm", path], check=True)
        path = tmp_path / f"{name}.csv.{packing}"
    run = shop.stream("--csv", path, "--wait", *options)
    n = sum(len(r) for r in expected.values())
    assert run.published + run.duplicate == n, run.log
    assert (run.no_value, run.invalid) == (counts.get("no_value", 0), counts.get("invalid", 0)), run.log
    for gpu, rows in expected.items():
        wait_until(lambda: len(rows_of(shop.shown, gpu)) >= len(rows), 30, f"rows of {gpu}")
        assert rows_of(shop.shown, gpu) == rows
        wait_until(lambda: len(rest_rows(shop, gpu)) >= len(rows), 30, f"rows of {gpu} over REST")
        assert rest_rows(shop, gpu) == rows
        last = rows[-1][0]
        assert rest_rows(shop, gpu, start_time=last, end_time=last) == [r for r in rows if r[0] == last]
        assert rest_latest(shop, gpu.split("/")[0]) == {(gpu, metric): (t, value) for t, metric, value in rows}


def test_a_file_without_a_host_asks_for_it(shop, tmp_path):
    path = tmp_path / "nohost.csv"
    path.write_text("time,gpu,power\n1,0,7\n")
    assert "--host" in shop.stream("--csv", path, status=1).log


def test_a_map_names_foreign_columns(shop, tmp_path):
    (tmp_path / "m.map").write_text("when = timestamp\ncard = gpu_id\nuj = metric ENERGY * 0.001\nHostname := mapped\n")
    (tmp_path / "x.csv").write_text("when,card,uj\n1752871354,0,2500\n")
    shop.stream("--csv", tmp_path / "x.csv", "--map", tmp_path / "m.map", "--wait")
    wait_until(lambda: rows_of(shop.shown, "mapped/0") == [("2025-07-18T20:42:34Z", "ENERGY", "2.5")], 10)


def test_an_archive_that_is_cut_publishes_what_is_there_and_fails(shop, tmp_path):
    rows = "".join(f"{1752871354 + i},0,{i}.{i * i}\n" for i in range(20000))
    packed = gzip.compress(("time,gpu,power\n" + rows).encode())
    (tmp_path / "cut.csv.gz").write_bytes(packed[:len(packed) * 3 // 4])
    run = shop.stream("--csv", tmp_path / "cut.csv.gz", "--host", "cutgz", "--wait", status=1)
    assert "the archive ends in its middle" in run.log and run.published > 1000


def test_a_check_says_what_is_recognised_and_rejected_without_etcd(shop, tmp_path):
    (tmp_path / "a1.csv").write_text(SHAPES["nvidia-smi"][0])
    run = shop.stream("--check", "--host", "h", "--csv", f"{tmp_path}/a*.csv", ETCD_ENDPOINTS="127.0.0.1:1")
    for part in ('map "nvidia-smi"', "metric DCGM_FI_DEV_GPU_UTIL", "h,1,2025-07-18T20:42:34.123Z,DCGM_FI_DEV_GPU_UTIL,87",
                 'a1.csv:4:41: utilization.gpu [%]: expected a number, got "x"', "rows=6 good=4 no_value=1 invalid=1"):
        assert part in run.out, run.out


def test_the_real_wide_file_comes_out_value_by_value(shop):
    path = SHARED / "data" / "h100_training_wide.csv"
    if not path.exists():
        pytest.skip(f"the real rows are not here: {path}")
    run = shop.stream("--csv", path, "--host", "h100", "--wait", seconds=90)
    stamp = lambda t: datetime.fromtimestamp(int(t[:-4]), timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + t[-4:] + "Z"  # noqa: E731
    real = {str(gpu): [] for gpu in range(8)}
    with open(path, newline="") as f:
        for r in csv.DictReader(f):
            real[r["gpu"]] += [(stamp(r["timestamp"]), name, r[column]) for column, name in TRAINING.items() if r[column]]
    assert sum(map(len, real.values())) == run.published
    for gpu in "37":
        wait_until(lambda: rows_of(shop.shown, f"h100/{gpu}") == real[gpu], 60, f"the rows of {gpu}")  # noqa: B023
    assert (run.rows, run.invalid) == (24696 * 16, 0)
