"""What the API server of a running cluster does over TLS, asked by one client process on the same machine.

    python -m tests.benchmarks server

The cluster is `kcore up -c dev` with everything in it: SQLite with synchronous=FULL, authentication by client
certificate, RBAC, admission, scheduler, controllers, nodes. Floors: the same HTTP server with nothing behind it, and
plain sqlite3 committing as many rows at a time as there are clients.
"""

from __future__ import annotations

import json
import os
import selectors
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from kcore.testing.running import RunningCluster, running
from tests.benchmarks import floor
from tests.benchmarks.figures import cpu_seconds, duration, figure, heading, rate
from tests.benchmarks.load import Connection, Measured, Target, check, connections, drive

SECONDS = 3.0
READERS = 8
WRITERS = 32
PODS = 5000
WATCHERS = 1000
NAMESPACE = "bench"


def pod(name: str) -> bytes:
    """A pod that nobody schedules, so that nothing else works while it is read."""
    ports = [{"containerPort": 80, "name": "http"}]
    limits = {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}}
    container = {"name": "main", "image": "nginx:1.27", "ports": ports, "resources": limits}
    spec = {"containers": [container], "schedulingGates": [{"name": "example.com/never"}]}
    meta = {"name": name, "labels": {"app": "web", "tier": "front", "pod-template-hash": "5d4f8"}}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}).encode()


def config_map(name: str) -> bytes:
    data = {"settings": "x" * 200}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}).encode()


def prepare(target: Target, cluster: RunningCluster) -> None:
    """The namespace, with PODS pods in it; returns when the scheduler has seen them all."""
    with connections(target, 1) as (connection,):
        body = json.dumps({"metadata": {"name": NAMESPACE}}).encode()
        connection.ask(target.request("POST", "/api/v1/namespaces", body), code=201)
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
        while True:  # admission refuses pods before the controller has made it
            try:
                connection.ask(target.request("GET", path))
                break
            except ConnectionError:
                time.sleep(0.05)
    numbers = count()
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    made = 0
    with connections(target, WRITERS) as opened:
        while made < PODS:
            batch = opened[: PODS - made]
            for each in batch:
                each.send(target.request("POST", path, pod(f"pod-{next(numbers):05}")))
            for each in batch:
                answer = each.receive()
                while answer is None:
                    answer = each.receive()
                check(answer, 201)
            made += len(batch)
    quiet(cluster)


def quiet(cluster: RunningCluster) -> None:
    """Until the cluster has nothing left to do."""
    pid = cluster.process.pid
    used, still = cpu_seconds(pid), 0
    while still < 3:
        time.sleep(0.3)
        now = cpu_seconds(pid)
        still = still + 1 if now - used < 0.03 else 0
        used = now


def costed(pid: int, measured: Measured, began: float) -> str:
    used = (cpu_seconds(pid) - began) / measured.count
    p50, p99 = measured.quantile(0.5) * 1000, measured.quantile(0.99) * 1000
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, {used * 1e6:.0f} us of the server's time each"


def get(target: Target, cluster: RunningCluster, static: Target) -> None:
    request = target.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods/pod-00042")
    with connections(target, 1) as (connection,):
        size = len(connection.ask(request).partition(b"\r\n\r\n")[2])
    before = cpu_seconds(cluster.process.pid)
    measured = drive(target, READERS, lambda n: request, SECONDS)
    shown = costed(cluster.process.pid, measured, before)
    same = static.request("GET", f"/bytes/{size}")
    bare = drive(static, READERS, lambda n: same, SECONDS / 3)
    rate("GET of a pod", measured.per_second, 6000, bare.per_second, "kcore.http alone")
    figure("", shown, "", None)


def create(target: Target, cluster: RunningCluster) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    before = cpu_seconds(cluster.process.pid)
    measured = drive(target, WRITERS, lambda n: target.request("POST", path, config_map(f"c{n}")), SECONDS, code=201)
    shown = costed(cluster.process.pid, measured, before)
    rate("durable ConfigMap create, 32 connections", measured.per_second, 2500, commits(SECONDS / 3), "sqlite3 alone")
    figure("", shown, "", None)


def commits(seconds: float) -> float:
    """Rows a second of plain sqlite3 (WAL, synchronous FULL) that commits WRITERS rows at a time."""
    with tempfile.TemporaryDirectory() as directory:
        db = sqlite3.connect(Path(directory) / "floor.db", isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE t (revision INTEGER PRIMARY KEY, key TEXT, value BLOB)")
        value, rows = b"x" * 700, 0
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            db.execute("BEGIN")
            for _ in range(WRITERS):
                rows += 1
                db.execute("INSERT INTO t VALUES (?, ?, ?)", (rows, f"/registry/configmaps/bench/c{rows}", value))
            db.execute("COMMIT")
        took = time.perf_counter() - began
        db.close()
        return rows / took


def listing(target: Target, static: Target) -> None:
    request = target.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")
    with connections(target, 1) as (connection,):
        size = len(connection.ask(request))
        seconds = [_timed(connection, request) for _ in range(9)]
    with connections(static, 1) as (connection,):
        same = static.request("GET", f"/bytes/{size}")
        connection.ask(same)
        bare = [_timed(connection, same) for _ in range(5)]
    name = f"LIST of {PODS:,} pods ({size / 1e6:.1f} MB), median"
    duration(name, statistics.median(seconds), 0.050, statistics.median(bare), "the same bytes ready made")


def _timed(connection: Connection, request: bytes) -> float:
    began = time.perf_counter()
    connection.ask(request)
    return time.perf_counter() - began


def watching(target: Target, static: Target) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    with connections(target, 1) as (connection,):
        answer = connection.ask(target.request("GET", path + "?limit=1"))
        version = json.loads(answer.partition(b"\r\n\r\n")[2])["metadata"]["resourceVersion"]
    watch = target.request("GET", f"{path}?watch=1&resourceVersion={version}")
    seconds = fan_out(target, watch, lambda n: target.request("POST", path, config_map(f"seen-{n}")))
    bare = fan_out(static, static.request("GET", "/watch"), lambda n: static.request("POST", "/fire", b"{}"))
    name = f"one write delivered to {WATCHERS:,} watchers, median"
    duration(name, statistics.median(seconds), 0.100, statistics.median(bare), "a ready line to as many streams")


def fan_out(target: Target, watch: bytes, write: Callable[[int], bytes], rounds: int = 7) -> list[float]:
    """Seconds from sending a write until the last of WATCHERS connections has the event."""
    seconds = []
    with (
        connections(target, WATCHERS) as opened,
        connections(target, 1) as (writer,),
        selectors.DefaultSelector() as s,
    ):
        for each in opened:
            each.send(watch)
            head = each.sock.recv(65536)
            check(head, 200)
            each.sock.setblocking(False)
            s.register(each.sock, selectors.EVENT_READ, each)
        for n in range(rounds):
            while s.select(0.2):  # whatever is still under way
                for key, _ in s.select(0):
                    key.data.sock.recv(65536)
            waiting = set(opened)
            began = time.perf_counter()
            writer.send(write(n))
            while waiting:
                for key, _ in s.select():
                    if b'"type":' in key.data.sock.recv(65536):
                        waiting.discard(key.data)
            seconds.append(time.perf_counter() - began)
            answer = writer.receive()
            while answer is None:
                answer = writer.receive()
            check(answer, 201)
    return seconds


def main() -> None:
    heading(f"API server over TLS ({os.cpu_count()} cores for server and client)")
    with running("dev") as cluster, floor.running() as (port, _):
        target, static = Target.of(cluster.kubeconfig), Target.untrusted(port)
        prepare(target, cluster)
        get(target, cluster, static)
        listing(target, static)
        create(target, cluster)
        quiet(cluster)
        watching(target, static)


if __name__ == "__main__":
    main()
