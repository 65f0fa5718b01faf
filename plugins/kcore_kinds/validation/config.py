"""The rules of ConfigMaps, Secrets and limits."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import msgspec

from kcore.api import fields, names
from kcore.errors import Cause
from kcore.objects import quantity
from kcore_kinds.validation.common import IMMUTABLE, Object, immutable, problems

MAX_BYTES = 1024 * 1024
_FIXED = "field is immutable when `immutable` is set"
_ACCOUNT = "kubernetes.io/service-account.name"
# What a Secret of a type must have; of the pair of basic-auth one is enough.
_KEYS = {
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}
LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")


def config_map(obj: Object, old: Object | None) -> Iterator[Cause]:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for key in data:
        yield from problems(f"data[{key}]", key, names.config_map_key(key))
        if key in binary:
            yield fields.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    for key in binary:
        yield from problems(f"binaryData[{key}]", key, names.config_map_key(key))
    size = sum(len(str(v).encode()) for v in data.values()) + sum(map(_size, binary.values()))
    if size > MAX_BYTES:
        yield fields.too_long("", MAX_BYTES)
    if old is not None:
        yield from _frozen(obj, old, ("data", "binaryData"))


def _size(encoded: str) -> int:
    return len(encoded or "") * 3 // 4 - (encoded or "").count("=")


def _frozen(obj: Object, old: Object, members: tuple[str, ...]) -> Iterator[Cause]:
    """What was made immutable stays so, and stays as it is."""
    if not old.get("immutable"):
        return
    if not obj.get("immutable"):
        yield fields.forbidden("immutable", _FIXED)
    for name in members:
        if (obj.get(name) or {}) != (old.get(name) or {}):
            yield fields.forbidden(name, _FIXED)


def secret(obj: Object, old: Object | None) -> Iterator[Cause]:
    data, type = obj.get("data") or {}, obj.get("type") or ""
    for key in data:
        yield from problems(f"data[{key}]", key, names.config_map_key(key))
    if sum(map(_size, data.values())) > MAX_BYTES:
        yield fields.too_long("data", MAX_BYTES)
    if type == "kubernetes.io/service-account-token":
        if not (obj["metadata"].get("annotations") or {}).get(_ACCOUNT):
            yield fields.required(f"metadata.annotations[{_ACCOUNT}]")
    elif type == "kubernetes.io/basic-auth":
        if not {"username", "password"} & data.keys():
            yield fields.required("data[username]")
            yield fields.required("data[password]")
    elif type in _KEYS:
        for key in _KEYS[type]:
            if key not in data or (type.endswith("ssh-auth") and not data[key]):
                yield fields.required(f"data[{key}]")
    elif type in _JSON:
        yield from _json(_JSON[type], data)
    if old is not None:
        yield from immutable("type", type, old.get("type") or "")
        yield from _frozen(obj, old, ("data",))


def _json(key: str, data: Object) -> Iterator[Cause]:
    if key not in data:
        yield fields.required(f"data[{key}]")
        return
    try:
        msgspec.json.decode(base64.b64decode(data[key] or ""))
    except (msgspec.DecodeError, ValueError) as e:
        text = "unexpected end of JSON input" if not data[key] else str(e)
        yield fields.invalid(f"data[{key}]", "<secret contents redacted>", text)


def limit_range(obj: Object, old: Object | None) -> Iterator[Cause]:
    for i, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path = f"spec.limits[{i}]"
        kinds = {name: item.get(name) or {} for name in ("min", "max", "default", "defaultRequest")}
        if item.get("type") == "Pod":
            for name in ("default", "defaultRequest"):
                if kinds[name]:
                    yield fields.forbidden(f"{path}.{name}", "may not be specified when `type` is 'Pod'")
        if item.get("type") == "PersistentVolumeClaim" and not {"storage"} & (
            kinds["min"].keys() | kinds["max"].keys()
        ):
            yield fields.required(
                f"{path}", "either minimum or maximum storage value is required, but neither was provided"
            )
        yield from _ordered(path, kinds)


def _ordered(path: str, kinds: dict[str, Object]) -> Iterator[Cause]:
    """min <= defaultRequest <= default <= max, as far as they are given."""
    pairs = (
        ("min", "max", "min", "min value {} is greater than max value {}"),
        ("min", "defaultRequest", "defaultRequest", "min value {} is greater than default request value {}"),
        ("defaultRequest", "max", "defaultRequest", "default request value {} is greater than max value {}"),
        (
            "defaultRequest",
            "default",
            "defaultRequest",
            "default request value {} is greater than default limit value {}",
        ),
        ("min", "default", "default", "min value {} is greater than default value {}"),
        ("default", "max", "default", "default value {} is greater than max value {}"),
    )
    for low, high, blamed, text in pairs:
        for name, amount in kinds[low].items():
            other = kinds[high].get(name)
            if other is not None and quantity.parse(amount) > quantity.parse(other):
                yield fields.invalid(f"{path}.{blamed}[{name}]", kinds[blamed][name], text.format(amount, other))


def resource_quota(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    for name, amount in (spec.get("hard") or {}).items():
        path = f"spec.hard[{name}]"
        yield from problems(path, name, names.qualified_name(name))
        if quantity.parse(amount) < 0:
            yield fields.invalid(path, str(amount), "must be greater than or equal to 0")
    if old is not None and sorted(spec.get("scopes") or ()) != sorted((old.get("spec") or {}).get("scopes") or ()):
        yield fields.invalid("spec.scopes", spec.get("scopes"), IMMUTABLE)
