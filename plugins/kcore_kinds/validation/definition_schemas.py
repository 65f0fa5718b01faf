"""The rules of a CustomResourceDefinition's schemas: which of JSON Schema they may use, and that they are structural.

A structural schema says of every field what it is outside of allOf, anyOf, oneOf and not, so that it can be pruned and
defaulted. https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kcore.api import fields
from kcore.errors import Cause
from kcore_kinds.validation.common import Object

_TYPES = ["array", "boolean", "integer", "number", "object", "string"]
_SCALARS = ("boolean", "integer", "number", "string")
_REFUSED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_PRESERVE, _EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
_INT_OR_STRING, _MAP_TYPE = "x-kubernetes-int-or-string", "x-kubernetes-map-type"
_LIST_TYPE, _KEYS, _RULES = "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations"
_BRANCHES = ("allOf", "anyOf", "oneOf")
_WITH_STATUS = (
    "Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum",
    "MaxLength", "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items",
    "Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations",
)  # fmt: skip
_WITH_STATUS_JSON = {name[0].lower() + name[1:] for name in _WITH_STATUS} | {_PRESERVE, _RULES}
_REASONS = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"]
_MAX_MESSAGE = 2048


def schema(path: str, doc: Object, *, status: bool) -> Iterator[Cause]:
    """Every mistake of a version's schema but those of its defaults and of what its expressions say."""
    if status and not doc.keys() <= _WITH_STATUS_JSON:
        allowed = " ".join(_WITH_STATUS)
        why = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
        yield fields.invalid(path, doc, why)
    if doc.get("nullable"):
        yield fields.forbidden(f"{path}.nullable", "nullable cannot be true at the root")
    yield from _node(path, doc)
    yield from sorted(_structural(path, doc, "root"), key=lambda cause: (cause.field, cause.message))


# --- what may be used ----------------------------------------------------------------------------


def _node(path: str, doc: Object) -> Iterator[Cause]:
    for name in _REFUSED:
        if doc.get(name):
            yield fields.forbidden(f"{path}.{name}", f"{name} is not supported")
    kind = doc.get("type") or ""
    if kind == "null":
        yield fields.forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    elif kind and kind not in _TYPES:
        yield fields.not_supported(f"{path}.type", kind, _TYPES)
    items, values, properties = doc.get("items"), doc.get("additionalProperties"), doc.get("properties")
    if isinstance(items, list):
        yield fields.forbidden(f"{path}.items", "items must be a schema object and not an array")
    if doc.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield fields.forbidden(f"{path}.uniqueItems", why)
    if values is False:
        yield fields.forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    elif values is not None and properties and values is not True:
        why = "additionalProperties and properties are mutual exclusive"
        yield fields.forbidden(f"{path}.additionalProperties", why)
    if doc.get(_PRESERVE) is False:
        yield fields.invalid(f"{path}.{_PRESERVE}", False, "must be true or undefined")
    if _MAP_TYPE in doc:
        yield from _needs(path, doc, "object", _MAP_TYPE)
        if doc[_MAP_TYPE] not in ("atomic", "granular"):
            yield fields.not_supported(f"{path}.{_MAP_TYPE}", doc[_MAP_TYPE], ["atomic", "granular"])
    if _LIST_TYPE in doc or doc.get(_KEYS):
        yield from _list_type(path, doc)
    for i, rule in enumerate(doc.get(_RULES) or ()):
        yield from _rule(f"{path}.{_RULES}[{i}]", rule)
    for below, child in _children(path, doc):
        yield from _node(below, child)


def _children(path: str, doc: Object) -> Iterator[tuple[str, Object]]:
    """All schemas right below this one, with their paths."""
    for name, child in sorted((doc.get("properties") or {}).items()):
        yield f"{path}.properties[{name}]", child
    for name in ("additionalProperties", "items", "not"):
        if isinstance(doc.get(name), dict):
            yield f"{path}.{name}", doc[name]
    for name in _BRANCHES:
        for i, child in enumerate(doc.get(name) or ()):
            yield f"{path}.{name}[{i}]", child


def _needs(path: str, doc: Object, kind: str, because: str) -> Iterator[Cause]:
    given, why = doc.get("type") or "", f"must be {kind} if {because} is specified"
    if not given:
        yield fields.required(f"{path}.type", why)
    elif given != kind:
        yield fields.invalid(f"{path}.type", given, why)


def _list_type(path: str, doc: Object) -> Iterator[Cause]:
    kind, keys = doc.get(_LIST_TYPE), doc.get(_KEYS) or []
    if kind is not None:
        yield from _needs(path, doc, "array", _LIST_TYPE)
        if kind not in ("atomic", "map", "set"):
            yield fields.not_supported(f"{path}.{_LIST_TYPE}", kind, ["atomic", "map", "set"])
    if keys and kind != "map":
        why = f"must be map if {_KEYS} is non-empty"
        where = f"{path}.{_LIST_TYPE}"
        yield fields.required(where, why) if kind is None else fields.invalid(where, kind, why)
    items = doc.get("items")
    if kind == "map":
        yield from _list_map(path, keys, items if isinstance(items, dict) else None)
    elif kind == "set" and isinstance(items, dict):
        yield from _list_set(path, items)


def _list_map(path: str, keys: list[str], items: Object | None) -> Iterator[Cause]:
    if not keys:
        yield fields.required(f"{path}.{_KEYS}", f"must not be empty if {_LIST_TYPE} is map")
    if items is None:
        yield fields.required(f"{path}.items", f"must have a schema if {_LIST_TYPE} is map")
        return
    if items.get("type") != "object":
        why = f"must be object if parent array's {_LIST_TYPE} is map"
        yield fields.invalid(f"{path}.items.type", items.get("type") or "", why)
    seen: set[str] = set()
    for i, key in enumerate(keys):
        if key in seen:
            yield fields.duplicate(f"{path}.{_KEYS}[{i}]", key)
        seen.add(key)
        member = (items.get("properties") or {}).get(key)
        if member is None:
            yield fields.invalid(f"{path}.{_KEYS}[{i}]", key, "entries must all be names of item properties")
            continue
        where = f"{path}.items.properties[{key}]"
        if member.get("type") not in _SCALARS and not member.get(_INT_OR_STRING):
            why = f"must be a scalar type if parent array's {_LIST_TYPE} is map"
            yield fields.invalid(f"{where}.type", member.get("type") or "", why)
        because = f"this property is in {_KEYS}, so it"
        if "default" not in member and key not in (items.get("required") or ()):
            yield fields.required(f"{where}.default", f"{because} must have a default or be a required property")
        if member.get("nullable"):
            yield fields.forbidden(f"{where}.nullable", f"{because} cannot be nullable")


def _list_set(path: str, items: Object) -> Iterator[Cause]:
    if items.get("nullable"):
        yield fields.forbidden(f"{path}.items.nullable", f"cannot be nullable when {_LIST_TYPE} is set")
    why = f"must be atomic as item of a list with {_LIST_TYPE}=set"
    for kind, member in (("object", _MAP_TYPE), ("array", _LIST_TYPE)):
        given = items.get(member)
        if items.get("type") != kind or given == "atomic" or (kind == "array" and given is None):
            continue
        where = f"{path}.items.{member}"
        yield fields.required(where, why) if given is None else fields.invalid(where, given, why)


def _rule(path: str, rule: Object) -> Iterator[Cause]:
    text, message = rule.get("rule") or "", rule.get("message") or ""
    if not text.strip():
        yield fields.required(f"{path}.rule", "rule is not specified")
    if message and not message.strip():
        yield fields.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif "\n" in message.strip():
        yield fields.invalid(f"{path}.message", message, "message must not contain line breaks")
    elif len(message.encode()) > _MAX_MESSAGE:
        why = f"message must have a maximum length of {_MAX_MESSAGE} characters"
        yield fields.invalid(f"{path}.message", message[:10] + "...", why)
    elif "\n" in text.strip() and not message:
        yield fields.required(f"{path}.message", "message must be specified if rule contains line breaks")
    expression = rule.get("messageExpression") or ""
    if expression and not expression.strip():
        yield fields.required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        yield fields.not_supported(f"{path}.reason", reason, _REASONS)


# --- structural ----------------------------------------------------------------------------------

_INT_OR_STRING_BRANCHES = [{"type": "integer"}, {"type": "string"}]
_EMPTY = {"root": "at the root", "item": "for specified array items", "field": "for specified object fields"}


def _structural(path: str, doc: Object, level: str) -> Iterator[Cause]:
    kind, embedded, preserve = doc.get("type") or "", doc.get(_EMBEDDED), doc.get(_PRESERVE)
    items, values, properties = doc.get("items"), doc.get("additionalProperties"), doc.get("properties") or {}
    if kind == "array" and items is None:
        yield fields.required(f"{path}.items", "must be specified")
    if isinstance(items, dict):
        yield from _structural(f"{path}.items", items, "item")
    for name, child in properties.items():
        yield from _structural(f"{path}.properties[{name}]", child, "field")
    if values is not None:
        if level == "root":
            yield fields.forbidden(f"{path}.additionalProperties", "must not be used at the root")
        if isinstance(values, dict):
            yield from _structural(f"{path}.additionalProperties", values, "field")
    if doc.get(_INT_OR_STRING):
        for name, given in ((_PRESERVE, preserve), (_EMBEDDED, embedded)):
            if given:
                yield fields.invalid(f"{path}.{name}", True, f"must be false if {_INT_OR_STRING} is true")
    yield from _values(path, doc, top=True)
    yield from _kind(path, doc, level)
    if embedded and values is not None:
        yield fields.forbidden(f"{path}.additionalProperties", f"must not be used if {_EMBEDDED} is set")
    if level == "root" or embedded:
        yield from _type_and_metadata(path, properties, level)
    if embedded and not preserve and not properties:
        yield fields.required(f"{path}.properties", f"must not be empty if {_EMBEDDED} is true without {_PRESERVE}")
    for part in _parts(doc):
        yield from _complete(path, part, doc)


def _kind(path: str, doc: Object, level: str) -> Iterator[Cause]:
    kind = doc.get("type") or ""
    if doc.get(_EMBEDDED) and kind != "object":
        why = f"must be object if {_EMBEDDED} is true"
        yield fields.invalid(f"{path}.type", kind, why) if kind else fields.required(f"{path}.type", why)
    elif not kind and not doc.get(_INT_OR_STRING) and not doc.get(_PRESERVE):
        yield fields.required(f"{path}.type", f"must not be empty {_EMPTY[level]}")
    elif level == "root" and not kind:
        yield fields.required(f"{path}.type", "must not be empty at the root")
    if level == "root" and kind and kind != "object":
        yield fields.invalid(f"{path}.type", kind, "must be object at the root")


def _type_and_metadata(path: str, properties: Object, level: str) -> Iterator[Cause]:
    for name in ("kind", "apiVersion"):
        if name in properties and properties[name].get("type") != "string":
            given = properties[name].get("type") or ""
            yield fields.invalid(f"{path}.properties[{name}].type", given, "must be string")
    meta = properties.get("metadata")
    if meta is None:
        return
    where = f"{path}.properties[metadata]"
    if meta.get("type") != "object":
        yield fields.invalid(f"{where}.type", meta.get("type") or "", "must be object")
    more = meta.keys() - {"type", "properties", "description"} or (
        (meta.get("properties") or {}).keys() - {"name", "generateName"}
    )
    if level == "root" and more:
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield fields.forbidden(where, why)


def _values(path: str, doc: Object, *, top: bool) -> Iterator[Cause]:
    """The branches of a schema, and its pattern."""
    for name in _BRANCHES:
        for i, branch in enumerate(doc.get(name) or ()):
            if top and name == "anyOf" and doc[name] == _INT_OR_STRING_BRANCHES:
                continue
            skip = top and name == "allOf" and i == 0
            yield from _nested(f"{path}.{name}[{i}]", branch, int_or_string=skip)
    if isinstance(doc.get("not"), dict):
        yield from _nested(f"{path}.not", doc["not"])
    if doc.get("pattern"):
        from kcore.cel import regex

        try:
            regex.compiled(doc["pattern"])
        except (ValueError, UnicodeEncodeError) as error:
            why = f"must be a valid regular expression, but isn't: {regex.explain(doc['pattern'], str(error))}"
            yield fields.invalid(f"{path}.pattern", doc["pattern"], why)


_NESTED: tuple[tuple[str, str], ...] = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (_PRESERVE, "must be false to be structural"),
    (_EMBEDDED, "must be false to be structural"),
    (_INT_OR_STRING, "must be false to be structural"),
    (_KEYS, "must be empty to be structural"),
    (_LIST_TYPE, "must be undefined to be structural"),
    (_MAP_TYPE, "must be undefined to be structural"),
    (_RULES, "must be empty to be structural"),
)


def _nested(path: str, doc: Object, *, int_or_string: bool = False) -> Iterator[Cause]:
    """Inside of a branch there are only conditions on values."""
    if not (int_or_string and doc.get("anyOf") == _INT_OR_STRING_BRANCHES):
        yield from _values(path, doc, top=False)
    if isinstance(doc.get("items"), dict):
        yield from _nested(f"{path}.items", doc["items"])
    for name, child in (doc.get("properties") or {}).items():
        yield from _nested(f"{path}.properties[{name}]", child)
    for name, why in _NESTED:
        if doc.get(name) not in (None, False, "", []):
            yield fields.forbidden(f"{path}.{name}", why)
    if "metadata" in (doc.get("properties") or {}):
        yield fields.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _parts(doc: Object) -> Iterator[Object]:
    for name in _BRANCHES:
        yield from doc.get(name) or ()
    if isinstance(doc.get("not"), dict):
        yield doc["not"]


def _complete(path: str, part: Object, whole: Object) -> Iterator[Cause]:
    """What a branch speaks of is also said outside of it."""
    for name, child in (part.get("properties") or {}).items():
        outside: Any = (whole.get("properties") or {}).get(name)
        if outside is None:
            said = f"because it is defined in {path}.{_where(part, whole)}properties[{name}]"
            yield fields.required(f"{path}.properties[{name}]", said)
        else:
            yield from _complete(f"{path}.properties[{name}]", child, outside)
    if isinstance(part.get("items"), dict):
        if isinstance(whole.get("items"), dict):
            yield from _complete(f"{path}.items", part["items"], whole["items"])
        else:
            said = f"because it is defined in {path}.{_where(part, whole)}items"
            yield fields.required(f"{path}.items", said)
    for deeper in _parts(part):
        yield from _complete(path, deeper, whole)


def _where(part: Object, whole: Object) -> str:
    """How a branch is named below its schema; "" for one further down."""
    for name in _BRANCHES:
        for i, branch in enumerate(whole.get(name) or ()):
            if branch is part:
                return f"{name}[{i}]."
    return "not." if whole.get("not") is part else ""
