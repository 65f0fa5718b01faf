"""How the events of a watch are written: JSON lines, protobuf frames, Tables, or metadata alone."""

from __future__ import annotations

from collections.abc import Callable

from kcore import errors
from kcore.api import answers, layout, tables, validation
from kcore.api.cache import Entry
from kcore.api.negotiate import JSON, PROTOBUF, Form
from kcore.api.served import Served
from kcore.api.watch import BOOKMARK, Encode, Item, error_line, json_encoder
from kcore.objects import Object


def encoder(served: Served, form: Form, include: str) -> tuple[Encode, Callable[[errors.ApiError], bytes], str]:
    """(how to encode an event, how to encode the error that ends a stream, content type)."""
    if form.type == PROTOBUF:
        return _protobuf(served, form), _protobuf_error, PROTOBUF + ";stream=watch"
    if form.wants == "Table":
        return _table(served, form, include), error_line, JSON
    if form.wants:
        return _partial(served, form), error_line, JSON
    return json_encoder(served), error_line, JSON


def _table(served: Served, form: Form, include: str) -> Encode:
    first = True

    def encode(item: Item) -> bytes:
        nonlocal first
        type, entry, change = item
        define, first = first, False
        if type == BOOKMARK:
            return _line(type, _bookmark(served, form, include, entry, define))
        key = (type, "table", include, served.head, form.version, define)
        if change is not None and (made := change.forms.get(key)) is not None:
            return made
        doc = tables.table(served, [entry], entry.revision, include, version=form.version, define=define)
        made = _line(type, doc)
        if change is not None:
            change.forms[key] = made
        return made

    return encode


def _bookmark(served: Served, form: Form, include: str, entry: Entry, define: bool) -> Object:
    """A Table of the empty object that a bookmark is: its row's object has the annotations."""
    obj = layout.decode_json(served.head + entry.tail)
    validation.normalize(obj, served.kind.schema)
    table = tables.table(served, [], entry.revision, version=form.version, define=define)
    shown = obj if include == "Object" else None if include == "None" else tables.partial(entry, form.version)
    table["rows"] = [{"cells": [column.cell(obj) for column in tables.columns(served)], "object": shown}]
    return table


def _partial(served: Served, form: Form) -> Encode:
    def encode(item: Item) -> bytes:
        type, entry, change = item
        key = (type, "partial", form.version)
        if change is not None and (made := change.forms.get(key)) is not None:
            return made
        made = _line(type, tables.partial(entry, form.version))
        if change is not None:
            change.forms[key] = made
        return made

    return encode


def _line(type: str, doc: Object) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (type.encode(), layout.encode_json(doc))


def _protobuf(served: Served, form: Form) -> Encode:
    from kcore.api.codec import protobuf

    def encode(item: Item) -> bytes:
        type, entry, change = item
        key = (type, "protobuf", form.wants, served.head)
        if change is not None and (made := change.forms.get(key)) is not None:
            return made
        obj: Object | bytes
        if form.wants:
            obj = tables.partial(entry, form.version)
        elif type == BOOKMARK:
            obj = layout.decode_json(served.head + entry.tail)
        else:
            obj = answers.protobuf_bytes(served, entry)
        made = protobuf.encode_watch_event(type, obj)
        if change is not None:
            change.forms[key] = made
        return made

    return encode


def _protobuf_error(error: errors.ApiError) -> bytes:
    from kcore.api.codec import protobuf

    return bytes(protobuf.encode_watch_event("ERROR", error.status()))
