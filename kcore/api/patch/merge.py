"""JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any


def apply(doc: Any, patch: Any) -> Any:
    """`doc` with `patch` merged in: members of objects merge, null deletes, anything else replaces.

    Changes `doc` and shares values with `patch`. The deletions inside a value that is new are dropped with it.
    """
    if type(patch) is not dict:
        return patch
    if type(doc) is not dict:
        doc = {}
    for key, value in patch.items():
        if value is None:
            doc.pop(key, None)
        elif type(value) is dict:
            doc[key] = apply(doc.get(key), value)
        else:
            doc[key] = value
    return doc
