"""The `protobuf` package's view of the field table: message classes built at run time, to check our codec against."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from kcore.api.codec import fields as table

SCALARS = {"string": 9, "bytes": 12, "int32": 5, "int64": 3, "bool": 8, "double": 1}
STRINGS = (table.Field(1, "items", "string", True, False, False, False, False, False),)

# What the table says of messages with a JSON form of their own is not their wire format.
_WIRE = {
    table.TIME: [("seconds", 1, "int64", False), ("nanos", 2, "int32", False)],
    table.MICRO_TIME: [("seconds", 1, "int64", False), ("nanos", 2, "int32", False)],
    table.QUANTITY: [("string", 1, "string", False)],
    table.INT_OR_STRING: [("type", 1, "int64", False), ("intVal", 2, "int32", False), ("strVal", 3, "string", False)],
    table.RAW_EXTENSION: [("raw", 1, "bytes", False)],
    table.FIELDS: [("Raw", 1, "bytes", False)],
}


def _closure(message: str, seen: dict[str, None]) -> None:
    if message in seen or message in SCALARS:
        return
    seen[message] = None
    for field in table.message(message) or ():
        _closure(field.type, seen)


def _name(message: str) -> str:
    return message.replace(".", "_")


def _add(file: descriptor_pb2.FileDescriptorProto, message: str) -> None:
    out = file.message_type.add(name=_name(message))
    if message in _WIRE:
        for name, number, kind, repeated in _WIRE[message]:
            out.field.add(name=name, number=number, type=SCALARS[kind], label=3 if repeated else 1)
        return
    fields = table.message(message)
    assert fields is not None, message
    if message.endswith(".ExtraValue"):
        fields = STRINGS
    for field in fields:
        target = out.field.add(name=f"f{field.number}", number=field.number)
        target.label = 3 if field.repeated or field.map else 1
        if field.map:
            entry = out.nested_type.add(name=f"F{field.number}Entry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, type=9, label=1)
            _typed(entry.field.add(name="value", number=2, label=1), field.type)
            target.type, target.type_name = 11, f".k.{_name(message)}.F{field.number}Entry"
        else:
            _typed(target, field.type)


def _typed(target: Any, kind: str) -> None:
    if kind in SCALARS:
        target.type = SCALARS[kind]
    else:
        target.type, target.type_name = 11, f".k.{_name(kind)}"


@cache
def message_class(message: str) -> Any:
    """The class of a message; proto2, so that it tells a zero that was written from one that was not."""
    seen: dict[str, None] = {}
    _closure(message, seen)
    file = descriptor_pb2.FileDescriptorProto(name=f"{message}.proto", package="k", syntax="proto2")
    for name in seen:
        _add(file, name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"k.{_name(message)}"))
