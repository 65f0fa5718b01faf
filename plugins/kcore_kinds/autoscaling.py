"""autoscaling: HorizontalPodAutoscalers, served as v1 and v2 and stored as v2."""

from __future__ import annotations

from kcore.api import validation
from kcore_kinds import hpa
from kcore_kinds.declare import Builtin, Group, Object
from kcore_kinds.podspec import missing

CPU_PERCENT = 80
SCALE_UP = [
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
]
SCALE_DOWN = [{"type": "Percent", "value": 100, "periodSeconds": 15}]


class AutoscalerV1Strategy(Builtin):
    def default(self, obj: Object) -> None:
        missing(obj["spec"], {"minReplicas": 1})


class AutoscalerStrategy(Builtin):
    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        missing(spec, {"minReplicas": 1})
        if not spec.get("metrics"):
            target = {"type": "Utilization", "averageUtilization": CPU_PERCENT}
            spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
        behavior = spec.get("behavior")
        if behavior is None:
            return
        missing(behavior, {"scaleUp": {}, "scaleDown": {}})
        up, down = behavior["scaleUp"], behavior["scaleDown"]
        missing(up, {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [dict(p) for p in SCALE_UP]})
        missing(down, {"selectPolicy": "Max", "policies": [dict(p) for p in SCALE_DOWN]})


_v2 = AutoscalerStrategy()


def to_storage(v1_object: Object) -> Object:
    """From v1 to the stored v2, complete as if it had been written as v2."""
    from kcore_kinds import bundle

    stored = hpa.to_v2(v1_object)
    validation.normalize(stored, bundle.schema(_v2.definition))
    _v2.default(stored)
    return stored


v1 = Group("autoscaling")
v1.serve(
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    strategy=AutoscalerV1Strategy(),
    hash="qwQve8ut294=",
    short="hpa",
    category="all",
    status=True,
    storage_version="v2",
    to_storage=to_storage,
    from_storage=hpa.to_v1,
)
v2 = Group("autoscaling", "v2")
v2.serve(
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    strategy=_v2,
    hash="qwQve8ut294=",
    short="hpa",
    category="all",
    status=True,
)

KINDS = v2.kinds + v1.kinds
