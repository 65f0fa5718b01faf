"""What a flood from one service account does to the others.

    python -m tests.benchmarks flood

One service account keeps 64 connections busy, each with its next request as soon as the last is answered; another asks
for one thing at a time, with a pause between. Measured is what the other waits: alone, beside the flood, and beside
the flood with priority and fairness switched off. Client and server share the machine's two cores, so part of any
slowing is not the server's.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import time
from typing import Any

import attrs

from kcore.testing.running import RunningCluster, running
from tests.benchmarks.bench_server import config_map
from tests.benchmarks.figures import figure, heading
from tests.benchmarks.load import Connection, Target, connections, drive

SECONDS = 4.0
CONNECTIONS = 64
MAPS_LISTED = 100
PAUSE = 0.004
NAMESPACE = "bench"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
RULES = "--verb=get,list,create,delete"


@attrs.frozen
class As:
    """A target, as a service account."""

    target: Target
    token: str

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        raw = self.target.request(method, path, body)
        line, _, rest = raw.partition(b"\r\n")
        return line + b"\r\nAuthorization: Bearer " + self.token.encode() + b"\r\n" + rest


def account(cluster: RunningCluster, name: str) -> As:
    cluster.kubectl("create", "serviceaccount", name, "-n", NAMESPACE)
    cluster.kubectl(
        "create", "rolebinding", name, "-n", NAMESPACE, "--role=maps", f"--serviceaccount={NAMESPACE}:{name}"
    )
    token = cluster.kubectl("create", "token", name, "-n", NAMESPACE).strip()
    config = json.loads(cluster.kubeconfig.read_bytes())
    host, _, port = config["clusters"][0]["cluster"]["server"].removeprefix("https://").rpartition(":")
    return As(attrs.evolve(Target.untrusted(int(port)), host=host), token)


def flood(port: int, host: str, token: str, kind: str, sent: Any) -> None:
    """In a process of its own."""
    who = As(attrs.evolve(Target.untrusted(port), host=host), token)
    reading = who.request("GET", MAPS if kind == "list" else MAPS + "/one")

    def request(number: int) -> bytes:
        if kind == "create":
            return who.request("POST", MAPS, config_map(f"flood-{number}"))
        return reading

    code = 201 if kind == "create" else 200
    sent.value = drive(who.target, CONNECTIONS, request, SECONDS + 2, code=code).per_second


def victim(who: As, connection: Connection) -> list[float]:
    """Seconds of each request, the first ones left out."""
    request = who.request("GET", MAPS + "/one")
    taken = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        connection.ask(request)
        taken.append(time.perf_counter() - began)
        time.sleep(PAUSE)
    return taken[20:]


def shown(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.2f} ms, 99 %: {quantile(seconds) * 1000:.2f}"


def quantile(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


def measure(cluster: RunningCluster, fair: bool) -> None:
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("create", "role", "maps", RULES, "--resource=configmaps", "-n", NAMESPACE)
    cluster.kubectl("create", "configmap", "one", "-n", NAMESPACE, "--from-literal=a=b")
    administrator = Target.of(cluster.kubeconfig)
    with connections(administrator, 1) as (admin,):
        for number in range(MAPS_LISTED):
            admin.ask(administrator.request("POST", MAPS, config_map(f"listed-{number}")), code=201)
    other, flooder = account(cluster, "other"), account(cluster, "flooder")
    with connections(other.target, 1) as (connection,):
        alone = victim(other, connection)
        figure("alone", shown(alone), "", None)
        for kind in ("get", "list", "create"):
            context = multiprocessing.get_context("spawn")
            sent = context.Value("d", 0.0)
            arguments = (flooder.target.port, flooder.target.host, flooder.token, kind, sent)
            process = context.Process(target=flood, args=arguments)
            process.start()
            time.sleep(1.5)
            beside = victim(other, connection)
            process.join()
            ratio = statistics.median(beside) / statistics.median(alone)
            met = ratio <= 2 if fair else None
            text = f"{quantile(beside) / quantile(alone):.1f} x at 99 %; the flood got {sent.value:,.0f}/s"
            figure(f"beside a flood of {kind}: {shown(beside)}", f"{ratio:.2f} x", "at most 2 x" * fair, met, text)


def main() -> None:
    for fair in (True, False):
        heading(
            f"one request at a time beside {CONNECTIONS} busy connections" + ("" if fair else ", without fairness")
        )
        with running("api-only", set={"store.use": "sqlite", "api.priority_and_fairness": fair}) as cluster:
            measure(cluster, fair)


if __name__ == "__main__":
    main()
