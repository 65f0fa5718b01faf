"""The rules of CSI: drivers, their nodes, attachments, capacities and classes of attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcore.api import fields, names
from kcore.errors import Cause
from kcore.objects import quantity
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, immutable, problems

MAX_NAME, MAX_NODE_ID, MAX_PARAMETERS = 63, 192, 512
MAX_PARAMETERS_SIZE = 256 * 1024
SECONDS_MIN, SECONDS_MAX = 600, 2**32


def driver_name(path: str, name: str) -> Iterator[Cause]:
    """The name of a CSI driver, and of a driver of devices."""
    if not name:
        yield fields.required(path)
        return
    if len(name) > MAX_NAME:
        yield fields.too_long(path, MAX_NAME)
    yield from problems(path, name, names.dns_subdomain(name.lower()))


def driver(obj: Object, old: Object | None) -> Iterator[Cause]:
    yield from driver_name("metadata.name", obj["metadata"].get("name", ""))
    spec = obj.get("spec") or {}
    for name in ("attachRequired", "podInfoOnMount", "storageCapacity"):
        if spec.get(name) is None:
            yield fields.required(f"spec.{name}")
    policies = ["File", "None", "ReadWriteOnceWithFSType"]
    yield from common.one_of("spec.fsGroupPolicy", spec.get("fsGroupPolicy"), policies, required=True)
    yield from _token_requests(spec.get("tokenRequests") or [])
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in ("Ephemeral", "Persistent"):
            yield fields.not_supported("spec.volumeLifecycleModes", mode, ["Ephemeral", "Persistent"])
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        path = "spec.nodeAllocatableUpdatePeriodSeconds"
        yield fields.invalid(path, period, "must be greater than or equal to 10 seconds")
    if old is not None:
        for name in ("attachRequired", "volumeLifecycleModes"):
            yield from immutable(f"spec.{name}", spec.get(name), (old.get("spec") or {}).get(name))


def _token_requests(requests: list[Object]) -> Iterator[Cause]:
    seen: set[str] = set()
    for i, request in enumerate(requests):
        path, audience = f"spec.tokenRequests[{i}]", request.get("audience", "")
        if audience in seen:
            yield fields.duplicate(f"{path}.audience", audience)
            continue
        seen.add(audience)
        seconds = request.get("expirationSeconds")
        if seconds is not None and seconds < SECONDS_MIN:
            why = "may not specify a duration less than 10 minutes"
            yield fields.invalid(f"{path}.expirationSeconds", seconds, why)
        if seconds is not None and seconds > SECONDS_MAX:
            why = "may not specify a duration larger than 2^32 seconds"
            yield fields.invalid(f"{path}.expirationSeconds", seconds, why)


def node(obj: Object, old: Object | None) -> Iterator[Cause]:
    seen: set[str] = set()
    given = (obj.get("spec") or {}).get("drivers") or []
    for i, one in enumerate(given):
        path, name = f"spec.drivers[{i}]", one.get("name", "")
        yield from driver_name(f"{path}.name", name)
        yield from _node_id(f"{path}.nodeID", one.get("nodeID", ""))
        count = (one.get("allocatable") or {}).get("count")
        yield from common.not_negative(f"{path}.allocatable.count", count)
        if name in seen:
            yield fields.duplicate(f"{path}.name", name)
        seen.add(name)
        yield from _topology_keys(f"{path}.topologyKeys", one.get("topologyKeys") or [])
    if old is None:
        return
    before = {d.get("name"): d for d in (old.get("spec") or {}).get("drivers") or ()}
    for i, one in enumerate(given):
        was = before.get(one.get("name"))
        if was is not None and _fixed(one) != _fixed(was):
            yield fields.invalid(f"spec.drivers[{i}]", one, common.IMMUTABLE)


def _fixed(driver: Object) -> Object:
    """A driver may report another number of volumes, and nothing else."""
    return {name: value for name, value in driver.items() if name != "allocatable"}


def _node_id(path: str, node: str) -> Iterator[Cause]:
    if not node:
        yield fields.required(path, node)
    if len(node) > MAX_NODE_ID:
        yield fields.invalid(path, node, f"must be {MAX_NODE_ID} characters or less")


def _topology_keys(path: str, keys: list[str]) -> Iterator[Cause]:
    seen: set[str] = set()
    for key in keys:
        if not key:
            yield fields.required(path, key)
        if key in seen:
            yield fields.duplicate(path, key)
        seen.add(key)
        yield from problems(path, key, names.qualified_name(key))


def attachment(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    attacher, where = spec.get("attacher", ""), spec.get("nodeName", "")
    yield from driver_name("spec.attacher", attacher)
    if where:
        yield from problems("spec.nodeName", where, names.dns_subdomain(where))
    else:
        yield fields.required("spec.nodeName")
    yield from _source("spec.source", spec.get("source") or {})
    if old is not None and spec != (old.get("spec") or {}):
        yield fields.invalid("spec", spec, "field is immutable")


def _source(path: str, source: Object) -> Iterator[Cause]:
    inline, named = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    if inline is None and named is None:
        yield fields.required(path, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    elif inline is not None and named is not None:
        yield fields.forbidden(path, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    elif named is not None:
        if named:
            yield from problems(f"{path}.persistentVolumeName", named, names.dns_subdomain(named))
        else:
            yield fields.required(f"{path}.persistentVolumeName", "must specify non empty persistentVolumeName")


def attributes_class(obj: Object, old: Object | None) -> Iterator[Cause]:
    yield from driver_name("driverName", obj.get("driverName", ""))
    parameters: dict[str, Any] = obj.get("parameters") or {}
    if not parameters:
        yield fields.required("parameters", "must contain at least one attribute/parameter pair")
    if len(parameters) > MAX_PARAMETERS:
        yield fields.too_long("parameters", MAX_PARAMETERS)
    if "" in parameters:
        yield fields.invalid("parameters", "", "field must not be empty.")
    if sum(len(k) + len(v or "") for k, v in parameters.items()) > MAX_PARAMETERS_SIZE:
        yield fields.too_long("parameters", MAX_PARAMETERS_SIZE)
    if old is not None:
        for name in ("driverName", "parameters"):
            if (obj.get(name) or None) != (old.get(name) or None):
                yield fields.forbidden(name, f"updates to {name} are forbidden.")


def capacity(obj: Object, old: Object | None) -> Iterator[Cause]:
    yield from common.label_selector("nodeTopology", obj.get("nodeTopology"))
    name = obj.get("storageClassName", "")
    if name:
        yield from problems("storageClassName", name, names.dns_subdomain(name))
    else:
        yield fields.required("storageClassName")
    for member in ("capacity", "maximumVolumeSize"):
        if obj.get(member) is not None and quantity.parse(obj[member]) < 0:
            yield fields.invalid(member, str(obj[member]), common.NOT_NEGATIVE)
    if old is not None:
        yield from immutable("nodeTopology", obj.get("nodeTopology"), old.get("nodeTopology"))
        yield from immutable("storageClassName", name, old.get("storageClassName", ""))
