"""What a custom resource does of its own: all of it follows from the schema of its version."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kcore import errors
from kcore.api import fields
from kcore.api.kinds import Kind, ScalePaths, Strategy
from kcore.api.structural import objects
from kcore.errors import Cause
from kcore.objects import selectors
from kcore_custom_resources.conversion import Shape

Object = dict[str, Any]
_MAX_INT32 = 2**31 - 1


class CustomStrategy(Strategy):
    allow_unconditional_update = False

    def __init__(self, shape: Shape, *, status: bool) -> None:
        self.has_status = status
        self.terminating = False
        """The definition is being deleted: nothing new may be made."""
        self.kind: Kind  # set by who declares it
        self._shape = shape

    def default(self, obj: Object) -> None:
        self._shape.default(obj)

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        if self.terminating:
            name = obj["metadata"].get("name", "")
            kind = self.kind
            quoted = f' "{name}"' if name else ""
            raise errors.Forbidden(
                f"{kind.resource}{quoted} is forbidden: create not allowed while custom resource definition is "
                "terminating",
                details={"name": name, "group": kind.group, "kind": kind.plural},
            )

    def prepare_status(self, obj: Object, old: Object) -> None:
        super().prepare_status(obj, old)
        obj["apiVersion"], obj["kind"] = old["apiVersion"], old["kind"]

    def managed_reset(self, subresource: str) -> tuple[str, ...]:
        if not self.has_status:
            return ()
        if subresource == "status":
            return tuple(key for key in self.kind.schema.properties if key not in ("status", "metadata"))
        return ("status",) if not subresource else ()

    def spec_changed(self, obj: Object, old: Object) -> bool:
        unseen = {"metadata", "apiVersion", "kind"} | ({"status"} if self.has_status else set())
        return any(obj.get(key) != old.get(key) for key in (obj.keys() | old.keys()) - unseen)

    def validate(self, obj: Object) -> Iterable[Cause]:
        return self._causes(obj, None)

    def validate_update(self, obj: Object, old: Object) -> Iterable[Cause]:
        return self._causes(obj, old)

    def validate_status(self, obj: Object, old: Object) -> Iterable[Cause]:
        return self._causes(obj, old)

    def _causes(self, obj: Object, old: Object | None) -> list[Cause]:
        schema = self.kind.schema
        found = objects.causes(obj, schema, old)
        if self.kind.scale is not None:
            found += _scale(obj, self.kind.scale)
        if objects.has_rules(schema):  # the compiler of expressions is only loaded where there are some
            from kcore.api.structural import expressions

            found += expressions.causes(obj, schema, found, old)
        return found


def _scale(obj: Object, paths: ScalePaths) -> list[Cause]:
    """The replica counts must be such as a Scale can have."""
    found: list[Cause] = []
    for path in (paths.spec_replicas, paths.status_replicas):
        count = at(obj, path)
        if count is None:
            continue
        if type(count) is not int:
            why = f"{path} accessor error: {fields.show(count)} is of the type {_go(count)}, expected int64"
            found.append(fields.invalid(path, 0, why))
        elif count < 0:
            found.append(fields.invalid(path, count, "should be a non-negative integer"))
        elif count > _MAX_INT32:
            found.append(fields.invalid(path, count, f"should be less than or equal to {_MAX_INT32}"))
    text = at(obj, paths.selector) if paths.selector else None
    if text is not None and not isinstance(text, str):
        why = f"{paths.selector} accessor error: {fields.show(text)} is of the type {_go(text)}, expected string"
        found.append(fields.invalid(paths.selector, "", why))
    elif text:
        try:
            selectors.parse(text)
        except errors.BadRequest as error:
            found.append(fields.invalid(paths.selector, text, error.message))
    return found


def _go(value: Any) -> str:
    return {bool: "bool", str: "string", float: "float64", int: "int64", list: "[]interface {}"}.get(
        type(value), "map[string]interface {}"
    )


def at(obj: Object, path: str) -> Any:
    """The value at a dotted path; None if there is none."""
    value: Any = obj
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
