"""autoscaling: HorizontalPodAutoscalers, served as v1 and v2 and stored as v2."""

from __future__ import annotations

from kcore_kinds.declare import Group

v1 = Group("autoscaling")
v1.serve(
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    hash="qwQve8ut294=",
    short="hpa",
    category="all",
    status=True,
)
v2 = Group("autoscaling", "v2")
v2.serve(
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    hash="qwQve8ut294=",
    short="hpa",
    category="all",
    status=True,
)

KINDS = v2.kinds + v1.kinds
