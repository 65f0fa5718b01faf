"""Formats of strings in schemas: what is well-formed by each name that kube-openapi knows and checks.

A format that is not here is not checked, as upstream.
"""

from __future__ import annotations

import re
from collections.abc import Callable


def _time(text: str) -> bool:
    from kcore.api.typed_errors import time_problem

    return not time_problem(text)


def _address(text: str, version: int) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _network(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_network(text, strict=False)
        return "/" in text
    except ValueError:
        return False


def _base64(text: str) -> bool:
    from kcore.api.typed_errors import base64_problem

    return not base64_problem(text)


def _uri(text: str) -> bool:
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|/", text))


def _full(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: bool(compiled.fullmatch(text))


_UUID = r"[0-9a-fA-F]{8}-?%s-?%s-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}"
FORMATS: dict[str, Callable[[str], bool]] = {
    "date": lambda text: bool(re.fullmatch(r"\d{4}-\d\d-\d\d", text)) and _time(text + "T00:00:00Z"),
    "date-time": _time,
    "datetime": _time,
    "ipv4": lambda text: _address(text, 4),
    "ipv6": lambda text: _address(text, 6),
    "cidr": _network,
    "byte": _base64,
    "uri": _uri,
    "email": _full(r"[^@\s]+@[^@\s]+"),
    "hostname": _full(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"),
    "mac": _full(r"([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}"),
    "uuid": _full(_UUID % ("[0-9a-fA-F]{4}", "[0-9a-fA-F]{4}")),
    "uuid3": _full(_UUID % ("[0-9a-fA-F]{4}", "3[0-9a-fA-F]{3}")),
    "uuid4": _full(_UUID % ("[0-9a-fA-F]{4}", "4[0-9a-fA-F]{3}")),
    "uuid5": _full(_UUID % ("[0-9a-fA-F]{4}", "5[0-9a-fA-F]{3}")),
    "duration": _full(
        r"[+-]?(\d+(\.\d*)?|\.\d+)?((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*|\d+\s*(days?|weeks?|hours?)"
    ),
}
