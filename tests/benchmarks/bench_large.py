"""A cluster of the largest size that Kubernetes documents: 5,000 nodes and 150,000 pods.

    python -m tests.benchmarks large [PODS [NODES]]

The database is written directly, with pods of 5.7 KB as the API has stored one; then `kcore up -c api-only` is started
on it. Measured are the time until it is ready, the memory of the process, reading all of it in pages as kubectl does,
what one node's kubelet asks for, and single requests beside that.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from kcore.testing.running import running
from tests.benchmarks.bench_upstream import NAMESPACE, SETTINGS, pod, prepare
from tests.benchmarks.figures import duration, figure, heading, peak_bytes, resident_bytes
from tests.benchmarks.load import Connection, Target, connections

NAMESPACES = 100
PAGE = 500
Row = tuple[str, bytes]


def templates(directory: Path) -> tuple[bytes, bytes]:
    """A pod and a node as the API stores them."""
    with running("api-only", set=SETTINGS, directory=directory) as cluster:
        target = Target.of(cluster.kubeconfig)
        prepare(target)
        with connections(target, 1) as (connection,):
            path = f"/api/v1/namespaces/{NAMESPACE}/pods"
            body = pod("NAME").replace(b'"name":"NAME"', b'"name":"template"')
            connection.ask(target.request("POST", path, body), code=201)
            node = {"metadata": {"name": "template", "labels": {"kubernetes.io/os": "linux"}}}
            connection.ask(target.request("POST", "/api/v1/nodes", json.dumps(node).encode()), code=201)
    with sqlite3.connect(directory / "state.db") as db:
        found = [
            db.execute("SELECT value FROM event WHERE key = ?", (key,)).fetchone()[0]
            for key in (f"/registry/core/pods/{NAMESPACE}/template", "/registry/core/nodes/template")
        ]
    db.close()
    return found[0], found[1]


def rows(pod_value: bytes, node_value: bytes, pods: int, nodes: int) -> Iterator[Row]:
    for n in range(nodes):
        yield f"/registry/core/nodes/node-{n:05}", _named(node_value, f"node-{n:05}")
    gated = b'"schedulingGates":[{"name":"example.com/never"}]'
    assert gated in pod_value
    for n in range(pods):
        space = f"team-{n % NAMESPACES:03}"
        value = _named(pod_value, f"web-{n:06}")
        value = value.replace(b'"namespace":"%b"' % NAMESPACE.encode(), b'"namespace":"%b"' % space.encode())
        value = value.replace(gated, b'"nodeName":"node-%05d"' % (n % nodes))
        yield f"/registry/core/pods/{space}/web-{n:06}", value


def _named(value: bytes, name: str) -> bytes:
    value = value.replace(b'"name":"template"', b'"name":"%b"' % name.encode(), 1)
    at = value.rindex(b'"uid":"') + 7
    return value[:at] + str(uuid.uuid4()).encode() + value[at + 36 :]


def fill(directory: Path, pods: int, nodes: int) -> None:
    pod_value, node_value = templates(directory)
    db = sqlite3.connect(directory / "state.db", isolation_level=None)
    (revision,) = db.execute("SELECT max(revision) FROM event").fetchone()
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN")
    made = enumerate(rows(pod_value, node_value, pods, nodes), revision + 1)
    db.executemany(
        "INSERT INTO event VALUES (?, ?, 0, ?, 1, 0, ?)", ((rev, key, rev, value) for rev, (key, value) in made)
    )
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def pages(connection: Connection, target: Target) -> tuple[int, float, float]:
    """(objects, seconds in all, seconds of the slowest page) of all pods, a page at a time."""
    path = token = ""
    slowest = 0.0
    count = 0
    began = time.perf_counter()
    while True:
        path = f"/api/v1/pods?limit={PAGE}" + (f"&continue={token}" if token else "")
        asked = time.perf_counter()
        answer = connection.fetch(target.request("GET", path))
        slowest = max(slowest, time.perf_counter() - asked)
        start = bytes(answer[:2000]).partition(b'"metadata":')[2]
        count += PAGE
        token = start.partition(b'"continue":"')[2].partition(b'"')[0].decode() if b'"continue":"' in start else ""
        if not token:
            return count, time.perf_counter() - began, slowest


def timed(connection: Connection, request: bytes, times: int = 1) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        connection.fetch(request)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main(pods: int = 150_000, nodes: int = 5_000) -> None:
    heading(f"{pods:,} pods and {nodes:,} nodes ({os.cpu_count()} cores)")
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        fill(directory, pods, nodes)
        size = (directory / "state.db").stat().st_size
        figure("the database", f"{size / 1e6:,.0f} MB", "", None)
        began = time.perf_counter()
        with running("api-only", set=SETTINGS, directory=directory) as cluster:
            duration("start on it, to ready", time.perf_counter() - began, None)
            pid = cluster.process.pid
            memory = resident_bytes(pid)
            figure("resident memory", f"{memory / 1e6:,.0f} MB", "at most 4,000 MB", memory <= 4e9)
            target = Target.of(cluster.kubeconfig)
            with connections(target, 1) as (connection,):
                one = target.request("GET", "/api/v1/namespaces/team-042/pods/web-000042")
                duration("GET of a pod", timed(connection, one, 99), None)
                count, seconds, slowest = pages(connection, target)
                duration(f"all of them in {count // PAGE} pages of {PAGE}", seconds, None)
                duration("the slowest page", slowest, None)
                mine = target.request("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-00042")
                duration("pods of one node, the first time", timed(connection, mine), None)
                duration("pods of one node, from then on", timed(connection, mine, 99), None)
                labelled = target.request("GET", "/api/v1/namespaces/team-042/pods?labelSelector=hash%3Dx")
                duration("pods of a label, the first time", timed(connection, labelled), None)
                whole = target.request("GET", "/api/v1/namespaces/team-042/pods")
                duration(f"all {pods // NAMESPACES:,} pods of a namespace", timed(connection, whole, 9), None)
            memory, peak = resident_bytes(pid), peak_bytes(pid)
            shown = f"at its peak {peak / 1e6:,.0f} MB"
            figure("resident memory after that", f"{memory / 1e6:,.0f} MB", "at most 4,000 MB", peak <= 4e9, shown)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
