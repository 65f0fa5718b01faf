"""metrics.k8s.io: how much CPU and memory nodes and pods use now, asked of the kubelets when somebody wants to know.

metrics-server polls every kubelet every 15 s; here nobody is asked until a client asks, and an answer serves all
clients for as long as metrics-server's would.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec
import trio

from kcore.api.routes import Call, Routes
from kcore.client import kubelet
from kcore.errors import ApiError, NotFound
from kcore.http.client import HttpClient
from kcore.objects import Object, meta, selectors
from kcore.objects.resources import NODES, PODS
from kcore.registry import Context
from kcore_metrics_prometheus import ResourceMetricsConfig
from kcore_metrics_prometheus.kinds import GROUP, VERSION

API_VERSION = f"{GROUP}/{VERSION}"
WINDOW = "15s"


@attrs.define
class _Answer:
    """What a kubelet said in ``/stats/summary``, by pod."""

    at: float  # trio's time
    node: Object
    pods: dict[tuple[str, str], Object]


class ResourceMetrics:
    """Answers get and list of NodeMetrics and PodMetrics."""

    def __init__(self, config: ResourceMetricsConfig, tls: ssl.SSLContext):
        self._config, self._tls = config, tls
        self._clients: dict[str, HttpClient] = {}
        self._answers: dict[str, _Answer] = {}
        self._asking: dict[str, trio.Event] = {}
        self._slots = trio.CapacityLimiter(config.concurrency)

    @classmethod
    @asynccontextmanager
    async def open(cls, context: Context, config: ResourceMetricsConfig) -> AsyncIterator[ResourceMetrics]:
        metrics = cls(config, kubelet.client_context(context.keys))
        try:
            yield metrics
        finally:
            for client in metrics._clients.values():
                await client.aclose()

    def routes(self) -> Routes:
        return Routes({(GROUP, "nodes", ""): self._nodes, (GROUP, "pods", ""): self._pods})

    # --- nodes -------------------------------------------------------------------------------------------------------

    async def _nodes(self, call: Call) -> Object:
        if call.name:
            node = await call.client.get(NODES, call.name)
            answer = (await self._ask([node])).get(call.name)
            if answer is None:
                raise NotFound(f'nodemetrics.metrics.k8s.io "{call.name}" not found', details=_details(call))
            return _node_metrics(node, answer)
        nodes = (await call.client.list(NODES, **_selection(call))).items
        answers = await self._ask(nodes)
        items = [_node_metrics(n, answers[meta.name(n)]) for n in nodes if meta.name(n) in answers]
        return {"kind": "NodeMetricsList", "apiVersion": API_VERSION, "metadata": {}, "items": items}

    # --- pods --------------------------------------------------------------------------------------------------------

    async def _pods(self, call: Call) -> Object:
        if call.name:
            pods = [await call.client.get(PODS, call.name, call.namespace)]
        else:
            pods = (await call.client.list(PODS, call.namespace, **_selection(call))).items
        names = {p["spec"]["nodeName"] for p in pods if p["spec"].get("nodeName")}
        if len(names) == 1:
            nodes = [await call.client.get(NODES, names.pop())]
        else:
            nodes = [n for n in (await call.client.list(NODES)).items if meta.name(n) in names]
        answers = await self._ask(nodes)
        items = []
        for pod in pods:
            answer = answers.get(pod["spec"].get("nodeName", ""))
            said = answer and answer.pods.get((meta.namespace(pod), meta.name(pod)))
            if said and said["podRef"]["uid"] == meta.uid(pod):
                items.append(_pod_metrics(pod, said))
        if call.name:
            if not items:
                message = f'podmetrics.metrics.k8s.io "{call.namespace}/{call.name}" not found'
                raise NotFound(message, details=_details(call))
            return items[0]
        return {"kind": "PodMetricsList", "apiVersion": API_VERSION, "metadata": {}, "items": items}

    # --- kubelets ----------------------------------------------------------------------------------------------------

    async def _ask(self, nodes: list[Object]) -> dict[str, _Answer]:
        """What each node's kubelet says; one that does not answer is left out."""
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(self._refresh, node)
        fresh = trio.current_time() - self._config.fresh_seconds - self._config.node_timeout
        return {
            n: self._answers[n] for n in map(meta.name, nodes) if n in self._answers and self._answers[n].at >= fresh
        }

    async def _refresh(self, node: Object) -> None:
        name = meta.name(node)
        known = self._answers.get(name)
        if known is not None and trio.current_time() - known.at < self._config.fresh_seconds:
            return
        if name in self._asking:  # somebody else's question will answer ours
            await self._asking[name].wait()
            return
        self._asking[name] = done = trio.Event()
        try:
            async with self._slots:
                answer = await self._summary(node)
            if answer is not None:
                self._answers[name] = answer
            else:
                self._answers.pop(name, None)
        finally:
            del self._asking[name]
            done.set()

    async def _summary(self, node: Object) -> _Answer | None:
        try:
            host, port = kubelet.address(node)
            url = f"https://{host}:{port}"
            client = self._clients.get(url)
            if client is None:
                timeout = self._config.node_timeout
                client = self._clients[url] = HttpClient(url, self._tls, connections=2, timeout=timeout)
            answer = await client.request("GET", "/stats/summary?only_cpu_and_memory=true")
            if answer.status != 200:
                return None
            said = msgspec.json.decode(answer.body)
        except (ApiError, OSError, msgspec.DecodeError):
            return None
        pods = {(p["podRef"]["namespace"], p["podRef"]["name"]): p for p in said["pods"]}
        return _Answer(trio.current_time(), said["node"], pods)


def _usage(said: Object) -> dict[str, str]:
    cpu = said.get("cpu", {}).get("usageNanoCores", 0)
    memory = said.get("memory", {}).get("workingSetBytes", 0)
    return {"cpu": f"{cpu}n", "memory": f"{memory // 1024}Ki"}


def _metrics(kind: str, obj: Object, time: str) -> Object:
    kept = ("name", "namespace", "labels", "creationTimestamp")
    metadata = {k: obj["metadata"][k] for k in kept if k in obj["metadata"]}
    return {"kind": kind, "apiVersion": API_VERSION, "metadata": metadata, "timestamp": time, "window": WINDOW}


def _node_metrics(node: Object, answer: _Answer) -> Object:
    return _metrics("NodeMetrics", node, answer.node["cpu"]["time"]) | {"usage": _usage(answer.node)}


def _pod_metrics(pod: Object, said: Object) -> Object:
    containers = [{"name": c["name"], "usage": _usage(c)} for c in said["containers"]]
    return _metrics("PodMetrics", pod, said["cpu"]["time"]) | {"containers": containers}


def _selection(call: Call) -> dict[str, Any]:
    selector = call.request.param("labelSelector")
    selectors.parse(selector)  # says what is wrong with it
    return {"label_selector": selector, "field_selector": call.request.param("fieldSelector")}


def _details(call: Call) -> Object:
    kind = call.kind.plural if call.kind else ""
    return {"name": call.name, "group": GROUP, "kind": kind}
