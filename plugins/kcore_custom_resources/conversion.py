"""Between the versions of a custom resource: how what lies in the store becomes what is served.

An object is read as upstream reads it: members that the schema of the version in which it lies does not know are
dropped and defaults filled in, then it is converted, then what the wanted version does not know is dropped.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from kcore import errors
from kcore.api import typed
from kcore.api.kinds import Conversion
from kcore.api.schema import Schema
from kcore.api.structural import defaulting

if TYPE_CHECKING:
    from kcore.api.webhook import Webhooks

Object = dict[str, Any]
TIMEOUT = 30.0  # seconds that a conversion webhook has


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

    def written(self, revision: int) -> None:
        lineage = self._declaration.lineage
        if lineage.current is not self._declaration and revision > lineage.settled:
            lineage.settled = revision  # it was written under a declaration that is not the present one


class Webhook(Plain):
    """Strategy Webhook: objects of other versions are sent away, many at a time, to come back as wanted."""

    remote = True

    def __init__(
        self, declaration: Declaration, api_version: str, webhooks: Webhooks, config: Object, kind: str
    ) -> None:
        super().__init__(declaration, api_version)
        self._alike = {api_version}
        self._webhooks, self._config, self._kind = webhooks, config, kind

    async def read(self, objects: list[Object]) -> list[Object]:
        for obj in objects:
            self._restored(obj)
        return await self._convert(objects, self._own)

    async def write(self, obj: Object) -> Object:
        if obj["apiVersion"] == self._declaration.storage:
            return obj
        return (await self._convert([obj], self._declaration.shapes[self._declaration.storage]))[0]

    async def _convert(self, objects: list[Object], to: Shape) -> list[Object]:
        """Raises ApiError (500), in upstream's words."""
        sent = [obj for obj in objects if obj["apiVersion"] != to.api_version]
        if not sent:
            return objects
        group, _, version = sent[0]["apiVersion"].rpartition("/")
        who = f"conversion webhook for {group}/{version}, Kind={self._kind}"
        converted = iter(await self._call(sent, to.api_version, who))
        out: list[Object] = []
        for obj in objects:
            if obj["apiVersion"] != to.api_version:
                at = len(out)
                obj = _checked(obj, next(converted), to.api_version, who, at)
                to.prune(obj)
            out.append(obj)
        return out

    async def _call(self, sent: list[Object], wanted: str, who: str) -> list[Object]:
        from kcore.api.webhook import WebhookError

        uid = str(uuid.uuid4())
        review = {
            "kind": "ConversionReview",
            "apiVersion": "apiextensions.k8s.io/v1",
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": sent},
        }
        try:
            answer = await self._webhooks.call(self._config["clientConfig"], review, timeout=TIMEOUT)
        except WebhookError as error:
            raise _failed(f"{who} failed: {error}") from None
        response = answer.get("response") if isinstance(answer, dict) else None
        if not isinstance(response, dict):
            raise _failed(f"{who} failed: no response provided")
        said = (answer.get("kind"), answer.get("apiVersion"))
        if said != ("ConversionReview", "apiextensions.k8s.io/v1"):
            raise _failed(
                f"{who} failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got "
                f"{said[1] or ''}, Kind={said[0] or ''}"
            )
        if response.get("uid") != uid:
            raise _failed(f'{who} failed: expected response.uid="{uid}", got "{response.get("uid") or ""}"')
        result = response.get("result") or {}
        if result.get("status") != "Success":
            why = result.get("message") or f"response.result.status was '{result.get('status') or ''}', not 'Success'"
            raise _failed(f"{who} failed: {why}")
        objects = response.get("convertedObjects") or []
        if len(objects) != len(sent):
            raise _failed(f"{who} returned {len(objects)} objects, expected {len(sent)}")
        return list(objects)


def _failed(message: str) -> errors.ApiError:
    return errors.ApiError(message, code=500, reason="InternalError")


_MUTABLE = ("labels", "annotations")


def _checked(sent: Object, got: Any, wanted: str, who: str, at: int) -> Object:
    """A converted object with the metadata that no webhook may change. Raises ApiError (500)."""
    said = f"{who} returned invalid converted object at index {at}: "
    if not isinstance(got, dict):
        raise _failed(f"{said}invalid object")
    if got.get("apiVersion") != wanted:
        raise _failed(f"{said}invalid groupVersion (expected {wanted}, received {got.get('apiVersion') or ''})")
    if got.get("kind") != sent["kind"]:
        raise _failed(f"{said}invalid kind (expected {sent['kind']}, received {got.get('kind') or ''})")
    meta, old = got.get("metadata"), sent["metadata"]
    if not isinstance(meta, dict):
        raise _failed(f"{said}invalid metadata of type {type(meta).__name__} in input object")
    for member in ("name", "namespace", "uid"):
        if (meta.get(member) or "") != (old.get(member) or ""):
            raise _failed(
                f'{who} returned invalid metadata: must have the same {member}: "{old.get(member) or ""}" != '
                f'"{meta.get(member) or ""}"'
            )
    kept = {**old}
    for member in _MUTABLE:
        kept.pop(member, None)
        value = meta.get(member)
        if value is None:
            continue
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise _failed(
                f"{who} returned invalid metadata: metadata.{member}: Invalid value: must be a map of strings"
            )
        kept[member] = value
    return {**got, "metadata": kept}
