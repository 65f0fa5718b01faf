"""TaintNodesByCondition and DefaultTolerationSeconds: what happens around nodes that are not ready."""

from __future__ import annotations

from kcore.api.admission import AdmissionRequest
from kcore.objects import Object
from kcore_admission.base import Plugin, is_create

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
SECONDS = 300


class TaintNodesByCondition(Plugin):
    name = "TaintNodesByCondition"

    def handles(self, request: AdmissionRequest) -> bool:
        return is_create(request, "nodes")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec = request.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


class DefaultTolerationSeconds(Plugin):
    name = "DefaultTolerationSeconds"

    def handles(self, request: AdmissionRequest) -> bool:
        return is_create(request, "pods")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec = request.obj["spec"]
        given: list[Object] = spec.get("tolerations") or []
        added = [_toleration(key) for key in (NOT_READY, UNREACHABLE) if not any(_about(t, key) for t in given)]
        if added:
            spec["tolerations"] = [*given, *added]


def _about(toleration: Object, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


def _toleration(key: str) -> Object:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}
