"""Nobody grants what he lacks: writes of roles and bindings are checked against what the writer may do himself.

(Kubernetes, "Privilege escalation prevention and bootstrapping".) The verbs ``escalate`` on a role and ``bind`` on
what a binding refers to lift the check, as does the group system:masters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kcore import errors
from kcore.api.admission import Admission, AdmissionRequest
from kcore.api.auth import Attributes
from kcore.objects import Object
from kcore.objects.resources import CLUSTERROLES, ROLES
from kcore.registry import Context, NoConfig
from kcore_auth.rbac import MASTERS, Rbac, find_rbac
from kcore_auth.rules import Rule, uncovered

GROUP = "rbac.authorization.k8s.io"


class Escalation(Admission):
    name = "RBACEscalation"

    def __init__(self, server: Any):
        self._server = server

    def handles(self, request: AdmissionRequest) -> bool:
        return request.kind.group == GROUP and request.operation in ("CREATE", "UPDATE")

    async def validate(self, request: AdmissionRequest) -> None:
        rbac = find_rbac(self._server.authorizers)
        if rbac is None or request.obj is None or MASTERS in request.user.groups:
            return
        if request.kind.kind in ("Role", "ClusterRole"):
            if request.old is not None and request.old.get("rules") == request.obj.get("rules"):
                return
            rules = [Rule.of(r) for r in request.obj.get("rules") or ()]
            if not await self._may(request, "escalate", request.kind.plural, request.namespace, request.name):
                self._check(rbac, request, rules)
        else:
            await self._binding(rbac, request, request.obj)

    async def _binding(self, rbac: Rbac, request: AdmissionRequest, binding: Object) -> None:
        old, ref = request.old, binding["roleRef"]
        if old is not None and old.get("subjects") == binding.get("subjects"):
            return
        namespace = request.namespace if ref["kind"] == "Role" else ""
        resource = ROLES if ref["kind"] == "Role" else CLUSTERROLES
        if await self._may(request, "bind", resource.resource, request.namespace, ref["name"]):
            return
        role = (namespace, ref["name"])
        if not rbac.index.has_role(role):
            raise errors.not_found(request.kind.plural, ref["name"], GROUP)
        self._check(rbac, request, rbac.index.rules_of(role))

    async def _may(self, request: AdmissionRequest, verb: str, resource: str, namespace: str, name: str) -> bool:
        wanted = Attributes(request.user, verb, resource, "", GROUP, "v1", namespace, name)
        for authorizer in self._server.authorizers:
            decision = await authorizer.authorize(wanted)
            if decision.allowed is not None:
                return bool(decision.allowed)
        return False

    @staticmethod
    def _check(rbac: Rbac, request: AdmissionRequest, rules: list[Rule]) -> None:
        user = request.user
        held = [rule for rule, _ in rbac.index.grants(user, request.namespace)]
        lacking = {id(one.source): one.source for one in uncovered(rules, held)}
        if not lacking:
            return
        groups = " ".join(f'"{g}"' for g in user.groups)
        shown = "\n".join(_show(rule) for rule in lacking.values())
        name = request.name or request.obj["metadata"].get("name", "") if request.obj else request.name
        raise errors.Forbidden(
            f'{request.kind.resource} "{name}" is forbidden: user "{user.name}" (groups=[{groups}]) is attempting to '
            f"grant RBAC permissions not currently held:\n{shown}",
            details={"name": name, "group": GROUP, "kind": request.kind.plural},
        )


def _show(rule: Object) -> str:
    """A rule as upstream prints it."""
    parts = []
    for label, key in (
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("ResourceNames", "resourceNames"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("Verbs", "verbs"),
    ):
        if rule.get(key):
            parts.append(f"{label}:[{' '.join(chr(34) + word + chr(34) for word in rule[key])}]")
    return "{" + ", ".join(parts) + "}"


@asynccontextmanager
async def open_escalation(context: Context, config: NoConfig) -> AsyncIterator[Escalation]:
    yield Escalation(context.part("api").server)
