"""One small server for each component: ``/metrics``, ``/healthz``, ``/livez``, ``/readyz``, ``/version``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from kcore.api.auth import User
from kcore.client.delegation import Delegation, bearer
from kcore.errors import ApiError
from kcore.http.listen import bound, listen
from kcore.http.messages import AnyResponse, Request, Response
from kcore.http.server import serve
from kcore.pki import Pki
from kcore.registry import Context
from kcore_metrics_prometheus import ExpositionConfig
from kcore_metrics_prometheus.build import BuildInfo

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
HEALTH = frozenset(("/healthz", "/livez", "/readyz"))
MASTERS = "system:masters"
REVIEWERS = {"scheduler": "system:kube-scheduler", "controller_manager": "system:kube-controller-manager"}
"""Components that ask the API about their callers, as whom: their bootstrap roles allow it."""


@attrs.define
class Exposition:
    """The open part."""

    urls: dict[str, str] = attrs.Factory(dict)
    """Where each component answers, by slot."""

    def notes(self) -> list[str]:
        return []


@asynccontextmanager
async def open_part(context: Context, config: ExpositionConfig) -> AsyncIterator[Exposition]:
    """Serves until the block is left."""
    part, build = Exposition(), BuildInfo()
    ports = {
        "scheduler": config.scheduler_port,
        "controller_manager": config.controller_manager_port,
        "proxy": config.proxy_port,
        "dns": config.dns_port,
    }
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        tls = Pki.open(context.keys).server_context(["localhost", "127.0.0.1", config.address])
        for slot in [s for s in ports if _here(context, s)]:
            listener = await listen(ports[slot], config.address)
            stack.push_async_callback(trio.aclose_forcefully, listener)
            secure = slot in REVIEWERS  # kube-proxy's and CoreDNS' are plain HTTP upstream
            delegation = Delegation(context.client(User(REVIEWERS[slot]))) if secure else None
            component = _Component(context, slot, build, delegation)
            host, port = bound(listener)
            part.urls[slot] = f"{'https' if secure else 'http'}://{host}:{port}"

            async def run(
                component: _Component = component,
                listener: trio.SocketListener = listener,
                secure: bool = secure,
                *,
                task_status: trio.TaskStatus[None],
            ) -> None:
                context_ = tls if secure else None
                await serve(
                    component.handle, [listener], ssl_context=context_, log=context.log, task_status=task_status
                )

            await nursery.start(run)
        yield part
        nursery.cancel_scope.cancel()


def _here(context: Context, slot: str) -> bool:
    try:
        context.part(slot)
    except LookupError:
        return False
    return True


@attrs.frozen
class _Component:
    """What one component answers."""

    context: Context
    slot: str
    build: BuildInfo
    delegation: Delegation | None

    async def handle(self, request: Request) -> AnyResponse:
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"method not allowed\n", TEXT)
        if request.path in HEALTH:  # upstream's --authorization-always-allow-paths
            alive = _here(self.context, self.slot)
            return Response(200 if alive else 500, b"ok" if alive else b"the component is being restarted", TEXT)
        code = await self._allowed(request)
        if code != 200:
            return Response(code, b"Unauthorized\n" if code == 401 else b"Forbidden\n", TEXT)
        if request.path != "/metrics":
            return Response(404, b"404 page not found\n", TEXT)
        return Response(200, await self._expose(), EXPOSITION)

    async def _expose(self) -> bytes:
        from kcore.metrics import process

        registries = self.context.registries()
        tasks = process.living_tasks()

        def expose() -> bytes:
            own = [registries[name].expose() for name in (self.slot, "kcore") if name in registries]
            return b"".join(own) + self.build.expose() + process.expose(tasks)

        return await trio.to_thread.run_sync(expose)  # ten thousand samples take longer than anybody should wait

    async def _allowed(self, request: Request) -> int:
        if self.delegation is None:
            return 200
        asked = {"nonResourceAttributes": {"path": request.path, "verb": request.method.lower()}}
        try:
            if request.peer_certificate is not None:
                from kcore.pki.x509 import summary

                who = summary(request.peer_certificate)
                if MASTERS in who.organizations:
                    return 200
                return await self.delegation.access(who.common_name, who.organizations, asked, request.path)
            token = bearer(request.headers.get("authorization", ""))
            if not token:
                return 401
            return await self.delegation.review(token, asked, request.path)
        except (ApiError, OSError):
            return 503
