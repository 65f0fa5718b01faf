"""Parts of a running cluster are replaced, and nobody notices."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kcore.testing.load import load
from kcore.testing.running import RunningCluster, running
from kcore.testing.waiting import poll


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    with running("memory") as cluster:
        cluster.kubectl("create", "deployment", "web", "--image=nginx", "--port=8080", "--replicas=3")
        cluster.kubectl("expose", "deployment", "web", "--port=8080")
        cluster.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
        yield cluster


def address(cluster: RunningCluster) -> tuple[str, int]:
    return cluster.get("service", "web")["spec"]["clusterIP"], 8080


def undisturbed(cluster: RunningCluster) -> None:
    """Nothing has crashed, no pod is another one, and none was restarted."""
    status = cluster.status()
    assert {p["slot"]: (p["state"], p["restarts"]) for p in status["parts"]} == {
        p["slot"]: ("open", 0) for p in status["parts"]
    }
    assert cluster.said == ""


def pods(cluster: RunningCluster) -> dict[str, int]:
    """Restarts by uid."""
    return {
        p["metadata"]["uid"]: sum(c["restartCount"] for c in p["status"]["containerStatuses"])
        for p in cluster.get("pods", "-l", "app=web")["items"]
    }


def test_the_proxy_is_swapped_under_load_without_a_failed_request(cluster: RunningCluster) -> None:
    with load(*address(cluster)) as sent:
        for _ in range(3):
            cluster.kcore("swap", "proxy", "userspace", "--set", "udp_timeout=30.0")
    assert sent.failures == []
    assert sent.answers > 100
    undisturbed(cluster)


@pytest.mark.parametrize(
    ("slot", "provider", "setting"),
    [
        ("scheduler", "default", "seed=7"),
        ("controller_manager", "default", "workers=3"),
        ("metrics", "prometheus", ""),
    ],
)
def test_other_parts_are_swapped_and_do_their_work(
    cluster: RunningCluster, slot: str, provider: str, setting: str
) -> None:
    before = pods(cluster)
    more = ["--set", setting] if setting else []
    name = slot.replace("_", "-")
    with load(*address(cluster)) as sent:
        cluster.kcore("swap", slot, provider, *more)
        cluster.kubectl("create", "deployment", name, "--image=nginx", "--replicas=2")
        cluster.kubectl("wait", "--for=condition=Available", f"deployment/{name}", "--timeout=20s")
    assert sent.failures == []
    assert pods(cluster) == before
    undisturbed(cluster)


def test_the_api_is_swapped_and_everything_goes_on(cluster: RunningCluster) -> None:
    before = pods(cluster)
    port = cluster.status()["server"].rpartition(":")[2]
    with load(*address(cluster)) as sent:
        cluster.kcore("swap", "api", "http", "--set", f"port={port}")
        cluster.kubectl("create", "deployment", "after-api", "--image=nginx", "--replicas=2")
        cluster.kubectl("wait", "--for=condition=Available", "deployment/after-api", "--timeout=20s")
    assert sent.failures == []
    assert pods(cluster) == before
    undisturbed(cluster)
    cluster.kubectl("logs", "deployment/after-api")


def test_a_part_that_cannot_open_leaves_the_old_one_serving(cluster: RunningCluster) -> None:
    with load(*address(cluster)) as sent:
        for slot, provider, setting, message in (
            ("proxy", "userspace", "no_such=1", "no such setting"),
            ("proxy", "iptabels", "", "no proxy is called"),
            ("metrics", "prometheus", "address=192.0.2.1", "cannot listen"),
            ("scheduler", "default", "policies=['none']", "none"),
        ):
            more = ["--set", setting] if setting else []
            refused = cluster.kcore("swap", slot, provider, *more, check=False)
            assert refused.returncode != 0
            assert message in refused.stderr
            assert "Traceback" not in refused.stderr
    assert sent.failures == []
    undisturbed(cluster)


def test_the_store_is_not_swapped(cluster: RunningCluster) -> None:
    refused = cluster.kcore("swap", "store", "memory", check=False)
    assert refused.returncode == 2
    assert "store" in refused.stderr


def test_nodes_are_swapped_and_their_pods_go_on(cluster: RunningCluster) -> None:
    before = pods(cluster)
    kubelet = cluster.get("node", "node-1")["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    cluster.kcore("swap", "nodes", "embedded", "--set", "count=4", "--set", f"port={kubelet}", "--set", 'cpu="4"')
    cluster.kubectl("wait", "--for=condition=Ready", "node/node-4", "--timeout=20s")
    cluster.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    assert poll(lambda: set(pods(cluster)) == set(before))
    assert poll(lambda: cluster.get("node", "node-1")["status"]["capacity"]["cpu"] == "4")
    with load(*address(cluster), seconds=0.5) as sent:
        pass
    assert sent.failures == []
    undisturbed(cluster)
    assert json.loads(cluster.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/stats/summary"))["node"]
