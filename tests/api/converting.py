"""A conversion webhook behind TLS on loopback, and a definition whose versions it converts."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio
from kcore_custom_resources.controller import CustomResources

from kcore.http.listen import bound, listen
from kcore.http.messages import Request, Response
from kcore.http.server import serve
from kcore.pki import Pki

from .custom import DEFINITIONS, WS, Object, definition, props, version

if TYPE_CHECKING:
    from .conftest import Api

V2, V3 = WS.replace("v1", "v2"), WS.replace("v1", "v3")
TEXT = {"type": "string"}
MEMBERS = {"v1": "name", "v2": "title", "v3": "heading"}
"""What each version calls the same thing."""


@attrs.define
class Converter:
    """The server: what it was asked, and how its answers are spoilt."""

    port: int
    ca: str
    reviews: list[Object] = attrs.Factory(list)
    spoil: Callable[[Object], Any] = lambda answer: answer  # an answer's body, or a whole `Response`
    spoil_object: Callable[[Object], Any] = lambda obj: obj
    hanging: bool = False
    arrived: trio.Event = attrs.Factory(trio.Event)

    @property
    def calls(self) -> list[int]:
        """How many objects each review had."""
        return [len(review["request"]["objects"]) for review in self.reviews]

    @property
    def client(self) -> Object:
        return {"url": f"https://127.0.0.1:{self.port}/convert", "caBundle": self.ca}

    async def handle(self, request: Request) -> Response:
        review = msgspec.json.decode(request.body)
        self.reviews.append(review)
        self.arrived.set()
        if self.hanging:
            await trio.sleep_forever()
        asked = review["request"]
        converted = [self.spoil_object(_converted(obj, asked["desiredAPIVersion"])) for obj in asked["objects"]]
        response = {"uid": asked["uid"], "result": {"status": "Success"}, "convertedObjects": converted}
        body = self.spoil({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})
        return body if isinstance(body, Response) else Response(200, msgspec.json.encode(body))


def _converted(obj: Object, wanted: str) -> Object:
    old, new = (MEMBERS[v.rpartition("/")[2]] for v in (obj["apiVersion"], wanted))
    out = {**obj, "apiVersion": wanted}
    if "spec" in obj:
        out["spec"] = {new if key == old else key: value for key, value in obj["spec"].items()}
    return out


@asynccontextmanager
async def converting(pki: Pki, *names: str) -> AsyncIterator[Converter]:
    """Serves with a certificate for `names`, or for its address."""
    listener = await listen(0, "127.0.0.1")
    converter = Converter(bound(listener)[1], base64.b64encode(pki.ca_pem).decode())
    context = pki.server_context(names or ["127.0.0.1"])
    async with trio.open_nursery() as nursery:
        log = logging.getLogger("converter")
        nursery.start_soon(partial(serve, converter.handle, [listener], ssl_context=context, log=log))
        yield converter
        nursery.cancel_scope.cancel()


def converted(client: Object, *, storage: str = "v2", reviews: tuple[str, ...] = ("v1",)) -> Object:
    """A definition with three versions, each with its own name for the same member of the spec."""
    versions = [
        version(name, props(**{member: TEXT, "size": {"type": "integer"}}), storage=name == storage)
        for name, member in MEMBERS.items()
    ]
    versions[1]["selectableFields"] = [{"jsonPath": ".spec.title"}]
    body = definition(*versions)
    webhook = {"clientConfig": client, "conversionReviewVersions": list(reviews)}
    body["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return body


@asynccontextmanager
async def extended(api: Api) -> AsyncIterator[None]:
    """The API with custom resources."""
    async with trio.open_nursery() as nursery:
        await nursery.start(CustomResources(api.server, logging.getLogger("kcore.api")).run)
        yield
        nursery.cancel_scope.cancel()


async def declare(api: Api, body: Object) -> None:
    """Make a definition; it is served when this returns."""
    await api.call("POST", DEFINITIONS, body, expect=201)
    while (await api.send("GET", f"{WS}/nobody")).status != 404 or not api.server.kinds.get("ex.com", "v1", "ws"):
        await trio.lowlevel.checkpoint()


async def redeclare(api: Api, change: Object) -> None:
    """Change a definition's spec; it is followed when this returns."""
    before = api.server.kinds.get("ex.com", "v1", "ws")
    merge = {"content_type": "application/merge-patch+json"}
    await api.call("PATCH", f"{DEFINITIONS}/ws.ex.com", {"spec": change}, expect=200, **merge)
    while api.server.kinds.get("ex.com", "v1", "ws") is before:
        await trio.lowlevel.checkpoint()
