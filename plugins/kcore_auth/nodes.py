"""What nodes may do: the authorizer ``node`` and the admission plugin ``NodeRestriction``.

A kubelet may do what its role says, and some of it only to what is its own.

Upstream also follows which secrets and volumes the pods of a node use; here a node may read such an object when it
names it, and never a whole list (Kubernetes, "Using Node Authorization").
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kcore import errors
from kcore.api.admission import Admission, AdmissionRequest
from kcore.api.auth import Attributes, Decision
from kcore.objects import selectors
from kcore.registry import Context, NoConfig
from kcore_auth import bootstrap
from kcore_auth.bootstrap_roles import CLUSTER_ROLES
from kcore_auth.rules import Rule

GROUP, PREFIX = "system:nodes", "system:node:"
EMBEDDED = "system:nodes"  # the user of a process that runs many nodes
_READ = frozenset(("get", "list", "watch"))
_BY_NAME = frozenset((("", "secrets"), ("", "configmaps"), ("", "persistentvolumeclaims"), ("", "persistentvolumes")))
_LEASES = "kube-node-lease"
_NO_OPINION, _ALLOWED = Decision(None), Decision(True)


class Nodes:
    """The authorizer. A refusal is "no opinion" with a reason: RBAC may still allow it."""

    def __init__(self) -> None:
        self._rules = [Rule.of(bootstrap.rule(r)) for r in CLUSTER_ROLES["system:node"]]
        self._known: dict[tuple[str, str, str, str], bool] = {}

    async def authorize(self, attributes: Attributes) -> Decision:
        user = attributes.user
        if user.name == EMBEDDED:
            node = ""
        elif GROUP in user.groups and user.name.startswith(PREFIX):
            node = user.name[len(PREFIX) :]
        else:
            return _NO_OPINION
        if not attributes.resource:
            return _NO_OPINION
        refusal = self._refusal(attributes, node)
        if refusal:
            return Decision(None, refusal)
        return _ALLOWED if self._in_role(attributes) else _NO_OPINION

    def _in_role(self, wanted: Attributes) -> bool:
        what = (wanted.verb, wanted.group, wanted.resource, wanted.subresource)
        known = self._known.get(what)
        if known is None:
            if len(self._known) > 10_000:
                self._known.clear()
            known = self._known[what] = any(rule.covers(*what) for rule in self._rules)
        return known

    @staticmethod
    def _refusal(wanted: Attributes, node: str) -> str:
        """Why this is not the node's own business; "" if it may be. `node` is "" for a process with many nodes."""
        resource = (wanted.group, wanted.resource)
        if resource in _BY_NAME and wanted.verb in _READ and not wanted.name:
            if not _named_by_selector(wanted):
                return "can only read resources of this type by name" if node else ""
        elif resource == ("coordination.k8s.io", "leases"):
            if wanted.namespace != _LEASES:
                return f'can only access leases in the "{_LEASES}" system namespace'
            if node and wanted.verb != "create" and wanted.name != node:
                return "can only access node lease with the same name as the requesting node"
        elif resource == ("", "pods") and wanted.verb in ("list", "watch") and node:
            fields = selectors.parse_fields(wanted.field_selector) if wanted.field_selector else []
            if ("spec.nodeName", "=", node) not in fields:
                return "can only list/watch pods with spec.nodeName field selector"
        return ""


def _named_by_selector(wanted: Attributes) -> bool:
    """Whether a list or watch is of one object: ``metadata.name=x``, as kubelets watch their pods' secrets."""
    fields = selectors.parse_fields(wanted.field_selector) if wanted.field_selector else []
    return any(path == "metadata.name" and op == "=" for path, op, _ in fields)


@asynccontextmanager
async def open_nodes(context: Context, config: NoConfig) -> AsyncIterator[Nodes]:
    yield Nodes()


class Restriction(Admission):
    """A node writes its own Node object, and deletes or reports on pods that run on it; the rest is not its
    business."""

    name = "NodeRestriction"

    def handles(self, request: AdmissionRequest) -> bool:
        return GROUP in request.user.groups and request.user.name.startswith(PREFIX) and not request.kind.group

    async def validate(self, request: AdmissionRequest) -> None:
        node = request.user.name[len(PREFIX) :]
        if request.kind.plural == "nodes":
            name = request.name or (request.obj or {}).get("metadata", {}).get("name", "")
            if name != node:
                raise _forbidden(request, f'node "{node}" is not allowed to modify node "{name}"')
        elif request.kind.plural == "pods":
            pod = request.old or request.obj or {}
            if (pod.get("spec") or {}).get("nodeName") != node:
                raise _forbidden(request, f'node "{node}" can only {_pod_action(request)} set to itself')
            if request.operation == "CREATE" and not request.subresource:
                annotations = pod["metadata"].get("annotations") or {}
                if "kubernetes.io/config.mirror" not in annotations:
                    mirror = 'pod does not have "kubernetes.io/config.mirror" annotation'
                    raise _forbidden(request, f'{mirror}, node "{node}" can only create mirror pods')


def _pod_action(request: AdmissionRequest) -> str:
    if request.subresource == "eviction":
        return "evict pods with spec.nodeName"
    if request.operation == "DELETE":
        return "delete pods with spec.nodeName"
    if request.operation == "CREATE":
        return "create pods with spec.nodeName"
    return "update pod status for pods with spec.nodeName"


def _forbidden(request: AdmissionRequest, why: str) -> errors.Forbidden:
    plural = request.kind.plural
    details = {"name": request.name, "kind": plural} if request.name else {"kind": plural}
    named = f' "{request.name}"' if request.name else ""
    return errors.Forbidden(f"{plural}{named} is forbidden: {why}", details=details)


@asynccontextmanager
async def open_restriction(context: Context, config: NoConfig) -> AsyncIterator[Restriction]:
    yield Restriction()
