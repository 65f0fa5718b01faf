"""What is read from the bytes of objects is what is read from the objects."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kcore.api.cache import Entry
from kcore.api.codec.json import duplicate_fields
from kcore.api.patch.fieldset import item_key
from kcore.api.peek import Peek
from kcore.api.schema import Schema

OBJECTS: list[dict[str, Any]] = [
    {"spec": {"nodeName": "a", "other": [1, {"nodeName": "no"}]}},
    {"spec": {"hostNetwork": True}, "nodeName": "no"},
    {"spec": {"nodeName": None}},
    {"spec": None},
    {"spec": "text"},
    {"spec": {"nodeName": 7}},
    {},
]


@pytest.mark.parametrize("path", ["spec.nodeName", "spec.hostNetwork", "spec", "spec.with-dash"])
@pytest.mark.parametrize("obj", OBJECTS)
def test_a_field_reads_alike_from_bytes_and_from_the_object(path: str, obj: dict[str, Any]) -> None:
    peek = Peek(path)
    assert peek.encoded(msgspec.json.encode(obj)) == peek(obj)


def test_an_entry_of_the_store_serves_its_revision_without_a_copy_of_its_value() -> None:
    value = b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{}}'
    entry = Entry.stored("default", "a", 7, value)
    assert entry.tail == b'"metadata":{"resourceVersion":"7","name":"a"},"spec":{}}'
    assert b"".join(entry.item(b",{")) == b",{" + entry.tail
    assert entry.value is value


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"a":1,"b":{"a":2}}', []),
        (b'{"a":1, "a":2}', ['duplicate field "a"']),
        (b'{"a" : 1, "a" : 2}', ['duplicate field "a"']),
        (b'{"x":"\\u0022:","a":1,"a":2}', ['duplicate field "a"']),
        (b'{"x":"\\"\\u003a","a":1,"a":2}', ['duplicate field "a"']),
        (b'{"x":"<\\":>", "y":[{"k":1,"k":1}]}', ['duplicate field "y[0].k"']),
        (b'{ "x" : "\\":" , "y" : 1e3 }', []),
    ],
)
def test_every_duplicate_field_is_found_however_it_is_written(body: bytes, found: list[str]) -> None:
    assert duplicate_fields(body) == found


def test_keys_of_list_items_tell_numbers_from_booleans() -> None:
    schema = Schema(type="array", items=Schema(), list_type="map", list_map_keys=("port", "on"))
    keys = [item_key({"port": 1, "on": value}, schema, 0) for value in (True, 1, 1.0, [1])]
    assert keys == [
        'k:{"on":true,"port":1}', 'k:{"on":1,"port":1}', 'k:{"on":1.0,"port":1}', 'k:{"on":[1],"port":1}'
    ]  # fmt: skip
