"""How another server's OpenAPI of version 2 becomes part of the own document."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kcore.api.openapi import merging
from kcore.api.openapi.merging import Foreign, Merged

KINDS = "x-kubernetes-group-version-kind"


def foreign(definitions: dict[str, Any], path: str = "/apis/g/v1/x", prefix: str = "/apis/") -> Foreign:
    """A server's part in which one path needs every definition."""
    schema = {"properties": {name: {"$ref": f"#/definitions/{name}"} for name in definitions}}
    answer = {"200": {"description": "OK", "schema": schema}}
    document = {"paths": {path: {"get": {"responses": answer}}}, "definitions": definitions}
    return merging.read(msgspec.json.encode(document), prefix)


def merge(*parts: Foreign, own: dict[str, Any] | None = None, paths: tuple[str, ...] = ()) -> Merged:
    own = own or {}
    return merging.merge(parts, paths, own, own.get)


def needed(merged: Merged, path: str = "/apis/g/v1/x") -> dict[str, str]:
    members = merged.paths[path]["get"]["responses"]["200"]["schema"]["properties"]
    return {name: node["$ref"].removeprefix("#/definitions/") for name, node in members.items()}


def test_what_says_the_same_is_shared() -> None:
    merged = merge(foreign({"A": {"type": "object"}}), own={"A": {"type": "object"}})
    assert merged.definitions == {}
    assert needed(merged) == {"A": "A"}


def test_a_shared_definition_is_of_the_kinds_of_both() -> None:
    one, two = {"group": "g", "version": "v1", "kind": "K"}, {"group": "h", "version": "v1", "kind": "K"}
    merged = merge(foreign({"A": {"type": "object", KINDS: [two]}}), own={"A": {"type": "object", KINDS: [one]}})
    assert merged.definitions == {"A": {"type": "object", KINDS: [one, two]}}


def test_what_says_something_else_gets_the_next_free_number() -> None:
    parts = [foreign({"A": {"type": type}}, f"/apis/{type}/v1/x") for type in ("string", "array", "string")]
    parts[2] = foreign({"A": {"type": "string"}}, "/apis/again/v1/x")
    merged = merge(*parts, own={"A": {"type": "object"}})
    assert merged.definitions == {"A_v2": {"type": "string"}, "A_v3": {"type": "array"}}
    assert needed(merged, "/apis/array/v1/x") == {"A": "A_v3"}
    assert needed(merged, "/apis/again/v1/x") == {"A": "A_v2"}


def test_a_number_that_the_server_uses_itself_is_not_free() -> None:
    merged = merge(foreign({"A": {"type": "string"}, "A_v2": {"type": "array"}}), own={"A": {"type": "object"}})
    assert merged.definitions == {"A_v2": {"type": "array"}, "A_v3": {"type": "string"}}
    assert needed(merged) == {"A": "A_v3", "A_v2": "A_v2"}


def test_definitions_that_lead_to_renamed_ones_follow_them() -> None:
    leads = {"properties": {"a": {"$ref": "#/definitions/A"}}}
    merged = merge(foreign({"A": {"type": "string"}, "B": leads}), own={"A": {"type": "object"}})
    assert merged.definitions["B"] == {"properties": {"a": {"$ref": "#/definitions/A_v2"}}}


def test_the_first_to_have_a_path_keeps_it() -> None:
    part = foreign({"A": {"type": "string"}})
    assert merge(part, paths=("/apis/g/v1/x",)).paths == {}
    assert list(merge(part, foreign({"B": {"type": "string"}})).paths["/apis/g/v1/x"]["get"]["responses"]) == ["200"]
    assert needed(merge(part, foreign({"B": {"type": "string"}}))) == {"A": "A"}


def test_of_other_paths_nothing_counts() -> None:
    part = foreign({"A": {"type": "string"}}, prefix="/apis/h/v1/")
    assert (part.paths, part.definitions) == ({}, {})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"7", b'{"paths":[]}', b'{"paths":{"/apis/x":7}}', b'{"paths":{"/apis/x":{"get":{}}}}',
        b'{"paths":{"/apis/x":{"parameters":[{"$ref":"#/parameters/none"}]}}}',
        b'{"paths":{"/apis/x":{"parameters":7}}}', b'{"paths":' + b'{"/apis/x":' * 5000, b"\xff",
    ],
)  # fmt: skip
def test_what_is_no_such_document_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no OpenAPI document"):
        merging.read(body, "/apis/")
