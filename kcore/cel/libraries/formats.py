"""``format.dns1123Label().validate(name)``: the named formats of Kubernetes, with the messages of their checks."""

from __future__ import annotations

import base64
import binascii
import datetime
import json
import re
from collections.abc import Callable
from typing import Any

from kcore.cel.functions import Library
from kcore.cel.libraries import urls
from kcore.cel.standard import half_open
from kcore.cel.types import TYPE
from kcore.cel.values import NONE, Opaque, Optional, parse_timestamp
from kcore.objects import naming as names

Check = Callable[[str], list[str]]


class Format(Opaque):
    """``size`` stands for the length of the pattern in the cost of a check."""

    __slots__ = ("check", "name", "size")
    type_name = "kubernetes.NamedFormat"

    def __init__(self, name: str, check: Check, size: int) -> None:
        self.name = name
        self.check = check
        self.size = size


def _uri(text: str) -> list[str]:
    try:
        urls.parse(text)
    except ValueError as error:
        return [f"parse {json.dumps(text, ensure_ascii=False)}: {error}"]
    return []


_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def _uuid(text: str) -> list[str]:
    return [] if _UUID.fullmatch(text) else ["does not match the UUID format"]


def _bytes(text: str) -> list[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ["invalid base64"]
    return []


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _date(text: str) -> list[str]:
    try:
        if _DATE.fullmatch(text):
            datetime.date.fromisoformat(text)
            return []
    except ValueError:
        pass
    return ["invalid date"]


def _datetime(text: str) -> list[str]:
    try:
        parse_timestamp(text)
    except ValueError:
        return ["invalid datetime"]
    return []


def _prefix(check: Callable[..., list[str]]) -> Check:
    return lambda text: check(text, prefix=True)


FORMATS = {
    name: Format(shown, check, size)
    for name, shown, check, size in [
        ("dns1123Label", "DNS1123Label", names.dns_label, 30),
        ("dns1123Subdomain", "DNS1123Subdomain", names.dns_subdomain, 60),
        ("dns1035Label", "DNS1035Label", names.dns_1035_label, 30),
        ("qualifiedName", "QualifiedName", names.qualified_name, 60),
        ("dns1123LabelPrefix", "DNS1123LabelPrefix", _prefix(names.dns_label), 30),
        ("dns1123SubdomainPrefix", "DNS1123SubdomainPrefix", _prefix(names.dns_subdomain), 60),
        ("dns1035LabelPrefix", "DNS1035LabelPrefix", _prefix(names.dns_1035_label), 30),
        ("labelValue", "LabelValue", names.label_value, 40),
        ("uri", "URI", _uri, 1700),
        ("uuid", "uuid", _uuid, 104),
        ("byte", "byte", _bytes, 89),
        ("date", "date", _date, 157),
        ("datetime", "datetime", _datetime, 157),
    ]
}


def validate(wanted: Format, text: str) -> Optional:
    problems = wanted.check(text)
    return Optional(True, problems) if problems else NONE


def _cost(wanted: Format, text: str, _: Any) -> int:
    return half_open(1 + len(text)) * -(-wanted.size // 4)


def named(name: str) -> Optional:
    return Optional(True, FORMATS[name]) if name in FORMATS else NONE


def _constant(wanted: Format) -> Callable[[], Format]:
    return lambda: wanted


def library() -> Library:
    made = Library("format")
    kind = Format.type_name
    made.names[kind] = TYPE
    made.add("format.named", "format-named", f"string -> optional({kind})", named)
    for name, wanted in FORMATS.items():
        made.add(f"format.{name}", f"format.{name}", f" -> {kind}", _constant(wanted))
    made.add("validate", "format-validate", f"{kind}.(string) -> optional(list(string))", validate, cost=_cost)
    return made
