"""What nodes may do: the authorizer ``node`` and the admission plugin ``NodeRestriction``.

A kubelet may do what its role says, and some of it only to what is its own: itself, its pods, and what these lead to
(`node_graph`; Kubernetes, "Using Node Authorization").
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from kcore import errors
from kcore.api.admission import Admission, AdmissionRequest
from kcore.api.auth import Attributes, Decision
from kcore.objects import selectors
from kcore.registry import Context, NoConfig
from kcore_auth import bootstrap
from kcore_auth.bootstrap_roles import CLUSTER_ROLES
from kcore_auth.node_graph import Graph
from kcore_auth.rules import Rule

GROUP, PREFIX = "system:nodes", "system:node:"
EMBEDDED = "system:nodes"  # the user of a process that runs many nodes
_READ = frozenset(("get", "list", "watch"))
_TOKEN = frozenset(("create",))
_GET = frozenset(("get",))
_WRITTEN = frozenset(("get", "update", "patch"))
# By resource and subresource: what a node may do to an object that its pods lead to.
_RELATED: dict[tuple[str, str], dict[str, frozenset[str]]] = {
    ("", "secrets"): {"": _READ},
    ("", "configmaps"): {"": _READ},
    ("", "persistentvolumeclaims"): {"": _GET, "status": _WRITTEN},
    ("", "persistentvolumes"): {"": _GET},
    ("", "serviceaccounts"): {"": _GET, "token": _TOKEN},
    ("resource.k8s.io", "resourceclaims"): {"": _GET},
    ("storage.k8s.io", "volumeattachments"): {"": _GET},
}
_ONLY = {
    _READ: "can only read resources of this type",
    _GET: "can only get individual resources of this type",
    _WRITTEN: "can only get/update/patch this type",
    _TOKEN: "can only create tokens for individual service accounts",
}
_LEASES = "kube-node-lease"
_NO_OPINION, _ALLOWED = Decision(None), Decision(True)


class Nodes:
    """The authorizer. A refusal is "no opinion" with a reason: RBAC may still allow it."""

    def __init__(self, ready: Callable[[], Awaitable[Graph]]) -> None:
        self._graph = ready
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
        refusal = await self._refusal(attributes, node)
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

    async def _refusal(self, wanted: Attributes, node: str) -> str:
        """Why this is not the node's own business; "" if it may be. `node` is "" for a process with many nodes."""
        resource = (wanted.group, wanted.resource)
        if resource == ("coordination.k8s.io", "leases"):
            if wanted.namespace != _LEASES:
                return f'can only access leases in the "{_LEASES}" system namespace'
            if node and wanted.verb != "create" and wanted.name != node:
                return "can only access node lease with the same name as the requesting node"
            return ""
        if not node:
            return ""
        if resource == ("", "pods"):
            return await self._pod(wanted, node)
        if resource == ("", "nodes"):
            return _own_node(wanted, node)
        if resource == ("storage.k8s.io", "csinodes"):
            if wanted.name and wanted.name != node:
                return "can only access CSINode with the same name as the requesting node"
            return "" if wanted.name or wanted.verb == "create" else "can only get or change a CSINode by its name"
        rule = _RELATED.get(resource)
        if rule is None:
            return ""
        verbs = rule.get(wanted.subresource)
        if verbs is None:
            return "cannot get subresource"
        if wanted.verb not in verbs:
            return _ONLY[verbs]
        name = wanted.name or _selected(wanted)
        return await self._relation(wanted, node, name) if name else "No Object name found"

    async def _relation(self, wanted: Attributes, node: str, name: str) -> str:
        graph = await self._graph()
        if graph.related(node, wanted.resource, wanted.namespace, name):
            return ""
        return f"no relationship found between node '{node}' and this object"

    async def _pod(self, wanted: Attributes, node: str) -> str:
        if wanted.verb in ("list", "watch"):
            fields = selectors.parse_fields(wanted.field_selector) if wanted.field_selector else []
            if ("spec.nodeName", "=", node) not in fields:
                return "can only list/watch pods with spec.nodeName field selector"
        elif wanted.verb == "get" and not wanted.subresource:
            return await self._relation(wanted, node, wanted.name)
        return ""  # writes are NodeRestriction's business


def _selected(wanted: Attributes) -> str:
    """The one object that a list or watch is of: ``metadata.name=x``, as kubelets watch their pods' secrets."""
    fields = selectors.parse_fields(wanted.field_selector) if wanted.field_selector else []
    return next((value for path, op, value in fields if path == "metadata.name" and op == "="), "")


def _own_node(wanted: Attributes, node: str) -> str:
    """A node reads no other one."""
    if wanted.verb in ("list", "watch"):
        fields = selectors.parse_fields(wanted.field_selector) if wanted.field_selector else []
        if ("metadata.name", "=", node) not in fields and wanted.name != node:
            return f"node '{node}' cannot read all nodes, only its own Node object"
    elif wanted.verb == "get" and wanted.name != node:
        return f"node '{node}' cannot read '{wanted.name}', only its own Node object"
    return ""


@asynccontextmanager
async def open_nodes(context: Context, config: NoConfig) -> AsyncIterator[Nodes]:
    from kcore.client.informer import Informers

    graph, synced, begun = Graph(), trio.Event(), False
    async with trio.open_nursery() as nursery:

        async def begin() -> None:
            informers = Informers(context.client())
            graph.follow(informers)
            await nursery.start(informers.run)
            await informers.wait_synced()
            synced.set()

        async def ready() -> Graph:
            nonlocal begun
            if not begun:
                begun = True
                nursery.start_soon(begin)
            await synced.wait()
            return graph

        yield Nodes(ready)
        nursery.cancel_scope.cancel()


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
