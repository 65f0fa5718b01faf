"""The hashes that stand in names: ``web-5d4f8c7b9-x2x4k``.

A hash is FNV-32 of the content, written as decimal digits mapped to an alphabet without vowels, so that no words come
out (apimachinery's ``rand.SafeEncodeString``).
"""

from __future__ import annotations

from typing import Any

from kcore.controller import spew

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_OFFSET, _PRIME, _MASK = 2166136261, 16777619, 0xFFFFFFFF


def fnv1(data: bytes) -> int:
    """32-bit FNV-1."""
    h = _OFFSET
    for byte in data:
        h = ((h * _PRIME) & _MASK) ^ byte
    return h


def fnv1a(data: bytes) -> int:
    """32-bit FNV-1a."""
    h = _OFFSET
    for byte in data:
        h = ((h ^ byte) * _PRIME) & _MASK
    return h


def safe_encode(number: int) -> str:
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in str(number).encode())


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, as Go's encoding/json writes a map (with its escapes for HTML)."""
    import msgspec

    data: bytes = msgspec.json.encode(value, order="sorted")
    for raw, escaped in ((b"&", b"\\u0026"), (b"<", b"\\u003c"), (b">", b"\\u003e")):
        data = data.replace(raw, escaped)
    return data


def template_hash(template: Any, collisions: int | None = None) -> str:
    """The ``pod-template-hash`` of a pod template. Another `collisions` count gives another hash."""
    data = spew.pod_template(template).encode()
    if collisions is not None:
        data += collisions.to_bytes(4, "little") + bytes(4)
    return safe_encode(fnv1a(data))


def revision_hash(data: Any, collisions: int | None = None) -> str:
    """The hash in the name of a ControllerRevision with that ``data``."""
    raw = canonical(data)
    if collisions is not None:
        raw += str(collisions).encode()
    return safe_encode(fnv1(raw))
