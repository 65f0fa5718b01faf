"""Subresources: status and scale by rule, a few with rules of their own, and the rest by whoever registered a route.

A handler here answers (group, plural, subresource); route providers (`kcore.api.routes`) answer what needs another
part of the cluster: a node for logs, the authenticators for reviews.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from kcore import errors
from kcore.api import answers, decoding, negotiate, options
from kcore.api.auth import User
from kcore.api.parts import PARTS
from kcore.api.pods import Pods
from kcore.api.routes import Call
from kcore.api.routes import Handler as RouteHandler
from kcore.api.routing import RequestInfo, truthy
from kcore.api.served import Served
from kcore.api.storage import admission_request
from kcore.http.messages import AnyResponse, Request
from kcore.objects import Object

if TYPE_CHECKING:
    from kcore.api.server import ApiServer

Handler = Callable[[Request, Served, RequestInfo, User], Awaitable[AnyResponse]]

_METHODS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "POST": "create", "DELETE": "delete"}
_CONNECT = frozenset(("exec", "attach", "portforward", "proxy"))


class Subresources:
    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.handlers: dict[tuple[str, str, str], Handler] = {}
        """By (group, plural, subresource); subresource "" for a virtual kind."""
        pods = Pods(server)
        self.handlers["", "pods", "binding"] = pods.bind
        self.handlers["", "bindings", ""] = pods.bind
        self.handlers["", "pods", "eviction"] = pods.evict

    def route(self, served: Served, subresource: str) -> RouteHandler | None:
        key = (served.kind.group, served.kind.plural, subresource)
        for routes in self._server.routes:
            found = routes.resources.get(key)
            if found is not None:
                return found
        return None

    def routed(self, served: Served, subresource: str) -> bool:
        return self.route(served, subresource) is not None

    async def answer(self, request: Request, served: Served, info: RequestInfo, user: User) -> AnyResponse:
        """A request for ``<resource>/<name>/<subresource>``."""
        kind, name = served.kind, info.subresource
        declared = kind.subresources.get(name)
        if declared is None and kind.conversion is not None:
            raise errors.not_found(kind.plural, info.name, kind.group)
        if declared is None or (kind.namespaced and not info.namespace):
            raise self._server.unknown_resource()
        if info.verb not in declared.verbs and _METHODS.get(request.method, "") not in declared.verbs:
            raise errors.MethodNotAllowed(
                "the server does not allow this method on the requested resource", details={}
            )
        own = self.handlers.get((kind.group, kind.plural, name))
        if own is not None:
            return await own(request, served, info, user)
        handler = self.route(served, name)
        if handler is not None:
            return await self._call(handler, request, served, info, user)
        if "create" in declared.verbs or name == "log":
            await self._server.storage.get(served, info.namespace, _object_name(info))
        verbs = self._server.verbs
        if name == "scale" and kind.scale is not None:
            return await self._server.scale.answer(request, served, info, user)
        prepare = PARTS.get((kind.group, kind.plural, name))
        if prepare is None and name != "status":
            raise self._server.unknown_resource()
        if info.verb == "get":
            return await verbs.get(request, served, info)
        if info.verb == "update":
            return await verbs.update(request, served, info, user, name, prepare)
        if info.verb == "patch":
            return await verbs.patch(request, served, info, user, name, prepare)
        raise self._server.unknown_resource()

    async def virtual(self, request: Request, served: Served, info: RequestInfo, user: User) -> AnyResponse:
        """A request for a kind that is not stored."""
        if info.verb not in served.kind.verbs or (info.verb == "create" and info.named):
            raise errors.MethodNotAllowed(
                "the server does not allow this method on the requested resource", details={}
            )
        if info.verb == "create" and negotiate.negotiate(request, protobuf=True).wants == "Table":
            raise negotiate.not_acceptable()  # what is never stored has no metadata, and so no row
        own = self.handlers.get((served.kind.group, served.kind.plural, ""))
        if own is not None:
            return await own(request, served, info, user)
        handler = self.route(served, "")
        if handler is None:
            raise self._server.unknown_resource()
        return await self._call(handler, request, served, info, user)

    async def _call(
        self, handler: RouteHandler, request: Request, served: Served, info: RequestInfo, user: User
    ) -> AnyResponse:
        """Hand a request over to a plugin, with its body decoded where it has one."""
        kind, dry_run, body = served.kind, False, None
        caller = options.Caller(user)
        if info.verb == "create" and info.subresource not in _CONNECT:
            caller = options.caller(request, user, "create")
            dry_run = caller.dry_run
            body = self._body(request, served, info, caller)
        if info.subresource in _CONNECT or (info.subresource == "log" and info.verb == "get"):
            await self._server.storage.get(served, info.namespace, _object_name(info))
            if info.subresource in _CONNECT:
                with caller:
                    await self._connect(request, served, info, caller)
        elif body is not None:
            with caller:
                body = await self._admitted(served, info, caller, body)
        call = Call(
            request,
            user,
            info.verb,
            kind,
            info.namespace,
            info.name,
            info.subresource,
            info.rest,
            self._server.internal,
            body,
            dry_run,
        )
        result = await handler(call)
        if not isinstance(result, dict):
            return result
        form = negotiate.negotiate(request, protobuf=bool(kind.message))
        response = answers.encoded(result, form, 201 if request.method == "POST" else 200)
        response.headers += answers.warning_headers(caller.warnings)
        return response

    def _body(self, request: Request, served: Served, info: RequestInfo, caller: options.Caller) -> Object:
        """A create's object: of the virtual kind itself, or of the kind that the subresource takes."""
        kind = served.kind
        if not info.subresource:
            obj = decoding.typed(served, decoding.body(request, kind.kind, caller, typed=True), caller)
            kind.strategy.default(obj)
            return obj
        declared = kind.subresources[info.subresource]
        group, version = declared.group or kind.group, declared.version or kind.version
        return decoding.part(request, declared.kind, f"{group}/{version}" if group else version, caller)

    async def _connect(self, request: Request, served: Served, info: RequestInfo, caller: options.Caller) -> None:
        """Admission sees a CONNECT before a stream into a pod or service is opened."""
        declared = served.kind.subresources[info.subresource]
        wanted = connect_options(declared.kind, request, info)
        seen = admission_request("CONNECT", served, info.subresource, info.namespace, info.name, caller, wanted)
        storage = self._server.storage
        await storage.admitting.validate(seen, await storage.admitting.admit(seen))

    async def _admitted(self, served: Served, info: RequestInfo, caller: options.Caller, body: Object) -> Object:
        """What is created without being stored passes admission like anything else."""
        name = info.name or (body.get("metadata") or {}).get("name", "")
        seen = admission_request("CREATE", served, info.subresource, info.namespace, name, caller, body)
        storage = self._server.storage
        await storage.admitting.validate(seen, await storage.admitting.admit(seen))
        return seen.obj or body


def connect_options(kind: str, request: Request, info: RequestInfo) -> Object:
    """The query of an exec, attach, port-forward or proxy request as the object that admission sees."""
    params = request.params
    out: Object = {"kind": kind, "apiVersion": "v1"}
    if kind in ("PodExecOptions", "PodAttachOptions"):
        for name in ("stdin", "stdout", "stderr", "tty"):
            if name in params and truthy(params[name][0]):
                out[name] = True
        if params.get("container", [""])[0]:
            out["container"] = params["container"][0]
        if kind == "PodExecOptions":
            out["command"] = list(params.get("command", ())) or None
    elif kind == "PodPortForwardOptions":
        ports = [int(p) for text in params.get("ports", ()) for p in text.split(",") if p.isdecimal()]
        if ports:
            out["ports"] = ports
    elif info.rest:
        out["path"] = info.rest
    return out


def _object_name(info: RequestInfo) -> str:
    """The object that a path names: a proxy's may say ``NAME:PORT`` or ``SCHEME:NAME:PORT``."""
    parts = info.name.split(":")
    return parts[-2] if info.subresource == "proxy" and len(parts) > 1 else info.name
