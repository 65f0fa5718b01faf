"""metrics.k8s.io/v1beta1: the two kinds of metrics-server. Never stored: a route answers."""

from __future__ import annotations

from kcore.api.kinds import Kind

GROUP, VERSION = "metrics.k8s.io", "v1beta1"

KINDS = [
    Kind(GROUP, VERSION, "NodeMetrics", "nodes", namespaced=False, verbs=("get", "list"), virtual=True),
    Kind(GROUP, VERSION, "PodMetrics", "pods", verbs=("get", "list"), virtual=True),
]
