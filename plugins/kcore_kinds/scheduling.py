"""scheduling.k8s.io: priorities of pods."""

from __future__ import annotations

from kcore_kinds.declare import Builtin, Group, Object
from kcore_kinds.podspec import missing


class PriorityClassStrategy(Builtin):
    def default(self, obj: Object) -> None:
        missing(obj, {"preemptionPolicy": "PreemptLowerPriority"})


group = Group("scheduling.k8s.io")
group.serve(
    "PriorityClass",
    "priorityclasses",
    strategy=PriorityClassStrategy(),
    generation=True,
    hash="1QwjyaZjj3Y=",
    namespaced=False,
    short="pc",
)

KINDS = group.kinds
