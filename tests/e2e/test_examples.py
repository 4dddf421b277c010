"""What stands in examples/ works: run where the program is at hand, checked for its structure otherwise."""
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from lib import BIN, ROOT
from rows import Expected, row, wait_for_rows, write_csv

EXAMPLES = ROOT / "examples"

pytestmark = pytest.mark.usefixtures("programs")


def run(*argv, **env):
    result = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=120, check=False,
                            env={**os.environ, **env})
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def mount(system, tmp_path):
    rows = [row(i, i % 100, host="node1", gpu=g) for i in range(300) for g in ("0", "1")]
    system.collector()
    m = system.mount()
    system.stream("--csv", write_csv(tmp_path / "a.csv", rows), "--wait")
    wait_for_rows(m, Expected(rows))
    return m


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is not there")
def test_prometheus_takes_its_configuration_and_the_alert_rules():
    run("promtool", "check", "config", EXAMPLES / "prometheus/prometheus.yml")
    run("promtool", "check", "rules", EXAMPLES / "prometheus/alerts.yml")


def test_every_counter_that_alerts_and_dashboard_ask_for_exists():
    sources = "\n".join(p.read_text() for d in ("common", "streamer", "collector", "fs", "bridge")
                        for p in (ROOT / d).glob("*.c"))
    texts = [(EXAMPLES / "prometheus/alerts.yml").read_text(), (EXAMPLES / "grafana/dashboard.json").read_text()]
    names = {n for t in texts for n in re.findall(r"\bgputel_[a-z_]+", t)}
    assert len(names) >= 6
    for name in names:
        bare = name.removeprefix("gputel_").removesuffix("_total")
        assert re.search(rf'"[^"]*\b(gputel_)?{bare}', sources), name


def test_the_dashboard_is_one_that_grafana_takes():
    dashboard = json.loads((EXAMPLES / "grafana/dashboard.json").read_text())
    assert dashboard["schemaVersion"] >= 30 and dashboard["uid"]
    assert len({p["id"] for p in dashboard["panels"]}) == len(dashboard["panels"]) >= 8
    for panel in dashboard["panels"]:
        assert panel["targets"][0]["expr"] and panel["datasource"]["type"] == "prometheus", panel["title"]


@pytest.mark.skipif(not importlib.util.find_spec("yaml"), reason="python3-yaml is not there")
def test_compose_and_kubernetes_manifests_start_the_programs_with_what_they_know():
    import yaml
    compose = yaml.safe_load((EXAMPLES / "container/compose.yaml").read_text())
    commands = [s["command"] for n, s in compose["services"].items() if n != "etcd"]
    documents = list(yaml.safe_load_all((EXAMPLES / "kubernetes/gputel.yaml").read_text()))
    assert {d["kind"] for d in documents} >= {"Namespace", "ConfigMap", "Deployment", "DaemonSet", "Service"}
    env = {**next(d["data"] for d in documents if d["kind"] == "ConfigMap")}
    for d in documents:
        for c in d.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            assert c["securityContext"] and c["resources"]["limits"]["memory"], c["name"]
            commands.append(c["command"])
    assert len(commands) == 7
    for command in commands:
        words = [w.replace("$(NODE_IP)", "127.0.0.1").replace("$(NODE_NAME)", "n1") for w in command]
        run(BIN / words[0], *words[1:], "--check-config", **env)


def test_a_slurm_epilog_keeps_the_telemetry_of_a_job(mount, tmp_path):
    env = {"GPUTEL": str(mount.path), "KEEP": str(tmp_path), "SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0,1",
           "SLURM_JOB_START_TIME": "0", "SLURMD_NODENAME": "node1"}
    run(EXAMPLES / "slurm/epilog.sh", **env)
    for gpu in ("0", "1"):
        segments = sorted(p.name for p in (tmp_path / "7" / gpu).glob("*.csv"))
        assert segments == mount.names(f"node1/{gpu}/history")
        for name in segments:
            assert (tmp_path / "7" / gpu / name).read_text() == mount.read(f"node1/{gpu}/history/{name}")
    run(EXAMPLES / "slurm/epilog.sh", **{**env, "SLURM_JOB_ID": "8", "SLURM_JOB_START_TIME": "4000000000"})
    assert [p.name for p in (tmp_path / "8/0").glob("*.csv")] == []
    run(EXAMPLES / "slurm/epilog.sh", **{**env, "GPUTEL": str(tmp_path / "nowhere"), "SLURM_JOB_ID": "9"})
    assert not (tmp_path / "9").exists()


@pytest.mark.skipif(not importlib.util.find_spec("pandas"), reason="python3-pandas is not there")
def test_pandas_reads_how_busy_the_gpus_were(mount):
    table = run(sys.executable, EXAMPLES / "busy_hours.py", mount.path)
    assert "node1/0" in table and "node1/1" in table and "00:00" in table
