"""The tables of the core group's other kinds: nodes, namespaces, configuration, events."""

from __future__ import annotations

from kcore.api.kinds import Column
from kcore.objects import meta
from kcore_kinds.tables.cells import AGE, CREATED, NAME, NONE, UNKNOWN, Object, at, col, count, since

_ROLE = "node-role.kubernetes.io/"


def _node_status(node: Object) -> str:
    ready = meta.condition(node, "Ready")
    words = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if node.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Object) -> str:
    labels = meta.labels(node)
    roles = {key[len(_ROLE) :] for key in labels if key.startswith(_ROLE) and len(key) > len(_ROLE)}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    return ",".join(sorted(roles)) or NONE


def _address(node: Object, type: str) -> str:
    for address in (node.get("status") or {}).get("addresses") or ():
        if address.get("type") == type:
            return str(address["address"])
    return NONE


def _quota(quota: Object, *, limits: bool) -> str:
    """``pods: 1/3``, for the resources that begin with ``limits`` or for all others."""
    status = quota.get("status") or {}
    hard, used = status.get("hard") or {}, status.get("used") or {}
    names = [n for n in sorted(hard) if n.startswith("limits") == limits]
    return ", ".join(f"{n}: {used.get(n, '0')}/{hard[n]}" for n in names)


def _component(status: Object, member: str) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Healthy":
            if member != "status":
                return str(condition.get(member, ""))
            return "Healthy" if condition.get("status") == "True" else "Unhealthy"
    return "Unknown" if member == "status" else ""


# --- events: both groups show the same -------------------------------------------------------------------------------


def _either(event: Object, *names: str) -> Object:
    for name in names:
        if event.get(name):
            found: Object = event[name]
            return found
    return {}


def _involved(event: Object) -> Object:
    return _either(event, "involvedObject", "regarding")


def _first_time(event: Object) -> str | None:
    return event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp") or event.get("eventTime")


def _last_time(event: Object) -> str | None:
    series = (event.get("series") or {}).get("lastObservedTime")
    return series or event.get("lastTimestamp") or event.get("deprecatedLastTimestamp") or _first_time(event)


def _times(event: Object) -> int:
    series = event.get("series")
    if series:
        return int(series.get("count", 0))
    return int(event.get("count") or event.get("deprecatedCount") or 1)


def _object(event: Object) -> str:
    about = _involved(event)
    kind = str(about.get("kind", "")).lower()
    return f"{kind}/{about['name']}" if about.get("name") else kind


def _event_source(event: Object) -> str:
    source = _either(event, "source", "deprecatedSource")
    component = source.get("component") or event.get("reportingComponent") or event.get("reportingController") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host else str(component)


_EVENTS = (
    col("Last Seen", lambda e: since(_last_time(e))),
    col("Type", at("type")),
    col("Reason", at("reason")),
    col("Object", _object),
    col("Subobject", lambda e: _involved(e).get("fieldPath", ""), wide=True),
    col("Source", _event_source, wide=True),
    col("Message", lambda e: str(e.get("message") or e.get("note") or "").strip()),
    col("First Seen", lambda e: since(_first_time(e)), wide=True),
    col("Count", _times, wide=True),
    col("Name", at("metadata.name"), wide=True, format="name"),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "componentstatuses": (
        NAME,
        col("Status", lambda c: _component(c, "status")),
        col("Message", lambda c: _component(c, "message")),
        col("Error", lambda c: _component(c, "error")),
    ),
    "configmaps": (
        NAME,
        col("Data", lambda c: len(c.get("data") or ()) + len(c.get("binaryData") or ())),
        AGE,
    ),
    "secrets": (NAME, col("Type", at("type")), col("Data", count("data")), AGE),
    "serviceaccounts": (NAME, AGE),
    "limitranges": (NAME, CREATED),
    "resourcequotas": (
        NAME,
        col("Request", lambda q: _quota(q, limits=False)),
        col("Limit", lambda q: _quota(q, limits=True)),
        AGE,
    ),
    "namespaces": (NAME, col("Status", at("status.phase")), AGE),
    "nodes": (
        NAME,
        col("Status", _node_status),
        col("Roles", _roles),
        AGE,
        col("Version", at("status.nodeInfo.kubeletVersion")),
        col("Internal-IP", lambda n: _address(n, "InternalIP"), wide=True),
        col("External-IP", lambda n: _address(n, "ExternalIP"), wide=True),
        col("OS-Image", at("status.nodeInfo.osImage", UNKNOWN), wide=True),
        col("Kernel-Version", at("status.nodeInfo.kernelVersion", UNKNOWN), wide=True),
        col("Container-Runtime", at("status.nodeInfo.containerRuntimeVersion", UNKNOWN), wide=True),
    ),
    "events": _EVENTS,
    "events.events.k8s.io": _EVENTS,
}
