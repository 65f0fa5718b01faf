"""The shapes that Go gives to JSON: what the typed decoder (`kcore.api.typed`) reads objects into.

A shape is made from the table of Go's fields where there is one -- that is every built-in type -- and from the
`Schema` otherwise, which is what a custom resource has. A named definition is one shape, shared by all that refer to
it.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import attrs

from kcore.api.codec import fields as table
from kcore.api.schema import Schema

# What a value is. SCALARS by Go's name of them.
STRING, INT32, INT64, FLOAT, BOOL, BYTES = "string", "int32", "int64", "float64", "bool", "bytes"
QUANTITY, INT_OR_STRING, TIME, MICRO_TIME = "quantity", "int-or-string", "time", "micro-time"
LIST, MAP, STRUCT, ANY = "list", "map", "struct", "any"
FREE = "free"  # a custom resource's object: its members may have shapes, but Go sees a plain map


@attrs.define(slots=True, eq=False)
class Member:
    """A member of a struct."""

    shape: Shape
    keep_empty: bool = False  # false, 0, "" and [] are written
    keep_null: bool = False  # null is how the empty value is written
    always: bool = False  # written even when the client has not


@attrs.define(slots=True, eq=False)
class Shape:
    """What one value looks like. Mutable only while it is being built: definitions may be recursive."""

    kind: str
    go: str = ""  # Go's name of the type, as errors have it
    struct: str = ""  # of a STRUCT: the bare name
    members: dict[str, Member] = attrs.Factory(dict)
    item: Shape | None = None  # of a LIST or MAP, and of a FREE's undeclared members
    keep_unknown: bool = False
    reader: Any = None  # what `kcore.api.typed` compiled from it


_SCALARS = {
    "string": Shape(STRING, "string"),
    "int32": Shape(INT32, "int32"),
    "int64": Shape(INT64, "int64"),
    "uint32": Shape(INT64, "uint32"),
    "double": Shape(FLOAT, "float64"),
    "bool": Shape(BOOL, "bool"),
    "bytes": Shape(BYTES, "[]uint8"),
    table.QUANTITY: Shape(QUANTITY, "resource.Quantity"),
    table.QUANTITY_VALUE: Shape(QUANTITY, "resource.Quantity"),
    table.INT_OR_STRING: Shape(INT_OR_STRING, "intstr.IntOrString"),
    table.TIME: Shape(TIME, "v1.Time"),
    table.MICRO_TIME: Shape(MICRO_TIME, "v1.MicroTime"),
    table.DURATION: Shape(STRING, "string"),
    table.RAW_EXTENSION: Shape(ANY),
    table.FIELDS: Shape(ANY),
}
_ANY = Shape(ANY)
_OTHER_JSON = ("JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray")
_SCALARS.update((table.EXTENSIONS + name, _ANY) for name in _OTHER_JSON)
_STRINGS = Shape(LIST, "[]string", item=_SCALARS["string"])
_TYPE_META = {name: Member(_SCALARS["string"]) for name in ("apiVersion", "kind")}

# By message and by the schema's members (their id; holding them keeps it theirs): 0 is the table alone.
_structs: dict[tuple[str, int], tuple[dict[str, Schema] | None, Shape]] = {}


def struct(message: str, schema: Schema | None = None) -> Shape | None:
    """The shape of a Go type by its message name; None if there is no such type.

    `schema` adds the members that are newer than the table.
    """
    properties = schema.properties if schema is not None else None
    key = (message, id(properties) if properties else 0)
    known = _structs.get(key)
    if known is not None:
        return known[1]
    members = table.message(message)
    if members is None:
        return None
    package, _, name = message.rpartition(".")
    shape = Shape(STRUCT, f"{package.rpartition('.')[2]}.{name}", name)
    _structs[key] = (properties, shape)
    for field in members:
        if field.inline:
            inner = struct(field.type)
            if inner is not None:
                shape.members.update(inner.members)
        else:
            shape.members[field.name] = _member(field, schema)
    for newer, node in (properties or {}).items():
        if newer not in shape.members:
            shape.members[newer] = _TYPE_META.get(newer) or _newer(node)
    return shape


def _newer(node: Schema) -> Member:
    """A member that only the schema knows: as most new ones are, a pointer or a list left out when empty."""
    shape = of_schema(node)
    return Member(shape, keep_empty=shape.kind not in (LIST, MAP, BYTES))


def _member(field: table.Field, schema: Schema | None) -> Member:
    node = schema.properties.get(field.name) if schema is not None else None
    inner = node.items or node.values if node is not None and (field.repeated or field.map) else node
    shape = of_message(field.type, inner)
    if field.repeated:
        shape = Shape(LIST, "[]" + shape.go, item=shape)
    elif field.map:
        go = "v1.ResourceList" if shape.kind == QUANTITY else "map[string]" + shape.go
        shape = Shape(MAP, go, item=shape)
    if field.pointer:
        null = not field.omitempty
        return Member(shape, keep_empty=True, keep_null=null, always=null)
    if field.omitzero:
        return Member(shape)
    if shape.kind == STRUCT:
        return Member(shape, keep_empty=True, always=True)
    if shape.kind in (TIME, MICRO_TIME, ANY):
        return Member(shape, keep_empty=True, keep_null=True, always=True)
    if shape.kind in (QUANTITY, INT_OR_STRING):
        return Member(shape, keep_empty=True, always=True)
    always = not field.omitempty
    return Member(shape, keep_empty=always, keep_null=always and shape.kind in (LIST, MAP, BYTES), always=always)


def of_message(name: str, schema: Schema | None = None) -> Shape:
    """The shape of a field's type: a scalar, a message with its own JSON form, or a struct."""
    scalar = _SCALARS.get(name)
    if scalar is not None:
        return scalar
    if name.endswith(("ExtraValue", ".Verbs")):
        return _STRINGS
    return struct(name, schema) or _ANY


_free: WeakKeyDictionary[Schema, Shape] = WeakKeyDictionary()  # custom resources come and go


def of_schema(schema: Schema) -> Shape:
    """The shape that a schema stands for."""
    message = table.message_of_definition(schema.name) if schema.name else ""
    if message:
        known = _SCALARS.get(message) or struct(message, schema)
        if known is not None:
            return known
    scalar = _by_type(schema)
    if scalar is not None:
        return scalar
    return _free_shape(schema)


def _by_type(schema: Schema) -> Shape | None:
    kind, form = schema.type, schema.format
    if kind == "string":
        by_format = {"byte": "bytes", "date-time": table.TIME}
        return _SCALARS[by_format.get(form, "string")]
    if kind == "integer":
        return _SCALARS["int32" if form == "int32" else "int64"]
    simple = {"number": "double", "boolean": "bool", "quantity": table.QUANTITY, "int-or-string": table.INT_OR_STRING}
    if kind in simple:
        return _SCALARS[simple[kind]]
    if kind == "array":
        item = of_schema(schema.items) if schema.items is not None else _ANY
        return Shape(LIST, "[]" + item.go, item=item)
    if kind == "object" and schema.values is not None and not schema.properties:
        item = of_schema(schema.values)
        return Shape(MAP, "map[string]" + item.go, item=item)
    return _ANY if not schema.properties else None


def custom(schema: Schema) -> Shape:
    """The shape of a custom resource: type and metadata are Go's, the rest is kept as the schema lets it."""
    return _free_shape(schema, top=True)


def _free_shape(schema: Schema, *, top: bool = False) -> Shape:
    found = _free.get(schema)
    if found is not None:
        return found
    shape = Shape(FREE, "map[string]interface {}", keep_unknown=schema.preserve_unknown)
    _free[schema] = shape
    for key, node in schema.properties.items():
        shape.members[key] = Member(_free_child(node))
    if schema.values is not None:
        shape.item = _free_child(schema.values)
    if top or schema.embedded:
        shape.members.update(_TYPE_META)
        meta = struct(table.META + "ObjectMeta")
        assert meta is not None  # the table has it
        shape.members["metadata"] = Member(meta, keep_empty=True, always=top)
    return shape


def _free_child(node: Schema) -> Shape:
    """Inside a custom resource only objects and lists matter: they are pruned; scalars are the validation's."""
    if node.name and table.message_of_definition(node.name):
        return of_schema(node)
    if node.type == "array" and node.items is not None:
        return Shape(LIST, "", item=_free_child(node.items), keep_unknown=True)
    if node.properties or node.values is not None or (node.type == "object" and not node.preserve_unknown):
        return _free_shape(node)
    return _free_shape(node) if node.embedded else _ANY


def root(schema: Schema) -> Shape:
    """The shape of a whole object: a built-in kind's by its name, else a custom resource's."""
    message = table.message_of_definition(schema.name) if schema.name else ""
    known = struct(message, schema) if message else None
    if known is not None:
        return known
    return custom(schema)


def zero(shape: Shape) -> Any:
    """The value of a shape that nothing was said of."""
    kind = shape.kind
    if kind == STRUCT:
        return {name: zero_member(member) for name, member in shape.members.items() if member.always}
    if kind == STRING:
        return ""
    if kind in (INT32, INT64, FLOAT, INT_OR_STRING):
        return 0
    if kind == BOOL:
        return False
    return "0" if kind == QUANTITY else None


def zero_member(member: Member) -> Any:
    """How an always written member is written when it is missing."""
    return None if member.keep_null else zero(member.shape)
