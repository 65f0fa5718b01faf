"""A thousand fake nodes, and ten thousand pods of twenty Deployments on them.

    python -m tests.benchmarks scale [PODS [NODES]]

The cluster is `kcore up -c thousand-nodes`, in one process. The time runs from the start of the process until the API
shows every node Ready, and from the first Deployment until their status says that every replica is ready. The floor is
what the writes alone would take: four for each pod (create, bind, two of status), at the rate at which the same
cluster has just created ConfigMaps.
"""

from __future__ import annotations

import json
import os
import sys
import time

from kcore.testing.running import running
from tests.benchmarks.bench_server import WRITERS, config_map
from tests.benchmarks.figures import cpu_seconds, duration, figure, heading, resident_bytes
from tests.benchmarks.load import Connection, Target, connections, drive

DEPLOYMENTS = 20
WRITES = 4  # of each pod, from nothing to Running
PATIENCE = 300.0


def deployment(name: str, replicas: int) -> bytes:
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}}
    container = {"name": "main", "image": "nginx:1.27", "resources": resources}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return json.dumps(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    ).encode()


def items(connection: Connection, target: Target, path: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(connection.ask(target.request("GET", path)).partition(b"\r\n\r\n")[2])[
        "items"
    ]
    return found


def nodes_ready(connection: Connection, target: Target) -> int:
    ready = 0
    for node in items(connection, target, "/api/v1/nodes"):
        conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", ())}  # type: ignore[attr-defined]
        ready += conditions.get("Ready") == "True"
    return ready


def replicas_ready(connection: Connection, target: Target) -> int:
    found = items(connection, target, "/apis/apps/v1/namespaces/default/deployments")
    return sum(d["status"].get("readyReplicas", 0) for d in found)  # type: ignore[attr-defined]


def main(pods: int = 10_000, nodes: int = 1000) -> None:
    heading(f"{nodes:,} nodes and {pods:,} pods in one process ({os.cpu_count()} cores)")
    began = time.perf_counter()
    with running("thousand-nodes", set={"nodes.count": nodes}) as cluster:
        target, pid = Target.of(cluster.kubeconfig), cluster.process.pid
        with connections(target, 1) as (connection,):
            while nodes_ready(connection, target) < nodes:
                time.sleep(0.1)
            duration(f"{nodes:,} nodes Ready", time.perf_counter() - began, 10)
            path = "/api/v1/namespaces/default/configmaps"
            writes = drive(
                target, WRITERS, lambda n: target.request("POST", path, config_map(f"c{n}")), 1.0, code=201
            ).per_second
            began, used = time.perf_counter(), cpu_seconds(pid)
            path = "/apis/apps/v1/namespaces/default/deployments"
            for n in range(DEPLOYMENTS):
                connection.ask(target.request("POST", path, deployment(f"web-{n}", pods // DEPLOYMENTS)), code=201)
            last, moved = 0, began
            while (ready := replicas_ready(connection, target)) < pods:
                now = time.perf_counter()
                if ready > last:
                    last, moved = ready, now
                if now - moved > PATIENCE / 5 or now - began > PATIENCE:
                    figure(f"{pods:,} pods Running", f"{ready:,} only", "all", False)
                    return
                time.sleep(0.25)
            took = time.perf_counter() - began
            duration(f"{pods:,} pods scheduled and Running", took, 60, pods * WRITES / writes, "their writes alone")
            cpu = (cpu_seconds(pid) - used) / pods
            figure("", f"{cpu * 1e6:,.0f} us of the process's time for a pod", "", None)
            figure("resident memory", f"{resident_bytes(pid) / 1e6:,.0f} MB", "", None)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
