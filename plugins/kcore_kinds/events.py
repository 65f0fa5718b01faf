"""events.k8s.io: the newer view of events."""

from __future__ import annotations

from kcore_kinds.declare import Group, Object, field, fields

# how a core event's members are called here
_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {new: old for old, new in _RENAMED.items()}


def to_core(event: Object) -> Object:
    """The event as it is stored: events of both groups are the same objects."""
    return {_BACK.get(k, k): v for k, v in event.items()} | {"apiVersion": "v1"}


def from_core(event: Object) -> Object:
    """A stored event as this group shows it."""
    return {_RENAMED.get(k, k): v for k, v in event.items()} | {"apiVersion": "events.k8s.io/v1"}


EVENT_FIELDS = {
    **fields(
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ),
    "source": lambda event: field("deprecatedSource.component")(event) or field("reportingController")(event),
}

group = Group("events.k8s.io")
group.serve(
    "Event",
    "events",
    upsert=True,
    selectable=EVENT_FIELDS,
    store_prefix="/registry/events/",
    to_storage=to_core,
    from_storage=from_core,
    hash="r2yiGXH7wu8=",
    short="ev",
)

KINDS = group.kinds
