"""Priority: the number and the preemption policy behind a pod's priority class."""

from __future__ import annotations

from kcore.api.admission import AdmissionRequest
from kcore.objects import Object
from kcore.objects.resources import PRIORITYCLASSES
from kcore_admission.base import Plugin, forbidden, is_create

# The classes that every cluster has, should a pod come before they are there.
SYSTEM = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}
PREEMPT = "PreemptLowerPriority"


class Priority(Plugin):
    name = "Priority"
    looks_at = (PRIORITYCLASSES,)

    def handles(self, request: AdmissionRequest) -> bool:
        if request.subresource or request.operation not in ("CREATE", "UPDATE"):
            return False
        return request.kind.resource in ("pods", "priorityclasses.scheduling.k8s.io")

    async def admit(self, request: AdmissionRequest) -> None:
        if request.kind.plural != "pods":
            return
        assert request.obj is not None
        spec = request.obj["spec"]
        if request.operation == "UPDATE":
            old = (request.old or {}).get("spec", {})
            for name in ("priority", "preemptionPolicy"):
                if spec.get(name) is None and old.get(name) is not None:
                    spec[name] = old[name]
            return
        found = await self._class(request, spec)
        value, policy = found.get("value", 0), found.get("preemptionPolicy") or PREEMPT
        given = spec.get("priority")
        if given is not None and given != value:
            raise forbidden(
                request,
                f"the integer value of priority ({given}) must not be provided in pod spec; priority admission "
                f"controller computed {value} from the given PriorityClass name",
            )
        asked = spec.get("preemptionPolicy")
        if asked is not None and asked != policy:
            raise forbidden(
                request,
                f"the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission "
                f"controller computed {policy} from the given PriorityClass name",
            )
        spec["priority"], spec["preemptionPolicy"] = value, policy

    async def _class(self, request: AdmissionRequest, spec: Object) -> Object:
        name = spec.get("priorityClassName")
        if not name:
            default = await self._default()
            if default is not None:
                spec["priorityClassName"] = default["metadata"]["name"]
            return default or {}
        found = await self.seen["priorityclasses"].get(name)
        if found is None and name in SYSTEM:
            return {"value": SYSTEM[name]}
        if found is None:
            raise forbidden(request, f"no PriorityClass with name {name} was found")
        return found

    async def _default(self) -> Object | None:
        """The default class; of several, the one with the lowest value."""
        classes = [c for c in await self.seen["priorityclasses"].all() if c.get("globalDefault")]
        return min(classes, key=lambda c: int(c.get("value", 0)), default=None)

    async def validate(self, request: AdmissionRequest) -> None:
        if not is_create(request, "priorityclasses", group="scheduling.k8s.io") and request.operation != "UPDATE":
            return
        obj = request.obj
        if request.kind.plural != "priorityclasses" or obj is None or not obj.get("globalDefault"):
            return
        default = await self._default()
        if default is not None and default["metadata"]["name"] != obj["metadata"].get("name"):
            name = default["metadata"]["name"]
            why = f"PriorityClass {name} is already marked as default. Only one default can exist"
            raise forbidden(request, why)
