"""OpenAPI v2 of other servers, as it becomes part of this server's own document.

Of a document only the paths of its group version count, and the definitions that these need. A path that is there
already stays as it is. A definition is shared with one of the same name that says the same (whatever kinds it is said
to be), and else gets a number behind its name. (kube-openapi, pkg/aggregator.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import msgspec

from kcore.api.openapi import v2

Json = dict[str, Any]
_REF = "#/definitions/"
_PARAMETERS = "#/parameters/"
_KINDS = "x-kubernetes-group-version-kind"


@attrs.frozen(eq=False)
class Foreign:
    """The part of another server's document that counts."""

    digest: str
    paths: dict[str, Json]
    definitions: dict[str, Json]


def read(body: bytes, prefix: str) -> Foreign:
    """What a document says of the paths that begin with `prefix`. Raises ValueError for what is no such document.

    Takes time with the document's length: call it in a thread.
    """
    try:
        document = msgspec.json.decode(body)
        parameters = document.get("parameters") or {}
        paths = {p: _item(i, parameters) for p, i in document.get("paths", {}).items() if p.startswith(prefix)}
        definitions = _needed(paths, document.get("definitions") or {})
        for form in (v2.Text(), v2.Protobuf()):  # what cannot be written would spoil the whole document later
            for path, item in paths.items():
                form.own_path(path, item)
            for name, node in definitions.items():
                form.own_schema(name, node)
        whole = msgspec.json.encode((paths, definitions), order="deterministic")
    except Exception as error:  # a stranger's document: it may be wrong in any way
        raise ValueError(f"no OpenAPI document of version 2: {error!r}") from error
    return Foreign(hashlib.sha256(whole).hexdigest(), paths, definitions)


def _item(item: Json, shared: Json) -> Json:
    """With the document's shared parameters in their places."""

    def own(parameters: list[Json]) -> list[Json]:
        return [shared[p["$ref"].removeprefix(_PARAMETERS)] if "$ref" in p else p for p in parameters]

    out: Json = {}
    for key, value in item.items():
        if key == "parameters":
            out[key] = own(value)
        elif isinstance(value, dict) and "parameters" in value:
            out[key] = {**value, "parameters": own(value["parameters"])}
        else:
            out[key] = value
    return out


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        ref = node.get("$ref")
        if isinstance(ref, str) and ref.startswith(_REF):
            yield ref.removeprefix(_REF)
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _needed(paths: dict[str, Json], definitions: dict[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    waiting = list(_references(list(paths.values())))
    while waiting:
        name = waiting.pop()
        if name not in found and name in definitions:
            found[name] = definitions[name]
            waiting += _references(definitions[name])
    return found


def _renamed(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, dict):
        out = {key: _renamed(value, names) for key, value in node.items()}
        ref = out.get("$ref")
        if isinstance(ref, str) and ref.removeprefix(_REF) in names:
            out["$ref"] = _REF + names[ref.removeprefix(_REF)]
        return out
    return [_renamed(value, names) for value in node] if isinstance(node, list) else node


@attrs.define
class Merged:
    """What a document has besides its own."""

    paths: dict[str, Json] = attrs.Factory(dict)
    definitions: dict[str, Json] = attrs.Factory(dict)  # new ones, and own ones that are of more kinds now


def merge(
    foreign: Iterable[Foreign], paths: Iterable[str], names: Iterable[str], own: Callable[[str], Json | None]
) -> Merged:
    """Several servers' parts, the most important first, into a document that has `paths` and definitions `names`.

    `own` gives a definition of the document as version 2 has it.
    """
    merged = Merged()
    there, used = set(paths), set(names)
    for part in foreign:

        def known(name: str) -> Json | None:
            found = merged.definitions.get(name)
            return own(name) if found is None else found

        renames: dict[str, str] = {}
        for name, node in part.definitions.items():
            if name not in used:
                continue
            taken, number = name, 1
            while (there_is := known(taken)) is not None and not _alike(node, there_is):
                number += 1
                taken = f"{name}_v{number}"
            if there_is is None:  # a name that nobody has, or one of which nothing is known
                while taken in used or taken in part.definitions:
                    number += 1
                    taken = f"{name}_v{number}"
            if taken != name:
                renames[name] = taken
        for name, node in part.definitions.items():
            taken = renames.get(name, name)
            before = known(taken)
            node = _renamed(node, renames) if renames else node
            kinds = None if before is None else _kinds(before, node)
            if before is None:
                merged.definitions[taken] = node
            elif kinds:
                merged.definitions[taken] = {**before, _KINDS: kinds}
            used.add(taken)
        for path, item in part.paths.items():
            if path not in there:
                there.add(path)
                merged.paths[path] = _renamed(item, renames) if renames else item
    return merged


def _alike(one: Json, other: Json) -> bool:
    """They say the same, but for which kinds they are of."""
    return {k: v for k, v in one.items() if k != _KINDS} == {k: v for k, v in other.items() if k != _KINDS}


def _kinds(one: Json, other: Json) -> list[Json]:
    """The kinds of both, if there are more than of `one`."""
    kinds, more = one.get(_KINDS) or [], other.get(_KINDS) or []
    new = [kind for kind in more if kind not in kinds]
    return [*kinds, *new] if new else []
