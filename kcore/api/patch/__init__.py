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

from kcore.errors import ApiError, BadRequest, Cause, Invalid


def rejected() -> ApiError:
    """What upstream answers when a JSON patch cannot be applied: it does not say why."""
    return Invalid("the server rejected our request due to an error in our request", details={})


def invalid_result(shown: str, why: str) -> ApiError:
    """The patched object cannot be read as its kind. `shown` is the object (or the patch) as text."""
    from kcore.api.fields import invalid

    cause: Cause = invalid("patch", shown, why)
    return Invalid(f' "" is invalid: patch: {cause.message}', details={"causes": [cause.to_json()]})


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
