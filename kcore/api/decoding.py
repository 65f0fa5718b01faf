"""From a request's body to a typed object: content type, strictness, and the checks that upstream's decoder makes."""

from __future__ import annotations

import re
from typing import Any

from kcore import errors
from kcore.api import bodies, fields, layout, validation
from kcore.api.codec import json, unrecognized
from kcore.api.kinds import Kind
from kcore.api.negotiate import JSON, PROTOBUF, YAML
from kcore.api.options import Caller
from kcore.api.schema import Schema
from kcore.api.served import Served
from kcore.http.messages import Request
from kcore.objects import Object

MAX_BODY = 3 * 1024 * 1024
_YAML_PROBLEMS = "yaml: unmarshal errors:"
_PARTS = re.compile(r"[^.\[\]]+").findall  # of a field's path
_MAX_PROBLEMS = 100  # unknown or duplicate fields that are told of, as upstream's decoder counts them


def media_type(request: Request) -> str:
    """The body's type without its parameters; "" if none is given."""
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def body(
    request: Request, kind: str, caller: Caller | None = None, *, protobuf: bool = True, typed: bool = False
) -> Object:
    """The decoded body, of whatever kind it says it is. Raises BadRequest, UnsupportedMediaType, or 413.

    Duplicate fields are told to `caller` according to its fieldValidation; if the object is going to be `typed`,
    that tells them, together with the unknown ones.
    """
    if len(request.body) > MAX_BODY:
        raise errors.ApiError(
            f"Request entity too large: limit is {MAX_BODY}", code=413, reason="RequestEntityTooLarge"
        )
    type = media_type(request) or JSON
    duplicates: list[str] = []
    strict = caller is not None and caller.field_validation != "Ignore"
    try:
        if type == JSON:
            obj = json.decode(request.body)
            if strict:
                duplicates = json.duplicate_fields(request.body, obj)
        elif type == YAML or (type == PROTOBUF and protobuf):
            obj, lines = decoded(request, type)
            duplicates = [_YAML_PROBLEMS + "".join(f"\n  {line}" for line in lines)] if lines and strict else []
        else:
            raise unsupported(protobuf)
    except errors.BadRequest as error:
        raise unrecognized(kind, error.message, request.body) from None
    if caller is not None:
        if typed:
            caller.duplicates, caller.text = duplicates, request.body if type == JSON else b""
        elif duplicates:
            strictness(kind, obj, caller, duplicates)
    return obj


def decoded(request: Request, type: str) -> tuple[Object, list[str]]:
    """The body as YAML or protobuf, and YAML's duplicate keys. Raises BadRequest."""
    ahead, request.decoded = request.decoded, None
    if ahead is None:
        return slow(request.body, type)
    if isinstance(ahead, errors.BadRequest):
        raise ahead
    found: tuple[Object, list[str]] = ahead
    return found


def slow(body: bytes, type: str) -> tuple[Object, list[str]]:
    """Decode one of the formats that take long, and tell keys that YAML has twice. Raises BadRequest."""
    if type == PROTOBUF:
        from kcore.api.codec import protobuf

        return protobuf.decode(body), []
    if body.startswith(b"{"):
        obj = _plain_json(body)
        if obj is not None and not json.duplicate_fields(body, obj):
            return obj, []
    from kcore.api.codec import yaml

    return yaml.decode_strict(body)


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


def typed(served: Served, obj: Object, caller: Caller) -> Object:
    """Make a decoded body an object of this kind: checked, pruned, normal. Raises BadRequest."""
    kind = served.kind
    if kind.conversion is not None:
        _claim(kind, obj)
    else:
        adopt(kind.kind, kind.api_version, obj)
    shape(kind.kind, kind.schema, obj, caller, custom=kind.conversion is not None)
    return obj


def part(request: Request, kind: str, api_version: str, caller: Caller) -> Object:
    """A body that is no resource (an Eviction), decoded and checked. Raises BadRequest."""
    schema = bodies.typed_schema(kind)
    obj = body(request, kind, caller, typed=schema is not None)
    adopt(kind, api_version, obj)
    if schema is not None:
        shape(kind, schema, obj, caller)
    if obj.get("metadata") is None:
        obj["metadata"] = {}
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


def shape(kind: str, schema: Schema, obj: Object, caller: Caller, *, custom: bool = False) -> None:
    """Types as declared, unknown fields warned about or refused and dropped, values in their normal form."""
    problems = validation.prepare(obj, schema, kind)
    if problems or caller.duplicates:
        problems = _in_order(caller, problems, custom)
    if problems and caller.field_validation != "Ignore":
        strictness(kind, obj, caller, problems)
    if type(obj.get("metadata")) is not dict:
        obj["metadata"] = {}


def _in_order(caller: Caller, unknown: list[str], custom: bool) -> list[str]:
    """JSON is read into a built-in kind in one go; otherwise duplicates are found first, and then what is unknown."""
    duplicates, caller.duplicates = caller.duplicates, []
    if caller.text and not custom:
        return json.strict_problems(caller.text, unknown) if duplicates else unknown
    return [*duplicates, *sorted(unknown, key=_go_order)]


def _go_order(problem: str) -> list[tuple[int, str]]:
    """Maps are walked in the order of their keys, lists in their own."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _PARTS(problem)]


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
    tell(problems, caller)


def tell(problems: list[str], caller: Caller) -> None:
    """Warn of problems: each line of YAML's is one."""
    for problem in problems:
        if _YAML_PROBLEMS in problem:
            for line in problem.splitlines()[1:]:
                caller.warn(line.strip())
        else:
            caller.warn(problem)
