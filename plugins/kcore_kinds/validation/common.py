"""Rules that many kinds share."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kcore.api import fields, names
from kcore.errors import Cause
from kcore.objects import selectors

Object = dict[str, Any]
MAX_INT32 = 2**31 - 1
IMMUTABLE = "field is immutable"
BETWEEN_PORTS = "must be between 1 and 65535, inclusive"
NOT_NEGATIVE = "must be greater than or equal to 0"


# The smallest rules are plain functions: they are called a hundred times for a pod, and as a rule find nothing.


def problems(field: str, value: Any, found: Iterable[str]) -> Iterable[Cause]:
    """Each of a name rule's sentences as an error of a field."""
    return [fields.invalid(field, value, why) for why in found] if found else ()


def named(field: str, value: Any, rule: Callable[[str], list[str]]) -> Iterable[Cause]:
    """A required name that keeps to a rule."""
    if not value:
        return (fields.required(field),)
    return problems(field, value, rule(str(value)))


def not_negative(field: str, value: Any) -> Iterable[Cause]:
    return (fields.invalid(field, value, NOT_NEGATIVE),) if value is not None and value < 0 else ()


def one_of(field: str, value: Any, choices: list[str], *, required: bool = False) -> Iterable[Cause]:
    if not value and required:
        return (fields.required(field),)
    return () if value is None or value in choices else (fields.not_supported(field, value, choices),)


def port_number(field: str, value: Any) -> Iterable[Cause]:
    if not isinstance(value, int) or not 1 <= value <= 65535:
        return (fields.invalid(field, value, BETWEEN_PORTS),)
    return ()


def port_name(name: str) -> list[str]:
    """The rule for names of ports (IANA_SVC_NAME)."""
    if len(name) > 15:
        return ["must be no more than 15 characters"]
    found: list[str] = []
    if name.isalpha() and name.isascii() and name.islower():
        return found  # as most are
    if not re.fullmatch(r"[-a-z0-9]+", name):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", name):
        found.append("must contain at least one letter (a-z)")
    if "--" in name:
        found.append("must not contain consecutive hyphens")
    if name.startswith("-") or name.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def port(field: str, value: Any) -> Iterable[Cause]:
    """A port by number or by name."""
    return problems(field, value, port_name(value)) if isinstance(value, str) else port_number(field, value)


def count_or_percent(field: str, value: Any) -> Iterator[Cause]:
    """A number of pods, or a share of them: ``25%``."""
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]+%", value):
            yield fields.invalid(
                field,
                value,
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
                "regex used for validation is '[0-9]+%')",
            )
        elif int(value[:-1]) > 100:
            yield fields.invalid(field, value, "must not be greater than 100%")
    elif value is not None:
        yield from not_negative(field, value)


def labels(field: str, given: Object | None) -> Iterator[Cause]:
    """A map that selects or sets labels."""
    for key, value in (given or {}).items():
        yield from problems(field, key, names.qualified_name(key))
        yield from problems(field, value, names.label_value(value or ""))


def label_selector(field: str, selector: Object | None) -> Iterator[Cause]:
    if not selector:
        return
    yield from labels(f"{field}.matchLabels", selector.get("matchLabels"))
    for i, e in enumerate(selector.get("matchExpressions") or ()):
        yield from _expression(f"{field}.matchExpressions[{i}]", e)


def _expression(field: str, e: Object) -> Iterator[Cause]:
    values, operator = e.get("values") or [], e.get("operator")
    if operator in ("In", "NotIn"):
        if not values:
            yield fields.required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            yield fields.forbidden(
                f"{field}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            )
    else:
        yield fields.invalid(f"{field}.operator", operator or "", "not a valid selector operator")
    yield from problems(f"{field}.key", e.get("key", ""), names.qualified_name(e.get("key", "")))
    for i, value in enumerate(values):
        yield from problems(f"{field}.values[{i}]", value, names.label_value(value))


def selector_valid(selector: Object | None) -> bool:
    return not list(label_selector("", selector))


def matches(selector: Object | None, given: Object | None) -> bool:
    return selectors.from_object(selector).matches(given or {})


def immutable(field: str, new: Any, old: Any) -> Iterator[Cause]:
    if new != old:
        yield fields.invalid(field, new, IMMUTABLE)


def ip_address(field: str, value: Any) -> Iterator[Cause]:
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        yield fields.invalid(field, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def network(value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A CIDR, with or without bits behind the mask; None if it is none."""
    try:
        return ipaddress.ip_network(str(value), strict=False) if "/" in str(value) else None
    except ValueError:
        return None


def cidr(field: str, value: Any) -> Iterator[Cause]:
    if network(value) is None:
        yield fields.invalid(field, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")


def absolute_path(field: str, value: Any) -> Iterator[Cause]:
    if not value:
        yield fields.required(field)
    elif not str(value).startswith("/"):
        yield fields.invalid(field, value, "must be an absolute path")


def no_back_steps(field: str, value: Any) -> Iterator[Cause]:
    if ".." in str(value).split("/"):
        yield fields.invalid(field, value, "must not contain '..'")


def relative_path(field: str, value: Any) -> Iterator[Cause]:
    if str(value).startswith("/"):
        yield fields.invalid(field, value, "must be a relative path")
    yield from no_back_steps(field, value)
