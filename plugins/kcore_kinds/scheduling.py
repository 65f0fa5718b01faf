"""scheduling.k8s.io: priorities of pods."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("scheduling.k8s.io")
group.serve(
    "PriorityClass",
    "priorityclasses",
    generation=True,
    hash="1QwjyaZjj3Y=",
    namespaced=False,
    short="pc",
)

KINDS = group.kinds
