"""How objects lie in the store, so that they can be served without being decoded.

A key is ``/registry/<group or core>/<plural>/[<namespace>/]<name>``; a kind that shares another's storage
(core Events and events.k8s.io Events) names it by its ``store_prefix``.

A value is JSON that begins ``{"kind":K,"apiVersion":V,"metadata":{`` and has no resourceVersion: the store's mod
revision is the resourceVersion. To serve it, everything from ``"metadata":{`` on is kept as the *tail*, with
``"resourceVersion":"N",`` spliced in behind the brace. A *head*, ``{"kind":K,"apiVersion":V,`` of the version that was
asked for, goes before it; a list item of a built-in kind has the head ``{`` alone, as upstream has it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kcore.api.kinds import Kind

Object = dict[str, Any]

ROOT = "/registry/"
_META = b'"metadata":{'
META = len(_META)
START = _META + b'"resourceVersion":'

encode_json = msgspec.json.Encoder().encode
decode_json = msgspec.json.Decoder().decode


def prefix(kind: Kind) -> str:
    """Where a kind's objects lie, without ROOT: ``apps/deployments``. A single word is a core resource."""
    if kind.store_prefix:
        own = kind.store_prefix.removeprefix(ROOT).strip("/")
        return own if "/" in own else f"core/{own}"
    return f"{kind.group or 'core'}/{kind.plural}"


def key(prefix: str, namespace: str, name: str) -> str:
    return f"{ROOT}{prefix}/{namespace}/{name}" if namespace else f"{ROOT}{prefix}/{name}"


def split_key(key: str) -> tuple[str, str]:
    """(prefix, rest of the key) of a key under ROOT; ("", "") for any other key."""
    if not key.startswith(ROOT):
        return "", ""
    parts = key.split("/", 4)
    if len(parts) < 5:
        return "", ""
    return f"{parts[2]}/{parts[3]}", parts[4]


def head(api_version: str, kind: str) -> bytes:
    return b'{"kind":"%b","apiVersion":"%b",' % (kind.encode(), api_version.encode())


_VERSION = b'"apiVersion":"'
_versions: dict[bytes, str] = {}  # shared strings: every entry of the caches has one


def version(value: bytes) -> str:
    """The apiVersion in which a stored value is."""
    at = value.find(_VERSION, 0, 300) + len(_VERSION)
    raw = value[at : value.find(b'"', at)]
    found = _versions.get(raw)
    if found is None:
        if len(_versions) > 4096:  # definitions come and go
            _versions.clear()
        found = _versions[raw] = raw.decode()
    return found


def encode(obj: Object) -> bytes:
    """The stored form of an object in its storage version. Leaves `obj` as it is."""
    meta = obj["metadata"]
    if "resourceVersion" in meta:
        meta = {k: v for k, v in meta.items() if k != "resourceVersion"}
    ordered = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": meta, **obj}
    ordered["metadata"] = meta
    return encode_json(ordered)


def check(value: bytes) -> int:
    """Where a stored value's metadata begins. Raises ValueError for what is none."""
    at = value.find(_META, 0, 400)
    if at < 0:
        raise ValueError("a stored value does not begin with kind, apiVersion and metadata")
    return at


def tail_pieces(before: bytes, value: bytes, revision: int) -> tuple[bytes, memoryview]:
    """`before` and the `tail` for a `revision` that is not 0, without a copy of the value."""
    start = b'%b"metadata":{"resourceVersion":"%d",' % (before, revision)
    return start, memoryview(value)[check(value) + len(_META) :]


def tail(value: bytes, revision: int) -> bytes:
    """The served part of a stored value. A `revision` of 0 (a dry run's creation) shows no resourceVersion."""
    at = check(value)
    if not revision:
        return value[at:]
    return b'"metadata":{"resourceVersion":"%d",%b' % (revision, value[at + len(_META) :])
