"""The subresources of pods, services and nodes that are answered elsewhere."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kcore.api.routes import Call, Routes
from kcore.errors import ApiError, BadRequest, InternalError, NotFound, ServiceUnavailable, not_found
from kcore.http.forward import forward
from kcore.http.messages import AnyResponse, Response, StreamResponse
from kcore.objects import Object, meta
from kcore.objects.resources import ENDPOINTSLICES, PODS, SERVICES

if TYPE_CHECKING:
    from kcore_routes_nodes.dial import Kubelets

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_FINISHED = ("Succeeded", "Failed")


class NodeRoutes:
    """The handlers, over one way to dial."""

    def __init__(self, kubelets: Kubelets) -> None:
        self._kubelets = kubelets

    def routes(self) -> Routes:
        return Routes(
            resources={
                ("", "pods", "log"): self.log,
                ("", "pods", "exec"): self.exec,
                ("", "pods", "attach"): self.attach,
                ("", "pods", "portforward"): self.port_forward,
                ("", "pods", "proxy"): self.pod_proxy,
                ("", "services", "proxy"): self.service_proxy,
                ("", "nodes", "proxy"): self.node_proxy,
            }
        )

    async def log(self, call: Call) -> AnyResponse:
        pod = await call.client.get(PODS, call.name, call.namespace)
        container = choose_container(pod, call.request.param("container"))
        node = pod["spec"].get("nodeName")
        if not node:
            return Response(204, b"", "")  # nothing has run: there is no log, as upstream says
        target = f"/containerLogs/{call.namespace}/{call.name}/{container}"
        answer = await self._kubelet(call, node, target)
        if not isinstance(answer, StreamResponse | Response):
            raise InternalError("the node answered a request for logs by switching protocols")
        if answer.status != 200:
            raise await _error_of(answer, f"{call.name}")
        answer.content_type = "text/plain"
        return answer

    async def exec(self, call: Call) -> AnyResponse:
        return await self._join(call, "exec", "exec into")

    async def attach(self, call: Call) -> AnyResponse:
        return await self._join(call, "attach", "attach to")

    async def _join(self, call: Call, path: str, words: str) -> AnyResponse:
        pod = await call.client.get(PODS, call.name, call.namespace)
        container = choose_container(pod, call.request.param("container"))
        phase = (pod.get("status") or {}).get("phase", "")
        if phase in _FINISHED:
            raise BadRequest(f"cannot {words} a container in a completed pod; current phase is {phase}")
        node = _node_of(pod)
        return await self._kubelet(call, node, f"/{path}/{call.namespace}/{call.name}/{container}")

    async def port_forward(self, call: Call) -> AnyResponse:
        pod = await call.client.get(PODS, call.name, call.namespace)
        return await self._kubelet(call, _node_of(pod), f"/portForward/{call.namespace}/{call.name}")

    async def node_proxy(self, call: Call) -> AnyResponse:
        _, name, _ = split_name(call.name)
        return await self._kubelet(call, name, _target_path(call))

    async def pod_proxy(self, call: Call) -> AnyResponse:
        scheme, name, port = split_name(call.name)
        pod = await call.client.get(PODS, name, call.namespace)
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            raise BadRequest(f"address not allowed: pod {name} has no address")
        return await self._pod(call, address, _pod_port(pod, port), scheme == "https")

    async def service_proxy(self, call: Call) -> AnyResponse:
        scheme, name, port = split_name(call.name)
        service = await call.client.get(SERVICES, name, call.namespace)
        wanted = _service_port(service, port)
        if wanted is None:
            raise ServiceUnavailable(f'no service port "{port}" found for service "{name}"')
        selector = f"kubernetes.io/service-name={name}"
        slices = (await call.client.list(ENDPOINTSLICES, call.namespace, label_selector=selector)).items
        if not slices:
            raise not_found("services", name)
        ends = [
            (address, p["port"])
            for s in slices
            for p in s.get("ports") or ()
            if p.get("name", "") == wanted.get("name", "")
            for e in s.get("endpoints") or ()
            if (e.get("conditions") or {}).get("ready") is not False
            for address in e.get("addresses") or ()
        ]
        if not ends:
            raise ServiceUnavailable(f'no endpoints available for service "{name}"')
        address, number = random.choice(ends)
        return await self._pod(call, address, number, scheme == "https")

    # --- dialling ----------------------------------------------------------------------------------------------------

    async def _kubelet(self, call: Call, node: str, path: str) -> AnyResponse:
        stream, host = await self._kubelets.kubelet(call.client, node)
        target = quote(path, safe="/:@!$&'()*+,;=~-._") + (f"?{call.request.query}" if call.request.query else "")
        return await forward(stream, call.request, target, host)

    async def _pod(self, call: Call, address: str, port: int, https: bool) -> AnyResponse:
        stream = await self._kubelets.pod(address, port, https=https)
        path = quote(_target_path(call), safe="/:@!$&'()*+,;=~-._%")
        target = path + (f"?{call.request.query}" if call.request.query else "")
        extra = [("x-forwarded-uri", call.request.path)]
        return await forward(stream, call.request, target, f"{address}:{port}", extra)


def _target_path(call: Call) -> str:
    return call.rest if call.rest.startswith("/") else f"/{call.rest}"


def split_name(name: str) -> tuple[str, str, str]:
    """(scheme, name, port) of ``https:NAME:PORT``, ``NAME:PORT`` or ``NAME``."""
    parts = name.split(":")
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    if len(parts) == 2:
        return "", parts[0], parts[1]
    return "", name, ""


def choose_container(pod: Object, wanted: str) -> str:
    """The container that a request means. Raises BadRequest, with upstream's texts."""
    spec, name = pod["spec"], meta.name(pod)
    rows = [spec.get(k) or [] for k in ("containers", "initContainers", "ephemeralContainers")]
    main, init, ephemeral = ([c["name"] for c in row] for row in rows)
    if wanted:
        if wanted not in (*main, *init, *ephemeral):
            raise BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(main) == 1:
        return str(main[0])
    default = meta.annotations(pod).get(DEFAULT_CONTAINER)
    if default in main:
        return str(default)
    text = f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
    if init:
        text += f" or one of the init containers: [{' '.join(init)}]"
    if ephemeral:
        text += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise BadRequest(text)


def _node_of(pod: Object) -> str:
    node = pod["spec"].get("nodeName")
    if not node:
        raise BadRequest(f"pod {meta.name(pod)} does not have a host assigned")
    return str(node)


def _pod_port(pod: Object, port: str) -> int:
    """A number, the name of a declared port, or the first declared one."""
    if port.isdigit():
        return int(port)
    declared: list[Any] = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
    for p in declared:
        if not port or p.get("name") == port:
            return int(p["containerPort"])
    if port:
        raise BadRequest(f"no port named {port} in pod {meta.name(pod)}")
    return 80


def _service_port(service: Object, port: str) -> Object | None:
    ports: list[Object] = service["spec"].get("ports") or []
    if not port:
        return ports[0] if len(ports) == 1 else next((p for p in ports if not p.get("name")), None)
    return next((p for p in ports if p.get("name") == port or str(p["port"]) == port), None)


async def _error_of(answer: Response | StreamResponse, name: str) -> ApiError:
    """The Status for what a kubelet refused in plain text."""
    if isinstance(answer, Response):
        body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
    else:
        body = b""
        async for piece in answer.body:
            body = (body + piece)[:4096]
    text = body.decode(errors="replace").strip()
    if answer.status == 400:
        return BadRequest(text)
    if answer.status == 404:
        return NotFound(f"the server could not find the requested resource ( {text} )", details={"name": name})
    return InternalError(f"Internal error occurred: {text}")
