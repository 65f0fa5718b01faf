"""From a request to its audit events: ``RequestReceived``, ``ResponseStarted``, ``ResponseComplete`` or ``Panic``.

Which bodies an event shows is for the policy to say; the objects in it are those that went over the wire, as JSON.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from kcore import clock, errors
from kcore.api.audit import ANNOTATIONS, Sink
from kcore.api.audit.policy import LEVELS, NONE, REQUEST, REQUEST_RESPONSE, Decision, Policy
from kcore.api.auth import User
from kcore.api.routing import RequestInfo
from kcore.http.messages import AnyResponse, Request, Response
from kcore.objects.names import random_uuid

if TYPE_CHECKING:
    from prometheus_client import Metric

RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
_WRITES = frozenset(("create", "update"))
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_encode = msgspec.json.Encoder().encode


class _Meta(msgspec.Struct):
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resourceVersion: str = ""


class _Named(msgspec.Struct):
    metadata: _Meta


_decode_meta = msgspec.json.Decoder(_Named).decode


def new_id(request: Request) -> str:
    """The request's Audit-ID: the client's own, or a new one (a random UUID)."""
    return request.headers.get("audit-id") or random_uuid()


class Auditor:
    """What the API server tells every request to. The policy may be replaced while it works."""

    def __init__(self, policy: Policy, sinks: Sequence[Sink]) -> None:
        self.policy, self.sinks = policy, list(sinks)
        self.events = 0

    def begin(self, request: Request, info: RequestInfo, user: User, id: str) -> Record | None:
        """None: nothing is told of this request."""
        decision = self.policy.decide(user, info)
        return None if decision.level == NONE else Record(self, decision, request, info, user, id)

    def submit(self, event: bytes) -> list[Awaitable[None]]:
        self.events += 1
        return [waiting for sink in self.sinks if (waiting := sink.submit(event)) is not None]

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(
            "apiserver_audit_event", "Counter of audit events generated and sent to the audit backend."
        )
        family.add_metric([], self.events)
        yield family


_PATCH = "patch.webhook.admission.k8s.io/"


class Record:
    """One request that is told of."""

    __slots__ = (
        "_auditor", "_decision", "_done", "_info", "_received", "_ref", "_request", "_user", "annotations", "id",
        "impersonated",
    )  # fmt: skip

    def __init__(
        self, auditor: Auditor, decision: Decision, request: Request, info: RequestInfo, user: User, id: str
    ) -> None:
        self._auditor, self._decision, self._request, self._info, self._user = auditor, decision, request, info, user
        self.id = id
        self.impersonated: User | None = None  # in whose name the user acts
        self.annotations: dict[str, str] = {}
        self._received = clock.now()
        self._ref: dict[str, str] | None = None
        self._done = False
        ANNOTATIONS.set(self.annotations)

    async def received(self) -> None:
        if RECEIVED not in self._decision.omitted:
            await self._tell(self._event(RECEIVED, self._received))

    async def started(self, code: int) -> None:
        """The head of a stream's answer has been made."""
        if STARTED not in self._decision.omitted:
            event = self._event(STARTED, clock.now())
            event["responseStatus"] = {"metadata": {}, "code": code}
            self._request_object(event)
            await self._tell(event)

    def finish(
        self, code: int, response: AnyResponse | None, error: errors.ApiError | None = None, stage: str = COMPLETE
    ) -> list[Awaitable[None]]:
        """The request is over; `code` 0: nobody was left to be answered. Returns what a blocking sink waits for."""
        ANNOTATIONS.set(None)
        if self._done or stage in self._decision.omitted:
            return []
        self._done = True
        event = self._event(stage, clock.now())
        shown = response if isinstance(response, Response) else None
        event["responseStatus"] = _status(code, error, shown, self._info.verb)
        self._request_object(event)
        if shown is not None and self._decision.level >= REQUEST_RESPONSE and self._info.resource:
            body = b"".join(shown.body) if isinstance(shown.body, list) else shown.body
            self._object(event, "responseObject", body, shown.content_type)
        said = self.annotations
        if said and self._decision.level < REQUEST:  # a patch is a part of the request's body
            said = {key: value for key, value in said.items() if not key.startswith(_PATCH)}
        if said:
            event["annotations"] = said
        return self._auditor.submit(_encode(event))

    async def _tell(self, event: dict[str, Any]) -> None:
        for waiting in self._auditor.submit(_encode(event)):
            await waiting

    def _event(self, stage: str, at: float) -> dict[str, Any]:
        request = self._request
        event: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": LEVELS[self._decision.level],
            "auditID": self.id,
            "stage": stage,
            "requestURI": request.raw_path or (f"{request.path}?{request.query}" if request.query else request.path),
            "verb": self._info.verb,
            "user": user_info(self._user),
        }
        if self.impersonated is not None:
            event["impersonatedUser"] = user_info(self.impersonated)
        sources = source_addresses(request)
        if sources:
            event["sourceIPs"] = sources
        agent = request.headers.get("user-agent")
        if agent:
            event["userAgent"] = agent
        if self._info.resource:
            if self._ref is None:
                self._ref = _reference(request, self._info)
            event["objectRef"] = self._ref
        event["requestReceivedTimestamp"] = _micro(self._received)
        event["stageTimestamp"] = _micro(at)
        return event

    def _request_object(self, event: dict[str, Any]) -> None:
        request = self._request
        if self._decision.level >= REQUEST and request.body and self._info.resource:
            self._object(event, "requestObject", request.body, request.headers.get("content-type", ""))

    def _object(self, event: dict[str, Any], member: str, body: bytes, type: str) -> None:
        doc = _decoded(body, type)
        if doc is None:
            return
        if self._decision.omit_managed_fields and isinstance(doc, dict):
            for each in (doc, *(doc.get("items") or ())):
                if isinstance(each, dict) and isinstance(each.get("metadata"), dict):
                    each["metadata"].pop("managedFields", None)
        event[member] = doc


def user_info(user: User) -> dict[str, Any]:
    out: dict[str, Any] = {"username": user.name}
    if user.uid:
        out["uid"] = user.uid
    out["groups"] = user.groups
    if user.extra:
        out["extra"] = user.extra
    return out


def source_addresses(request: Request) -> list[str]:
    """Whom the request came through, the client first: what proxies say, then who has connected."""
    headers, found = request.headers, []
    if "x-forwarded-for" in headers:
        found = [each for part in headers["x-forwarded-for"].split(",") if _is_address(each := part.strip())]
    real = headers.get("x-real-ip", "").strip()
    if real and not found and _is_address(real):
        found = [real]
    peer = request.peer.rpartition(":")[0].strip("[]")
    if peer and (not found or found[-1] != peer):
        found.append(peer)
    return found


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _reference(request: Request, info: RequestInfo) -> dict[str, str]:
    """``objectRef``: what the URL names, and for a new object what its body adds."""
    out = {"resource": info.resource, "namespace": info.namespace, "name": info.name}
    if info.verb in _WRITES and request.body:
        meta = _metadata(request)
        if meta is not None:
            out["namespace"] = out["namespace"] or meta.namespace
            out["name"] = out["name"] or meta.name
            out["uid"] = meta.uid
            out["resourceVersion"] = meta.resourceVersion
    out["apiGroup"], out["apiVersion"], out["subresource"] = info.group, info.version, info.subresource
    return {key: value for key, value in out.items() if value}


def _metadata(request: Request) -> _Meta | None:
    """Of the object in the body; None if there is none."""
    try:
        type = request.headers.get("content-type", "")
        if type.endswith(("protobuf", "yaml")):
            return msgspec.convert(_decoded(request.body, type), _Named).metadata
        return _decode_meta(request.body).metadata
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # nothing that will be stored


def _status(code: int, error: errors.ApiError | None, response: Response | None, verb: str) -> dict[str, Any]:
    """``responseStatus``: of a Status all but its kind, of anything else the code alone."""
    found: Any = None
    if error is not None:
        found = error.status()
    elif response is not None and verb in ("delete", "deletecollection"):
        body = b"".join(response.body) if isinstance(response.body, list) else response.body
        if b'"kind":"Status"' in body[:200]:
            found = _decoded(body, response.content_type)
    if isinstance(found, dict):
        return {**{k: v for k, v in found.items() if k not in ("kind", "apiVersion")}, "code": code}
    return {"metadata": {}, "code": code}


def _decoded(body: bytes, type: str) -> Any:
    """A body as JSON data; None for what is not an object of any form that is served here."""
    media = type.partition(";")[0].strip()
    try:
        if media == _PROTOBUF:
            from kcore.api.codec import protobuf

            return protobuf.decode(body)
        if media.endswith("yaml"):
            from kcore.api.codec import yaml

            return yaml.decode(body)
        return msgspec.json.decode(body)
    except Exception:  # the audit log never decides what becomes of a request
        return None


@lru_cache(maxsize=8)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def _micro(at: float) -> str:
    whole = int(at)
    return f"{_second(whole)}{int((at - whole) * 1e6):06d}Z"
