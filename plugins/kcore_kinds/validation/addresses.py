"""The rules of service addresses and of the ranges that they come from."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, immutable, problems


def address(obj: Object, old: Object | None) -> Iterator[Cause]:
    """Its name is the address, in canonical form."""
    spec = obj.get("spec") or {}
    ref = spec.get("parentRef")
    if ref is None:
        yield fields.required("spec.parentRef")
    else:
        yield from _parent("spec.parentRef", ref)
    if old is not None:
        yield from immutable("spec.parentRef", ref, (old.get("spec") or {}).get("parentRef"))


def _parent(path: str, ref: Object) -> Iterator[Cause]:
    group, resource, name = ref.get("group", ""), ref.get("resource", ""), ref.get("name", "")
    if group:
        yield from problems(f"{path}.group", group, names.dns_subdomain(group))
    for member, value in (("resource", resource), ("name", name)):
        if value:
            yield from problems(f"{path}.{member}", value, names.path_segment(value))
        else:
            yield fields.required(f"{path}.{member}")
    if ref.get("namespace"):
        yield from problems(f"{path}.namespace", ref["namespace"], names.path_segment(ref["namespace"]))


def address_name(name: str, *, prefix: bool = False) -> list[str]:
    """Why a name is no address in canonical form; [] if it is one."""
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if str(found) == name else [f'must be in canonical form ("{found}")']


def service_range(obj: Object, old: Object | None) -> Iterator[Cause]:
    ranges = (obj.get("spec") or {}).get("cidrs") or []
    if old is not None:
        yield from immutable("spec.cidrs", ranges, (old.get("spec") or {}).get("cidrs") or [])
        return
    if not ranges:
        yield fields.required("spec.cidrs", "at least one CIDR required")
        return
    if len(ranges) > 2:
        yield fields.invalid("spec", {"CIDRs": ranges}, "may only hold up to 2 values")
    found = [common.network(text) for text in ranges]
    if len(ranges) == 2 and all(found) and len({n.version for n in found if n}) == 1:
        why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        yield fields.invalid("spec.cidrs", ranges, why)
    for i, (text, network) in enumerate(zip(ranges, found, strict=True)):
        path = f"spec.cidrs[{i}]"
        if network is None:
            yield from common.cidr(path, text)
        elif str(network) != text:
            yield fields.invalid(path, text, f'must be in canonical form ("{network}")')
