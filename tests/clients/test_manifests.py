"""Applications as people write them down: applied, they run, and every replica answers through its service."""

from __future__ import annotations

import json
import ssl
import time
import urllib.request
from typing import Any

from .conftest import MANIFESTS, Kubectl, wait_until


def replicas(kubectl: Kubectl, service: str) -> set[str]:
    """The ready pods that a service's endpoint slices name."""
    slices = kubectl.get("endpointslices", "-l", f"kubernetes.io/service-name={service}")["items"]
    found = [e for s in slices for e in s.get("endpoints") or ()]
    return {e["targetRef"]["name"] for e in found if e["conditions"]["ready"]}


def ask(address: str, port: int, scheme: str = "http") -> Any:
    """What the pod behind the address says of itself."""
    context = ssl._create_unverified_context() if scheme == "https" else None
    with urllib.request.urlopen(f"{scheme}://{address}:{port}/", timeout=10, context=context) as answer:
        return json.load(answer)


def answering(address: str, port: int, wanted: set[str], scheme: str = "http") -> set[str]:
    """The pods that answer, asked until all of `wanted` have."""
    seen: set[str] = set()
    until = time.monotonic() + 20
    while not wanted <= seen and time.monotonic() < until:
        seen.add(ask(address, port, scheme)["pod"])
    return seen


def listening(kubectl: Kubectl, service: str, index: int = 0) -> tuple[str, int]:
    """Where the service's port answers: a port below 1024 that may not be bound is served at 8000 more."""
    spec = kubectl.get("service", service)["spec"]
    port = spec["ports"][index]["port"]
    status = kubectl.cluster.status()
    return spec["clusterIP"], port + 8000 if port < 1024 and _moved(status, port) else port


def _moved(status: Any, port: int) -> bool:
    return f"{port + 8000}" in json.dumps(status)


def test_a_shop_with_every_kind_of_probe_becomes_ready_and_answers(kubectl: Kubectl) -> None:
    said = kubectl("apply", "-f", str(MANIFESTS / "shop.yaml"))
    assert said.count(" created\n") == len(said.splitlines()) == 15
    for name in ("front", "catalogue", "payment"):
        kubectl("rollout", "status", f"deployment/{name}", "--timeout=30s")
    kubectl("wait", "--for=jsonpath={.status.readyReplicas}=2", "rc/cache", "--timeout=30s")
    for service, size, scheme in (
        ("front", 3, "http"), ("catalogue", 2, "http"), ("cache", 2, "http"), ("payment", 1, "https"),
    ):  # fmt: skip
        pods = wait_until(lambda name=service: replicas(kubectl, name), lambda seen, n=size: len(seen) == n)
        assert answering(*listening(kubectl, service), pods, scheme) == pods
    assert answering(*listening(kubectl, "front", 1), replicas(kubectl, "front")) == replicas(kubectl, "front")
    node_port = kubectl.get("service", "front")["spec"]["ports"][0]["nodePort"]
    assert ask("127.0.0.1", node_port)["pod"] in replicas(kubectl, "front")
    nodes = kubectl("get", "pods", "-l", "app=front", "-o", "jsonpath={.items[*].spec.nodeName}").split()
    assert len(set(nodes)) == 3  # they would rather not share one
    pod = min(replicas(kubectl, "front"))
    assert kubectl("logs", pod, "-c", "prepare") == "green"
    assert kubectl("logs", pod, "-c", "sidecar") == "beside\n"
    inside = kubectl(
        "exec", pod, "-c", "server", "--", "sh", "-c", "echo $COLOUR $PASSWORD; cat /etc/password/password"
    )
    assert inside == "green hidden\nhidden"
    assert kubectl("exec", pod, "-c", "server", "--", "cat", "/work/state") == "prepared\n"
    assert kubectl.get("pdb", "front")["status"]["disruptionsAllowed"] == 1
    unchanged = kubectl("apply", "-f", str(MANIFESTS / "shop.yaml"))
    changed = [line for line in unchanged.splitlines() if not line.endswith(" unchanged")]
    # as everywhere: stringData is never stored, and a selector that is replaced as a whole is always sent
    assert changed == ["secret/password configured", "poddisruptionbudget.policy/front configured"]


def test_a_database_gets_its_volumes_one_member_after_the_other(kubectl: Kubectl) -> None:
    try:
        kubectl("apply", "-f", str(MANIFESTS / "database.yaml"))
        kubectl("rollout", "status", "statefulset/database", "--timeout=30s")
        members = {f"database-{i}" for i in range(3)}
        assert replicas(kubectl, "database") == members
        claims = {c["metadata"]["name"]: c for c in kubectl.get("pvc")["items"]}
        assert set(claims) == {f"{volume}-{m}" for volume in ("data", "log") for m in members}
        assert {c["status"]["phase"] for c in claims.values()} == {"Bound"}
        assert claims["data-database-0"]["spec"]["storageClassName"] == "standard"
        (default,) = (c for c in kubectl.get("storageclasses")["items"] if c["metadata"]["name"] == "standard")
        assert default["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
        volume = kubectl.get("pv", claims["log-database-1"]["spec"]["volumeName"])
        assert (volume["spec"]["storageClassName"], volume["status"]["phase"]) == ("old", "Bound")
        file = "/var/lib/postgresql/data/kept"
        kubectl("exec", "database-1", "--", "sh", "-c", f"echo row > {file}")
        kubectl("delete", "pod", "database-1")
        kubectl("rollout", "status", "statefulset/database", "--timeout=30s")
        assert kubectl("exec", "database-1", "--", "cat", file) == "row\n"
        kubectl("delete", "statefulset", "database")
        kubectl("delete", "pvc", "--all")
        name = claims["data-database-0"]["spec"]["volumeName"]
        kubectl("wait", "--for=delete", f"pv/{name}", "--timeout=20s")
    finally:
        kubectl("delete", "storageclass", "old", "--ignore-not-found")


def test_agents_run_on_every_node_and_jobs_to_their_end(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", str(MANIFESTS / "agents.yaml"))
    kubectl("rollout", "status", "daemonset/exporter", "--timeout=30s")
    pods = kubectl.get("pods", "-l", "app=exporter")["items"]
    assert {p["spec"]["nodeName"] for p in pods} == {"node-1", "node-2", "node-3"}
    assert {p["spec"]["priority"] for p in pods} == {2000001000}
    for pod in pods:
        assert ask(pod["status"]["podIP"], 9100)["node"] == pod["spec"]["nodeName"]
    kubectl("wait", "--for=condition=Complete", "job/migrate", "--timeout=30s")
    status = kubectl.get("job", "migrate")["status"]
    assert (status["succeeded"], status["completedIndexes"]) == (3, "0-2")
    logs = kubectl("logs", "-l", "batch.kubernetes.io/job-name=migrate", "--tail=-1").splitlines()
    assert sorted(logs) == ["part 0", "part 1", "part 2"]
    kubectl("create", "job", "now", "--from=cronjob/backup")
    kubectl("wait", "--for=condition=Complete", "job/now", "--timeout=30s")
    assert kubectl("logs", "job/now") == "saved\n"
    assert " */5 * * * *" in kubectl("get", "cronjobs")
