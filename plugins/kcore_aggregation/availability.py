"""Whether what stands behind an APIService answers: its condition Available."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from kcore import clock, errors
from kcore.api.auth import User
from kcore.api.served import ServedTable
from kcore.client import Client
from kcore.http.messages import AnyResponse, Request, Response, StreamResponse
from kcore.metrics import Metrics
from kcore.metrics.plain import Counts
from kcore.objects import Object
from kcore.objects.resources import APISERVICES
from kcore_aggregation.proxy import Backends, Refusal, Unreachable, resolve

if TYPE_CHECKING:
    from prometheus_client import Metric

CHECKER = User("system:kube-aggregator", ("system:masters",))
DISCOVERY_MOST = 16 * 1024 * 1024  # bytes


@attrs.frozen
class Found:
    """What a check has found out. `resources` is the server's APIResourceList when it answered with one."""

    available: bool
    reason: str
    message: str
    resources: list[Object] | None = None


LOCAL = Found(True, "Local", "Local APIServices are always available")


async def check(backends: Backends, table: ServedTable, spec: Object, seconds: float) -> Found:
    """Look at the service, and ask the server behind it for its discovery document."""
    service = spec.get("service")
    if not service:
        return LOCAL
    ends = resolve(table, service)
    if isinstance(ends, Refusal):
        return Found(False, ends.reason, ends.message)
    path = f"/apis/{spec['group']}/{spec['version']}"
    shown = f"https://{service['name']}.{service['namespace']}.svc:{service.get('port') or 443}{path}"
    try:
        fetched = await fetch(backends, spec, path, seconds)
    except Unreachable as error:
        why = f'failing or missing response from {shown}: Get "{shown}": {error}'
        return Found(False, "FailedDiscoveryCheck", why)
    if not 200 <= fetched.status < 300:
        why = f"failing or missing response from {shown}: bad status from {shown}: {fetched.status}"
        return Found(False, "FailedDiscoveryCheck", why)
    return Found(True, "Passed", "all checks passed", _resources(fetched.body))


@attrs.frozen
class Fetched:
    """A server's answer."""

    status: int
    body: bytes
    etag: str


async def fetch(backends: Backends, spec: Object, path: str, seconds: float, etag: str = "") -> Fetched:
    """A JSON document of a server, asked for as the aggregator itself, and with an ETag only if it is another one.

    Raises Unreachable.
    """
    headers = {"accept": "application/json"}
    if etag:
        headers["if-none-match"] = etag
    with trio.move_on_after(seconds):
        return await _whole(await backends.ask(spec, Request("GET", path, "", headers), path, CHECKER, seconds))
    raise Unreachable("context deadline exceeded")


async def _whole(answer: AnyResponse) -> Fetched:
    headers = dict(answer.headers)
    tag = headers.get(b"etag", headers.get(b"ETag", b"")).decode("latin-1")
    if isinstance(answer, Response):
        body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
        return Fetched(answer.status, body, tag)
    if not isinstance(answer, StreamResponse):
        raise Unreachable("the server switched protocols")
    pieces, size = [], 0
    body_stream: Any = answer.body
    try:
        async for piece in body_stream:
            pieces.append(piece)
            size += len(piece)
            if size > DISCOVERY_MOST:
                raise Unreachable("the server's document is too long")
    finally:
        await body_stream.aclose()
    return Fetched(answer.status, b"".join(pieces), tag)


def _resources(body: bytes) -> list[Object] | None:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("resources"), list):
        return None
    wanted = ("name", "kind", "verbs")
    return [r for r in found["resources"] if isinstance(r, dict) and all(r.get(k) for k in wanted)]


class Measured:
    """Which APIServices are unavailable, and how often one has become so; a collector of the API's registry."""

    def __init__(self, metrics: Metrics) -> None:
        self.unavailable: dict[str, bool] = {}
        self._fallen = Counts(
            "aggregator_unavailable_apiservice",
            "Counter of APIServices which are marked as unavailable broken down by APIService name and reason.",
            ("name", "reason"),
        )
        metrics.collect_with(self)

    def found(self, service: Object, found: Found) -> None:
        """The outcome of a check, before the condition of `service` says so."""
        name = service["metadata"]["name"]
        conditions = (service.get("status") or {}).get("conditions") or ()
        if not found.available and any(c.get("type") == "Available" and c["status"] == "True" for c in conditions):
            self._fallen.add(name, found.reason)
        self.unavailable[name] = not found.available

    def forget(self, name: str) -> None:
        self.unavailable.pop(name, None)

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        text = "Gauge of APIServices which are marked as unavailable broken down by APIService name."
        gauge = GaugeMetricFamily("aggregator_unavailable_apiservice", text, labels=["name"])
        for name, unavailable in tuple(self.unavailable.items()):
            gauge.add_metric([name], float(unavailable))
        yield gauge
        yield self._fallen.family()


async def report(client: Client, service: Object, found: Found) -> None:
    """Write the condition, if it says anything new. Raises ApiError."""
    status = service.get("status") or {}
    conditions = status.get("conditions") or []
    old = next((c for c in conditions if c.get("type") == "Available"), None)
    now = "True" if found.available else "False"
    if old is not None and (old.get("status"), old.get("reason"), old.get("message")) == (
        now,
        found.reason,
        found.message,
    ):
        return
    since = old["lastTransitionTime"] if old is not None and old.get("status") == now else clock.timestamp()
    condition = {
        "type": "Available",
        "status": now,
        "lastTransitionTime": since,
        "reason": found.reason,
        "message": found.message,
    }
    rest = [c for c in conditions if c.get("type") != "Available"]
    changed = {**service, "status": {**status, "conditions": [*rest, condition]}}
    try:
        await client.update(APISERVICES, changed, subresource="status")
    except (errors.NotFound, errors.Conflict):
        pass  # it has changed: that event brings us back
