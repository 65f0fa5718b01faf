"""RuntimeClass: what running under a particular container runtime costs, and where it is possible."""

from __future__ import annotations

from kcore.api.admission import AdmissionRequest
from kcore.objects.resources import GVR
from kcore_admission.base import Plugin, forbidden, is_create

RUNTIMECLASSES = GVR("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)


class RuntimeClass(Plugin):
    name = "RuntimeClass"
    looks_at = (RUNTIMECLASSES,)

    def handles(self, request: AdmissionRequest) -> bool:
        return is_create(request, "pods")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec = request.obj["spec"]
        name = spec.get("runtimeClassName")
        if not name:
            return
        found = await self.seen["runtimeclasses"].get(name)
        if found is None:
            raise forbidden(request, f'pod rejected: RuntimeClass "{name}" not found')
        overhead = (found.get("overhead") or {}).get("podFixed")
        if overhead:
            if spec.get("overhead") and spec["overhead"] != overhead:
                raise forbidden(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec["overhead"] = dict(overhead)
        scheduling = found.get("scheduling") or {}
        selector = dict(spec.get("nodeSelector") or {})
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.setdefault(key, value) != value:
                why = f"pod rejected: conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                raise forbidden(request, f"{why}pod.spec.nodeSelector[{key}] = {selector[key]}")
        if selector:
            spec["nodeSelector"] = selector
        tolerations = list(spec.get("tolerations") or ())
        tolerations += [dict(t) for t in scheduling.get("tolerations") or () if t not in tolerations]
        if tolerations:
            spec["tolerations"] = tolerations
