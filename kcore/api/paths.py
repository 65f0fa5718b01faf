"""Requests that are not about a resource: health, version, discovery, OpenAPI, metrics, and plugins' own paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from kcore import errors
from kcore.api import answers, health, negotiate
from kcore.api.auth import User
from kcore.api.routes import Call
from kcore.http.messages import AnyResponse, Request, Response

if TYPE_CHECKING:
    from kcore.api.server import ApiServer

_METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"


class Paths:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def answer(self, request: Request, user: User) -> AnyResponse:
        server, path = self._server, request.path
        routed = await self._routed(request, user)
        if routed is not None:
            return routed
        if request.method not in ("GET", "HEAD"):
            raise errors.MethodNotAllowed(
                "the server does not allow this method on the requested resource", details={}
            )
        if (healthy := server.health.answer(request)) is not None:
            return healthy
        if path in ("/version", "/version/"):
            return answers.encoded(health.VERSION, negotiate.Form(pretty=True))
        if path == "/metrics":
            return Response(200, await self._measurements(), _METRICS_TYPE)
        found = server.discovery.answer(request) or await server.openapi.answer(request)
        if found is None and path == "/":
            found = answers.encoded({"paths": self._all()}, negotiate.Form(pretty=True))
        if found is None:
            raise server.unknown_resource()
        return found

    async def _measurements(self) -> bytes:
        from kcore.metrics import process

        tasks = process.living_tasks()
        return await trio.to_thread.run_sync(lambda: self._server.metrics.expose() + process.expose(tasks))

    async def _routed(self, request: Request, user: User) -> AnyResponse | None:
        server = self._server
        for routes in server.routes:
            for prefix, handler in routes.paths.items():
                if request.path == prefix or request.path.startswith(prefix.rstrip("/") + "/"):
                    verb = request.method.lower()
                    call = Call(request, user, verb, None, "", "", "", request.path[len(prefix) :], server.internal)
                    answer = await handler(call)
                    return answers.encoded(answer) if isinstance(answer, dict) else answer
        return None

    def _all(self) -> list[str]:
        server = self._server
        known = {"/version", "/healthz", "/livez", "/readyz", "/metrics", "/openapi/v2", "/openapi/v3"}
        for kind in server.kinds:
            known |= (
                {"/apis", f"/apis/{kind.group}", f"/apis/{kind.api_version}"} if kind.group else {"/api", "/api/v1"}
            )
        for name in server.health.checks:
            known |= {f"/healthz/{name}", f"/livez/{name}", f"/readyz/{name}"}
        for name in server.health.ready_only:
            known.add(f"/readyz/{name}")
        for routes in server.routes:
            known.update(routes.paths)
        return sorted(known)
