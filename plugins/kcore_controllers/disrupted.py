"""The condition DisruptionTarget: tells a Job that a pod did not fail by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcore.objects import Object, meta
from kcore.objects.resources import PODS

if TYPE_CHECKING:
    from kcore.client import Client


async def mark_disrupted(client: Client, pod: Object, reason: str, message: str, *, failed: bool = False) -> None:
    """Write the condition, and the phase Failed if nobody else can. Raises NotFound if the pod has gone."""
    old = pod.get("status") or {}
    status = {**old, "conditions": [dict(c) for c in old.get("conditions") or ()]}
    meta.set_condition(status, {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message})
    if failed and not meta.pod_terminal(pod):
        status["phase"] = "Failed"
    if status != old:
        await client.update(PODS, {**pod, "status": status}, subresource="status")
