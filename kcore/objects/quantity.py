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


@lru_cache(maxsize=4096)
def canonical(text: str | int | float) -> str:
    """The text as a server writes it: no fraction, the largest suffix that keeps it whole, in the family it came in.

    ``0.5`` -> ``500m``, ``1024Mi`` -> ``1Gi``, ``1000`` -> ``1k``, ``1e3`` -> ``1e3``. Raises ValueError.
    """
    exact, source = parse(text), str(text)
    if source.endswith("i") and abs(exact) >= 1024:
        return format_binary(int(exact.to_integral_value(ROUND_CEILING)))
    number = exact.scaleb(9).to_integral_value(ROUND_CEILING).scaleb(-9)  # nothing is smaller than a nano
    if not number:
        return "0"
    power = int(number.normalize().as_tuple().exponent)
    power -= power % 3
    mantissa = int(number.scaleb(-power))
    if "e" in source or ("E" in source and not source.endswith(("E", "Ei"))):
        return f"{mantissa}e{power}" if power else str(mantissa)
    if power > 18:
        mantissa, power = int(number.scaleb(-18)), 18
    return f"{mantissa}{_DECIMAL[power]}"


_DECIMAL = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}


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
