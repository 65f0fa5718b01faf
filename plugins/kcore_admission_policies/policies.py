"""Policies and bindings as they are declared, which of them a request concerns, and the parameters they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kcore import errors
from kcore.api.admission import AdmissionRequest, ServerAdmission
from kcore.api.kinds import Kind
from kcore.api.matching import (
    Equivalents,
    Followed,
    Match,
    Namespaces,
    Rules,
    Selection,
    Selects,
    attribute_namespace,
    is_namespace,
)
from kcore.objects import Object, selectors

if TYPE_CHECKING:
    from kcore.api.server import ApiServer


class ConfigurationError(Exception):
    """A policy or binding cannot be used as it is. ``str()`` is upstream's text."""


class Policy:
    """What both kinds of policies have in common."""

    def __init__(self, obj: Object) -> None:
        self.name: str = obj["metadata"]["name"]
        self.spec: Object = obj.get("spec") or {}
        matches = self.spec.get("matchConstraints") or {}
        self.rules = _rules(matches)
        self.selects = Selects(matches)
        self.ignores = self.spec.get("failurePolicy") == "Ignore"
        self.failure_policy = "Ignore" if self.ignores else "Fail"
        self.param_kind: Object | None = self.spec.get("paramKind")


class Binding:
    def __init__(self, obj: Object) -> None:
        self.name: str = obj["metadata"]["name"]
        self.spec: Object = obj.get("spec") or {}
        self.policy: str = self.spec.get("policyName", "")
        matches = self.spec.get("matchResources") or {}
        self.rules = _rules(matches)
        self.selects = Selects(matches)
        self.param_ref: Object | None = self.spec.get("paramRef")
        self.actions: list[str] = self.spec.get("validationActions") or []


def _rules(matches: Object) -> Rules:
    return Rules(
        matches.get("resourceRules") or (),
        matches.get("excludeResourceRules") or (),
        matches.get("matchPolicy"),
        all_without=True,
    )


@attrs.frozen
class Invocation:
    """One policy with one binding and one parameter object, for one request."""

    policy: Policy
    binding: Binding
    match: Match
    params: Object | None


@attrs.frozen
class Misconfigured:
    """A policy (and binding) that cannot be used: what its failurePolicy makes of it is up to the plugin."""

    policy: Policy
    binding: Binding | None
    why: str


class PolicyPlugin(ServerAdmission):
    """Finds the policies of a request."""

    policies = bindings = ""  # plural names
    policy_class: type[Policy] = Policy

    def __init__(self, server: ApiServer) -> None:
        super().__init__(server)
        self._policies = Followed(server.table, self.policies, self.policy_class)
        self._bindings = Followed(server.table, self.bindings, Binding)
        equivalents = Equivalents(server.table)
        self._chosen: Selection[Policy] = Selection(equivalents)
        self._bound: Selection[Binding] = Selection(equivalents)
        self._namespaces = Namespaces(server.table)
        self._metrics = server.storage.observed

    def handles(self, request: AdmissionRequest) -> bool:
        if self._policies.moved():
            self._chosen.use(self._policies.items)
        if self._bindings.moved():
            self._bound.use(self._bindings.items)
        return bool(self._bound.of(request)) and bool(self._chosen.of(request))

    async def invocations(self, request: AdmissionRequest) -> list[Invocation | Misconfigured]:
        """Everything that concerns a request, in the order of the policies' names."""
        out: list[Invocation | Misconfigured] = []
        bound: dict[str, list[tuple[Binding, Match]]] = {}
        for binding, match in self._bound.of(request):
            bound.setdefault(binding.policy, []).append((binding, match))
        for policy, match in self._chosen.of(request):
            mine = bound.get(policy.name)
            if not mine:
                continue
            try:
                if not self._applies(policy, match, request):
                    continue
                params = self._param_kind(policy)
            except ConfigurationError as error:
                out.append(Misconfigured(policy, None, f"failed to configure policy: {error}"))
                continue
            except errors.ApiError as error:
                out.append(Misconfigured(policy, None, f"failed to configure policy: {error.message}"))
                continue
            for binding, where in mine:
                try:
                    if self._applies(binding, where, request):
                        found = await self._params(policy, params, binding, request)
                        out += [Invocation(policy, binding, match, each) for each in found]
                except ConfigurationError as error:
                    out.append(Misconfigured(policy, binding, f"failed to configure binding: {error}"))
                except errors.ApiError as error:
                    out.append(Misconfigured(policy, binding, f"failed to configure binding: {error.message}"))
        return out

    def namespace(self, request: AdmissionRequest) -> Object | None:
        """The Namespace that expressions see. Raises NotFound."""
        name = "" if is_namespace(request.kind) else request.namespace
        return self._namespaces.get(name) if name else None

    def _applies(self, to: Policy | Binding, match: Match, request: AdmissionRequest) -> bool:
        return (
            match.named(request.name)
            and to.selects.objects_match(request)
            and to.selects.namespace_matches(request, self._namespaces)
        )

    # --- parameters ---------------------------------------------------------------------------------------------

    def _param_kind(self, policy: Policy) -> Kind | None:
        given = policy.param_kind
        if given is None:
            return None
        api_version, kind = given.get("apiVersion") or "", given.get("kind") or ""
        group, _, version = api_version.rpartition("/")
        found = self.server.kinds.by_kind(group, version, kind)
        if found is None:
            raise ConfigurationError(
                f"failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'"
            )
        return found

    async def _params(
        self, policy: Policy, kind: Kind | None, binding: Binding, request: AdmissionRequest
    ) -> list[Object | None]:
        """The parameter objects of a binding; [None] for a policy that takes none."""
        ref = binding.param_ref
        if kind is None or ref is None:
            return [None]
        namespace = ""
        if kind.namespaced:
            namespace = ref.get("namespace") or attribute_namespace(request)
            if not namespace:
                raise ConfigurationError(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif ref.get("namespace"):
            raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        found = await self._find(kind, namespace, ref)
        if not found and ref.get("parameterNotFoundAction") == "Deny":
            raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [*found]

    async def _find(self, kind: Kind, namespace: str, ref: Object) -> list[Object]:
        served = self.server.table.of(kind)
        if ref.get("name"):
            if ref.get("selector") is not None:
                raise ConfigurationError("paramRef.name and paramRef.selector are mutually exclusive")
            entry = served.cache.get(namespace, ref["name"])
            found = [] if entry is None else [entry]
        elif ref.get("selector") is None:
            raise ConfigurationError("one of name or selector must be provided")
        else:
            selector = selectors.from_object(ref["selector"])
            entries = [served.cache.entries[path] for path in served.cache.paths(namespace)]
            found = [entry for entry in entries if selector.matches(entry.labels)]
        if served.remote:
            await served.ready(found)
        return [served.object(entry) for entry in found]


def resource_name(request: AdmissionRequest) -> str:
    """The object's name as a refusal shows it."""
    if request.name:
        return request.name
    meta = (request.obj or {}).get("metadata") or {}
    return meta.get("name") or meta.get("generateName") or "Unknown"


def forbidden(request: AdmissionRequest, why: str) -> errors.Forbidden:
    kind, name = request.kind, resource_name(request)
    details: Object = {"name": name}
    if kind.group:
        details["group"] = kind.group
    details["kind"] = kind.plural
    return errors.Forbidden(f'{kind.resource} "{name}" is forbidden: {why}', details=details)
