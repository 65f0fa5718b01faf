"""The rules of nodes, namespaces, leases and what else the cluster itself is made of."""

from __future__ import annotations

from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, one_of, problems
from kcore_kinds.validation.pods import EFFECTS

_POD_SECURITY = "pod-security.kubernetes.io/"
_LEVELS = ("privileged", "baseline", "restricted")


def node(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    taints = spec.get("taints") or []
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(taints):
        path, key = f"metadata.taints[{i}]", taint.get("key", "")  # upstream calls them metadata
        yield from problems(f"{path}.key", key, names.qualified_name(key))
        value = taint.get("value", "")
        yield from problems(f"{path}.value", value, names.label_value(value)[:1])
        yield from one_of(f"{path}.effect", taint.get("effect"), EFFECTS, required=True)
        pair = (key, taint.get("effect", ""))
        if pair in seen:
            yield fields.duplicate(path, taint)
        seen.add(pair)
    if old is None:
        for i, cidr in enumerate(spec.get("podCIDRs") or ()):
            yield from common.cidr(f"spec.podCIDRs[{i}]", cidr)
        return
    was = old.get("spec") or {}
    before, after = was.get("podCIDRs") or [], spec.get("podCIDRs") or []
    if before and before != after:
        yield fields.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if was.get("providerID") and spec.get("providerID") != was["providerID"]:
        yield fields.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')


def namespace(obj: Object, old: Object | None) -> Iterator[Cause]:
    for key, value in (obj["metadata"].get("labels") or {}).items():
        mode = key.removeprefix(_POD_SECURITY)
        if mode != key and mode in ("enforce", "audit", "warn") and value not in _LEVELS:
            why = "must be one of privileged, baseline, restricted"
            yield fields.invalid(f"metadata.labels[{key}]", value, why)


def lease(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        yield fields.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    yield from common.not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))


def runtime_class(obj: Object, old: Object | None) -> Iterator[Cause]:
    handler = obj.get("handler", "")
    yield from problems("handler", handler, names.dns_label(handler))
    if old is not None:
        yield from common.immutable("handler", handler, old.get("handler", ""))


def event(obj: Object, old: Object | None) -> Iterator[Cause]:
    """Events of the newer group are held to more than those of the core group."""
    if old is None:
        if not obj.get("eventTime"):
            yield fields.required("eventTime")
        if obj.get("type") not in ("Normal", "Warning"):
            yield fields.invalid("type", obj.get("type") or "", f"has invalid value: {obj.get('type') or ''}")


def api_service(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    group, version = spec.get("group", ""), spec.get("version", "")
    wanted = f"{version}.{group}"
    name = obj["metadata"].get("name", "")
    if name != wanted:
        why = f'must be `spec.version+"."+spec.group`: "{wanted}"'
        yield fields.invalid("metadata.name", name, why)
    if group:
        for why in names.dns_subdomain(group):
            yield fields.invalid("spec.group", group, why)
    elif version != "v1":
        yield fields.required("spec.group", "only v1 may have an empty group and it better be legacy kube")
    for why in names.dns_1035_label(version):
        yield fields.invalid("spec.version", version, why)
    priority = spec.get("groupPriorityMinimum", 0)
    if not 0 < priority <= 20000:
        yield fields.invalid("spec.groupPriorityMinimum", priority, "must be positive and less than 20000")
    priority = spec.get("versionPriority", 0)
    if not 0 < priority <= 1000:
        yield fields.invalid("spec.versionPriority", priority, "must be positive and less than 1000")
    yield from _api_server(spec)


def _api_server(spec: Object) -> Iterator[Cause]:
    """Of an APIService's spec: the server behind it, or none and no word of its TLS."""
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    if not service:
        if bundle:
            size = f"{len(bundle) * 3 // 4 - bundle.count('=')} bytes"
            yield fields.invalid("spec.caBundle", size, "local APIServices may not have a caBundle")
        if insecure:
            why = "local APIServices may not have insecureSkipTLSVerify"
            yield fields.invalid("spec.insecureSkipTLSVerify", True, why)
        return
    for member in ("namespace", "name"):
        if not service.get(member):
            yield fields.required(f"spec.service.{member}", "")
    port = service.get("port") or 0
    if not 1 <= port <= 65535:
        why = "port is not valid: must be between 1 and 65535, inclusive"
        yield fields.invalid("spec.service.port", port, why)
    if insecure and bundle:
        yield fields.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")
