"""Kubernetes protobuf: the form that Kubernetes' own clients prefer, to and from plain objects.

An object is four bytes of magic and a ``runtime.Unknown`` message, which holds apiVersion, kind and the bytes of the
object's own message. Messages are compiled from the table of fields (`kcore.api.codec.fields`) when first used.
Encoding follows Go: fields in the order of their numbers, a field that is no pointer always written, even when zero.
Decoding yields the JSON form: what Go leaves out of JSON is left out, what it always writes is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from kcore.api.codec import fields as table
from kcore.api.codec import wire
from kcore.api.codec.protobuf_decode import decoder
from kcore.api.codec.protobuf_encode import encoder
from kcore.errors import BadRequest, NotAcceptable
from kcore.objects import Object

MAGIC = b"k8s\0"
CONTENT_TYPE = "application/vnd.kubernetes.protobuf"


def supports(api_version: str, kind: str) -> bool:
    """Whether a kind has a protobuf form at all: built-in kinds, their lists, and the kinds of meta/v1."""
    return bool(table.message_of(api_version, kind))


def decode(body: bytes) -> Object:
    """The object in an envelope. Raises BadRequest on anything that is none, in Go's words."""
    if body[:4] != MAGIC:
        problem = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
        raise BadRequest(problem)
    try:
        api_version, kind, start, end, content_type = _unknown(body)
        if content_type.startswith("application/json"):
            from kcore.api.codec import json

            return json.decode(body[start:end])
        message = table.message_of(api_version, kind)
        if not message:
            raise BadRequest(f'no kind "{kind}" is registered for version "{api_version}"')
        obj = decoder(message)(body, start, end)
    except (wire.Malformed, IndexError) as e:
        raise BadRequest(str(e) if isinstance(e, wire.Malformed) else "unexpected EOF") from None
    except RecursionError:
        raise BadRequest("exceeded max depth") from None
    return {"kind": kind, "apiVersion": api_version, **obj}


def encode(obj: Object) -> bytes:
    """`obj` in an envelope, by its apiVersion and kind. Raises NotAcceptable if they have no protobuf form."""
    return wrap(obj["apiVersion"], obj["kind"], encode_raw(obj))


def encode_raw(obj: Object, api_version: str = "", kind: str = "") -> bytes:
    """The message of `obj` alone, which `wrap` and `encode_list` take."""
    api_version, kind = api_version or obj["apiVersion"], kind or obj["kind"]
    message = table.message_of(api_version, kind)
    if not message:
        raise NotAcceptable(f"{api_version} {kind} has no protobuf form")
    return encoder(message)(obj)


def wrap(api_version: str, kind: str, raw: bytes) -> bytes:
    """The envelope around the bytes of a message."""
    return b"".join((_head(api_version, kind), wire.length(len(raw)), raw, b"\x1a\x00\x22\x00"))


def encode_list(api_version: str, kind: str, metadata: Object, items: Iterable[Object | bytes]) -> bytes:
    """A list of kind ``PodList``; items are objects, or their messages as `encode_raw` makes them."""
    message = table.message_of(api_version, kind)
    parts = _list_parts(message) if message else None
    if parts is None:
        raise NotAcceptable(f"{api_version} {kind} has no protobuf form")
    tag, encode_item, meta_tag = parts
    meta = encoder(table.META + "ListMeta")(metadata)
    out = [meta_tag, wire.length(len(meta)), meta]
    for item in items:
        raw = item if isinstance(item, bytes) else encode_item(item)
        out += (tag, wire.length(len(raw)), raw)
    return wrap(api_version, kind, b"".join(out))


def encode_watch_event(type: str, obj: Object | bytes) -> bytes:
    """One frame of a watch stream: four bytes of length, then a WatchEvent. `obj` may be an envelope already."""
    envelope = obj if isinstance(obj, bytes) else encode(obj)
    raw = b"".join((b"\x0a", wire.length(len(envelope)), envelope))
    name = type.encode()
    event = b"".join((b"\x0a", wire.length(len(name)), name, b"\x12", wire.length(len(raw)), raw))
    return len(event).to_bytes(4, "big") + event


@cache
def _head(api_version: str, kind: str) -> bytes:
    """Magic, typeMeta, and the tag of raw."""
    version, name = api_version.encode(), kind.encode()
    meta = b"\x0a" + wire.length(len(version)) + version + b"\x12" + wire.length(len(name)) + name
    return MAGIC + b"\x0a" + wire.length(len(meta)) + meta + b"\x12"


@cache
def _list_parts(message: str) -> tuple[bytes, Callable[[Object], bytes], bytes] | None:
    """Of a list's message: the tag of items, the encoder of one, the tag of metadata."""
    members = {f.name: f for f in table.message(message) or ()}
    items, meta = members.get("items"), members.get("metadata")
    if items is None or meta is None or not items.repeated:
        return None
    return wire.tag(items.number, 2), encoder(items.type), wire.tag(meta.number, 2)


def _unknown(body: bytes) -> tuple[str, str, int, int, str]:
    """apiVersion, kind, start and end of raw, contentType."""
    api_version = kind = content_type = ""
    start = end = len(body)
    for number, at, stop in wire.members(body, 4, len(body)):
        if number == 1:
            for inner, a, b in wire.members(body, at, stop):
                if inner == 1:
                    api_version = body[a:b].decode("utf-8", "replace")
                elif inner == 2:
                    kind = body[a:b].decode("utf-8", "replace")
        elif number == 2:
            start, end = at, stop
        elif number == 4:
            content_type = body[at:stop].decode("utf-8", "replace")
    return api_version, kind, start, end, content_type
