"""metrics.k8s.io/v1beta1: the two kinds of metrics-server. Never stored: a route answers."""

from __future__ import annotations

from kcore.api.kinds import Kind, Object

GROUP, VERSION = "metrics.k8s.io", "v1beta1"

_USAGE: Object = {
    "description": "CPU and memory in use.",
    "type": "object",
    "additionalProperties": {"type": "string"},
}
_MEASURED: Object = {
    "timestamp": {"description": "When it was measured.", "type": "string", "format": "date-time"},
    "window": {"description": "The time over which it was measured, before the timestamp.", "type": "string"},
}


def _node() -> Object:
    """The schema of a NodeMetrics."""
    return {
        "description": "NodeMetrics is what a node uses.",
        "type": "object",
        "properties": {**_MEASURED, "usage": _USAGE},
        "required": ["timestamp", "window", "usage"],
    }


def _pod() -> Object:
    """The schema of a PodMetrics."""
    container = {
        "description": "What a container uses.",
        "type": "object",
        "properties": {"name": {"description": "The container's name.", "type": "string"}, "usage": _USAGE},
        "required": ["name", "usage"],
    }
    containers = {
        "description": "What each container uses.",
        "type": "array",
        "items": container,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    return {
        "description": "PodMetrics is what the containers of a pod use.",
        "type": "object",
        "properties": {**_MEASURED, "containers": containers},
        "required": ["timestamp", "window", "containers"],
    }


_READ = ("get", "list")
KINDS = [
    Kind(GROUP, VERSION, "NodeMetrics", "nodes", namespaced=False, verbs=_READ, virtual=True, raw_schema=_node),
    Kind(GROUP, VERSION, "PodMetrics", "pods", verbs=_READ, virtual=True, raw_schema=_pod),
]
