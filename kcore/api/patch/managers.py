"""``metadata.managedFields``: who has set which fields, read and written as upstream does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from kcore.api.patch import fieldset
from kcore.api.patch.fieldset import Set

APPLY, UPDATE = "Apply", "Update"
_MAX_UPDATERS = 10  # more of them are merged into one
_ANCIENT = "ancient-changes"
UNTRACKED = (
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
)
"""Members of .metadata that nobody manages."""
_STRIPPED = (
    *((name,) for name in ("f:apiVersion", "f:kind", "f:metadata")),
    *(("f:metadata", f"f:{name}") for name in UNTRACKED),
)


@attrs.frozen(slots=True)
class Manager:
    """Whose set it is. An applier is the same one whatever version it applied last."""

    name: str
    operation: str
    api_version: str  # "" for an applier
    subresource: str = ""

    def text(self) -> str:
        """As conflicts name it."""
        out = f'"{self.name}"'
        if self.subresource:
            out += f' with subresource "{self.subresource}"'
        return f"{out} using {self.api_version}" if self.operation == UPDATE else out


def applier(name: str, subresource: str) -> Manager:
    return Manager(name, APPLY, "", subresource)


def updater(name: str, api_version: str, subresource: str) -> Manager:
    return Manager(name, UPDATE, api_version, subresource)


@attrs.define(slots=True)
class Entry:
    """What a manager holds."""

    fields: Set
    api_version: str
    time: str = ""


Managers = dict[Manager, Entry]


def decode(entries: Any) -> Managers | None:
    """The managers of a managedFields list; None if it is none that upstream would write."""
    out: Managers = {}
    if not isinstance(entries, list):
        return None if entries is not None else out
    for raw in entries:
        if not isinstance(raw, dict) or raw.get("operation") not in (APPLY, UPDATE):
            return None
        fields = raw.get("fieldsV1")
        if raw.get("fieldsType") != "FieldsV1" or not isinstance(fields, dict):
            return None
        operation, version = raw["operation"], raw.get("apiVersion") or ""
        name = raw.get("manager") or ""
        who = Manager(name, operation, version if operation == UPDATE else "", raw.get("subresource") or "")
        known = out.get(who)
        if known is not None:
            fields = fieldset.union(known.fields, fields)
        out[who] = Entry(fields, version, raw.get("time") or "")
    return out


def encode(managers: Managers) -> list[dict[str, Any]]:
    """The list to write: appliers first, then by age."""
    ordered = sorted(
        managers.items(),
        key=lambda item: (
            item[0].operation,
            item[1].time,
            item[0].name,
            item[1].api_version,
            item[0].subresource,
        ),
    )
    return [_encode(who, entry) for who, entry in ordered]


def _encode(who: Manager, entry: Entry) -> dict[str, Any]:
    out: dict[str, Any] = {"operation": who.operation, "apiVersion": entry.api_version}
    if who.name:
        out = {"manager": who.name, **out}
    if entry.time:
        out["time"] = entry.time
    out["fieldsType"] = "FieldsV1"
    out["fieldsV1"] = entry.fields
    if who.subresource:
        out["subresource"] = who.subresource
    return out


def strip(fields: Set) -> Set:
    """Without what is never tracked: the object's type and the metadata that the server keeps."""
    for path in _STRIPPED:
        fields = fieldset.without(fields, path)
    return fields


def cap(managers: Managers) -> None:
    """Merge the oldest updaters into one per version, so that at most ten remain."""
    updaters = [(who, entry) for who, entry in managers.items() if who.operation == UPDATE]
    excess = len(updaters) - _MAX_UPDATERS
    if excess <= 0:
        return
    updaters.sort(key=lambda item: (_seconds(item[1].time), item[0].name))
    for who, entry in updaters:
        if excess <= 0 and who.name != _ANCIENT:
            break
        bucket = updater(_ANCIENT, who.api_version, "")
        if who == bucket:
            continue
        del managers[who]
        known = managers.get(bucket)
        if known is None:
            managers[bucket] = Entry(entry.fields, entry.api_version, entry.time)
        else:
            known.fields = fieldset.union(known.fields, entry.fields)
            known.time = max(known.time, entry.time)
            excess -= 1
        if len([w for w in managers if w.operation == UPDATE]) <= _MAX_UPDATERS:
            break


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0
