"""Codecs: the wire forms of objects, to and from plain dicts.

``json`` and ``yaml`` are what people and most clients speak, ``protobuf`` is what Kubernetes' own clients prefer. All
functions are synchronous and pure. What cannot be decoded raises `BadRequest` with the sentence that Go's decoder
would say; a front end that knows which kind it expected puts `unrecognized` around it.
"""

from __future__ import annotations

from kcore.errors import BadRequest

_SUMMARY = 30  # bytes of a refused body that are shown


def unrecognized(kind: str, problem: str, body: bytes) -> BadRequest:
    """The answer to a body that is no object at all: its first bytes as text if it looks like JSON, else in hex."""
    head = body[:_SUMMARY]
    shown = head.decode("utf-8", "replace") if body[:1] == b"{" else head.hex()
    if not body:
        shown = "<empty>"
    elif len(body) > _SUMMARY:
        shown += " ..."
    return BadRequest(f"the object provided is unrecognized (must be of type {kind}): {problem} ({shown})")
