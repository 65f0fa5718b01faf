"""What pods say they use reaches `kubectl top` and the autoscaler, and what they print reaches `kubectl logs`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kcore.testing.running import RunningCluster, running
from kcore.testing.waiting import poll


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    with running("memory") as cluster:
        annotations = {
            "cpu": "200m",
            "memory": "64Mi",
            "log": "hello\nthere",
            "log-every": "100ms",
            "log-line": "n {n}",
        }
        template = {
            "metadata": {
                "labels": {"app": "busy"},
                "annotations": {f"kcore.dev/{k}": v for k, v in annotations.items()},
            },
            "spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "100m"}}}]},
        }
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": "busy"}}, "template": template}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "busy"}, "spec": spec}
        cluster.kubectl("apply", "-f", "-", input=json.dumps(deployment))
        cluster.kubectl("wait", "--for=condition=Available", "deployment/busy", "--timeout=20s")
        yield cluster


def test_logs_have_what_the_pod_prints(cluster: RunningCluster) -> None:
    assert poll(
        lambda: cluster.kubectl("logs", "deployment/busy", "--limit-bytes=24") == "hello\nthere\nn 1\nn 2\nn 3\n"
    )
    assert cluster.kubectl("logs", "deployment/busy", "--tail=2").startswith("n ")


def test_top_shows_what_pods_and_nodes_use(cluster: RunningCluster) -> None:
    def usage() -> list[str]:
        shown = cluster.run_kubectl("top", "pods", "-l", "app=busy", "--no-headers", check=False).stdout.split()
        return shown[1:]

    assert poll(lambda: usage() == ["200m", "64Mi"]), usage()
    nodes = cluster.kubectl("top", "nodes", "--no-headers").splitlines()
    assert len(nodes) == 3
    assert sum(int(line.split()[1].removesuffix("m")) for line in nodes) >= 200


def test_the_autoscaler_adds_pods_until_their_use_is_as_wanted(cluster: RunningCluster) -> None:
    test_top_shows_what_pods_and_nodes_use(cluster)
    cluster.kubectl("autoscale", "deployment", "busy", "--min=1", "--max=6", "--cpu=100%")
    replicas = poll(lambda: cluster.get("deployment", "busy")["spec"]["replicas"] >= 2, seconds=40, every=0.3)
    assert replicas, cluster.kubectl("describe", "hpa", "busy")
    events = cluster.kubectl("get", "events", "--field-selector=reason=SuccessfulRescale")
    assert "cpu resource utilization (percentage of request) above target" in events
    hpa = cluster.get("hpa", "busy")["status"]
    assert hpa["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 200
