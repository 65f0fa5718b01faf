"""How long a request may take: the ``timeout`` of its query, as Go writes durations."""

from __future__ import annotations

import re

from kcore import errors
from kcore.http.messages import Request

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([^0-9.]*)")
_LONGEST = 9223372036.854775  # seconds: a Duration is 64 bits of nanoseconds


def asked(request: Request) -> float | None:
    """Seconds, or None where the request says nothing of it (0 says nothing too). Raises BadRequest."""
    text = request.param("timeout")
    if not text:
        return None
    try:
        seconds = duration(text)
    except ValueError as error:
        raise errors.BadRequest(f"invalid timeout specified in the request URL - time: {error}") from None
    return seconds if seconds > 0 else None


def duration(text: str) -> float:
    """The seconds of ``1m30s``, ``500ms``, ``-1.5h``, ``0``. Raises ValueError in Go's words."""
    invalid = ValueError(f'invalid duration "{text}"')
    sign, rest = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    if not rest or not rest.isprintable():
        raise invalid
    total, at = 0.0, 0
    while at < len(rest):
        found = _PART.match(rest, at)
        if found is None:
            raise invalid
        number, unit = found.groups()
        if not unit:
            raise ValueError(f'missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS[unit]
        at = found.end()
    if total > _LONGEST:
        raise invalid
    return sign * total


def too_late() -> errors.Timeout:
    return errors.Timeout("Timeout: request did not complete within the allotted timeout", details={})
