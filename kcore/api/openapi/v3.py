"""Version 3, as JSON and as gnostic's openapi.v3 messages. Paths and schemas are its own nodes already."""

from __future__ import annotations

from typing import Any

import msgspec

from kcore.api.openapi import wire
from kcore.api.openapi.wire import extensions, field, flag, named, text

Json = dict[str, Any]
_SECURITY = {
    "type": "apiKey",
    "description": "Bearer Token authentication",
    "name": "authorization",
    "in": "header",
}
_encode = msgspec.json.Encoder().encode


class Text:
    """As JSON."""

    def path(self, path: str, item: Json) -> bytes:
        return _encode(path) + b":" + _encode(item)

    def schema(self, name: str, node: Json) -> bytes:
        return _encode(name) + b":" + _encode(node)

    def document(self, info: Json, paths: list[bytes], schemas: list[bytes]) -> bytes:
        return b"".join(
            (
                b'{"openapi":"3.0.0","info":',
                _encode(info),
                b',"paths":{',
                b",".join(paths),
                b'},"components":{"schemas":{',
                b",".join(schemas),
                b'},"securitySchemes":',
                _encode({"BearerToken": _SECURITY}),
                b"}}",
            )
        )


class Protobuf:
    """As an openapi.v3.Document message."""

    def path(self, path: str, item: Json) -> bytes:
        return field(1, named(path, _item(item)))

    def schema(self, name: str, node: Json) -> bytes:
        return field(1, named(name, _schema_or_reference(node)))

    def document(self, info: Json, paths: list[bytes], schemas: list[bytes]) -> bytes:
        key = b"".join(text(n, _SECURITY[k]) for n, k in enumerate(("type", "description", "name", "in"), 1))
        components = field(1, b"".join(schemas)) + field(7, field(1, named("BearerToken", field(1, key))))
        return b"".join(
            (
                text(1, "3.0.0"),
                field(2, text(1, info["title"]) + text(6, info["version"])),
                field(4, b"".join(paths)),
                field(5, components),
            )
        )


# --- field numbers of gnostic's OpenAPIv3.proto -------------------------------------------------


def _schema_or_reference(node: Json) -> bytes:
    if "$ref" in node:
        return field(2, text(1, node["$ref"]))
    return field(1, _schema(node))


def _schema(node: Json) -> bytes:
    out = [flag(1, node.get("nullable")), text(9, node.get("title", "")), wire.rules(10, node)]
    out += [text(23, name) for name in node.get("required", ())]
    out += [field(24, wire.anything(value)) for value in node.get("enum", ())]
    out.append(text(25, node.get("type", "")))
    for number, name in ((26, "allOf"), (27, "oneOf"), (28, "anyOf")):
        out += [field(number, _schema_or_reference(child)) for child in node.get(name, ())]
    if isinstance(node.get("not"), dict):
        out.append(field(29, _schema(node["not"])))
    if isinstance(node.get("items"), dict):
        out.append(field(30, field(1, _schema_or_reference(node["items"]))))
    if node.get("properties"):
        members = (field(1, named(k, _schema_or_reference(v))) for k, v in node["properties"].items())
        out.append(field(31, b"".join(members)))
    values = node.get("additionalProperties")
    if isinstance(values, dict):
        out.append(field(32, field(1, _schema_or_reference(values))))
    elif values:
        out.append(field(32, flag(2, True)))
    if "default" in node:
        out.append(_default(node["default"]))
    out += [text(34, node.get("description", "")), text(35, node.get("format", "")), extensions(36, node)]
    return b"".join(out)


def _default(value: Any) -> bytes:
    """DefaultType{number=1, boolean=2, string=3}; the format knows no others."""
    if isinstance(value, bool):
        return field(33, wire.varint(2 << 3) + (b"\x01" if value else b"\x00"))
    if isinstance(value, int | float):
        return field(33, wire.double(1, value) or wire.varint(1 << 3 | 1) + bytes(8))
    if isinstance(value, str):
        return field(33, field(3, value.encode()))
    return b""


_METHODS = {"get": 4, "put": 5, "post": 6, "delete": 7, "options": 8, "head": 9, "patch": 10}


def _item(item: Json) -> bytes:
    out = [field(_METHODS[method], _operation(op)) for method, op in item.items() if method in _METHODS]
    out += [field(13, field(1, _parameter(p))) for p in item.get("parameters", ())]
    return b"".join(out)


def _operation(operation: Json) -> bytes:
    out = [text(1, tag) for tag in operation.get("tags", ())]
    out += [text(3, operation.get("description", "")), text(5, operation.get("operationId", ""))]
    out += [field(6, field(1, _parameter(p))) for p in operation.get("parameters", ())]
    body = operation.get("requestBody")
    if body:
        out.append(field(7, field(1, field(2, _media(body["content"])) + flag(3, body.get("required")))))
    responses = operation["responses"]
    answers = b""
    if "default" in responses:
        answers += field(1, _response(responses["default"]))
    for code, response in responses.items():
        if code != "default":
            answers += field(2, named(code, _response(response)))
    out += [field(8, answers), extensions(13, operation)]
    return b"".join(out)


def _response(response: Json) -> bytes:
    message = text(1, response["description"])
    if "content" in response:
        message += field(3, _media(response["content"]))
    return field(1, message)


def _media(content: Json) -> bytes:
    return b"".join(field(1, named(k, field(1, _schema_or_reference(v["schema"])))) for k, v in content.items())


def _parameter(parameter: Json) -> bytes:
    out = text(1, parameter["name"]) + text(2, parameter["in"]) + text(3, parameter.get("description", ""))
    return out + flag(4, parameter.get("required")) + field(10, _schema_or_reference(parameter["schema"]))
