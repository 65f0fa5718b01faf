"""flowcontrol.apiserver.k8s.io: who waits for whom when the API is busy."""

from __future__ import annotations

from kcore_kinds.declare import Builtin, Group, Object
from kcore_kinds.podspec import missing


class FlowSchemaStrategy(Builtin):
    def default(self, obj: Object) -> None:
        if not obj["spec"].get("matchingPrecedence"):
            obj["spec"]["matchingPrecedence"] = 1000


class PriorityLevelStrategy(Builtin):
    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        if spec.get("type") == "Exempt":
            missing(spec, {"exempt": {}})
            missing(spec["exempt"], {"nominalConcurrencyShares": 0, "lendablePercent": 0})
        limited = spec.get("limited")
        if limited is None:
            return
        missing(limited, {"nominalConcurrencyShares": 30, "lendablePercent": 0})
        queuing = limited["limitResponse"].get("queuing")
        if queuing is not None:
            for name, value in (("queues", 64), ("queueLengthLimit", 50), ("handSize", 8)):
                if not queuing.get(name):
                    queuing[name] = value


group = Group("flowcontrol.apiserver.k8s.io")
group.serve(
    "FlowSchema",
    "flowschemas",
    strategy=FlowSchemaStrategy(),
    generation=True,
    hash="GJVAJZSZBIw=",
    namespaced=False,
    status=True,
)
group.serve(
    "PriorityLevelConfiguration",
    "prioritylevelconfigurations",
    strategy=PriorityLevelStrategy(),
    generation=True,
    hash="Kir5PVfvNeI=",
    namespaced=False,
    status=True,
)

KINDS = group.kinds
