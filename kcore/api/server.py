"""The API server: one request in, one answer out.

    route -> authenticate -> audit -> impersonate -> wait for a seat -> authorize
    -> verb (decode, default, admit, validate, store) -> encode -> audit

`handle` is what a front end calls. It never raises but for cancellation: an `ApiError` becomes its Status, and
anything else a 500 that is logged. Components in this process use `client`, which enters the same pipeline behind
the decoding.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio

from kcore import errors
from kcore.api import access, answers, aside, bootstrap, health, routing, timing
from kcore.api.admission import Admission
from kcore.api.admission_metrics import AdmissionMetrics
from kcore.api.allocate import ServiceAllocator
from kcore.api.auth import Authenticator, Authorizer, User
from kcore.api.discovery import Discovery
from kcore.api.feed import Feed
from kcore.api.frame import LONG_RUNNING, MUTATIONS, Frame
from kcore.api.inprocess import InProcessClient
from kcore.api.kinds import KindTable
from kcore.api.observe import Observed
from kcore.api.openapi import OpenApi
from kcore.api.paths import Paths
from kcore.api.routes import Routes
from kcore.api.routing import RequestInfo
from kcore.api.scale import Scale
from kcore.api.served import Served, ServedTable
from kcore.api.storage import Storage
from kcore.api.subresources import Subresources
from kcore.api.verbs import Verbs
from kcore.api.webhook import Webhooks
from kcore.client import Client
from kcore.http.messages import AnyResponse, Request
from kcore.metrics import Metrics
from kcore.registry import Cluster
from kcore.store import Store

if TYPE_CHECKING:
    from kcore.api.audit.records import Auditor
    from kcore.api.flow.control import FlowControl

MASTERS = User("system:apiserver", ("system:masters", "system:authenticated"))

NOBODY = User("")
"""Whoever sent credentials that are none, to the audit log."""

_HEALTH = ("/healthz", "/livez", "/readyz")
_NAMED = frozenset(("get", "update", "patch", "delete"))


class Aggregator(Protocol):
    async def answer(self, request: Request, info: RequestInfo, user: User) -> AnyResponse | None:
        """The answer to an authorized request if another server has a part in it, else None. Raises ApiError."""


class ApiServer:
    """The lists `authenticators`, `authorizers`, `admission` and `routes` may be appended to before serving; `auditor`
    and `flow` may be set."""

    def __init__(
        self,
        store: Store,
        kinds: KindTable,
        *,
        cluster: Cluster,
        authenticators: Sequence[Authenticator],
        authorizers: Sequence[Authorizer],
        admission: Sequence[Admission],
        routes: Sequence[Routes],
        metrics: Metrics,
        log: logging.Logger,
    ) -> None:
        self.store, self.kinds, self.cluster, self.metrics, self.log = store, kinds, cluster, metrics, log
        self.authenticators = list(authenticators)
        self.authorizers = list(authorizers)
        self.admission = list(admission)
        self.routes = list(routes)
        self.auditor: Auditor | None = None
        self.flow: FlowControl | None = None
        self.feed = Feed(store)
        self.ready = self.feed.ready
        """Set when the watch caches are full: from then on `handle` and clients answer."""
        self.table = ServedTable(kinds, self.feed.cache)
        self.storage = Storage(store, self.feed, self.admission, AdmissionMetrics(metrics))
        services = partial(self.table.find, "", "v1", "services")
        self.storage.hooks["core/services"] = ServiceAllocator(self.storage, services, cluster)
        self.observed = Observed(metrics, self.feed)
        self.verbs = Verbs(self.storage, self.observed.watch_ended)
        self.health = health.Health()
        self.health.checks["log"] = lambda: ""
        self.health.checks["etcd"] = lambda: ""
        self.health.ready_only["informer-sync"] = lambda: "" if self.ready.is_set() else "caches are being filled"
        self.health.ready_only["shutdown"] = lambda: "process is shutting down" if self._draining else ""
        self.subresources = Subresources(self)
        self.scale = Scale(self)
        self.webhooks = Webhooks(self.table)
        """How admission, conversion, authentication and authorization ask webhooks."""
        self.user = MASTERS
        self.internal = self.client(self.user)
        """This API as the API server itself: what route handlers act with."""
        self.discovery = Discovery(kinds)
        self.openapi = OpenApi(kinds)
        self.paths = Paths(self)
        self.aggregator: Aggregator | None = None
        """Who answers for other servers, while there are any (the extension `aggregation`)."""
        self._closing = self._draining = self._refusing = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the store. Started when every read will see the present state."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.feed.run)
                await self.ready.wait()
                await bootstrap.prepare(self)
                task_status.started()
        finally:
            self._closing = self._draining = True
            self.feed.close()
            with trio.CancelScope(shield=True):
                await self.webhooks.aclose()

    def client(self, user: User) -> Client:
        """The API in this process, as `user`."""
        return InProcessClient(self, user)

    async def publish(self, host: str, port: int) -> None:
        """Make ``default/kubernetes`` lead to where a front end listens."""
        await bootstrap.publish(self, host, port)

    def drain(self) -> None:
        """The end has been announced: not ready any more (``/readyz``), but serving."""
        self._draining = True

    def refuse(self) -> None:
        """New requests are told to come again later (503); those under way go on."""
        self._draining = self._refusing = True

    def check_serving(self) -> None:
        """Raises ServiceUnavailable before the caches are full and after the server has closed."""
        if self._closing or not self.ready.is_set():
            raise errors.ServiceUnavailable("the server is currently unable to handle the request")

    def unknown_resource(self) -> errors.NotFound:
        return errors.NotFound("the server could not find the requested resource", details={})

    # --- one request --------------------------------------------------------------------------------------------

    async def handle(self, request: Request) -> AnyResponse:
        """Answer a request. Never raises but for cancellation."""
        return await self._guarded(request, None)

    async def handle_as(self, request: Request, user: User) -> AnyResponse:
        """Answer a request of somebody who is known already."""
        return await self._guarded(request, user)

    async def _guarded(self, request: Request, user: User | None) -> AnyResponse:
        info = routing.parse(request)
        observation = self.observed.begin(info, "dryRun=" in request.query)
        frame = Frame(request, info)
        error: errors.ApiError | None = None
        panicked = False
        response: AnyResponse | None = None
        try:
            if info.verb == "proxy" or info.subresource in LONG_RUNNING:
                request.long = True
            elif "timeout=" in request.query and info.verb != "watch" and (most := timing.asked(request)) is not None:
                response = await self._in_time(request, info, user, frame, most)
            if response is None:
                response = await self._handle(request, info, user, frame)
            if self.flow is not None and self.flow.shared and info.verb in MUTATIONS:
                await self.flow.resume()
        except errors.ApiError as raised:
            error = raised
            response = answers.failure(raised, request)
        except RecursionError:  # nothing here recurses but on what the client sent
            error = errors.BadRequest("exceeded max depth")
            response = answers.failure(error, request)
        except Exception as fault:
            self.log.exception("%s %s failed", request.method, request.path)
            error, panicked = _internal(fault), True
            response = answers.failure(error, request)
        except BaseException:
            frame.unseat()
            code = 504 if request.late else 0
            observation.end(code, terminated=request.late)
            frame.lost(code)
            raise
        frame.unseat()
        response = await frame.finish(response, error, panicked=panicked)
        observation.end(getattr(response, "status", 101), response, frame.terminated)
        return response

    async def _in_time(
        self, request: Request, info: RequestInfo, user: User | None, frame: Frame, seconds: float
    ) -> AnyResponse:
        """Raises Timeout."""
        with trio.move_on_after(seconds):
            return await self._handle(request, info, user, frame)
        frame.terminated = True
        raise timing.too_late()

    async def _handle(self, request: Request, info: RequestInfo, user: User | None, frame: Frame) -> AnyResponse:
        if self._refusing and not request.path.startswith(_HEALTH):
            raise errors.ServiceUnavailable(
                "The apiserver is shutting down, please try again later.", headers={"retry-after": "1"}
            )
        if user is None:
            user = await self._enter(request, info, frame)
        if self.aggregator is not None:
            answer = await self.aggregator.answer(request, info, user)
            if answer is not None:
                return answer
        if not info.resource:
            return await self.paths.answer(request, user)
        self.check_serving()
        served = self.table.find(info.group, info.version, info.resource)
        if served is None:
            if info.group and not self.kinds.builtin(info.group):
                return answers.page_not_found()
            raise self.unknown_resource()
        if len(request.body) > aside.LONG:
            await aside.decode(request)
        if served.kind.warning:
            return answers.warned(await self._served(request, served, info, user), served.kind.warning)
        return await self._served(request, served, info, user)

    async def _served(self, request: Request, served: Served, info: RequestInfo, user: User) -> AnyResponse:
        if info.namespace and not served.kind.namespaced:
            info = msgspec.structs.replace(info, namespace="")  # namespaces/x: RBAC sees it inside of x
        if info.subresource:
            return await self.subresources.answer(request, served, info, user)
        return await self._resource(request, served, info, user)

    async def _enter(self, request: Request, info: RequestInfo, frame: Frame) -> User:
        """Who asks, in whose name, and that they may."""
        auditor = self.auditor
        try:
            user = await access.authenticate(self.authenticators, request)
        except errors.Unauthorized:
            if auditor is not None:
                await frame.audit(auditor, NOBODY)
            raise
        if auditor is not None:
            await frame.audit(auditor, user)
        if access.impersonates(request):
            user = await access.impersonated(self.authorizers, request, user, info)
            if frame.record is not None:
                frame.record.impersonated = user
        if self.flow is not None:
            await frame.seat(self.flow, user, self.table)
        wanted = access.attributes(user, info, request)
        decision = await access.decide(self.authorizers, wanted)
        frame.decided(decision)
        if not decision.allowed:
            raise access.forbidden(wanted, decision.reason)
        return user

    async def _resource(self, request: Request, served: Served, info: RequestInfo, user: User) -> AnyResponse:
        kind, verb = served.kind, info.verb
        if kind.virtual or self.subresources.routed(served, ""):
            return await self.subresources.virtual(request, served, info, user)
        if verb not in kind.verbs or (info.named is not (verb in _NAMED) and verb != "watch"):
            raise errors.MethodNotAllowed(
                "the server does not allow this method on the requested resource", details={}
            )
        if kind.namespaced and not info.namespace and verb not in ("list", "watch"):
            raise self.unknown_resource()
        if verb == "get":
            return await self.verbs.get(request, served, info)
        if verb == "list":
            return await self.verbs.list(request, served, info)
        if verb == "watch":
            return await self.verbs.watch(request, served, info)
        if verb == "create":
            return await self.verbs.create(request, served, info, user)
        if verb == "update":
            return await self.verbs.update(request, served, info, user)
        if verb == "patch":
            return await self.verbs.patch(request, served, info, user)
        if verb == "delete":
            return await self.verbs.delete(request, served, info, user)
        return await self.verbs.delete_collection(request, served, info, user)


def _internal(error: BaseException) -> errors.ApiError:
    return errors.InternalError(f"Internal error occurred: {error}", details={"causes": [{"message": str(error)}]})
