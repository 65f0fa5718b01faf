"""The same load that kube-apiserver 1.36 with etcd 3.5 was given on such a machine, and what it showed then.

    python -m tests.benchmarks upstream [SECONDS OF EACH LOAD]

One process serves `kcore up -c api-only` with a durable SQLite store, over TLS, to a user whom RBAC lets into one
namespace only, with all of the default admission plugins; the client shares the two cores. Each line shows what the
server process itself spent on a request as well: that is comparable when something else keeps the machine busy.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from kcore.pki import Pki
from kcore.testing.running import RunningCluster, free_port, running
from tests.benchmarks.figures import cpu_seconds, duration, figure, heading, peak_bytes, resident_bytes
from tests.benchmarks.load import Connection, Measured, Target, connections, drive

CLIENTS = 32
PODS = 4750
NAMESPACE = "bench"
USER, GROUP = "bench", "benchers"
ADMISSION = [
    "NamespaceLifecycle",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "PodSecurity",
    "Priority",
    "DefaultTolerationSeconds",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "RBACEscalation",
    "ResourceQuota",
]
SETTINGS: dict[str, Any] = {"store.use": "sqlite", "api.admission": ADMISSION}


def pod(name: str, **more: Any) -> bytes:
    """A pod that nobody schedules, as a chart would write it: 5.7 KB when it is stored, with its managedFields."""
    env = [{"name": f"SETTING_{i}", "value": f"https://service-{i}.example.com/path/of/some/length"} for i in range(1)]
    reference = {"secretKeyRef": {"name": "credentials", "key": "token"}}
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10}
    mounts = [{"name": "config", "mountPath": "/etc/web"}, {"name": "cache", "mountPath": "/var/cache/web"}]
    main = {
        "name": "main",
        "image": "registry.example.com/team/web:1.27.3",
        "args": ["--config=/etc/web/web.yaml", "--listen=:8080", "--log-level=info"],
        "env": [*env, {"name": "TOKEN", "valueFrom": reference}],
        "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 9090, "name": "metrics"}],
        "resources": {
            "limits": {"cpu": "500m", "memory": "128Mi"},
            "requests": {"cpu": "100m", "memory": "64Mi"},
        },
        "livenessProbe": probe,
        "volumeMounts": mounts,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    sidecar = {
        "name": "proxy",
        "image": "registry.example.com/mesh/proxy:1.9.0",
        "ports": [{"containerPort": 15001, "name": "mesh"}],
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}},
        "volumeMounts": mounts[:1],
    }
    volumes = [{"name": "config", "configMap": {"name": "web"}}, {"name": "cache", "emptyDir": {}}]
    labels = {"app.kubernetes.io/name": "web", "app.kubernetes.io/instance": "web-1", "pod-template-hash": "5d4f8c7b9"}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9", "uid": "8a1f", "controller": True}
    spec = {
        "containers": [main, sidecar],
        "volumes": volumes,
        "schedulingGates": [{"name": "example.com/never"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        **more,
    }
    meta = {
        "name": name,
        "labels": labels,
        "annotations": {"checksum/config": "5f1c" * 16},
        "ownerReferences": [owner],
    }
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
    return json.dumps(obj, separators=(",", ":")).encode()  # as Go writes it


def config_map(name: str) -> bytes:
    data = {"settings": "x" * 200}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}).encode()


# --- preparing -------------------------------------------------------------------------------------------------------


def ordinary(cluster: RunningCluster) -> Target:
    """The cluster as a user who may edit one namespace and read the nodes."""
    certificate, key = Pki.open(cluster.directory).client_certificate(USER, (GROUP,))
    config = json.loads(cluster.kubeconfig.read_bytes())
    server = config["clusters"][0]["cluster"]
    return Target.with_certificate(server, certificate, key)


def prepare(admin: Target) -> None:
    """The namespace and what the user may do there; a few hundred bindings of others."""

    def post(path: str, **obj: Any) -> None:
        connection.ask(admin.request("POST", path, json.dumps(obj).encode()), code=201)

    rbac = "/apis/rbac.authorization.k8s.io/v1"
    with connections(admin, 1) as (connection,):
        post("/api/v1/namespaces", metadata={"name": NAMESPACE})
        post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", metadata={"name": "default"})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
        for n in range(200):
            other = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": f"other-{n}"}
            post(
                f"{rbac}/namespaces/{NAMESPACE}/rolebindings",
                metadata={"name": f"o{n}"},
                roleRef=role,
                subjects=[other],
            )
        group = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": GROUP}
        post(f"{rbac}/namespaces/{NAMESPACE}/rolebindings", metadata={"name": "bench"}, roleRef=role, subjects=[group])


# --- loads -----------------------------------------------------------------------------------------------------------


class Load:
    """Runs loads against one process, and tells what each cost it."""

    def __init__(self, target: Target, pid: int, seconds: float) -> None:
        self.target, self.pid, self.seconds = target, pid, seconds
        self.created = {"pods": 0, "configmaps": 0}

    def drive(self, requests: Callable[[int], bytes], code: int = 200) -> tuple[Measured, str]:
        used, own = cpu_seconds(self.pid), time.process_time()
        measured = drive(self.target, CLIENTS, requests, self.seconds, code=code)
        used, own = cpu_seconds(self.pid) - used, time.process_time() - own
        count = measured.count + 50
        p50, p99 = measured.quantile(0.5) * 1000, measured.quantile(0.99) * 1000
        spent = f"{used / count * 1e6:.0f} us of the server's CPU each, {own / count * 1e6:.0f} us of the client's"
        return measured, f"p50 {p50:.1f} ms, p99 {p99:.1f} ms; {spent}"

    def creates(self, name: str, plural: str, make: Callable[[str], bytes], upstream: float) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/{plural}"

        def request(_: int) -> bytes:
            self.created[plural] += 1
            return self.target.request("POST", path, make(f"n{self.created[plural]:06}"))

        measured, shown = self.drive(request, 201)
        against(f"{name}, {CLIENTS} connections", measured.per_second, upstream, 3)
        figure("", shown, "", None)

    def gets(self) -> None:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        wanted = [
            self.target.request("GET", f"{path}/n{n:06}") for n in range(1, min(PODS, self.created["pods"] - CLIENTS))
        ]
        measured, shown = self.drive(lambda n: wanted[n * 7919 % len(wanted)])
        against(f"GET of a pod, {CLIENTS} connections", measured.per_second, 2090, 3)
        figure("", shown, "", None)

    def fill(self) -> None:
        """As many pods as upstream was asked to list."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        with connections(self.target, CLIENTS) as opened:
            while self.created["pods"] < PODS:
                for each in opened:
                    self.created["pods"] += 1
                    each.send(self.target.request("POST", path, pod(f"n{self.created['pods']:06}")))
                for each in opened:
                    while each.receive() is None:
                        pass

    def lists(self) -> None:
        request = self.target.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")
        with connections(self.target, 1) as (connection,):
            size = len(connection.ask(request))
            count = connection.ask(request).count(b'"uid":"8a1f"')
            used = cpu_seconds(self.pid)
            seconds = [_timed(connection, request) for _ in range(15)]
            used = cpu_seconds(self.pid) - used
        scale = size / 27e6  # upstream's list was 27 MB
        name = f"LIST of {count:,} pods ({size / 1e6:.1f} MB)"
        duration(
            name, statistics.median(seconds), 0.45 / 20 * scale, 0.45 * scale, "what upstream took for as many MB"
        )
        figure("", f"{used / 15 * 1000:.1f} ms of the server's CPU each", "", None)


def _timed(connection: Connection, request: bytes) -> float:
    began = time.perf_counter()
    connection.fetch(request)
    return time.perf_counter() - began


def against(name: str, measured: float, upstream: float, times: float) -> None:
    least = upstream * times
    shown = f"{measured / upstream:5.1f} x kube-apiserver's {upstream:,.0f}/s"
    figure(name, f"{measured:,.0f}/s", f"at least {least:,.0f}/s", measured >= least, shown)


# --- start -----------------------------------------------------------------------------------------------------------


def start() -> None:
    """From the birth of the process until /readyz says ok, with a fresh directory."""
    seconds = []
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(6):
        with tempfile.TemporaryDirectory() as directory:
            port = free_port()
            command = [sys.executable, "-m", "kcore", "up", "-c", "api-only", "--data-dir", directory]
            for name, value in {**SETTINGS, "api.port": port}.items():
                command += ["--set", f"{name}={json.dumps(value)}"]
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
            target = Target.untrusted(port)
            while True:
                try:
                    Connection(target).ask(target.request("GET", "/readyz"))
                    break
                except OSError:
                    time.sleep(0.002)
            seconds.append(time.perf_counter() - began)
            process.terminate()
            process.wait()
    duration("start to ready, a fresh directory", statistics.median(seconds[1:]), 3.2 / 5, 3.2, "upstream's")


def memory(pid: int, name: str, most: float, upstream: float) -> None:
    size = resident_bytes(pid) / 1e6
    shown = f"{size / upstream:5.2f} of upstream's {upstream:.0f} MB; at its peak {peak_bytes(pid) / 1e6:.0f} MB"
    figure(name, f"{size:.0f} MB", f"at most {most:.0f} MB", size <= most, shown)


def main(seconds: float = 4.0) -> None:
    heading(f"kcore beside kube-apiserver 1.36 and etcd 3.5 ({os.cpu_count()} cores for server and client)")
    start()
    with running("api-only", set=SETTINGS) as cluster:
        pid = cluster.process.pid
        time.sleep(1)
        memory(pid, "resident memory, empty", 64, 320)
        used = cpu_seconds(pid)
        time.sleep(10)
        share = (cpu_seconds(pid) - used) * 10
        figure("CPU with nothing to do", f"{share:.2f} %", "at most 1 %", share <= 1, "upstream's: 5 %")
        prepare(Target.of(cluster.kubeconfig))
        load = Load(ordinary(cluster), pid, seconds)
        load.creates("durable ConfigMap create", "configmaps", config_map, 1230)
        load.creates("durable Pod create", "pods", pod, 590)
        load.fill()
        load.gets()
        load.lists()
        memory(pid, "resident memory after that", 186, 930)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
