"""Between the versions of a custom resource: how what lies in the store becomes what is served.

An object is read as upstream reads it: members that the schema of the version in which it lies does not know are
dropped and defaults filled in, then it is converted, then what the wanted version does not know is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore.api import layout, typed
from kcore.api.kinds import Conversion
from kcore.api.schema import Schema
from kcore.api.structural import defaulting

if TYPE_CHECKING:
    from kcore_custom_resources.review import Reviewer

Object = dict[str, Any]


@attrs.define(eq=False)
class Shape:
    """One version's shape: compiled when it is first needed."""

    api_version: str
    digest: bytes  # equal for versions with the same schema
    schema_source: Callable[[], Schema]
    _defaulter: defaulting.Defaulter | None = None

    def prune(self, obj: Object) -> None:
        try:
            typed.read(obj, self.schema_source())
        except typed.Unfit:
            pass  # its metadata is not right, and was stored nevertheless

    def default(self, obj: Object) -> None:
        if self._defaulter is None:
            self._defaulter = defaulting.compile(self.schema_source())
        self._defaulter(obj)


@attrs.define(eq=False)
class Lineage:
    """What all declarations that a definition ever had share."""

    settled: int = 0
    """Objects that were written after this revision lie in the store as the present declaration has them."""
    current: object = None
    """The present declaration."""


@attrs.define(eq=False)
class Declaration:
    """The versions of one definition as it is at a time."""

    lineage: Lineage
    shapes: dict[str, Shape]  # by apiVersion
    storage: str  # apiVersion


class Plain(Conversion):
    """Strategy None: only the apiVersion differs, and what the schemas make of that."""

    def __init__(self, declaration: Declaration, api_version: str) -> None:
        self._declaration, self._own = declaration, declaration.shapes[api_version]
        self._alike = {v for v, shape in declaration.shapes.items() if shape.digest == self._own.digest}
        self._write_alike = declaration.storage in self._alike

    def current(self, version: str, revision: int) -> bool:
        return (revision > self._declaration.lineage.settled or not revision) and version in self._alike

    def _restored(self, obj: Object) -> None:
        shape = self._declaration.shapes.get(obj["apiVersion"], self._own)
        shape.prune(obj)
        shape.default(obj)

    def _renamed(self, obj: Object, shape: Shape, *, prune: bool) -> Object:
        obj = {**obj, "apiVersion": shape.api_version}
        if prune:
            shape.prune(obj)
        return obj

    def local(self, obj: Object) -> Object:
        stored = obj["apiVersion"]
        self._restored(obj)
        return self._renamed(obj, self._own, prune=stored not in self._alike)

    async def write(self, obj: Object) -> Object:
        if obj["apiVersion"] == self._declaration.storage:
            return obj
        return self._renamed(obj, self._declaration.shapes[self._declaration.storage], prune=not self._write_alike)

    def across(self, obj: Object, api_version: str) -> tuple[Object, Schema] | None:
        shapes = self._declaration.shapes
        shape = shapes.get(api_version)
        if shape is None or obj["apiVersion"] not in shapes:
            return None
        if obj["apiVersion"] == api_version:
            return obj, shape.schema_source()
        sent = {**layout.decode_json(layout.encode_json(obj)), "metadata": _unmanaged(obj["metadata"])}
        return self._across(sent, shape), shape.schema_source()

    def _across(self, obj: Object, shape: Shape) -> Object:
        alike = self._declaration.shapes[obj["apiVersion"]].digest == shape.digest
        return self._renamed(obj, shape, prune=not alike)

    def written(self, revision: int) -> None:
        lineage = self._declaration.lineage
        if lineage.current is not self._declaration and revision > lineage.settled:
            lineage.settled = revision  # it was written under a declaration that is not the present one


class Webhook(Plain):
    """Strategy Webhook: objects of other versions are sent away, many at a time, to come back as wanted."""

    remote = True

    def __init__(self, declaration: Declaration, api_version: str, reviewer: Reviewer) -> None:
        super().__init__(declaration, api_version)
        self._alike = {api_version}
        self._reviewer = reviewer

    async def read(self, objects: list[Object]) -> list[Object]:
        for obj in objects:
            self._restored(obj)
        return await self._convert(objects, self._own)

    async def write(self, obj: Object) -> Object:
        if obj["apiVersion"] == self._declaration.storage:
            return obj
        return (await self._convert([obj], self._declaration.shapes[self._declaration.storage]))[0]

    def _across(self, obj: Object, shape: Shape) -> Object:
        return trio.from_thread.run(self._convert, [obj], shape)[0]

    async def _convert(self, objects: list[Object], to: Shape) -> list[Object]:
        """Raises ApiError (500), in upstream's words."""
        sent = [obj for obj in objects if obj["apiVersion"] != to.api_version]
        if not sent:
            return objects
        converted = iter(await self._reviewer.convert(sent, to.api_version))
        out: list[Object] = []
        for obj in objects:
            if obj["apiVersion"] != to.api_version:
                obj = next(converted)
                to.prune(obj)
            out.append(obj)
        return out


def _unmanaged(meta: Object) -> Object:
    """Who manages an object is nothing that is converted."""
    return {key: value for key, value in meta.items() if key != "managedFields"}
