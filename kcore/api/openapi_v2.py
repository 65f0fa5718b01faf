"""OpenAPI v2 from v3, as JSON and in the protobuf form (gnostic's openapi.v2) that older kubectl releases ask for."""

from __future__ import annotations

from typing import Any

import msgspec

Json = dict[str, Any]
_OLD_REF, _NEW_REF = "#/components/schemas/", "#/definitions/"
_TYPES = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]


def from_v3(info: Json, paths: Json, schemas: Json, security: Json) -> Json:
    """The whole API as one Swagger 2.0 document."""
    return {
        "swagger": "2.0",
        "info": info,
        "paths": {path: _path_item(item) for path, item in sorted(paths.items())},
        "definitions": {name: _schema(node) for name, node in sorted(schemas.items())},
        "parameters": {},
        "securityDefinitions": security,
        "security": [{"BearerToken": []}],
    }


def _schema(node: Any) -> Any:
    """References point elsewhere, ``allOf`` around a single one is not needed, and there is no ``oneOf``."""
    if isinstance(node, list):
        return [_schema(value) for value in node]
    if not isinstance(node, dict):
        return node
    out: Json = {}
    for key, value in node.items():
        if key == "$ref" and isinstance(value, str):
            out[key] = value.replace(_OLD_REF, _NEW_REF)
        elif key == "allOf" and len(value) == 1 and "$ref" in value[0]:
            out["$ref"] = value[0]["$ref"].replace(_OLD_REF, _NEW_REF)
        elif key == "oneOf":
            out["type"] = "string"
        elif key != "nullable":
            out[key] = _schema(value)
    return out


def _path_item(item: Json) -> Json:
    out: Json = {}
    for method, operation in item.items():
        if method == "parameters":
            out[method] = [_parameter(p) for p in operation]
            continue
        new = {k: v for k, v in operation.items() if k not in ("requestBody", "responses", "parameters")}
        new["produces"] = _TYPES
        new["schemes"] = ["https"]
        parameters = [_parameter(p) for p in operation.get("parameters", ())]
        if "requestBody" in operation:
            body = operation["requestBody"]
            content = body["content"]
            new["consumes"] = list(content)
            schema = _schema(next(iter(content.values()))["schema"])
            given: Json = {"name": "body", "in": "body", "schema": schema}
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
        out["schema"] = _schema(next(iter(response["content"].values()))["schema"])
    return out


# --- protobuf: field numbers of gnostic's OpenAPIv2.proto ---------------------------------------


def encode(document: Json) -> bytes:
    """The openapi.v2.Document message."""
    out = [_text(1, document["swagger"]), _field(2, _text(1, "Kubernetes") + _text(2, document["info"]["version"]))]
    out.append(_field(8, b"".join(_field(2, _named(path, _item(item))) for path, item in document["paths"].items())))
    definitions = (_field(1, _named(name, _schema_message(node))) for name, node in document["definitions"].items())
    out.append(_field(9, b"".join(definitions)))
    out.append(_field(12, _field(1, _named("BearerToken", b""))))
    for name, scheme in document["securityDefinitions"].items():
        key = (
            _text(1, scheme["type"])
            + _text(2, scheme["name"])
            + _text(3, scheme["in"])
            + _text(4, scheme["description"])
        )
        out.append(_field(13, _field(1, _named(name, _field(2, key)))))
    return b"".join(out)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode()) if text else b""


def _flag(number: int, value: Any) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + _field(2, value)


def _any(value: Any) -> bytes:
    """An Any message: here its YAML text, of which JSON is a subset."""
    return _field(2, msgspec.json.encode(value))


def _extensions(number: int, node: Json) -> bytes:
    return b"".join(_field(number, _named(k, _any(v))) for k, v in node.items() if k.startswith("x-"))


def _schema_message(node: Json) -> bytes:
    out = [_text(1, node.get("$ref", "")), _text(2, node.get("format", "")), _text(4, node.get("description", ""))]
    if "default" in node:
        out.append(_field(5, _any(node["default"])))
    out += [_text(19, name) for name in node.get("required", ())]
    out += [_field(20, _any(value)) for value in node.get("enum", ())]
    if isinstance(node.get("additionalProperties"), dict):
        out.append(_field(21, _field(1, _schema_message(node["additionalProperties"]))))
    if node.get("type"):
        out.append(_field(22, _text(1, node["type"])))
    if "items" in node:
        out.append(_field(23, _field(1, _schema_message(node["items"]))))
    if node.get("properties"):
        members = (_field(1, _named(k, _schema_message(v))) for k, v in node["properties"].items())
        out.append(_field(25, b"".join(members)))
    out.append(_extensions(31, node))
    return b"".join(out)


_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}


def _item(item: Json) -> bytes:
    out = [_field(_METHODS[method], _operation(op)) for method, op in item.items() if method in _METHODS]
    out += [_field(9, _parameters_item(p)) for p in item.get("parameters", ())]
    return b"".join(out)


def _operation(operation: Json) -> bytes:
    out = [_text(1, tag) for tag in operation.get("tags", ())]
    out.append(_text(5, operation.get("operationId", "")))
    out += [_text(6, media) for media in operation.get("produces", ())]
    out += [_text(7, media) for media in operation.get("consumes", ())]
    out += [_field(8, _parameters_item(p)) for p in operation.get("parameters", ())]
    responses = (_field(1, _named(code, _response_value(r))) for code, r in operation["responses"].items())
    out.append(_field(9, b"".join(responses)))
    out += [_text(10, scheme) for scheme in operation.get("schemes", ())]
    out.append(_extensions(13, operation))
    return b"".join(out)


def _response_value(response: Json) -> bytes:
    message = _text(1, response["description"])
    if "schema" in response:
        message += _field(2, _field(1, _schema_message(response["schema"])))
    return _field(1, message)


def _parameters_item(parameter: Json) -> bytes:
    """ParametersItem{parameter=1}, Parameter{body_parameter=1, non_body_parameter=2}."""
    if parameter["in"] == "body":
        body = _text(2, "body") + _text(3, "body") + _flag(4, parameter.get("required"))
        body += _field(5, _schema_message(parameter["schema"]))
        return _field(1, _field(1, body))
    # the sub-schemas of both places: required=1 in=2 description=3 name=4 ... type
    common = _flag(1, parameter.get("required")) + _text(2, parameter["in"])
    common += _text(3, parameter.get("description", "")) + _text(4, parameter["name"])
    if parameter["in"] == "path":
        message = common + _text(5, parameter.get("type", "string"))
        return _field(1, _field(2, _field(4, message)))
    message = common + _text(6, parameter.get("type", "string"))
    return _field(1, _field(2, _field(3, message)))
