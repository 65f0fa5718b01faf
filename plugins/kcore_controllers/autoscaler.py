"""HorizontalPodAutoscalers: sizes follow the use of CPU and memory, as ``metrics.k8s.io`` reports it."""

from __future__ import annotations

from collections import deque

import trio

from kcore import clock
from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import ApiError, NotFound
from kcore.objects import Object, meta, selectors
from kcore.objects.resources import (
    DEPLOYMENTS,
    GVR,
    HORIZONTALPODAUTOSCALERS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from kcore_controllers import autoscaler_metrics as metrics
from kcore_controllers.autoscaler_behavior import History, limit

SYNC = 15.0  # seconds (--horizontal-pod-autoscaler-sync-period)
PODMETRICS = GVR("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
_TARGETS: dict[str, GVR] = {r.kind: r for r in (DEPLOYMENTS, REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS)}


class AutoscalerController(Reconciler):
    name = "horizontalpodautoscaling"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.autoscalers = self.watch(HORIZONTALPODAUTOSCALERS, self._changed)
        self.pods = self.watch(PODS)
        self._histories: dict[str, History] = {}

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or old["spec"] != new["spec"]:
            self.enqueue(old, new)

    async def reconcile(self, key: str) -> float | None:
        hpa = self.autoscalers.get(key)
        if hpa is None:
            self._histories.pop(key, None)
            return None
        old = hpa.get("status") or {}
        status: Object = {**old, "conditions": [dict(c) for c in old.get("conditions") or ()]}
        if meta.generation(hpa):
            status["observedGeneration"] = meta.generation(hpa)
        await self._sync(hpa, status, self._histories.setdefault(key, History(deque(), deque(), deque())))
        if status != old:
            await self.client.update(HORIZONTALPODAUTOSCALERS, {**hpa, "status": status}, subresource="status")
        return SYNC

    async def _sync(self, hpa: Object, status: Object, history: History) -> None:
        target = hpa["spec"]["scaleTargetRef"]
        resource = _TARGETS.get(target["kind"])
        try:
            if resource is None:
                raise NotFound(f'no matches for kind "{target["kind"]}"')
            scale = await self.client.get(resource, target["name"], meta.namespace(hpa), subresource="scale")
        except ApiError as error:
            message = f"the HPA controller was unable to get the target's current scale: {error}"
            _set(status, "AbleToScale", False, "FailedGetScale", message)
            self.recorder.event(hpa, "Warning", "FailedGetScale", str(error))
            return
        present = scale["spec"].get("replicas", 0)
        status["currentReplicas"] = (scale.get("status") or {}).get("replicas", 0)
        lowest, highest = hpa["spec"].get("minReplicas", 1), hpa["spec"]["maxReplicas"]
        if not present and lowest:
            message = "scaling is disabled since the replica count of the target is zero"
            _set(status, "ScalingActive", False, "ScalingDisabled", message)
            status["desiredReplicas"] = 0
            return
        if present > highest:
            wanted, reason = highest, "Current number of replicas above Spec.MaxReplicas"
        elif present < lowest:
            wanted, reason = lowest, "Current number of replicas below Spec.MinReplicas"
        else:
            found = await self._from_metrics(hpa, status, scale, present)
            if found is None:
                status["desiredReplicas"] = present
                return
            wanted, reason = found
            wanted, why = limit(hpa, history, present, wanted, trio.current_time())
            _set(status, *why[0])
            _set(status, *why[1])
        await self._rescale(hpa, status, history, (scale, present, wanted), reason)

    async def _rescale(
        self, hpa: Object, status: Object, history: History, sizes: tuple[Object, int, int], reason: str
    ) -> None:
        scale, present, wanted = sizes
        status["desiredReplicas"] = wanted
        if wanted == present:
            return
        target = hpa["spec"]["scaleTargetRef"]
        try:
            changed = {**scale, "spec": {**scale["spec"], "replicas": wanted}}
            await self.client.update(_TARGETS[target["kind"]], changed, subresource="scale")
        except ApiError as error:
            message = f"the HPA controller was unable to update the target scale: {error}"
            _set(status, "AbleToScale", False, "FailedUpdateScale", message)
            self.recorder.event(
                hpa, "Warning", "FailedRescale", f"New size: {wanted}; reason: {reason}; error: {error}"
            )
            return
        history.scaled(trio.current_time(), wanted - present)
        status["lastScaleTime"] = clock.timestamp()
        message = f"the HPA controller was able to update the target scale to {wanted}"
        _set(status, "AbleToScale", True, "SucceededRescale", message)
        self.recorder.event(hpa, "Normal", "SuccessfulRescale", f"New size: {wanted}; reason: {reason}")

    async def _from_metrics(self, hpa: Object, status: Object, scale: Object, present: int) -> tuple[int, str] | None:
        """The biggest of what the metrics ask for; None (with conditions set) if none of them is to be had."""
        text = (scale.get("status") or {}).get("selector", "")
        selector = selectors.parse(text) if text else selectors.NOTHING
        pods = [p for p in self.pods.by_namespace(meta.namespace(hpa)) if selector.matches(meta.labels(p))]
        best: tuple[int, str, str] | None = None
        shown: list[Object] = []
        failure = ""
        usage: list[Object] | None = None
        for spec in hpa["spec"].get("metrics") or ():
            try:
                if usage is None:
                    page = await self.client.list(PODMETRICS, meta.namespace(hpa), label_selector=text)
                    usage = page.items
                proposal = metrics.propose(spec, pods, usage, present, clock.now())
            except (ApiError, LookupError) as error:
                failure = failure or str(error)
                continue
            shown.append(proposal.shown)
            if best is None or proposal.replicas > best[0]:
                best = (proposal.replicas, proposal.reason, proposal.name)
        status["currentMetrics"] = shown or None
        if best is None or (failure and best[0] <= present):  # one that is missing could have asked for more
            message = f"the HPA was unable to compute the replica count: {failure}"
            _set(status, "ScalingActive", False, "FailedGetResourceMetric", message)
            self.recorder.event(hpa, "Warning", "FailedGetResourceMetric", failure)
            return None
        message = f"the HPA was able to successfully calculate a replica count from {best[2]}"
        _set(status, "ScalingActive", True, "ValidMetricFound", message)
        return best[0], best[1]


def _set(status: Object, type: str, yes: bool, reason: str, message: str) -> None:
    meta.set_condition(status, {"type": type, "status": str(yes), "reason": reason, "message": message})
