"""The kubelet's own API: what the API server, Prometheus and the metrics gatherer ask a node.

One handler serves all nodes of a process: the address that was dialled (`Request.local`) says which node is meant. A
route is a function of (agent, request, rest of the path).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING

from kcore.errors import ApiError, KcoreError, NotFound
from kcore.http.messages import AnyResponse, Request, Response
from kcore.node import logs, streams
from kcore.node.auth import Gate
from kcore.node.pod import PodWorker
from kcore.node.status import pod_status
from kcore.objects import Object
from kcore.runtime import READY, RUNNING

if TYPE_CHECKING:
    from kcore.node.agent import Agent

Route = Callable[["Agent", Request, list[str]], Awaitable[AnyResponse]]
TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class KubeletServer:
    """Answers for the nodes it is given. `handle` is a `kcore.http.messages.Handler`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._agents: dict[str, Agent] = {}  # by address

    def add(self, agent: Agent) -> None:
        self._agents[agent.address] = agent

    def remove(self, agent: Agent) -> None:
        self._agents.pop(agent.address, None)

    async def handle(self, request: Request) -> AnyResponse:
        agent = self._agents.get(request.local.rpartition(":")[0])
        if agent is None or agent.dead:
            return Response(503, b"no such node", TEXT)
        first, *rest = request.path.strip("/").split("/")
        path = request.path.rstrip("/")
        route = _EXACT.get(path) or _PREFIXES.get(first)
        refusal = await self._gate.check(agent, request, path)
        if refusal is not None:
            return refusal
        if route is None:
            return Response(404, b"404 page not found\n", TEXT)
        try:
            return await route(agent, request, rest)
        except ApiError as error:
            return Response(error.code, error.message.encode(), TEXT)
        except KcoreError as error:
            return Response(500, str(error).encode(), TEXT)


def find(agent: Agent, rest: list[str], *, container: bool = True) -> tuple[PodWorker, str]:
    """(worker, container) of ``/NAMESPACE/POD[/UID]/CONTAINER``. Raises NotFound."""
    want = 3 if container else 2
    if len(rest) not in (want, want + 1):
        raise NotFound("not a path of this kubelet")
    namespace, name = rest[0], rest[1]
    worker = agent.find(namespace, name, rest[2] if len(rest) > want else "")
    if worker is None:
        raise NotFound(f'pod "{name}" not found')
    return worker, rest[-1] if container else ""


async def _healthz(agent: Agent, request: Request, rest: list[str]) -> Response:
    return Response(200, b"ok", TEXT)


async def _pods(agent: Agent, request: Request, rest: list[str]) -> Response:
    items = [{**w.pod, "status": pod_status(w)} for w in agent.workers.values()]
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
    return Response(200, json.dumps(body).encode())


async def _running(agent: Agent, request: Request, rest: list[str]) -> Response:
    """What the runtime has, told as pods."""
    containers: dict[str, list[Object]] = {}
    for c in await agent.runtime.list_containers():
        if c.state == RUNNING:
            containers.setdefault(c.sandbox_id, []).append({"name": c.name, "image": c.image, "resources": {}})
    items = [
        {
            "metadata": {"name": s.name, "namespace": s.namespace, "uid": s.uid},
            "spec": {"containers": containers.get(s.id, [])},
            "status": {},
        }
        for s in await agent.runtime.list_sandboxes()
        if s.state == READY
    ]
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
    return Response(200, json.dumps(body).encode())


async def _configz(agent: Agent, request: Request, rest: list[str]) -> Response:
    """The settings that a node has, by upstream's names."""
    config = agent.config
    body = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "port": config.port,
        "staticPodPath": config.static_pods,
        "clusterDomain": agent.host.cluster.domain,
        "clusterDNS": list(agent.host.dns_servers),
        "nodeStatusReportFrequency": f"{config.status_seconds:g}s",
        "nodeLeaseDurationSeconds": int(config.lease_seconds),
        "imageGCHighThresholdPercent": config.image_high,
        "imageGCLowThresholdPercent": config.image_low,
        "evictionHard": {t.signal: t.value for t in config.thresholds if not t.grace},
        "evictionPressureTransitionPeriod": f"{config.pressure_transition:g}s",
        "systemReserved": dict(config.reserved),
        "allowedUnsafeSysctls": list(config.allowed_sysctls),
        "shutdownGracePeriod": f"{config.shutdown_grace:g}s",
        "shutdownGracePeriodCriticalPods": f"{config.shutdown_critical:g}s",
        "maxPods": int(agent.node["status"].get("capacity", {}).get("pods", 0)),
    }
    return Response(200, json.dumps({"kubeletconfig": body}).encode())


async def _checkpoint(agent: Agent, request: Request, rest: list[str]) -> Response:
    """No runtime here can write a container's state down."""
    find(agent, rest)
    return Response(404, b"checkpointing of containers is not supported by the container runtime\n", TEXT)


async def _logs(agent: Agent, request: Request, rest: list[str]) -> AnyResponse:
    worker, name = find(agent, rest)
    return await logs.respond(worker, name, request)


async def _exec(agent: Agent, request: Request, rest: list[str]) -> AnyResponse:
    worker, name = find(agent, rest)
    return streams.exec(worker, name, request)


async def _attach(agent: Agent, request: Request, rest: list[str]) -> AnyResponse:
    worker, name = find(agent, rest)
    return streams.attach(worker, name, request)


async def _run(agent: Agent, request: Request, rest: list[str]) -> AnyResponse:
    worker, name = find(agent, rest)
    return await streams.run(worker, name, request)


async def _port_forward(agent: Agent, request: Request, rest: list[str]) -> AnyResponse:
    worker, _ = find(agent, rest, container=False)
    return streams.port_forward(worker, request)


async def _summary(agent: Agent, request: Request, rest: list[str]) -> Response:
    from kcore.node import summary

    short = request.param("only_cpu_and_memory").lower() in ("true", "1")
    return Response(200, json.dumps(await summary.summary(agent, only_cpu_and_memory=short)).encode())


def _metrics(module: str, name: str) -> Route:
    """What writes the page is loaded when somebody scrapes."""

    async def respond(agent: Agent, request: Request, rest: list[str]) -> Response:
        render = getattr(import_module(f"kcore.node.{module}"), name)
        return Response(200, await render(agent), EXPOSITION)

    return respond


_EXACT: dict[str, Route] = {
    "/healthz": _healthz,
    "/healthz/ping": _healthz,
    "/healthz/syncloop": _healthz,
    "/pods": _pods,
    "/runningpods": _running,
    "/configz": _configz,
    "/stats/summary": _summary,
    "/metrics": _metrics("metrics", "kubelet"),
    "/metrics/cadvisor": _metrics("cadvisor", "cadvisor"),
    "/metrics/resource": _metrics("metrics", "resource"),
    "/metrics/probes": _metrics("metrics", "probes"),
}
_PREFIXES: dict[str, Route] = {
    "containerLogs": _logs,
    "exec": _exec,
    "attach": _attach,
    "run": _run,
    "portForward": _port_forward,
    "checkpoint": _checkpoint,
}
