"""The status of ValidatingAdmissionPolicies: what is wrong with their expressions if objects are what they should be.

An expression is compiled once for each kind that the policy's rules name outright, with the types of that kind's
schema. What comes of it are warnings: the policy works as it is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import KcoreError
from kcore.objects import Object
from kcore.objects.resources import GVR

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kcore.api.kinds import Kind

POLICIES = GVR(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
    namespaced=False,
)
MAX_TYPES = 10


class PolicyStatusController(Reconciler):
    name = "validatingadmissionpolicy-status"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.policies = self.watch(POLICIES, self.enqueue)

    async def reconcile(self, key: str) -> float | None:
        policy = self.policies.get(key)
        if policy is None:
            return None
        generation, status = policy["metadata"].get("generation", 0), policy.get("status") or {}
        if generation <= status.get("observedGeneration", 0):
            return None
        from kcore.api.policy_types import warnings

        found = warnings(policy.get("spec") or {}, self._kinds(), MAX_TYPES)
        checked: Object = {"expressionWarnings": found} if found else {}
        new = {**status, "observedGeneration": generation, "typeChecking": checked}
        await self.client.update(POLICIES, {**policy, "status": new}, subresource="status")
        return None

    def _kinds(self) -> Iterable[Kind]:
        """What is served: with custom resources where the API is in this process, else the built-in kinds."""
        try:
            part: Any = self.context.part("api")
        except (KcoreError, LookupError):
            part = None
        server = getattr(part, "server", None)
        return server.kinds if server is not None else self.context.offers("kinds")
