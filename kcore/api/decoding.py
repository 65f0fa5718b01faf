"""From a request's body to a typed object: content type, strictness, and the checks that upstream's decoder makes."""

from __future__ import annotations

from typing import Any

from kcore import errors
from kcore.api import fields, layout, validation
from kcore.api.codec import json, unrecognized
from kcore.api.kinds import Kind
from kcore.api.negotiate import JSON, PROTOBUF, YAML
from kcore.api.options import Caller
from kcore.api.schema import Schema
from kcore.api.served import Served
from kcore.http.messages import Request
from kcore.objects import Object

MAX_BODY = 3 * 1024 * 1024
_IN_YAML = "yaml: unmarshal errors:"
_MAX_PROBLEMS = 100  # unknown or duplicate fields that are told of, as upstream's decoder counts them


def media_type(request: Request) -> str:
    """The body's type without its parameters; "" if none is given."""
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def body(request: Request, kind: str, caller: Caller | None = None, *, protobuf: bool = True) -> Object:
    """The decoded body, of whatever kind it says it is. Raises BadRequest, UnsupportedMediaType, or 413.

    Duplicate fields are told to `caller` according to its fieldValidation.
    """
    strict = caller is not None and caller.field_validation != "Ignore"
    obj, repeated = _body(request, kind, strict, protobuf)
    if repeated and caller is not None:
        strictness(kind, obj, caller, repeated)
    return obj


def read(request: Request, served: Served, caller: Caller) -> Object:
    """The body as an object of this kind; duplicate and unknown fields are told together."""
    kind = served.kind
    obj, repeated = _body(request, kind.kind, caller.field_validation != "Ignore", bool(kind.message))
    return typed(served, obj, caller, repeated, request.body)


def _body(request: Request, kind: str, strict: bool, protobuf: bool) -> tuple[Object, list[str]]:
    """The object, and which of its fields are given twice."""
    if len(request.body) > MAX_BODY:
        raise errors.ApiError(
            f"Request entity too large: limit is {MAX_BODY}", code=413, reason="RequestEntityTooLarge"
        )
    type = media_type(request) or JSON
    try:
        if type == JSON:
            obj = json.decode(request.body)
            return obj, json.duplicate_fields(request.body, obj) if strict else []
        if type == YAML or (type == PROTOBUF and protobuf):
            obj, repeated = decoded(request, type)
            return obj, [in_yaml(repeated)] if repeated and strict else []
    except errors.BadRequest as error:
        raise unrecognized(kind, error.message, request.body) from None
    raise unsupported(protobuf)


def in_yaml(repeated: list[str]) -> str:
    """The keys that are given twice, as one error of upstream's YAML decoder."""
    return "\n  ".join((_IN_YAML, *repeated))


def decoded(request: Request, type: str) -> tuple[Object, list[str]]:
    """The body as YAML or protobuf, and the keys that YAML gives twice. Raises BadRequest."""
    ahead, request.decoded = request.decoded, None
    if ahead is None:
        return slow(request.body, type)
    if isinstance(ahead, errors.BadRequest):
        raise ahead
    found: tuple[Object, list[str]] = ahead
    return found


def slow(body: bytes, type: str) -> tuple[Object, list[str]]:
    """Decode one of the formats that take long. Raises BadRequest."""
    if type == PROTOBUF:
        from kcore.api.codec import protobuf

        return protobuf.decode(body), []
    if body.startswith(b"{"):
        obj = _plain_json(body)
        if obj is not None and not json.duplicate_fields(body, obj):
            return obj, []
    from kcore.api.codec import yaml

    return yaml.decode_strictly(body)


def _plain_json(body: bytes) -> Object | None:
    """YAML that is JSON, as clients' libraries write it: read a hundred times as fast. None: read it as YAML."""
    try:
        obj = layout.decode_json(body)
        return obj if isinstance(obj, dict) and _same_in_yaml(obj) else None
    except (ValueError, RecursionError):
        return None


def _same_in_yaml(value: Any) -> bool:
    """Whether YAML would read the same: it has its own way with numbers that are not integers of 64 bits."""
    if type(value) is dict:
        return all(type(v) is str or _same_in_yaml(v) for v in value.values())
    if type(value) is list:
        return all(type(v) is str or _same_in_yaml(v) for v in value)
    return type(value) is not float and not (type(value) is int and not -(2**63) <= value < 2**63)


def unsupported(protobuf: bool = True) -> errors.UnsupportedMediaType:
    accepted = ", ".join((JSON, YAML, PROTOBUF) if protobuf else (JSON, YAML))
    return errors.UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    )


def typed(served: Served, obj: Object, caller: Caller, repeated: list[str] | None = None, raw: bytes = b"") -> Object:
    """Make a decoded body an object of this kind: checked, pruned, normal. Raises BadRequest.

    `repeated` are the fields that the body `raw` gives twice.
    """
    kind = served.kind
    if kind.conversion is not None:
        _claim(kind, obj)
    else:
        adopt(kind.kind, kind.api_version, obj)
    shape(kind, kind.schema, obj, caller, repeated, raw)
    return obj


def adopt(kind: str, api_version: str, obj: Object) -> None:
    """A body may leave out kind and apiVersion, but may not say others. Raises BadRequest."""
    said_kind, said_version = obj.get("kind") or kind, obj.get("apiVersion") or api_version
    if said_kind != kind or said_version != api_version:
        version = said_version.rpartition("/")[2] if said_version == api_version else said_version
        raise errors.BadRequest(
            f'{said_kind} in version "{version}" cannot be handled as a {kind}: no kind "{said_kind}" is registered '
            f'for version "{said_version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
        )
    obj["kind"], obj["apiVersion"] = kind, api_version


def _claim(kind: Kind, obj: Object) -> None:
    """A custom resource says what it is. Raises BadRequest, Invalid."""
    said, version = obj.get("kind"), obj.get("apiVersion")
    if not said or not isinstance(said, str):
        raise errors.BadRequest("Object 'Kind' is missing in 'unstructured object has no kind'")
    if version != kind.api_version:
        raise errors.BadRequest(
            f"the API version in the data ({version or ''}) does not match the expected API version "
            f"({kind.api_version})"
        )
    if said != kind.kind:
        meta = obj.get("metadata")
        name = meta.get("name") if isinstance(meta, dict) else ""
        cause = fields.invalid("kind", said, f"must be {kind.kind}")
        raise errors.invalid(said, name if isinstance(name, str) else "", [cause], kind.group)


def shape(
    kind: Kind, schema: Schema, obj: Object, caller: Caller, repeated: list[str] | None = None, raw: bytes = b""
) -> None:
    """Types as declared, unknown fields warned about or refused and dropped, values in their normal form."""
    problems = validation.prepare(obj, schema, kind.kind)
    if kind.conversion is not None:
        problems.sort()
    if repeated:
        if kind.conversion is None and not repeated[0].startswith(_IN_YAML):
            problems = json.in_order(raw, problems, repeated)
        else:
            problems = [*repeated, *problems]
    if problems and caller.field_validation != "Ignore":
        strictness(kind.kind, obj, caller, problems)
    if type(obj.get("metadata")) is not dict:
        obj["metadata"] = {}


def settled(served: Served, obj: Object) -> Object:
    """An object that was put together from checked parts, in the form that a decoded one has."""
    validation.normalize(obj, served.kind.schema)
    return obj


def strictness(kind: str, obj: Any, caller: Caller, problems: list[str]) -> None:
    """Unknown or duplicate fields: refused, told, or passed over, as fieldValidation says."""
    problems = problems[:_MAX_PROBLEMS]
    if problems and caller.field_validation == "Strict":
        version = str(obj.get("apiVersion", "")).rpartition("/")[2] if isinstance(obj, dict) else ""
        raise errors.BadRequest(
            f'{kind} in version "{version}" cannot be handled as a {kind}: strict decoding error: '
            + ", ".join(problems)
        )
    for problem in problems:
        for line in problem.removeprefix(_IN_YAML).strip().split("\n"):
            caller.warn(line.strip())


def strictly_applied(caller: Caller, repeated: list[str]) -> None:
    """Keys that an applied configuration gives twice: told, refused or passed over."""
    if repeated and caller.field_validation == "Strict":
        raise errors.BadRequest(f"error strict decoding YAML: error converting YAML to JSON: {in_yaml(repeated)}")
    if caller.field_validation == "Warn":
        for line in repeated:
            caller.warn(line)
