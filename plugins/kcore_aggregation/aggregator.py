"""The part: follows APIServices, keeps its own, checks the others, and answers for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from kcore.api.auth import User
from kcore.api.routing import RequestInfo
from kcore.client.informer import Informer, Informers
from kcore.client.workqueue import WorkQueue, run_workers
from kcore.http.messages import AnyResponse, Request
from kcore.objects import Object
from kcore.objects.resources import (
    APISERVICES,
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    ENDPOINTSLICES,
    SERVICES,
)
from kcore.registry import Context
from kcore_aggregation import AggregationConfig, registration, trust

if TYPE_CHECKING:
    from kcore_aggregation.availability import Found, Measured
    from kcore_aggregation.documents import Remote
    from kcore_aggregation.proxy import Backends

TRUST = "trust"
"""The key of the queue that is about the ConfigMap; others are names of APIServices."""
_ANSWER_SECONDS = 60.0
SWAGGER_SECONDS = 15.0
"""How long a server may take to give its document of OpenAPI v2."""


class Aggregator:
    """``server.aggregator`` while another server answers for some group version; until then only the controller."""

    def __init__(self, context: Context, config: AggregationConfig, informers: Informers):
        self._context, self._config, self._informers = context, config, informers
        part = context.part("api")
        self._server, self._pki, self._client = part.server, part.pki, context.client()
        self._services = informers.get(APISERVICES)
        self._definitions = informers.get(CUSTOMRESOURCEDEFINITIONS)
        self._trust = informers.get(
            CONFIGMAPS, namespace=trust.NAMESPACE, field_selector=f"metadata.name={trust.NAME}"
        )
        self.queue: WorkQueue[str] = WorkQueue("aggregation")
        self.remotes: dict[tuple[str, str], Remote] = {}
        self._built_in: dict[str, Object] = {}
        self._backends: Backends | None = None
        self._measured: Measured | None = None
        self._watched: list[Informer] = []

    # --- following ---------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """When the informers know everything: from now on every change counts."""
        groups = {d["spec"]["group"] for d in self._definitions.items()}
        own = registration.built_in(self._server.kinds, groups)
        self._built_in = {o["metadata"]["name"]: o for o in own}
        for name in self._built_in:
            self.queue.add(name)
        self._services.on_change(self._service_changed)
        self._definitions.on_change(self._definition_changed)
        self._trust.on_change(lambda old, new: self.queue.add(TRUST))
        self.queue.add(TRUST)

    def _service_changed(self, old: Object | None, new: Object | None) -> None:
        obj = new or old or {}
        name, spec = obj["metadata"]["name"], obj["spec"]
        key = (spec.get("group", ""), spec.get("version", ""))
        if new is not None and spec.get("service"):
            self._follow(key, name, spec)
        elif key in self.remotes:
            del self.remotes[key]
            self._tell_swagger()
            if not self.remotes:
                self._server.aggregator = None
        self.queue.add(name)

    def _follow(self, key: tuple[str, str], name: str, spec: Object) -> None:
        from kcore_aggregation.documents import Remote

        known = self.remotes.get(key)
        if known is None:
            self.remotes[key] = Remote(name, *key, spec)
        elif known.spec != spec:  # it has to prove itself again, but what it said of itself goes on being told
            self.remotes[key] = Remote(name, *key, spec, swagger=known.swagger)
            self._tell_swagger()  # perhaps its priority is another one
        self._server.aggregator = self
        if not self._watched:  # what only matters when there is another server is only followed then
            for resource in (SERVICES, ENDPOINTSLICES):
                informer = self._informers.get(resource)
                informer.on_change(self._endpoint_changed)
                self._watched.append(informer)

    def _endpoint_changed(self, old: Object | None, new: Object | None) -> None:
        meta = (new or old or {})["metadata"]
        name = (meta.get("labels") or {}).get("kubernetes.io/service-name", meta["name"])
        for remote in self.remotes.values():
            service = remote.spec["service"]
            if service["name"] in (name, meta["name"]) and service["namespace"] == meta.get("namespace"):
                self.queue.add(remote.name)

    def _definition_changed(self, old: Object | None, new: Object | None) -> None:
        for name in registration.custom(d for d in (old, new) if d is not None):
            self.queue.add(name)

    # --- putting right -----------------------------------------------------------------------------------------------

    async def step(self, key: str) -> float | None:
        """Work on one APIService; seconds until it is to be looked at again."""
        if key == TRUST:
            await trust.publish(self._client, self._pki, self._trust.get(f"{trust.NAMESPACE}/{trust.NAME}"))
            return None
        found = self._services.get(key)
        if key in self._built_in:
            await registration.put(self._client, self._built_in.pop(key), found)
            return None if found is None else await self._check(key)
        wanted = self._custom(key)
        if wanted is not None:
            await registration.put(self._client, wanted, found)
        elif found is not None and (found["metadata"].get("labels") or {}).get(registration.LABEL) == "true":
            await registration.drop(self._client, found)
            return None
        return await self._check(key)

    def _custom(self, name: str) -> Object | None:
        group = name.partition(".")[2]
        same = (d for d in self._definitions.items() if d["spec"]["group"] == group)
        return registration.custom(same).get(name)

    async def _check(self, key: str) -> float | None:
        service = self._services.get(key)
        if service is None:
            self.measured.forget(key)
            return None
        from kcore_aggregation.availability import LOCAL, check, report

        spec = service["spec"]
        if not spec.get("service"):
            self.measured.found(service, LOCAL)
            await report(self._client, service, LOCAL)
            return None
        found = await check(self.backends, self._server.table, spec, self._config.check_timeout_seconds)
        await self._learn(spec, found)
        service = self._services.get(key) or service
        self.measured.found(service, found)
        await report(self._client, service, found)
        await self._learn_swagger(spec, found)
        return self._config.check_seconds

    async def _learn(self, spec: Object, found: Found) -> None:
        remote = self.remotes.get((spec.get("group", ""), spec.get("version", "")))
        if remote is None or remote.spec != spec:
            return
        remote.available = found.available
        if found.resources is not None:
            remote.resources = found.resources
            remote.openapi = await self._openapi_entry(remote)

    async def _learn_swagger(self, spec: Object, found: Found) -> None:
        """The server's document of version 2, if it has another one than before. (It may be long in coming.)"""
        remote = self.remotes.get((spec.get("group", ""), spec.get("version", "")))
        if remote is None or remote.spec != spec or not found.available:
            return
        from kcore.api import aside
        from kcore.api.openapi import merging
        from kcore_aggregation.availability import fetch
        from kcore_aggregation.proxy import Unreachable

        try:
            got = await fetch(self.backends, remote.spec, "/openapi/v2", SWAGGER_SECONDS, remote.swagger_etag)
            if got.status != 200:
                return
            prefix = f"/apis/{remote.group}/{remote.version}/"
            part = await aside.run(len(got.body), lambda: merging.read(got.body, prefix))
        except (Unreachable, ValueError) as error:
            self._context.log.debug("OpenAPI v2 of %s: %s", remote.name, error)
            return
        if self.remotes.get(remote.key) is remote:
            remote.swagger, remote.swagger_etag = part, got.etag
            self._tell_swagger()

    def _tell_swagger(self) -> None:
        from kcore_aggregation.documents import Priorities

        order = Priorities.of(self._services.items())
        remotes = sorted(
            self.remotes.values(), key=lambda r: (order.group(r.group), order.version(r.group, r.version))
        )
        self._server.openapi.add_foreign([r.swagger for r in remotes if r.swagger is not None])

    async def _openapi_entry(self, remote: Remote) -> Object | None:
        """The server's entry for this group version in its index of OpenAPI v3; None if it has none."""
        import msgspec

        from kcore_aggregation.availability import fetch
        from kcore_aggregation.proxy import Unreachable

        try:
            got = await fetch(self.backends, remote.spec, "/openapi/v3", self._config.check_timeout_seconds)
            entry = msgspec.json.decode(got.body)["paths"][f"apis/{remote.group}/{remote.version}"]
        except (Unreachable, msgspec.DecodeError, KeyError, TypeError):
            return None
        return entry if got.status == 200 and isinstance(entry, dict) else None

    @property
    def measured(self) -> Measured:
        if self._measured is None:
            from kcore_aggregation.availability import Measured

            self._measured = Measured(self._context.metrics)
        return self._measured

    @property
    def backends(self) -> Backends:
        if self._backends is None:
            from kcore_aggregation.proxy import Backends

            self._backends = Backends(self._server.table, self._pki)
        return self._backends

    # --- answering ---------------------------------------------------------------------------------------------------

    async def answer(self, request: Request, info: RequestInfo, user: User) -> AnyResponse | None:
        """The answer to an authorized request if another server has a part in it, else None."""
        if info.resource:
            remote = self.remotes.get((info.group, info.version))
            return None if remote is None else await self._pass_on(remote, request, user, info)
        path = request.path.rstrip("/")
        if path.startswith("/apis"):
            parts = path.split("/")[2:]
            remote = self.remotes.get((parts[0], parts[1])) if len(parts) > 1 else None
            if remote is not None:
                return await self._pass_on(remote, request, user, info)
            if len(parts) < 2 and request.method in ("GET", "HEAD"):
                return self._discovery(request, parts[0] if parts else "")
        elif path.startswith("/openapi/v") and request.method in ("GET", "HEAD"):
            return await self._openapi(request, path, user, info)
        return None

    async def _pass_on(self, remote: Remote, request: Request, user: User, info: RequestInfo) -> AnyResponse:
        from kcore_aggregation.proxy import Unreachable, plain, target_of

        if not remote.available:
            return plain("service unavailable")
        try:
            return await self.backends.ask(remote.spec, request, target_of(request), user, _ANSWER_SECONDS)
        except Unreachable as error:
            self.queue.add(remote.name)
            return plain(str(error))

    def _discovery(self, request: Request, group: str) -> AnyResponse | None:
        from kcore_aggregation import documents

        order = documents.Priorities.of(self._services.items())
        if not group:
            headers = {k: v for k, v in request.headers.items() if k != "if-none-match"}
            headers["accept"] = _json_only(headers.get("accept", ""))
            response = self._server.discovery.answer(Request("GET", "/apis", request.query, headers))

            def change(doc: Any) -> None:
                if doc["kind"] == "APIGroupDiscoveryList":
                    doc["items"] = documents.merge_aggregated(doc["items"], self.remotes.values(), order)
                else:
                    doc["groups"] = documents.merge_groups(doc["groups"], self.remotes.values(), order)

            return documents.again(request, response, change)
        remotes = [r for r in self.remotes.values() if r.group == group]
        if not remotes:
            return None
        from kcore.api import answers, negotiate

        own = self._server.discovery.answer(Request("GET", f"/apis/{group}", "", {}))
        mine: list[Object] = []
        if own is not None:
            import msgspec

            doc = msgspec.json.decode(own.body if isinstance(own.body, bytes) else b"".join(own.body))
            mine = [{"name": group, "versions": doc["versions"]}]
        (merged,) = documents.merge_groups(mine, remotes, order)
        whole = {"kind": "APIGroup", "apiVersion": "v1", **merged}
        return answers.encoded(whole, negotiate.negotiate(request))

    async def _openapi(self, request: Request, path: str, user: User, info: RequestInfo) -> AnyResponse | None:
        from kcore_aggregation import documents

        if path == "/openapi/v3":
            response = await self._server.openapi.answer(Request("GET", path, request.query, {}))
            entries = {f"apis/{r.group}/{r.version}": r.openapi for r in self.remotes.values() if r.openapi}
            return documents.again(request, response, lambda doc: doc["paths"].update(entries))
        parts = path.split("/")
        if len(parts) == 6 and parts[3] == "apis":
            remote = self.remotes.get((parts[4], parts[5]))
            if remote is not None:
                return await self._pass_on(remote, request, user, info)
        return None


def _json_only(accept: str) -> str:
    """Without the forms that are not JSON: a merged document is made of JSON."""
    kept = [c for c in accept.split(",") if c.strip().startswith("application/json")]
    return ",".join(kept) or "application/json"


@asynccontextmanager
async def open_aggregator(context: Context, config: AggregationConfig) -> AsyncIterator[Aggregator]:
    """Yields at once; what is missing from a new cluster is written behind."""
    informers = Informers(context.client())
    aggregator = Aggregator(context, config, informers)
    async with trio.open_nursery() as nursery:
        await nursery.start(informers.run)
        nursery.start_soon(_run, context, aggregator, informers)
        try:
            yield aggregator
        finally:
            server = context.part("api").server
            server.aggregator = None
            server.openapi.add_foreign(())
        nursery.cancel_scope.cancel()


async def _run(context: Context, aggregator: Aggregator, informers: Informers) -> None:
    await informers.wait_synced()
    await aggregator.begin()
    await run_workers(aggregator.queue, aggregator.step, 4, context.log, context.metrics)
