"""The Client contract over HTTPS: how a component in a process of its own reaches the cluster.

async with connect(kubeconfig.load(path)) as client:
    pods = await client.list(PODS, "default")
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

from kcore import errors
from kcore.client import APPLY_PATCH, MERGE_PATCH, ObjectList, WatchEvent
from kcore.http.client import Answer, HttpClient
from kcore.objects import Object, outlines
from kcore.objects.resources import GVR

if TYPE_CHECKING:
    from kcore.kubeconfig import Connection

_JSON = "application/json"
_MAX_EVENT = 64 * 1024 * 1024  # bytes of one watch event


def _refused(answer: Answer) -> errors.ApiError:
    """The error that the server answered."""
    try:
        status: Any = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        error = _error(status)
    else:
        text = answer.body[:200].decode("utf-8", "replace").strip()
        message = text or f"the server answered {answer.status} without a message"
        reason = {503: "ServiceUnavailable", 429: "TooManyRequests"}.get(answer.status, "")
        error = _error({"message": message, "code": answer.status, "reason": reason})
    if "retry-after" in answer.headers:
        error.headers["Retry-After"] = answer.headers["retry-after"]
    return error


def _error(status: Object) -> errors.ApiError:
    error = errors.ApiError.from_status(status)
    if error.code == 410 and not isinstance(error, errors.Gone):  # upstream has two reasons for it
        return errors.Gone(error.message, details=error.details, reason=error.reason)
    return error


def _query(**parameters: Any) -> str:
    chosen = {name: value for name, value in parameters.items() if value}
    return f"?{urlencode(chosen)}" if chosen else ""


def _names(obj: Object) -> tuple[str, str]:
    meta = obj.get("metadata") or {}
    return meta.get("namespace", ""), meta.get("name", "")


class Transport(Protocol):
    """What an `HttpClient` does for a client."""

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer: ...

    def stream(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> AbstractAsyncContextManager[tuple[Answer, AsyncIterator[bytes]]]: ...


class RemoteClient:
    """See `kcore.client.Client`. Made by `connect`."""

    def __init__(self, http: Transport):
        self.http = http
        """For requests of other kinds: ``await client.http.request("GET", "/version")``."""

    async def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = _JSON, accept: str = _JSON
    ) -> Any:
        """A request whose body and answer are JSON. Raises ApiError or OSError."""
        headers = {"Accept": accept}
        data = b""
        if body is not None:
            headers["Content-Type"] = content_type
            data = msgspec.json.encode(body)
        answer = await self.http.request(method, path, data, headers)
        if answer.status >= 400:
            raise _refused(answer)
        try:
            return msgspec.json.decode(answer.body) if answer.body else {}
        except msgspec.DecodeError as error:
            raise ConnectionAbortedError(f"the server's answer is no JSON: {error}") from error

    async def get(self, resource: GVR, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        found: Object = await self.call("GET", self._path(resource, namespace, name, subresource))
        return found

    async def list(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        outline: bool = False,
    ) -> ObjectList:
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=limit,
            resourceVersion=resource_version,
            **{"continue": continue_token},
        )
        page = await self.call("GET", self._path(resource, namespace) + query)
        items = page.get("items") or []
        for item in items:  # a list does not repeat what its items are; a lone object says it
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        if outline:
            items = [outlines.strip(item) for item in items]
        meta = page.get("metadata") or {}
        return ObjectList(items, meta.get("resourceVersion", ""), meta.get("continue", ""))

    @asynccontextmanager
    async def watch(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        outline: bool = False,
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        query = _query(
            watch="1",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        path = self._path(resource, namespace) + query
        async with self.http.stream("GET", path, {"Accept": _JSON}) as (answer, pieces):
            if answer.status >= 400:
                raise _refused(answer)
            yield _Events(pieces, outlines.strip if outline else _whole)

    async def create(
        self, resource: GVR, obj: Object, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Object:
        path = self._path(resource, namespace or _names(obj)[0], name, subresource)
        made: Object = await self.call("POST", path, obj)
        return made

    async def update(self, resource: GVR, obj: Object, *, subresource: str = "") -> Object:
        namespace, name = _names(obj)
        changed: Object = await self.call("PUT", self._path(resource, namespace, name, subresource), obj)
        return changed

    async def patch(
        self,
        resource: GVR,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: str = MERGE_PATCH,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        manager = field_manager or ("kcore" if type == APPLY_PATCH else "")
        query = _query(fieldManager=manager, force="true" if force else "")
        path = self._path(resource, namespace, name, subresource) + query
        changed: Object = await self.call("PATCH", path, patch, content_type=type)
        return changed

    async def delete(
        self,
        resource: GVR,
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        propagation: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation:
            options["propagationPolicy"] = propagation
        conditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        if conditions:
            options["preconditions"] = conditions
        gone: Object = await self.call("DELETE", self._path(resource, namespace, name), options)
        return gone

    async def delete_collection(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        propagation: str = "",
    ) -> None:
        query = _query(labelSelector=label_selector, fieldSelector=field_selector, propagationPolicy=propagation)
        await self.call("DELETE", self._path(resource, namespace) + query)

    async def discover(self, group: str, version: str) -> Sequence[Object]:
        path = f"/apis/{quote(group)}/{quote(version)}" if group else f"/api/{quote(version)}"
        found = await self.call("GET", path)
        resources = found.get("resources") if isinstance(found, dict) else None
        return [one for one in resources or () if isinstance(one, dict)]

    @staticmethod
    def _path(resource: GVR, namespace: str = "", name: str = "", subresource: str = "") -> str:
        return resource.path(quote(namespace, safe=""), quote(name, safe=":"), quote(subresource))


class _Events:
    """Watch events, one a line. An ERROR event raises its error."""

    def __init__(self, pieces: AsyncIterator[bytes], form: Callable[[Object], Object]):
        self._pieces, self._form = pieces, form
        self._decode = msgspec.json.Decoder().decode
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def __aiter__(self) -> AsyncIterator[WatchEvent]:
        return self

    async def __anext__(self) -> WatchEvent:
        while not self._lines:
            *lines, self._rest = (self._rest + await anext(self._pieces)).split(b"\n")
            if len(self._rest) > _MAX_EVENT:
                raise ConnectionAbortedError("a watch event is too big")
            self._lines.extend(line for line in lines if line)
        try:
            event = self._decode(self._lines.popleft())
            kind, obj = event["type"], event["object"]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise ConnectionAbortedError(f"a watch event makes no sense: {error}") from error
        if kind == "ERROR":
            raise _error(obj)
        return WatchEvent(kind, self._form(obj))


def _whole(obj: Object) -> Object:
    return obj


@asynccontextmanager
async def connect(settings: Connection, *, user_agent: str = "kcore") -> AsyncIterator[RemoteClient]:
    """A client of the server that a kubeconfig names (`kcore.kubeconfig.load`). It connects when first used."""
    from kcore.pki import client_context

    context: ssl.SSLContext | None = None
    if settings.server.startswith("https:"):
        try:
            context = client_context(settings.ca_pem, settings.certificate, settings.key)
        except ValueError as error:
            raise errors.UserError(f"context {settings.context!r}: {error}") from error
        if settings.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    headers = {"User-Agent": user_agent}
    if settings.token:
        headers["Authorization"] = f"Bearer {settings.token}"
    try:
        http = HttpClient(settings.server, context, server_name=settings.server_name, headers=headers)
    except ValueError as error:
        raise errors.UserError(f"context {settings.context!r}: {error}") from error
    try:
        yield RemoteClient(http)
    finally:
        await http.aclose()
