"""The rules of dynamic resource allocation: classes of devices, claims on them, and what drivers publish."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, problems
from kcore_kinds.validation.drivers import driver_name

MAX_SELECTORS = MAX_REQUESTS = MAX_CONSTRAINTS = MAX_CONFIGS = 32
MAX_SUBREQUESTS = 8
MAX_EXPRESSION = 10 * 1024
MAX_DEVICES = 128
MAX_ATTRIBUTES = 32
MODES = ["All", "ExactCount"]
_REFERENCE = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_VALUES = ("bool", "int", "string", "version")


def device_class(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from _selectors("spec.selectors", spec.get("selectors") or [])
    yield from _configs("spec.config", spec.get("config") or [], None)


def claim(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if old is not None:
        yield from common.immutable("spec", spec, old.get("spec") or {})
        return
    yield from _claim_spec("spec", spec)


def claim_template(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    if old is not None:
        yield from common.immutable("spec", spec, old.get("spec") or {})
        return
    meta = spec.get("metadata") or {}
    yield from common.labels("spec.metadata.labels", meta.get("labels"))
    yield from _claim_spec("spec.spec", spec.get("spec") or {})


def _claim_spec(path: str, spec: Object) -> Iterator[Cause]:
    devices, at = spec.get("devices") or {}, f"{path}.devices"
    requests = devices.get("requests") or []
    if len(requests) > MAX_REQUESTS:
        yield fields.too_many(f"{at}.requests", len(requests), MAX_REQUESTS)
    known: set[str] = set()
    for i, request in enumerate(requests):
        yield from _request(f"{at}.requests[{i}]", request, known)
    constraints = devices.get("constraints") or []
    if len(constraints) > MAX_CONSTRAINTS:
        yield fields.too_many(f"{at}.constraints", len(constraints), MAX_CONSTRAINTS)
    for i, constraint in enumerate(constraints):
        where = f"{at}.constraints[{i}]"
        yield from _references(f"{where}.requests", constraint.get("requests") or [], known)
        attribute, distinct = constraint.get("matchAttribute"), constraint.get("distinctAttribute")
        if attribute is None and distinct is None:
            yield fields.required(f"{where}.matchAttribute")
        for member, value in (("matchAttribute", attribute), ("distinctAttribute", distinct)):
            if value is not None:
                yield from _attribute(f"{where}.{member}", value)
    yield from _configs(f"{at}.config", devices.get("config") or [], known)


def _request(path: str, request: Object, known: set[str]) -> Iterator[Cause]:
    name, exactly, choices = request.get("name", ""), request.get("exactly"), request.get("firstAvailable") or []
    yield from _unique_label(f"{path}.name", name, known)
    if exactly is None and not choices:
        yield fields.required(path, "exactly one of `exactly` or `firstAvailable` is required")
    elif exactly is not None and choices:
        yield fields.invalid(path, None, "exactly one of `exactly` or `firstAvailable` is required")
    if exactly is not None:
        yield from _wanted(f"{path}.exactly", exactly)
    if len(choices) > MAX_SUBREQUESTS:
        yield fields.too_many(f"{path}.firstAvailable", len(choices), MAX_SUBREQUESTS)
    own: set[str] = set()
    for i, choice in enumerate(choices):
        at = f"{path}.firstAvailable[{i}]"
        yield from _unique_label(f"{at}.name", choice.get("name", ""), own)
        yield from _wanted(at, choice)
    known |= {f"{name}/{sub}" for sub in own}


def _unique_label(path: str, name: str, known: set[str]) -> Iterator[Cause]:
    if not name:
        yield fields.required(path)
        return
    yield from problems(path, name, names.dns_label(name))
    if name in known:
        yield fields.duplicate(path, name)
    known.add(name)


def _wanted(path: str, wanted: Object) -> Iterator[Cause]:
    name = wanted.get("deviceClassName", "")
    if name:
        yield from problems(f"{path}.deviceClassName", name, names.dns_subdomain(name))
    else:
        yield fields.required(f"{path}.deviceClassName")
    yield from _selectors(f"{path}.selectors", wanted.get("selectors") or [])
    mode, count = wanted.get("allocationMode", ""), wanted.get("count") or 0
    if mode == "ExactCount":
        if count <= 0:
            yield fields.invalid(f"{path}.count", count, "must be greater than zero")
    elif mode == "All":
        if count:
            why = f"must not be specified when allocationMode is '{mode}'"
            yield fields.invalid(f"{path}.count", count, why)
    else:
        yield fields.not_supported(f"{path}.allocationMode", mode, MODES)
    for i, toleration in enumerate(wanted.get("tolerations") or ()):
        operator = toleration.get("operator", "Equal")
        if operator not in ("Equal", "Exists"):
            yield fields.not_supported(f"{path}.tolerations[{i}].operator", operator, ["Equal", "Exists"])


def _selectors(path: str, selectors: list[Object]) -> Iterator[Cause]:
    if len(selectors) > MAX_SELECTORS:
        yield fields.too_many(path, len(selectors), MAX_SELECTORS)
    for i, selector in enumerate(selectors):
        cel = selector.get("cel")
        if cel is None:
            yield fields.required(f"{path}[{i}].cel")
        elif not cel.get("expression"):
            yield fields.required(f"{path}[{i}].cel.expression")
        elif len(cel["expression"]) > MAX_EXPRESSION:
            yield fields.too_long(f"{path}[{i}].cel.expression", MAX_EXPRESSION)


def _configs(path: str, configs: list[Object], known: set[str] | None) -> Iterator[Cause]:
    """Settings for drivers; those of a claim (with `known`) name requests of it."""
    if len(configs) > MAX_CONFIGS:
        yield fields.too_many(path, len(configs), MAX_CONFIGS)
    for i, config in enumerate(configs):
        if known is not None:
            yield from _references(f"{path}[{i}].requests", config.get("requests") or [], known)
        opaque = config.get("opaque")
        if opaque is None:
            yield fields.required(f"{path}[{i}].opaque")
            continue
        yield from driver_name(f"{path}[{i}].opaque.driver", opaque.get("driver", ""))
        parameters = opaque.get("parameters")
        if parameters is None:
            yield fields.required(f"{path}[{i}].opaque.parameters")
        elif not isinstance(parameters, dict):
            yield fields.invalid(f"{path}[{i}].opaque.parameters", "<value omitted>", "must be a valid JSON object")


def _references(path: str, given: list[str], known: set[str]) -> Iterator[Cause]:
    if len(given) > MAX_REQUESTS:
        yield fields.too_many(path, len(given), MAX_REQUESTS)
    seen: set[str] = set()
    for i, name in enumerate(given):
        if name not in known:
            yield fields.invalid(f"{path}[{i}]", name, _REFERENCE)
        if name in seen:
            yield fields.duplicate(f"{path}[{i}]", name)
        seen.add(name)


def _attribute(path: str, name: str) -> Iterator[Cause]:
    """A fully qualified name: a driver's domain and a C identifier."""
    if not name:
        yield fields.required(path)
        return
    domain, slash, identifier = name.partition("/")
    if not slash:
        yield fields.invalid(path, name, "must include a domain")
        return
    yield from driver_name(path, domain)
    if not identifier.isidentifier():
        why = (
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
            "characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is "
            "'[A-Za-z_][A-Za-z0-9_]*')"
        )
        yield fields.invalid(path, identifier, why)


# --- what drivers publish -------------------------------------------------------------------------------------------

_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


def resource_slice(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    pool = spec.get("pool") or {}
    yield from driver_name("spec.driver", spec.get("driver", ""))
    yield from _pool("spec.pool", pool)
    chosen = [name for name in _PLACES if spec.get(name)]
    wanted = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
    if not chosen:
        yield fields.required("spec", wanted)
    elif len(chosen) > 1:
        yield fields.invalid("spec", f"{{{', '.join(f'`{c}`' for c in chosen)}}}", wanted)
    if spec.get("nodeName"):
        yield from problems("spec.nodeName", spec["nodeName"], names.dns_subdomain(spec["nodeName"]))
    if spec.get("nodeSelector"):
        from kcore_kinds.validation.pods import node_selector

        yield from node_selector("spec.nodeSelector", spec["nodeSelector"])
    devices = spec.get("devices") or []
    if len(devices) > MAX_DEVICES:
        yield fields.too_many("spec.devices", len(devices), MAX_DEVICES)
    known: set[str] = set()
    for i, device in enumerate(devices):
        yield from _device(f"spec.devices[{i}]", device, known)
    if old is not None:
        was = old.get("spec") or {}
        yield from common.immutable("spec.driver", spec.get("driver"), was.get("driver"))
        yield from common.immutable("spec.pool.name", pool.get("name"), (was.get("pool") or {}).get("name"))
        yield from common.immutable("spec.nodeName", spec.get("nodeName"), was.get("nodeName"))


def _pool(path: str, pool: Object) -> Iterator[Cause]:
    name = pool.get("name", "")
    if not name:
        yield fields.required(f"{path}.name")
    else:
        if len(name) > 253:
            yield fields.too_long(f"{path}.name", 253)
        for part in name.split("/"):
            yield from problems(f"{path}.name", part, names.dns_subdomain(part))
    count, generation = pool.get("resourceSliceCount", 0), pool.get("generation", 0)
    if count <= 0:
        yield fields.invalid(f"{path}.resourceSliceCount", count, "must be greater than zero")
    if generation < 0:
        yield fields.invalid(f"{path}.generation", generation, common.NOT_NEGATIVE)


def _device(path: str, device: Object, known: set[str]) -> Iterator[Cause]:
    yield from _unique_label(f"{path}.name", device.get("name", ""), known)
    attributes: dict[str, Any] = device.get("attributes") or {}
    capacity: dict[str, Any] = device.get("capacity") or {}
    total = len(attributes) + len(capacity)
    if total > MAX_ATTRIBUTES:
        why = f"the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES}"
        yield fields.invalid(path, total, why)
    for name, value in attributes.items():
        given = [kind for kind in _VALUES if (value or {}).get(kind) is not None]
        at = f"{path}.attributes[{name}]"
        if not given:
            yield fields.required(at, "exactly one value must be specified")
        elif len(given) > 1:
            yield fields.invalid(at, value, "exactly one value must be specified")
