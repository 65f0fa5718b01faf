"""Who manages the replica count: the managedFields of an object, seen as those of its Scale, and back.

An object records under ``spec.replicas`` (or where its kind has the count) who has set it, through ``/scale`` or
otherwise. A Scale shows the same managers under its own ``spec.replicas`` and its own version, so that applying a
Scale meets the conflicts that applying the object would. What is set through ``/scale`` has no time, as upstream.
"""

from __future__ import annotations

from typing import Any

from kcore.api.patch import fieldset, managers
from kcore.api.patch.fieldset import Set
from kcore.api.patch.managers import Entry, Manager, Managers
from kcore.objects import Object

_SCALE = "scale"
_COUNT: Set = {"f:spec": {"f:replicas": {}}}


class ScaleManagers:
    """The managers of the object with this metadata; its count is at `path` (``.spec.replicas``)."""

    def __init__(self, meta: Object, api_version: str, path: str) -> None:
        self._api_version = api_version
        self._path = tuple(f"f:{part}" for part in path.strip(".").split("."))
        self._managers = managers.decode(meta.get("managedFields")) or {}

    def of_scale(self, api_version: str) -> list[dict[str, Any]]:
        """The managedFields of the Scale."""
        own: Managers = {
            _of_version(who, api_version): Entry(_COUNT, api_version, entry.time)
            for who, entry in self._managers.items()
            if self._counts(entry.fields)
        }
        return managers.encode(own)

    def keep(self, meta: Object, of_scale: Any) -> None:
        """Write into the object's metadata what the managedFields of a changed Scale say about the count."""
        scale = managers.decode(of_scale) or {}
        left = {(who.name, who.operation, who.subresource) for who in scale}
        out: Managers = {}
        for who, entry in self._managers.items():
            fields = entry.fields
            if self._counts(fields) and (who.name, who.operation, who.subresource) not in left:
                fields = fieldset.without(fields, self._path)
            if fields:
                out[who] = Entry(fields, entry.api_version, entry.time)
        for who, entry in scale.items():
            if who.subresource == _SCALE:
                mine = _of_version(who, self._api_version)
                out[mine] = Entry(self._count(), self._api_version, entry.time)
        if out:
            meta["managedFields"] = managers.encode(out)
        else:
            meta.pop("managedFields", None)

    def _count(self) -> Set:
        made: Set = {}
        for part in reversed(self._path):
            made = {part: made}
        return made

    def _counts(self, fields: Set) -> bool:
        at: Any = fields
        for part in self._path:
            at = at.get(part) if at is not None else None
        return at is not None


def _of_version(who: Manager, api_version: str) -> Manager:
    """An applier is the same one in every version."""
    return Manager(who.name, who.operation, api_version if who.api_version else "", who.subresource)
