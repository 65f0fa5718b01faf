"""Tables and bare metadata: the forms of objects that ``kubectl get`` and metadata-only clients ask for."""

from __future__ import annotations

from typing import Any

from kcore import clock
from kcore.api import layout
from kcore.api.cache import Entry
from kcore.api.kinds import Column
from kcore.api.served import Served
from kcore.objects import Object

_NAME_DOC = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
_AGE_DOC = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


def age(obj: Object) -> str:
    """How long ago the object was created, as kubectl prints it: 5s, 3m12s, 7h, 4d."""
    created = obj["metadata"].get("creationTimestamp")
    if not created:
        return "<unknown>"
    try:
        return duration(clock.now() - clock.parse(created))
    except ValueError:
        return "<invalid>"


def duration(elapsed: float) -> str:
    """A duration with the two units that matter (apimachinery, util/duration.HumanDuration)."""
    seconds = int(elapsed)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    if seconds < 120:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years = days // 365
    if hours < 24 * 365 * 8:
        return _two(years, "y", days % 365, "d")
    return f"{years}y"


def _two(big: int, unit: str, small: int, small_unit: str) -> str:
    return f"{big}{unit}{small}{small_unit}" if small else f"{big}{unit}"


DEFAULT_COLUMNS = (
    Column("Name", lambda obj: obj["metadata"].get("name", ""), format="name", description=_NAME_DOC),
    Column("Age", age, description=_AGE_DOC),
)


def columns(served: Served) -> tuple[Column, ...]:
    return served.kind.columns or DEFAULT_COLUMNS


def definitions(columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    return [
        {"name": c.name, "type": c.type, "format": c.format, "description": c.description, "priority": c.priority}
        for c in columns
    ]


def table(
    served: Served,
    entries: list[Entry],
    revision: int,
    include: str = "",
    *,
    version: str = "v1",
    define: bool = True,
) -> Object:
    """A meta.k8s.io Table. `include` is the includeObject parameter: None, Metadata (default) or Object."""
    cells = [c.cell for c in columns(served)]
    rows = []
    for entry in entries:
        obj = served.object(entry)
        row: dict[str, Any] = {"cells": [cell(obj) for cell in cells]}
        if include == "Object":
            row["object"] = obj
        else:
            row["object"] = None if include == "None" else partial(entry, version)
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {"resourceVersion": str(revision)},
        "columnDefinitions": definitions(columns(served)) if define else None,
        "rows": rows,
    }


def partial(entry: Entry, version: str = "v1") -> Object:
    """The object's metadata alone."""
    meta = layout.decode_json(b"{" + entry.tail)["metadata"] if not entry.forms else _metadata(entry)
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": meta}


def _metadata(entry: Entry) -> Object:
    for form in entry.forms.values():
        if type(form) is dict and "metadata" in form:
            return form["metadata"]  # type: ignore[no-any-return]
    return layout.decode_json(b"{" + entry.tail)["metadata"]  # type: ignore[no-any-return]


def partial_list(entries: list[Entry], meta: dict[str, Any], version: str = "v1") -> Object:
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": meta,
        "items": [partial(e, version) for e in entries],
    }
