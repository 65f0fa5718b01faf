"""The four ways of changing an object without sending all of it.

``json_patch``  RFC 6902: a list of operations
``merge``       RFC 7386: a partial object, lists replaced whole, null deletes
``strategic``   a partial object, lists merged by keys that the schema knows (built-in kinds only)
``apply``       server-side apply: fields have owners, kept in ``metadata.managedFields``

`json_patch`, `merge` and `strategic` take a document that is theirs to change and return the result, which may
or may not be the same dict.
"""

from __future__ import annotations

from typing import Any

from kcore.api import shapes
from kcore.api.codec import json
from kcore.api.schema import Schema
from kcore.errors import ApiError, BadRequest, Cause, Invalid
from kcore.objects import Object


class Rejected(Invalid):
    """A JSON patch cannot be applied: upstream's PATCH does not say `why`, its webhooks do."""

    def __init__(self, why: str = "") -> None:
        super().__init__("the server rejected our request due to an error in our request", details={})
        self.why = why


def rejected(why: str = "") -> ApiError:
    return Rejected(why)


def invalid_result(shown: str, why: str) -> ApiError:
    """The patched object cannot be read as its kind. `shown` is the object (or the patch) as text."""
    from kcore.api.fields import invalid

    cause: Cause = invalid("patch", shown, why)
    return Invalid(f' "" is invalid: patch: {cause.message}', details={"causes": [cause.to_json()]})


def shown(patched: Any, patch: Any, schema: Schema) -> str:
    """A patched object as upstream's errors print it, for `invalid_result`.

    Objects that the patch has touched have their keys in order, the others stand as Go wrote them, which is in the
    order of their fields. `patch` is a merge patch or the list of a JSON patch's operations.
    """
    touched = _touched(patch) if isinstance(patch, list) else patch
    return json.encode(_ordered(patched, touched, shapes.root(schema))).decode()


def _touched(operations: list[Any]) -> Object:
    """The tree of objects that a JSON patch goes through."""
    tree: Object = {}
    for operation in operations:
        for pointer in (operation.get("path"), operation.get("from")):
            node = tree
            for part in (pointer or "").split("/")[1:-1]:
                node = node.setdefault(part.replace("~1", "/").replace("~0", "~"), {})
    return tree


def _ordered(value: Any, touched: Any, shape: shapes.Shape | None) -> Any:
    if isinstance(value, list):
        item = shape.item if shape is not None else None
        return [_ordered(v, None, item) for v in value]
    if not isinstance(value, dict):
        return value
    members = shape.members if shape is not None else {}
    item = shape.item if shape is not None else None
    free = isinstance(touched, dict) or not members
    known = [] if free else [k for k in members if k in value]
    out = {}
    for key in (*known, *sorted(k for k in value if k not in known)):
        inner = touched.get(key) if isinstance(touched, dict) else None
        member = members.get(key)
        out[key] = _ordered(value[key], inner, member.shape if member is not None else item)
    return out


def malformed(why: str) -> ApiError:
    """A patch that breaks the rules of its format."""
    return BadRequest(why)


def failed(why: str) -> ApiError:
    """An error that upstream lets through as a bare 500, without a reason."""
    return ApiError(why, code=500, reason="")


def go_text(value: Any) -> str:
    """A decoded JSON value as Go's ``%v`` prints it, which upstream's patch errors quote."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{go_text(value[k])}" for k in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_text(v) for v in value) + "]"
    return str(value)
