"""Role-based access control: an index from subjects to what they may do (Kubernetes, "Using RBAC Authorization").

Bindings are kept by subject and namespace, so a decision looks at the few that name the user or one of his groups,
however many there are; and decisions are remembered until a role or a binding changes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import attrs
import trio

from kcore import errors
from kcore.api.auth import Attributes, Decision, User
from kcore.client.informer import Handler, Informers
from kcore.objects import Object, selectors
from kcore.objects.resources import CLUSTERROLES, GVR, ROLES
from kcore.registry import Context, NoConfig
from kcore_auth import bootstrap
from kcore_auth.bootstrap_controllers import CONTROLLERS
from kcore_auth.rules import Rule

MASTERS = "system:masters"
_KEPT = 20_000  # decisions
_NO_OPINION = Decision(None)
_MASTER = Decision(True)
_ACCOUNT = "system:serviceaccount:"
# Upstream's manager lets every controller act as a service account of its own; here all of them are one user.
_MANAGER = "system:kube-controller-manager"
_CONTROLLER_ACCOUNTS = tuple(
    f"{_ACCOUNT}kube-system:{name}" for name in (*CONTROLLERS, "bootstrap-signer", "token-cleaner")
)

# ... and beside upstream's it has one that gives a new cluster its default storage class.
_MANAGER_RULE = Rule.of(bootstrap.rule(("create", "storage.k8s.io", "storageclasses")))

Key = tuple[str, str]  # namespace ("" for a cluster role or binding), name


@attrs.frozen(slots=True)
class _Grant:
    """That a binding gives a subject a role."""

    kind: str  # RoleBinding or ClusterRoleBinding
    binding: Key
    role_kind: str
    role: Key
    subject: str  # as a decision's reason names it

    @cached_property
    def decision(self) -> Decision:
        return Decision(True, self.reason)

    @property
    def reason(self) -> str:
        namespace, name = self.binding
        where = f"{name}/{namespace}" if namespace else name
        return f'RBAC: allowed by {self.kind} "{where}" of {self.role_kind} "{self.role[1]}" to {self.subject}'


@attrs.define
class _Effective:
    """All that a user may do in one namespace, with what has been found out about it so far."""

    grants: list[tuple[Rule, _Grant]]
    known: dict[tuple[str, str, str, str], list[tuple[Rule, _Grant]]] = attrs.Factory(dict)


class Index:
    """Roles and bindings. `put` and `drop` are called with every change."""

    def __init__(self) -> None:
        self._roles: dict[Key, Object] = {}
        self._rules: dict[Key, list[Rule]] = {}
        self._grants: dict[tuple[str, str], dict[Key, list[_Grant]]] = {}  # (namespace, subject) -> binding -> grants
        self._bound: dict[tuple[str, Key], list[tuple[str, str]]] = {}  # binding -> where its grants stand
        self._effective: dict[tuple[str, tuple[str, ...], str], _Effective] = {}

    def put(self, resource: GVR, obj: Object) -> None:
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        if resource in (ROLES, CLUSTERROLES):
            self._roles[key] = obj
            self._rules.clear()  # aggregated roles depend on others
        else:
            self._unbind(resource.kind, key)
            self._bind(resource.kind, key, obj)
        self._effective.clear()

    def drop(self, resource: GVR, obj: Object) -> None:
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        if resource in (ROLES, CLUSTERROLES):
            self._roles.pop(key, None)
            self._rules.clear()
        else:
            self._unbind(resource.kind, key)
        self._effective.clear()

    def _bind(self, kind: str, key: Key, obj: Object) -> None:
        ref, namespace = obj["roleRef"], key[0]
        role = (namespace if ref["kind"] == "Role" else "", ref["name"])
        places = self._bound[kind, key] = []
        for subject in obj.get("subjects") or ():
            name, what = subject["name"], subject["kind"]
            shown = f'{what} "{name}"'
            if what == "ServiceAccount":
                home = subject.get("namespace") or namespace
                shown, name = f'{what} "{name}/{home}"', f"{_ACCOUNT}{home}:{name}"
            prefix = "g:" if what == "Group" else "u:"
            place = (namespace, prefix + name)
            grant = _Grant(kind, key, ref["kind"], role, shown)
            self._grants.setdefault(place, {}).setdefault(key, []).append(grant)
            places.append(place)

    def _unbind(self, kind: str, key: Key) -> None:
        for place in self._bound.pop((kind, key), ()):
            grants = self._grants.get(place)
            if grants is not None:
                grants.pop(key, None)
                if not grants:
                    del self._grants[place]

    def rules_of(self, role: Key) -> list[Rule]:
        """A role's rules; for an aggregated one also those of the roles that it selects. [] if there is no such
        role."""
        found = self._rules.get(role)
        if found is None:
            obj = self._roles.get(role)
            found = self._rules[role] = [] if obj is None else list(self._collect(obj, set()))
        return found

    def has_role(self, role: Key) -> bool:
        return role in self._roles

    def _collect(self, role: Object, seen: set[str]) -> Iterator[Rule]:
        seen.add(role["metadata"]["name"])
        for rule in role.get("rules") or ():
            yield Rule.of(rule)
        for chosen in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
            selector = selectors.from_object(chosen)
            for (namespace, name), other in self._roles.items():
                labels = other["metadata"].get("labels") or {}
                if not namespace and name not in seen and selector.matches(labels):
                    yield from self._collect(other, seen)

    def grants(self, user: User, namespace: str) -> list[tuple[Rule, str]]:
        """Every rule that applies to a user in a namespace ("" for the whole cluster), with the reason."""
        return [(rule, grant.reason) for rule, grant in self._of(user, namespace).grants]

    def _of(self, user: User, namespace: str) -> _Effective:
        key = (user.name, user.groups, namespace)
        found = self._effective.get(key)
        if found is None:
            if len(self._effective) >= _KEPT:
                self._effective.clear()
            found = self._effective[key] = _Effective(list(self._find(user, namespace)))
        return found

    def _find(self, user: User, namespace: str) -> Iterator[tuple[Rule, _Grant]]:
        names = ["u:" + user.name, *("g:" + g for g in user.groups)]
        if user.name == _MANAGER:
            yield _MANAGER_RULE, _Grant("ClusterRoleBinding", ("", _MANAGER), "ClusterRole", ("", _MANAGER), "itself")
            names += ["u:" + account for account in _CONTROLLER_ACCOUNTS]
        for where in ("", namespace) if namespace else ("",):
            bindings: dict[Key, _Grant] = {}
            for name in names:
                for key, grants in self._grants.get((where, name), {}).items():
                    bindings.setdefault(key, grants[0])
            for _, grant in sorted(bindings.items()):
                for rule in self.rules_of(grant.role):
                    yield rule, grant

    def decide(self, wanted: Attributes) -> Decision | None:
        """Yes, with the reason, or None."""
        if not wanted.resource:
            for rule, grant in self._of(wanted.user, "").grants:
                if rule.covers_path(wanted.verb, wanted.path):
                    return grant.decision
            return None
        effective = self._of(wanted.user, wanted.namespace)
        what = (wanted.verb, wanted.group, wanted.resource, wanted.subresource)
        rules = effective.known.get(what)
        if rules is None:
            rules = [(rule, grant) for rule, grant in effective.grants if rule.covers(*what)]
            if len(effective.known) < _KEPT:
                effective.known[what] = rules
        for rule, grant in rules:
            if not rule.names or wanted.name in rule.names:
                return grant.decision
        return None


class Rbac:
    """The authorizer."""

    def __init__(self) -> None:
        self.index = Index()

    async def authorize(self, attributes: Attributes) -> Decision:
        if MASTERS in attributes.user.groups:
            return _MASTER
        return self.index.decide(attributes) or _NO_OPINION

    async def follow(self, informers: Informers) -> None:
        """Fill the index and keep it current. What the cluster begins with counts from the first moment."""
        for resource in bootstrap.RESOURCES:
            for obj in bootstrap.objects(resource):
                self.index.put(resource, obj)
            informers.get(resource).on_change(self._handler(resource))
        await informers.wait_synced()

    def _handler(self, resource: GVR) -> Handler:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                self.index.put(resource, new)
            elif old is not None:
                self.index.drop(resource, old)

        return changed


def find_rbac(authorizers: Iterable[Any]) -> Rbac | None:
    """The one among these, or among those that one of them is made of (an AuthorizationConfiguration's)."""
    for authorizer in authorizers:
        if isinstance(authorizer, Rbac):
            return authorizer
        found = find_rbac(getattr(authorizer, "parts", ()))
        if found is not None:
            return found
    return None


@asynccontextmanager
async def open_rbac(context: Context, config: NoConfig) -> AsyncIterator[Rbac]:
    """Yields when the stored roles and bindings are known; those missing from a new cluster are written behind."""
    rbac = Rbac()
    informers = Informers(context.client())
    async with trio.open_nursery() as nursery:
        await nursery.start(informers.run)
        await rbac.follow(informers)
        nursery.start_soon(_ensure, context)
        yield rbac
        nursery.cancel_scope.cancel()


async def _ensure(context: Context) -> None:
    try:
        await bootstrap.ensure(context.client())
    except* (errors.ApiError, OSError) as group:  # they count all the same; the next start writes them
        context.log.warning("cannot write the bootstrap roles: %s", group.exceptions[0])
