"""The rules of claims, volumes and storage classes."""

from __future__ import annotations

from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore.objects import quantity
from kcore_kinds.gostruct import CLAIM_SPEC, VOLUME_SOURCE, difference
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, one_of, problems
from kcore_kinds.validation.volumes import source

MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]
VOLUME_MODES = ["Block", "Filesystem"]
_CLAIM_UPDATE = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def claim(obj: Object, old: Object | None) -> Iterator[Cause]:
    yield from claim_spec("spec", obj["spec"])
    if old is not None:
        yield from _claim_update(obj["spec"], old)


def claim_spec(path: str, spec: Object) -> Iterator[Cause]:
    modes = spec.get("accessModes") or []
    if not modes:
        yield fields.required(f"{path}.accessModes", "at least 1 access mode is required")
    yield from _modes(f"{path}.accessModes", modes)
    yield from common.label_selector(f"{path}.selector", spec.get("selector"))
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        yield fields.required(f"{path}.resources[storage]")
    elif quantity.parse(size) <= 0:
        yield fields.invalid(f"{path}.resources[storage]", str(size), "must be greater than zero")
    if spec.get("storageClassName"):
        name = spec["storageClassName"]
        yield from problems(f"{path}.storageClassName", name, names.dns_subdomain(name))
    yield from one_of(f"{path}.volumeMode", spec.get("volumeMode"), VOLUME_MODES)


def _modes(path: str, modes: list[str]) -> Iterator[Cause]:
    for mode in modes:
        if mode not in MODES:
            yield fields.not_supported(path, mode, MODES)
        elif mode == "ReadWriteOncePod" and len(modes) > 1:
            yield fields.forbidden(path, "may not use ReadWriteOncePod with other access modes")
            return


def _claim_update(new: Object, old: Object) -> Iterator[Cause]:
    """A claim is fixed; a bound one may grow, and one that is not bound may be given a volume or a class."""
    was = old["spec"]
    bound = (old.get("status") or {}).get("phase") == "Bound"
    if _fixed(new, was, bound=bound) != _fixed(was, was, bound=bound):
        kept = _kept_in_update(new, was)
        yield fields.forbidden("spec", f"{_CLAIM_UPDATE}\n{difference(CLAIM_SPEC, was, kept)}")
        return
    size = ((new.get("resources") or {}).get("requests") or {}).get("storage")
    before = ((was.get("resources") or {}).get("requests") or {}).get("storage")
    has = ((old.get("status") or {}).get("capacity") or {}).get("storage")
    shrinks = size and before and quantity.parse(size) < quantity.parse(before)
    if shrinks and (not has or quantity.parse(size) <= quantity.parse(has)):
        yield fields.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")


def _kept_in_update(new: Object, was: Object) -> Object:
    """The new spec with the old values of what may change."""
    free = ["volumeName"] if not was.get("volumeName") else []
    if was.get("storageClassName") is None:
        free.append("storageClassName")
    kept = {name: was[name] for name in free if name in was}
    return {**{name: value for name, value in new.items() if name not in free}, **kept}


def _fixed(spec: Object, was: Object, *, bound: bool) -> Object:
    free = {"volumeName"} if not was.get("volumeName") else set()
    if was.get("storageClassName") is None:
        free.add("storageClassName")
    out = {k: v for k, v in spec.items() if k not in free}
    if bound:
        out.pop("volumeAttributesClassName", None)
        resources = dict(out.get("resources") or {})
        resources.pop("requests", None)
        out["resources"] = resources
    return out


def volume(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    modes = spec.get("accessModes") or []
    if not modes:
        yield fields.required("spec.accessModes")
    yield from _modes("spec.accessModes", modes)
    capacity = spec.get("capacity") or {}
    if not capacity:
        yield fields.required("spec.capacity")
    if list(capacity) != ["storage"]:
        yield fields.not_supported("spec.capacity", spec.get("capacity"), ["storage"])
    for name, amount in capacity.items():
        if quantity.parse(amount) <= 0:
            yield fields.invalid(f"spec.capacity[{name}]", str(amount), "must be greater than zero")
    policy = spec.get("persistentVolumeReclaimPolicy")
    yield from one_of("spec.persistentVolumeReclaimPolicy", policy, ["Delete", "Recycle", "Retain"])
    if spec.get("nodeAffinity"):
        from kcore_kinds.validation.pods import node_selector

        required = spec["nodeAffinity"].get("required")
        if required is None:
            yield fields.required("spec.nodeAffinity.required", "must specify required node constraints")
        else:
            yield from node_selector("spec.nodeAffinity.required", required)
    yield from source("spec", spec, "volume type")
    if spec.get("local") is not None and not spec.get("nodeAffinity"):
        yield fields.required("spec.nodeAffinity", "Local volume requires node affinity")
    if spec.get("storageClassName"):
        name = spec["storageClassName"]
        yield from problems("spec.storageClassName", name, names.dns_subdomain(name))
    yield from one_of("spec.volumeMode", spec.get("volumeMode"), VOLUME_MODES)
    if old is not None:
        yield from _volume_update(spec, old["spec"])


def _volume_update(new: Object, old: Object) -> Iterator[Cause]:
    from kcore_kinds.validation.volumes import SOURCES

    if {n: new.get(n) for n in SOURCES} != {n: old.get(n) for n in SOURCES}:
        why = f"spec.persistentvolumesource is immutable after creation\n{difference(VOLUME_SOURCE, new, old)}"
        yield fields.forbidden("spec.persistentvolumesource", why)
    yield from common.immutable("spec.volumeMode", new.get("volumeMode"), old.get("volumeMode"))
    if old.get("nodeAffinity") is not None:
        yield from common.immutable("spec.nodeAffinity", new.get("nodeAffinity"), old.get("nodeAffinity"))


def storage_class(obj: Object, old: Object | None) -> Iterator[Cause]:
    provisioner = obj.get("provisioner") or ""
    if not provisioner:
        yield fields.required("provisioner")
    else:
        yield from problems("provisioner", provisioner, names.qualified_name(provisioner.lower()))
    for key in obj.get("parameters") or {}:
        if not key:
            yield fields.invalid("parameters", key, "field must not be empty.")
    yield from one_of("reclaimPolicy", obj.get("reclaimPolicy"), ["Delete", "Retain"])
    mode = obj.get("volumeBindingMode")
    yield from one_of("volumeBindingMode", mode, ["Immediate", "WaitForFirstConsumer"], required=True)
    if old is not None:
        for name, why in (
            ("parameters", "updates to parameters are forbidden."),
            ("provisioner", "updates to provisioner are forbidden."),
            ("reclaimPolicy", "updates to reclaimPolicy are forbidden."),
        ):
            if (obj.get(name) or None) != (old.get(name) or None):
                yield fields.forbidden(name, why)
        yield from common.immutable("volumeBindingMode", mode, old.get("volumeBindingMode"))
