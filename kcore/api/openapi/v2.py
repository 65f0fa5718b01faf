"""Version 2 (Swagger), made from the nodes of version 3: as JSON, and as gnostic's openapi.v2 messages.

Version 2 has no anyOf: an answer that may be of several definitions is of the first. What Kubernetes says with oneOf
has a form of its own here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kcore.api.openapi import wire
from kcore.api.openapi.wire import extensions, field, flag, named, text

Json = dict[str, Any]
_OLD_REF, _NEW_REF = "#/components/schemas/", "#/definitions/"
_SECURITY = {
    "type": "apiKey",
    "name": "authorization",
    "in": "header",
    "description": "Bearer Token authentication",
}
_encode = msgspec.json.Encoder().encode


class Text:
    """As JSON. `own_path` and `own_schema` take what is of version 2 already."""

    def path(self, path: str, item: Json) -> bytes:
        return self.own_path(path, path_item(item))

    def schema(self, name: str, node: Json) -> bytes:
        return self.own_schema(name, schema(node))

    def own_path(self, path: str, item: Json) -> bytes:
        return _encode(path) + b":" + _encode(item)

    def own_schema(self, name: str, node: Json) -> bytes:
        return _encode(name) + b":" + _encode(node)

    def document(self, info: Json, paths: list[bytes], schemas: list[bytes]) -> bytes:
        head = b'{"swagger":"2.0","info":' + _encode(info) + b',"paths":{'
        tail = {"securityDefinitions": {"BearerToken": _SECURITY}, "security": [{"BearerToken": []}]}
        return b"".join((head, b",".join(paths), b'},"definitions":{', b",".join(schemas), b"},", _encode(tail)[1:]))


class Protobuf:
    """As an openapi.v2.Document message."""

    def path(self, path: str, item: Json) -> bytes:
        return self.own_path(path, path_item(item))

    def schema(self, name: str, node: Json) -> bytes:
        return self.own_schema(name, schema(node))

    def own_path(self, path: str, item: Json) -> bytes:
        return field(2, named(path, _item(item)))

    def own_schema(self, name: str, node: Json) -> bytes:
        return field(1, named(name, _schema_message(node)))

    def document(self, info: Json, paths: list[bytes], schemas: list[bytes]) -> bytes:
        key = b"".join(text(n, _SECURITY[k]) for n, k in enumerate(("type", "name", "in", "description"), 1))
        return b"".join(
            (
                text(1, "2.0"),
                field(2, text(1, info["title"]) + text(2, info["version"])),
                field(8, b"".join(paths)),
                field(9, b"".join(schemas)),
                field(12, field(1, named("BearerToken", b""))),
                field(13, field(1, named("BearerToken", field(2, key)))),
            )
        )


# --- from version 3 -----------------------------------------------------------------------------------------------


def schema(node: Any) -> Any:
    """References point elsewhere, ``allOf`` around a single one is not needed, and there is no ``oneOf``."""
    if isinstance(node, list):
        return [schema(value) for value in node]
    if not isinstance(node, dict):
        return node
    out: Json = {}
    for key, value in node.items():
        if key == "$ref" and isinstance(value, str):
            out[key] = value.replace(_OLD_REF, _NEW_REF)
        elif key in ("allOf", "anyOf") and isinstance(value, list) and value and "$ref" in value[0]:
            out["$ref"] = value[0]["$ref"].replace(_OLD_REF, _NEW_REF)
        elif key == "oneOf" and isinstance(value, list):
            out["type"] = "string"
        elif key == "properties" and isinstance(value, dict):  # names of members, whatever they are called
            out[key] = {name: schema(child) for name, child in value.items()}
        elif key == "default" or key.startswith("x-") or key in ("enum", "required"):
            out[key] = value
        elif key != "nullable":
            out[key] = schema(value)
    return out


def path_item(item: Json) -> Json:
    out: Json = {}
    for method, operation in item.items():
        if method == "parameters":
            out[method] = [_parameter(p) for p in operation]
            continue
        new = {k: v for k, v in operation.items() if k not in ("requestBody", "responses", "parameters")}
        ok = operation["responses"].get("200", {})
        new["produces"] = list(ok.get("content") or ("application/json",))
        new["schemes"] = ["https"]
        parameters = [_parameter(p) for p in operation.get("parameters", ())]
        if "requestBody" in operation:
            body = operation["requestBody"]
            content = body["content"]
            new["consumes"] = list(content)
            given: Json = {"name": "body", "in": "body", "schema": schema(next(iter(content.values()))["schema"])}
            if body.get("required"):
                given["required"] = True
            parameters.append(given)
        if parameters:
            new["parameters"] = parameters
        new["responses"] = {code: _response(r) for code, r in operation["responses"].items()}
        out[method] = new
    return out


def _parameter(parameter: Json) -> Json:
    out = {k: v for k, v in parameter.items() if k != "schema"}
    return {**out, **parameter.get("schema", {})}


def _response(response: Json) -> Json:
    out: Json = {"description": response["description"]}
    if "content" in response:
        out["schema"] = schema(next(iter(response["content"].values()))["schema"])
    return out


# --- protobuf: field numbers of gnostic's OpenAPIv2.proto ---------------------------------------


def _schema_message(node: Json) -> bytes:
    out = [text(1, node.get("$ref", "")), text(2, node.get("format", "")), text(3, node.get("title", ""))]
    out.append(text(4, node.get("description", "")))
    if "default" in node:
        out.append(field(5, wire.anything(node["default"])))
    out.append(wire.rules(6, node))
    out += [text(19, name) for name in node.get("required", ())]
    out += [field(20, wire.anything(value)) for value in node.get("enum", ())]
    if isinstance(node.get("additionalProperties"), dict):
        out.append(field(21, field(1, _schema_message(node["additionalProperties"]))))
    if node.get("type"):
        out.append(field(22, text(1, node["type"])))
    if "items" in node:
        out.append(field(23, field(1, _schema_message(node["items"]))))
    if node.get("properties"):
        members = (field(1, named(k, _schema_message(v))) for k, v in node["properties"].items())
        out.append(field(25, b"".join(members)))
    out.append(extensions(31, node))
    return b"".join(out)


_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}


def _item(item: Json) -> bytes:
    out = [field(_METHODS[method], _operation(op)) for method, op in item.items() if method in _METHODS]
    out += [field(9, _parameters_item(p)) for p in item.get("parameters", ())]
    return b"".join(out)


def _operation(operation: Json) -> bytes:
    out = [text(1, tag) for tag in operation.get("tags", ())]
    out.append(text(3, operation.get("description", "")))
    out.append(text(5, operation.get("operationId", "")))
    out += [text(6, media) for media in operation.get("produces", ())]
    out += [text(7, media) for media in operation.get("consumes", ())]
    out += [field(8, _parameters_item(p)) for p in operation.get("parameters", ())]
    responses = (field(1, named(code, _response_value(r))) for code, r in operation["responses"].items())
    out.append(field(9, b"".join(responses)))
    out += [text(10, scheme) for scheme in operation.get("schemes", ())]
    out.append(extensions(13, operation))
    return b"".join(out)


def _response_value(response: Json) -> bytes:
    message = text(1, response["description"])
    if "schema" in response:
        message += field(2, field(1, _schema_message(response["schema"])))
    return field(1, message)


def _parameters_item(parameter: Json) -> bytes:
    """ParametersItem{parameter=1}, Parameter{body_parameter=1, non_body_parameter=2}."""
    if parameter["in"] == "body":
        body = text(2, "body") + text(3, "body") + flag(4, parameter.get("required"))
        body += field(5, _schema_message(parameter["schema"]))
        return field(1, field(1, body))
    # the sub-schemas of both places: required=1 in=2 description=3 name=4 ... type
    common = flag(1, parameter.get("required")) + text(2, parameter["in"])
    common += text(3, parameter.get("description", "")) + text(4, parameter["name"])
    unique, kind = parameter.get("uniqueItems"), parameter.get("type", "string")
    if parameter["in"] == "path":
        return field(1, field(2, field(4, common + text(5, kind) + flag(19, unique))))
    return field(1, field(2, field(3, common + text(6, kind) + flag(20, unique))))
