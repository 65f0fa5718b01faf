"""From entries to answers: the negotiated form of an object, a list, or a Status."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from kcore import errors
from kcore.api import layout, tables
from kcore.api.cache import Entry
from kcore.api.listing import Page
from kcore.api.negotiate import JSON, PLAIN, PROTOBUF, YAML, Form
from kcore.api.served import Served
from kcore.http.messages import AnyResponse, Body, HeaderList, Request, Response, StreamResponse
from kcore.objects import Object

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # none of these may stand in a header
_WARNING_CHARACTERS, _WARNING_CUT = 4096, 256
_WARNINGS = 64  # Python's http.client reads no answer of more than a hundred headers


def entry(served: Served, found: Entry, form: Form, *, status: int = 200, include: str = "") -> Response:
    """One object. JSON is served as it lies in the cache."""
    if form.plain_json:
        return Response(status, [served.head, served.tail(found)])
    if form.wants == "Table":
        return encoded(tables.table(served, [found], found.revision, include, version=form.version), form, status)
    if form.wants == "PartialObjectMetadata":
        return encoded(tables.partial(found, form.version), form, status)
    if form.type == PROTOBUF:
        return Response(status, protobuf_bytes(served, found), PROTOBUF)
    return encoded(served.object(found), form, status)


def protobuf_bytes(served: Served, found: Entry) -> bytes:
    """The protobuf form with its envelope."""
    from kcore.api.codec import protobuf

    return protobuf.wrap(served.kind.api_version, served.kind.kind, protobuf_message(served, found))


def protobuf_message(served: Served, found: Entry) -> bytes:
    """The bare message, made once for each entry and version; lists are joined from it."""
    key = ("protobuf", served.head)
    made: bytes | None = found.forms.get(key)
    if made is None:
        from kcore.api.codec import protobuf

        kind = served.kind
        made = found.forms[key] = protobuf.encode_raw(served.object(found), kind.api_version, kind.kind)
    return made


def page(served: Served, found: Page, form: Form, *, include: str = "") -> Response:
    """A list. Plain JSON is joined from cached bytes, nothing is decoded."""
    if form.plain_json:
        return Response(200, page_json(served, found))
    if form.wants == "Table":
        doc = tables.table(served, found.entries, found.revision, include, version=form.version)
        doc["metadata"] = list_meta(found)
        return encoded(doc, form)
    if form.wants:
        return encoded(tables.partial_list(found.entries, list_meta(found), form.version), form)
    if form.type == PROTOBUF:
        from kcore.api.codec import protobuf

        kind = served.kind
        items = [protobuf_message(served, e) for e in found.entries]
        body = protobuf.encode_list(kind.api_version, kind.listed, list_meta(found), items)
        return Response(200, body, PROTOBUF)
    return encoded(list_object(served, found), form)


def page_json(served: Served, found: Page) -> Body:
    """In pieces, as they lie in the cache: a big list is joined bit by bit while it is being sent."""
    meta = layout.encode_json(_own_meta(served, found))
    between = b"," + served.item_head
    pieces: Body = [b'%b"metadata":%b,"items":[' % (served.list_head, meta)]
    if served.converts:
        for each in found.entries:
            pieces += served.item(each, between)
    else:
        # what `Entry.item` does, in a third of the time: a list may be of a hundred thousand
        stored, start = served.stored_head, layout.START.join((between.replace(b"%", b"%%"), b'"%d",'))
        at = len(stored) + layout.META
        if all([each.value.startswith(stored) for each in found.entries]):  # noqa: C419  # a generator takes twice as long
            own: Body = [b""] * (2 * len(found.entries))
            own[::2] = [start % each.revision for each in found.entries]
            own[1::2] = [memoryview(each.value)[at:] for each in found.entries]
            pieces += own
        else:
            for each in found.entries:
                pieces += each.item(between)
    if found.entries:
        pieces[1] = pieces[1][1:]  # no comma before the first
    pieces.append(b"]}")
    return pieces


def _own_meta(served: Served, found: Page) -> dict[str, Any]:
    """A list of custom resources says of its continuation even that there is none."""
    meta = list_meta(found)
    return meta if served.kind.conversion is None else {"continue": "", **meta}


def list_meta(found: Page) -> dict[str, Any]:
    meta: dict[str, Any] = {"resourceVersion": str(found.revision)}
    if found.continue_token:
        meta["continue"] = found.continue_token
        if found.remaining:
            meta["remainingItemCount"] = found.remaining
    return meta


def list_object(served: Served, found: Page) -> Object:
    """The list as one object, for forms that are made from objects."""
    kind = served.kind
    items = [{k: v for k, v in served.object(e).items() if k not in ("kind", "apiVersion")} for e in found.entries]
    if not kind.message:
        items = [served.object(e) for e in found.entries]
    return {"kind": kind.listed, "apiVersion": kind.api_version, "metadata": _own_meta(served, found), "items": items}


def encoded(doc: Object, form: Form = PLAIN, status: int = 200) -> Response:
    """Any object in a negotiated form; what has no protobuf form goes as JSON."""
    if form.type == YAML:
        return Response(status, yaml_bytes(doc), YAML)
    if form.type == PROTOBUF:
        from kcore.api.codec import protobuf

        if protobuf.supports(doc.get("apiVersion", ""), doc.get("kind", "")):
            return Response(status, protobuf.encode(doc), PROTOBUF)
    body = layout.encode_json(doc)
    if form.pretty:
        body = msgspec.json.format(body, indent=2) + b"\n"
    return Response(status, body, JSON)


def yaml_bytes(doc: Object) -> bytes:
    import yaml

    text = yaml.dump(
        doc, Dumper=_yaml_dumper(), default_flow_style=False, sort_keys=True, allow_unicode=True, width=1 << 20
    )
    return text.encode()


@cache
def _yaml_dumper() -> Any:
    """A dumper that quotes as Go's does: double quotes around what would not read back as a string."""
    import yaml

    class Dumper(yaml.CSafeDumper):
        pass

    def string(dumper: Any, text: str) -> Any:
        tag = "tag:yaml.org,2002:str"
        style = None
        if "\n" in text:
            style = "|"
        elif not text or dumper.resolve(yaml.ScalarNode, text, (True, False)) != tag:
            style = '"'
        return dumper.represent_scalar(tag, text, style=style)

    Dumper.add_representer(str, string)
    return Dumper


def success(details: dict[str, Any] | None = None, code: int = 0) -> Object:
    """The Status of something that went well."""
    out: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        out["details"] = details
    if code:
        out["code"] = code
    return out


def page_not_found() -> Response:
    """For a group that nobody knows: upstream's web server answers, not its API."""
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")


def warned(response: AnyResponse, text: str) -> AnyResponse:
    """An answer with one more Warning header."""
    if isinstance(response, (Response, StreamResponse)):
        response.headers += warning_headers([text])
    return response


def failure(error: errors.ApiError, request: Request) -> Response:
    """The Status of an error, in a form that the client is sure to read."""
    accept = request.headers.get("accept", "")
    form = PLAIN
    if accept.startswith(PROTOBUF):
        form = Form(PROTOBUF)
    elif accept.startswith(YAML):
        form = Form(YAML)
    elif request.query and request.param("pretty") in ("1", "true"):
        form = Form(pretty=True)
    response = encoded(error.status(), form, error.code)
    response.headers.extend((k.encode(), v.encode()) for k, v in error.headers.items())
    response.headers += warning_headers(error.warnings)
    retry = (error.details or {}).get("retryAfterSeconds")
    if retry and "retry-after" not in error.headers:
        response.headers.append((b"retry-after", str(retry).encode()))
    return response


def warning_headers(texts: list[str]) -> HeaderList:
    """``Warning: 299 - "text"`` headers (RFC 7234), as clients print them.

    Like upstream no more than 4,096 characters of them: beyond that each is cut to 256 and the last ones are left out,
    for clients refuse an answer with more of a header than they expect.
    """
    texts = texts[:_WARNINGS]
    if sum(map(len, texts)) > _WARNING_CHARACTERS:
        fitting = _WARNING_CHARACTERS // _WARNING_CUT
        texts = [text[:_WARNING_CUT] for text in texts[:fitting]]
    out: HeaderList = []
    for text in texts:
        safe = _CONTROL.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')
        out.append((b"warning", f'299 - "{safe}"'.encode("utf-8", "replace")))
    return out
