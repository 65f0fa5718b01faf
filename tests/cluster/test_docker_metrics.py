"""What real pods use, as Prometheus, kubectl and the autoscaler are told it: from the kernel's own counts."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kcore.testing.running import RunningCluster, running
from kcore.testing.waiting import poll
from tests.dockerd import Daemon
from tests.needs import needs

from .docker import machine, ready, run, settings
from .test_prometheus import OBJECTS, Monitor, started

BUSY = "while :; do :; done"
KUBELET = "/api/v1/nodes/node-1/proxy"
Sample = tuple[dict[str, str], float]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with machine("kcore-test-metrics") as found:
        yield found


@pytest.fixture(scope="module")
def cluster(daemon: Daemon) -> Iterator[RunningCluster]:
    with running("docker", set=settings(daemon)) as found:
        limits = {"limits": {"cpu": "100m", "memory": "32Mi"}, "requests": {"cpu": "50m", "memory": "16Mi"}}
        spec = {"containers": [{"name": "busy", "resources": limits}]}
        flags = ("--port=80", f"--overrides={json.dumps({'spec': spec})}", "--override-type=strategic")
        run(found, "busy", "sh", "-c", BUSY, flags=flags)
        run(found, "idle", "sh", "-c", "exec httpd -f -p 80 -h /", flags=("--port=80",))
        for name in ("busy", "idle"):
            ready(found, name)
        yield found


def samples(text: str, name: str, **wanted: str) -> list[Sample]:
    """Of one series, those with these labels."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)(?: \d+)?", line)
        if match is not None:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match[1] or ""))
            if labels.items() >= wanted.items():
                found.append((labels, float(match[2])))
    return found


def value(text: str, name: str, **wanted: str) -> float:
    """The one number. Raises LookupError."""
    found = samples(text, name, **wanted)
    if len(found) != 1:
        raise LookupError(f"{name}{wanted}: {found}")
    return found[0][1]


def page(cluster: RunningCluster, path: str = "/metrics/cadvisor") -> str:
    return cluster.kubectl("get", "--raw", f"{KUBELET}{path}")


def test_a_container_that_is_held_back_says_so(cluster: RunningCluster) -> None:
    of = {"pod": "busy", "container": "busy", "namespace": "default"}
    first = page(cluster)
    began = time.monotonic()

    def throttled() -> bool:
        return value(page(cluster), "container_cpu_cfs_throttled_periods_total", **of) >= 20

    assert poll(throttled)
    now = page(cluster)
    used = value(now, "container_cpu_usage_seconds_total", **of) - value(
        first, "container_cpu_usage_seconds_total", **of
    )
    assert 0 < used < 0.2 * (time.monotonic() - began + 1)
    assert value(now, "container_cpu_cfs_throttled_seconds_total", **of) > 0
    assert value(now, "container_spec_cpu_quota", **of) == 10_000
    assert value(now, "container_spec_cpu_period", **of) == 100_000
    assert value(now, "container_spec_memory_limit_bytes", **of) == 32 * 2**20
    assert 0 < value(now, "container_memory_working_set_bytes", **of) < 32 * 2**20
    assert value(now, "container_processes", **of) == 1
    assert not samples(now, "container_spec_cpu_quota", pod="idle", container="idle")


def test_every_group_from_the_machine_to_the_container_is_told(cluster: RunningCluster) -> None:
    text, name = page(cluster), "container_memory_usage_bytes"
    uid = cluster.get("pod", "busy")["metadata"]["uid"]
    ids = {labels["id"]: labels for labels, _ in samples(text, name)}
    assert {"/", "/kubepods", "/kubepods/burstable", "/kubepods/besteffort"} <= set(ids)
    ((labels, _),) = samples(text, name, pod="busy", container="busy")
    assert uid in labels["id"]
    assert (labels["image"], len(labels["name"])) == ("busybox:latest", 64)
    assert any(Path(f"/sys/fs/cgroup{sub}{labels['id']}").is_dir() for sub in ("", "/memory"))
    total = int(re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[0]) * 1024
    assert value(text, "machine_memory_bytes") == total
    assert value(text, "machine_cpu_cores") == os.cpu_count()
    assert value(text, name, id="/") > value(text, name, id="/kubepods")


def test_traffic_and_writes_are_counted_where_they_happen(cluster: RunningCluster) -> None:
    address = cluster.get("pod", "idle")["status"]["podIP"]
    before = page(cluster)
    cluster.kubectl("exec", "busy", "--", "sh", "-c", f"wget -qO- http://{address}/bin/busybox > /tmp/x; sync")
    now = page(cluster)

    def grown(name: str, **of: str) -> float:
        return value(now, name, **of) - value(before, name, **of)

    size = (Path("/bin/busybox") if Path("/bin/busybox").exists() else Path("/usr/bin/busybox")).stat().st_size
    assert grown("container_network_transmit_bytes_total", pod="idle", interface="eth0") > size
    assert grown("container_network_receive_bytes_total", pod="busy", interface="eth0") > size
    assert grown("container_network_receive_packets_total", pod="busy", interface="eth0") > 10
    # pages of a file that was written belong to the container
    assert value(now, "container_memory_cache", pod="busy", container="busy") >= 0


def test_a_pod_that_takes_too_much_memory_is_counted(cluster: RunningCluster) -> None:
    limits = {"spec": {"containers": [{"name": "leak", "resources": {"limits": {"memory": "16Mi"}}}]}}
    # the shell lives on: what is killed is its child
    leak = "while :; do dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 0.2; done"
    flags = (f"--overrides={json.dumps(limits)}", "--override-type=strategic")
    run(cluster, "leak", "sh", "-c", leak, flags=flags)
    assert poll(lambda: value(page(cluster), "container_oom_events_total", pod="leak", container="leak") > 0)
    cluster.kubectl("delete", "pod", "leak", "--now")


def test_the_summary_has_the_same_figures(cluster: RunningCluster) -> None:
    said = json.loads(page(cluster, "/stats/summary"))
    pod = next(p for p in said["pods"] if p["podRef"]["name"] == "busy")
    (container,) = pod["containers"]
    assert container["cpu"]["usageNanoCores"] == pytest.approx(0.1e9, rel=0.5)
    assert 0 < container["memory"]["workingSetBytes"] < 32 * 2**20
    assert container["memory"]["availableBytes"] == 32 * 2**20 - container["memory"]["workingSetBytes"]
    assert pod["process_stats"]["process_count"] >= 1
    assert pod["network"]["interfaces"][0]["name"] == "eth0"
    node = said["node"]
    assert node["cpu"]["usageCoreNanoSeconds"] > pod["cpu"]["usageCoreNanoSeconds"]
    assert node["rlimit"]["maxpid"] > node["rlimit"]["curproc"] > 0
    assert node["fs"]["capacityBytes"] > node["fs"]["usedBytes"] > 0
    assert {c["name"] for c in node["systemContainers"]} == {"kubelet", "pods"}
    short = json.loads(page(cluster, "/stats/summary?only_cpu_and_memory=true"))
    assert "fs" not in short["node"]


def test_kubectl_top_shows_the_load(cluster: RunningCluster) -> None:
    def cores() -> int:
        line = cluster.kubectl("top", "pod", "busy", "--no-headers", timeout=20)
        return int(line.split()[1].removesuffix("m"))

    assert poll(lambda: 50 <= cores() <= 150, seconds=40)
    assert "node-1" in cluster.kubectl("top", "node", "--no-headers")


def test_a_scrape_asks_the_engine_nothing(cluster: RunningCluster, daemon: Daemon) -> None:
    engine = int((daemon.directory / "pid").read_text())
    os.kill(engine, signal.SIGSTOP)  # it could not answer
    try:
        text = page(cluster)
        page(cluster, "/metrics/resource")
        page(cluster, "/stats/summary?only_cpu_and_memory=true")
    finally:
        os.kill(engine, signal.SIGCONT)
    assert samples(text, "container_cpu_usage_seconds_total", pod="busy", container="busy")


def test_a_deployment_grows_and_shrinks_with_its_load(cluster: RunningCluster) -> None:
    cluster.kubectl("apply", "-f", "-", input=SCALED)
    cluster.kubectl("rollout", "status", "deployment/worker", "--timeout=30s")

    def replicas() -> int:
        found: int = cluster.get("deployment", "worker")["spec"]["replicas"]
        return found

    assert poll(lambda: replicas() == 2, seconds=90), cluster.kubectl("describe", "hpa", "worker")
    cluster.kubectl("rollout", "status", "deployment/worker", "--timeout=30s")
    cluster.kubectl("set", "env", "deployment/worker", "LOAD=none")  # the new pods have nothing to do
    assert poll(lambda: replicas() == 1, seconds=120), cluster.kubectl("describe", "hpa", "worker")
    cluster.kubectl("delete", "deployment,hpa", "worker")


@pytest.fixture
def prometheus(cluster: RunningCluster, tmp_path: Path) -> Iterator[Monitor]:
    """The kubelet's jobs of the kube-prometheus stack, whose job is `kubelet` for all paths."""
    needs("prometheus")
    cluster.kubectl("apply", "-f", "-", input=OBJECTS.partition("---\napiVersion: apps/v1")[0])
    token = tmp_path / "token"
    token.write_text(cluster.kubectl("create", "token", "prometheus", "-n", "monitoring"))
    node = cluster.get("node", "node-1")["status"]
    target = f"{node['addresses'][0]['address']}:{node['daemonEndpoints']['kubeletEndpoint']['Port']}"
    paths = ("/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes")
    jobs: list[dict[str, Any]] = [
        {
            "job_name": f"kubelet{path}",
            "metrics_path": path,
            "scheme": "https",
            "authorization": {"type": "Bearer", "credentials_file": str(token)},
            "tls_config": {"insecure_skip_verify": True},
            "honor_labels": True,
            "static_configs": [
                {"targets": [target], "labels": {"job": "kubelet", "metrics_path": path, "node": "node-1"}}
            ],
        }
        for path in paths
    ]
    command = ("prometheus", f"--config.file={tmp_path}/scrape.yml", f"--storage.tsdb.path={tmp_path}/data")
    with started(tmp_path, jobs, *command, listen="--web.listen-address") as monitor:
        yield monitor


CADVISOR = 'job="kubelet", metrics_path="/metrics/cadvisor", image!=""'


def test_prometheus_records_what_the_usual_rules_ask_of_containers(prometheus: Monitor) -> None:
    def down() -> list[str]:
        return [t["lastError"] for t in prometheus.targets() if t["health"] != "up"]

    assert poll(lambda: not down()), down()
    rate = f"sum by (namespace, pod, container) (irate(container_cpu_usage_seconds_total{{{CADVISOR}}}[5m]))"
    assert poll(lambda: {m["pod"] for m, _ in prometheus.query(rate)} >= {"busy", "idle"}), prometheus.query(rate)
    busy = f'sum(irate(container_cpu_usage_seconds_total{{{CADVISOR}, pod="busy"}}[5m]))'
    assert poll(lambda: prometheus.value(busy) == pytest.approx(0.1, rel=0.5)), prometheus.query(busy)
    for name in ("working_set_bytes", "rss", "cache", "swap"):
        told = {m["pod"] for m, _ in prometheus.query(f"container_memory_{name}{{{CADVISOR}}}")}
        assert told >= {"busy", "idle"}, name
    held = (
        'sum(increase(container_cpu_cfs_throttled_periods_total{container!=""}[1m])) by (container, pod, namespace)'
        ' / sum(increase(container_cpu_cfs_periods_total{container!=""}[1m])) by (container, pod, namespace)'
    )
    assert poll(lambda: any(m["pod"] == "busy" and v > 0.25 for m, v in prometheus.query(held))), "CPUThrottlingHigh"
    sums = 'sum by (namespace) (rate(container_network_receive_bytes_total{namespace!=""}[1m]))'
    assert poll(lambda: [m["namespace"] for m, _ in prometheus.query(sums)] == ["default"])


SCALED = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: worker}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: worker}}}}
  template:
    metadata: {{labels: {{app: worker}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: busybox:latest
        imagePullPolicy: IfNotPresent
        command: [sh, -c, 'if [ "$LOAD" = none ]; then sleep 3600; fi; {BUSY}']
        resources: {{requests: {{cpu: 50m}}, limits: {{cpu: 100m}}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: worker}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: worker}}
  minReplicas: 1
  maxReplicas: 2
  metrics:
  - {{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 60}}}}}}
  behavior: {{scaleDown: {{stabilizationWindowSeconds: 1}}}}
"""
