"""What Go makes of an object: the form in which upstream keeps and serves it, whatever the client wrote.

A Kubernetes server reads JSON into Go structs and writes it again. On the way a null member and an empty list are
lost, a ``hostNetwork: false`` is lost too, while ``replicas: 0`` stays (its field is a pointer), a container gets its
``resources: {}`` (a struct is never empty), ``1024Mi`` becomes ``1Gi``. Clients rely on it: kubectl compares what it
wrote with what it reads, and controllers would see a change where there is none.

How a field behaves follows from its shape:

* strings, numbers, booleans, lists, maps: left out when empty;
* the same when OpenAPI calls them required: always written;
* members that are objects: as the client wrote them; metadata, a kind's spec and status, and required ones: always;
* times: null when missing.

`_FORMS` lists what behaves otherwise: ``*`` a pointer: kept even when zero, lost when null; ``=`` always written;
``~`` null when missing; ``-`` left out when empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from kcore import clock
from kcore.api.schema import Schema
from kcore.objects import quantity

Object = dict[str, Any]


@attrs.define(slots=True)
class _Form:
    """How the members of one definition are read and written."""

    droppable: set[str] = attrs.Factory(set)  # left out when empty
    nulls: set[str] = attrs.Factory(set)  # null is how they are written when missing
    always: list[tuple[str, Callable[[], Any]]] = attrs.Factory(list)  # and what they are then
    children: dict[str, Callable[[Any], Any]] = attrs.Factory(dict)  # what becomes of a member that is there

    def __call__(self, obj: Any) -> Any:
        """Bring `obj` into form, in place. Anything but a dict is returned as it is."""
        if not isinstance(obj, dict):
            return obj
        children = self.children
        lost = None
        for name, value in obj.items():
            if value is None:
                if name not in self.nulls:
                    lost = [name] if lost is None else [*lost, name]
            elif not value and name in self.droppable:
                lost = [name] if lost is None else [*lost, name]
            elif not value and name in self.nulls:
                obj[name] = None  # an empty list comes back from the store as none at all
            elif name in children:
                obj[name] = children[name](value)
        if lost:
            for name in lost:
                del obj[name]
        for name, zero in self.always:
            if name not in obj:
                obj[name] = zero()
        return obj


_forms: dict[str, _Form] = {}


def normalise(obj: Object, schema: Schema) -> None:
    """Bring an object of a built-in kind into the form in which it is stored, in place. Unknown members stay."""
    _form(schema, top=True)(obj)


def _form(schema: Schema, *, top: bool = False) -> _Form:
    form = _forms.get(schema.name)
    if form is not None:
        return form
    form = _Form()
    if schema.name:  # before the members: definitions may refer to themselves
        _forms[schema.name] = form
    from kcore_kinds import bundle

    required = bundle.required(schema.name) if schema.name else frozenset()
    special = _exceptions().get(schema.name, {})
    for name, node in schema.properties.items():
        child = _child(node)
        if child is not None:
            form.children[name] = child
        _member(form, name, node, special.get(name) or _usual(name, node, required, top=top))
    return form


def _usual(name: str, node: Schema, required: frozenset[str], *, top: bool) -> str:
    """The code that a member has by its shape."""
    if node.format == "date-time":
        return "~"
    if node.type in ("array", "object") and node.name == "":
        return "~" if name in required else "-"
    if node.type == "object" or not node.type:
        value = name == "metadata" or name in required or (top and name in ("spec", "status"))
        return "=" if value and node.type else "*"
    return "=" if name in required else "-"


def _member(form: _Form, name: str, node: Schema, code: str) -> None:
    if code == "-":
        form.droppable.add(name)
    elif code == "~":
        form.nulls.add(name)
        form.always.append((name, _null))
        if node.type not in ("array", "object") and node.format != "date-time":
            form.droppable.discard(name)
    elif code == "=":
        form.always.append((name, _zero(node)))


def _null() -> None:
    return None


_ZERO: dict[str, Callable[[], Any]] = {
    "string": str,
    "integer": int,
    "number": int,
    "boolean": bool,
    "int-or-string": int,
    "quantity": lambda: "0",
}


def _zero(node: Schema) -> Callable[[], Any]:
    if node.type == "object":
        return lambda: _form(node)({})
    return _ZERO.get(node.type, _null)


def _child(node: Schema) -> Callable[[Any], Any] | None:
    """What is done to a member that is there; None for nothing."""
    if node.type == "quantity":
        return _quantity
    if node.format == "date-time":
        return _micro_time if node.name.endswith("MicroTime") else _time
    if node.type == "object" and node.properties:
        return lambda value: _form(node)(value)
    inner = node.items or node.values
    each = _child(inner) if inner is not None else None
    if each is None:
        return None
    return _each_item(each) if node.items is not None else _each_value(each)


def _each_item(each: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:
        return [each(v) for v in value] if isinstance(value, list) else value

    return run


def _each_value(each: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(value: Any) -> Any:
        return {k: each(v) for k, v in value.items()} if isinstance(value, dict) else value

    return run


def _quantity(value: Any) -> Any:
    try:
        return quantity.canonical(value)
    except ValueError:
        return value  # validation says what is wrong with it


def _time(value: Any) -> Any:
    if not isinstance(value, str) or (len(value) == 20 and value[-1] == "Z"):
        return value
    try:
        return clock.timestamp(clock.parse(value))
    except ValueError:
        return value


def _micro_time(value: Any) -> Any:
    if not isinstance(value, str) or (len(value) == 27 and value[-1] == "Z"):
        return value
    try:
        return clock.micro_timestamp(clock.parse(value))
    except ValueError:
        return value


def _exceptions() -> dict[str, dict[str, str]]:
    if not _table:
        from kcore_kinds.golang_forms import FORMS

        for line in FORMS.strip().splitlines():
            words = line.split()
            _table[_full(words[0])] = {word[1:]: word[0] for word in words[1:]}
    return _table


_table: dict[str, dict[str, str]] = {}


def _full(short: str) -> str:
    package = short.partition(".")[0]
    return {
        "meta": "io.k8s.apimachinery.pkg.apis.",
        "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.",
        "apiregistration": "io.k8s.kube-aggregator.pkg.apis.",
    }.get(package, "io.k8s.api.") + short
