"""How long single requests take while 1,000 clients watch and 500 writes a second go on.

    python -m tests.benchmarks latency [SECONDS]

As in a cluster of a thousand nodes: each of the watchers follows the pods of one node, ten more follow all pods as
controllers do. Pods' labels are patched at a fixed rate, whatever the answers take, and pods are read and ConfigMaps
created beside that. A latency counts from when a request was due. The watchers are a process of their own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import selectors
import sys
import time
from collections import deque
from typing import Any

from kcore.testing.running import running
from tests.benchmarks.bench_upstream import NAMESPACE, SETTINGS, config_map, ordinary, pod, prepare
from tests.benchmarks.figures import cpu_seconds, figure, heading
from tests.benchmarks.load import Connection, Target, check, connections

WATCHERS, CONTROLLERS, PODS = 1000, 10, 2000
RATES = {"PATCH of a pod": 500.0, "GET of a pod": 200.0, "create of a ConfigMap": 20.0}
LISTS = 1.0  # a second
PODS_PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"


def watch(target: Target, pipe: Any) -> None:
    """Follow, and count what comes. Runs in a process of its own until it is told to end."""
    with connections(target, WATCHERS + CONTROLLERS) as opened, selectors.DefaultSelector() as selector:
        for n, each in enumerate(opened):
            selection = f"&fieldSelector=spec.nodeName%3Dnode-{n:04}" if n < WATCHERS else ""
            each.send(target.request("GET", f"{PODS_PATH}?watch=1{selection}"))
            check(each.sock.recv(1 << 16), 200)
            each.sock.setblocking(False)
            selector.register(each.sock, selectors.EVENT_READ, each)
        pipe.send(0)
        events = 0
        while not pipe.poll():
            for key, _ in selector.select(0.2):
                try:
                    events += key.data.sock.recv(1 << 16).count(b'{"type":"MODIFIED"')
                except OSError:
                    pass
        pipe.send(events)


class Sender:
    """Sends requests of one sort when they are due, over as many connections as it takes."""

    def __init__(self, name: str, rate: float, code: int, make: Any) -> None:
        self.name, self.rate, self.code, self.make = name, rate, code, make
        self.latencies: list[float] = []
        self.sent = 0
        self.idle: deque[Connection] = deque()
        self.due: dict[Connection, float] = {}

    def send(self, began: float, now: float) -> None:
        while self.idle and began + self.sent / self.rate <= now:
            connection = self.idle.popleft()
            self.due[connection] = began + self.sent / self.rate
            connection.send(self.make(self.sent))
            self.sent += 1

    def receive(self, connection: Connection) -> None:
        answer = connection.receive()
        if answer is not None:
            check(answer, self.code)
            self.latencies.append(time.perf_counter() - self.due.pop(connection))
            self.idle.append(connection)


def read_all(target: Target, pipe: Any) -> None:
    """List all pods again and again, until told to end. Sends how long each took."""
    seconds = []
    with connections(target, 1) as (connection,):
        while not pipe.poll(1 / LISTS):
            began = time.perf_counter()
            connection.fetch(target.request("GET", PODS_PATH))
            seconds.append(time.perf_counter() - began)
    pipe.send(seconds)


def load(target: Target, seconds: float) -> list[Sender]:
    patches = [json.dumps({"metadata": {"labels": {"round": str(n)}}}).encode() for n in range(10)]

    def patch(n: int) -> bytes:
        body = patches[n // PODS % 10]
        head = f"PATCH {PODS_PATH}/n{n % PODS:06} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n"
        head += f"Content-Type: application/merge-patch+json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    stamp = f"{time.time():.0f}"
    makes = {
        "PATCH of a pod": (200, patch),
        "GET of a pod": (200, lambda n: target.request("GET", f"{PODS_PATH}/n{n * 7919 % PODS:06}")),
        "create of a ConfigMap": (
            201,
            lambda n: target.request(
                "POST", f"/api/v1/namespaces/{NAMESPACE}/configmaps", config_map(f"l{stamp}-{n}")
            ),
        ),
    }
    senders = [Sender(name, RATES[name], *made) for name, made in makes.items()]
    with connections(target, 24 * len(senders)) as opened, selectors.DefaultSelector() as selector:
        for n, each in enumerate(opened):
            sender = senders[n % len(senders)]
            each.sock.setblocking(False)
            selector.register(each.sock, selectors.EVENT_READ, (each, sender))
            sender.idle.append(each)
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            for sender in senders:
                sender.send(began, now)
            for key, _ in selector.select(0.001):
                each, sender = key.data
                sender.receive(each)
    return senders


def show(senders: list[Sender], seconds: float) -> None:
    for sender in senders:
        found = sorted(sender.latencies)
        p50, p99 = (found[int(len(found) * q)] * 1000 for q in (0.5, 0.99))
        shown = f"p50 {p50:.1f} ms, the longest {found[-1] * 1000:.0f} ms; {len(found) / seconds:.0f}/s"
        figure(f"p99, {sender.name}", f"{p99:.1f} ms", "at most 25 ms", p99 <= 25, shown)


def beside(run: Any, target: Target) -> tuple[Any, Any]:
    """A client in a process of its own, and the pipe to it."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=run, args=(target, theirs))
    process.start()
    return process, ours


def main(seconds: float = 10.0) -> None:
    heading(f"Latency with {WATCHERS:,} watchers and {RATES['PATCH of a pod']:.0f} writes/s ({os.cpu_count()} cores)")
    with running("api-only", set=SETTINGS) as cluster:
        prepare(Target.of(cluster.kubeconfig))
        target = ordinary(cluster)
        make_pods(target)
        watchers, pipe = beside(watch, target)
        pipe.recv()
        time.sleep(1)
        for lists in (False, True):
            if lists:
                heading(f"... and a client that lists all {PODS:,} pods {LISTS:.0f} time a second")
                lister, list_pipe = beside(read_all, target)
            used = cpu_seconds(cluster.process.pid)
            senders = load(target, seconds)
            used = cpu_seconds(cluster.process.pid) - used
            show(senders, seconds)
            figure("the server's CPU", f"{used / seconds * 100:.0f} %", "", None)
            if lists:
                list_pipe.send(0)
                took = sorted(list_pipe.recv())
                figure("LIST of all pods", f"{took[len(took) // 2] * 1000:.0f} ms", "", None, f"{len(took)} of them")
                lister.join()
        pipe.send(0)
        figure("events delivered", f"{pipe.recv():,}", "", None)
        watchers.join()


def make_pods(target: Target) -> None:
    with connections(target, 16) as opened:
        for at in range(0, PODS, 16):
            batch = list(zip(range(at, min(at + 16, PODS)), opened, strict=False))
            for n, each in batch:
                body = pod(f"n{n:06}", schedulingGates=[], nodeName=f"node-{n % WATCHERS:04}")
                each.send(target.request("POST", PODS_PATH, body))
            for _, each in batch:
                while (answer := each.receive()) is None:
                    pass
                check(answer, 201)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
