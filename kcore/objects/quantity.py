"""Quantities: ``100m``, ``1.5Gi``, ``2e3`` (apimachinery, api/resource)."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")
_SCALE = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}


@lru_cache(maxsize=4096)
def parse(text: str | int | float) -> Decimal:
    """The exact number. Raises ValueError on anything that is not a quantity."""
    match = _FORM.fullmatch(str(text))
    if not match:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, suffix = match.groups()
    if suffix and suffix[0] in "eE" and len(suffix) > 1 and suffix != "Ei":
        return Decimal(number) * Decimal(10) ** int(suffix[1:])
    return Decimal(number) * _SCALE[suffix or ""]


@lru_cache(maxsize=4096)
def value(text: str | int | float) -> int:
    """Whole units, rounded up: bytes of memory, number of pods."""
    return int(parse(text).to_integral_value(ROUND_CEILING))


@lru_cache(maxsize=4096)
def milli(text: str | int | float) -> int:
    """Thousandths, rounded up: millicores of CPU."""
    return int((parse(text) * 1000).to_integral_value(ROUND_CEILING))


def format_milli(milli: int) -> str:
    """The canonical text of so many thousandths."""
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def format_binary(n: int) -> str:
    """The canonical binary-suffix text of a whole number: 1073741824 -> 1Gi."""
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        size = int(_SCALE[suffix])
        if n and n % size == 0:
            return f"{n // size}{suffix}"
    return str(n)
