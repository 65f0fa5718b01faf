"""Types of expressions, and what the cost estimate must know about the sizes of their values.

Values stay plain JSON; a `Type` says how an expression sees them: an object's fields by the names expressions use,
a ``date-time`` string as a timestamp, a list of ``listType: set`` compared without order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs


@attrs.define(slots=True, eq=False, repr=False)
class Type:
    """One type. ``str()`` is how cel-go writes it in messages."""

    kind: (
        str  # bool int uint double string bytes null dyn timestamp duration list map object opaque optional type param
    )
    name: str
    params: tuple[Type, ...] = ()
    _fields: Mapping[str, Field] | Callable[[], Mapping[str, Field]] | None = None
    max_size: int | None = None  # most characters, bytes, items or entries a value can have; None: unknown
    list_type: str = (
        "atomic"  # atomic, set, map: how lists compare and add (structural schemas' x-kubernetes-list-type)
    )
    list_keys: tuple[str, ...] = ()
    min_json: int = 1  # fewest bytes of a value in JSON: what bounds the number of items of a container
    _convertible: bool | None = None
    weight: int = attrs.field(init=False)  # of how many types it is written

    def __attrs_post_init__(self) -> None:
        self.weight = 1 + sum(param.weight for param in self.params) if self.params else 1

    @property
    def fields(self) -> Mapping[str, Field]:
        """An object's fields by the name expressions use; made when first asked for (schemas may be recursive)."""
        if callable(self._fields):
            self._fields = self._fields()
        return {} if self._fields is None else self._fields

    @property
    def convertible(self) -> bool:
        """True if a JSON value of this type must be converted as a whole when it is read (objects never are)."""
        if self._convertible is None:
            self._convertible = self.kind in ("timestamp", "duration", "bytes", "double", "uint") or (
                self.kind in ("list", "map", "optional") and self.params[-1].convertible
            )
        return self._convertible

    def __str__(self) -> str:
        if self.params:
            return f"{self.name}({', '.join(map(str, self.params))})"
        return self.name

    def __repr__(self) -> str:
        return f"<Type {self}>"


@attrs.frozen
class Field:
    """A member of an object type."""

    type: Type
    key: str  # the member's name in the JSON object
    default: bool = False  # the schema gives it a default: it counts as always there when sizes are estimated
    required: bool = False


BOOL = Type("bool", "bool", min_json=4)
INT = Type("int", "int")
UINT = Type("uint", "uint")
DOUBLE = Type("double", "double")
STRING = Type("string", "string", min_json=2)
BYTES = Type("bytes", "bytes", min_json=2)
NULL = Type("null", "null", min_json=4)
DYN = Type("dyn", "dyn")
TIMESTAMP = Type("timestamp", "timestamp", min_json=21)
DURATION = Type("duration", "duration", min_json=3)
ERROR = Type("error", "!error!")
TYPE = Type("type", "type")


def list_of(
    item: Type, *, max_size: int | None = None, list_type: str = "atomic", list_keys: tuple[str, ...] = ()
) -> Type:
    return Type("list", "list", (item,), max_size=max_size, list_type=list_type, list_keys=list_keys, min_json=2)


def map_of(key: Type, value: Type, *, max_size: int | None = None) -> Type:
    return Type("map", "map", (key, value), max_size=max_size, min_json=2)


def object_type(
    name: str, fields: Mapping[str, Field | Type] | Callable[[], Mapping[str, Field | Type]], *, min_json: int = 2
) -> Type:
    """An object: its fields as `Type` (the member has the field's name) or `Field`; or what gives them."""

    def made() -> Mapping[str, Field]:
        given = fields() if callable(fields) else fields
        return {key: Field(value, key) if isinstance(value, Type) else value for key, value in given.items()}

    return Type("object", name, fields=made, min_json=min_json)


def optional_of(value: Type) -> Type:
    return Type("optional", "optional_type", (value,))


def type_of_type(value: Type) -> Type:
    return Type("type", "type", (value,))


def opaque(name: str) -> Type:
    """A type that only its own functions look into: ``kubernetes.Quantity``."""
    return Type("opaque", name)


def sized(base: Type, max_size: int | None, *, min_json: int | None = None) -> Type:
    """A scalar type with a bound on its length."""
    return attrs.evolve(base, max_size=max_size, min_json=base.min_json if min_json is None else min_json)


def same(left: Type, right: Type) -> bool:
    """Structural equality: sizes do not matter."""
    if left is right:
        return True
    if left.kind != right.kind or left.name != right.name or len(left.params) != len(right.params):
        return False
    return all(same(a, b) for a, b in zip(left.params, right.params, strict=True))
