"""The process ends and starts again on the same store: pods are the same ones, and finished work stays finished."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from kcore.testing.running import RunningCluster, running


def pods(cluster: RunningCluster) -> dict[str, Any]:
    return {p["metadata"]["name"]: p for p in cluster.get("pods")["items"]}


def restarts(pod: Any) -> int:
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def test_pods_are_recovered_after_a_kill(tmp_path: Path) -> None:
    with running("dev", directory=tmp_path) as cluster:
        cluster.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=2")
        cluster.kubectl("create", "job", "once", "--image=busybox", "--", "echo", "hi")
        cluster.kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
        cluster.kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=20s")
        before = pods(cluster)
        cluster.stop(signal.SIGKILL)
    with running("dev", directory=tmp_path) as cluster:
        # fake containers live in the process: they have started again, in the same pods
        cluster.kubectl(
            "wait", "pods", "-l", "app=web", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1",
            "--timeout=20s",
        )  # fmt: skip
        cluster.kubectl("wait", "pods", "-l", "app=web", "--for=condition=Ready", "--timeout=20s")
        after = pods(cluster)
        assert {n: p["metadata"]["uid"] for n, p in after.items()} == {
            n: p["metadata"]["uid"] for n, p in before.items()
        }
        for name, pod in after.items():
            if name.startswith("web-"):
                assert restarts(pod) == 1
                assert pod["spec"]["nodeName"] == before[name]["spec"]["nodeName"]
            else:
                assert (pod["status"]["phase"], restarts(pod)) == ("Succeeded", 0)
        addresses = sorted(p["status"]["podIP"] for n, p in after.items() if n.startswith("web-"))
        assert len(set(addresses)) == 2
