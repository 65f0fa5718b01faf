"""Which requests a webhook or an admission policy applies to: rules, equivalent versions, selectors.

Everything that depends on the resource and the operation alone is decided once and remembered (`Selection.of`): a
request that nothing applies to costs one look into a dictionary. Configurations are followed by the revision of
their watch cache, and compiled when it has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import attrs

from kcore import errors
from kcore.api import layout
from kcore.api.admission import AdmissionRequest
from kcore.api.cache import Entry
from kcore.api.kinds import Kind
from kcore.api.schema import ANY, Schema
from kcore.objects import Object, selectors
from kcore.objects.selectors import EVERYTHING, Selector

if TYPE_CHECKING:
    from kcore.api.served import Served, ServedTable

GROUP = "admissionregistration.k8s.io"
EXEMPT = frozenset(
    (
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "validatingwebhookconfigurations",
    )
)
"""Whatever decides about admission is itself never subject to it: a mistake must be possible to undo."""

T = TypeVar("T")


def exempt(kind: Kind) -> bool:
    return kind.group == GROUP and kind.plural in EXEMPT


@attrs.frozen(slots=True)
class Gvk:
    group: str
    version: str
    kind: str

    def as_object(self) -> Object:
        return {"group": self.group, "version": self.version, "kind": self.kind}

    def __str__(self) -> str:
        """As Go prints it."""
        return f"{self.group}/{self.version}, Kind={self.kind}"


def body_kind(kind: Kind, subresource: str) -> Gvk:
    """The kind of what is sent: an Eviction for pods/eviction, else the resource's own."""
    declared = kind.subresources.get(subresource) if subresource else None
    if declared is None or declared.kind == kind.kind:
        return Gvk(kind.group, kind.version, kind.kind)
    if declared.version or declared.group:
        return Gvk(declared.group, declared.version or kind.version, declared.kind)
    return Gvk(kind.group, kind.version, declared.kind)


def attribute_namespace(request: AdmissionRequest) -> str:
    """The request's namespace as admission knows it: a Namespace is in itself."""
    if is_namespace(request.kind):
        return request.name or (request.obj or {}).get("metadata", {}).get("name", "")
    return request.namespace


def is_namespace(kind: Kind) -> bool:
    return kind.plural == "namespaces" and not kind.group


# --- rules -----------------------------------------------------------------------------------------------------------


class Rule:
    """One rule of a webhook or policy (RuleWithOperations)."""

    def __init__(self, rule: Object) -> None:
        self.operations = _words(rule.get("operations"))
        self.groups = _words(rule.get("apiGroups"))
        self.versions = _words(rule.get("apiVersions"))
        self.resources = [_split(text) for text in rule.get("resources") or ()]
        self.scope = rule.get("scope") or "*"
        self.names = frozenset(rule.get("resourceNames") or ())

    def matches(self, kind: Kind, subresource: str, operation: str) -> bool:
        return (
            (self.operations is None or operation in self.operations)
            and (self.groups is None or kind.group in self.groups)
            and (self.versions is None or kind.version in self.versions)
            and (self.scope == "*" or (self.scope == "Namespaced") == kind.namespaced)
            and any(r in ("*", kind.plural) and s in ("*", subresource) for r, s in self.resources)
        )


def _words(given: Iterable[str] | None) -> frozenset[str] | None:
    """None for everything."""
    words = frozenset(given or ())
    return None if "*" in words else words


def _split(resource: str) -> tuple[str, str]:
    name, _, sub = resource.partition("/")
    return name, sub


class Equivalents:
    """The other served versions of a resource: what is stored in the same place."""

    def __init__(self, table: ServedTable) -> None:
        self.table = table
        self._generation = -1
        self._by_prefix: dict[str, list[Kind]] = {}

    def of(self, kind: Kind, subresource: str) -> list[Kind]:
        kinds = self.table.kinds
        if self._generation != kinds.generation:
            self._by_prefix = {}
            for each in kinds:
                if not each.virtual:
                    self._by_prefix.setdefault(layout.prefix(each), []).append(each)
            self._generation = kinds.generation
        found = self._by_prefix.get(layout.prefix(kind), ())
        return [k for k in found if k is not kind and (not subresource or subresource in k.subresources)]


class Rules:
    """The rules of one webhook, policy or binding, with their matchPolicy."""

    def __init__(
        self, rules: Iterable[Object], exclude: Iterable[Object], policy: str | None, *, all_without: bool = False
    ) -> None:
        """`all_without`: no rules at all mean everything (the matchResources of policies and bindings)."""
        self.rules = [Rule(r) for r in rules]
        self.everything = all_without and not self.rules
        self.exclude = [Rule(r) for r in exclude]
        self.equivalent = policy != "Exact"

    def match(self, kind: Kind, subresource: str, operation: str, equivalents: Equivalents) -> Match | None:
        """How the resource is to be shown, or None. Rules with resourceNames are left to `named`."""
        excluded = self._find(self.exclude, kind, subresource, operation, equivalents)
        if excluded is not None and not any(excluded[1]):
            return None
        found = self._find(self.rules, kind, subresource, operation, equivalents)
        if self.everything:
            found = kind, [frozenset()]
        if found is None:
            return None
        names = frozenset() if any(not n for n in found[1]) else frozenset().union(*found[1])
        without = frozenset().union(*excluded[1]) if excluded else frozenset()
        return Match(found[0], names, without)

    def _find(
        self, rules: list[Rule], kind: Kind, subresource: str, operation: str, equivalents: Equivalents
    ) -> tuple[Kind, list[frozenset[str]]] | None:
        """The kind that matches, and the resourceNames of every rule that does."""
        names = [r.names for r in rules if r.matches(kind, subresource, operation)]
        if names:
            return kind, names if all(names) else [frozenset()]
        if self.equivalent:
            others = equivalents.of(kind, subresource)
            for rule in rules:
                for other in others:
                    if rule.matches(other, subresource, operation):
                        return other, [rule.names]
        return None


@attrs.frozen(slots=True)
class Match:
    """A resource that rules apply to. `kind` is the version they are written for."""

    kind: Kind
    names: frozenset[str] = frozenset()  # only these objects; empty for all
    without: frozenset[str] = frozenset()  # but for these

    def named(self, name: str) -> bool:
        return (not self.names or name in self.names) and name not in self.without


class Selects:
    """A namespaceSelector and an objectSelector."""

    def __init__(self, owner: Object) -> None:
        self.problem = ""
        self.namespaces = self._selector(owner.get("namespaceSelector"))
        self.objects = self._selector(owner.get("objectSelector"))

    def _selector(self, given: Object | None) -> Selector:
        """One that makes no sense is a fault of whoever uses it, and not of every write in the cluster."""
        try:
            return selectors.from_object(given) if given else EVERYTHING
        except errors.BadRequest as error:
            self.problem = error.message
            return EVERYTHING

    def objects_match(self, request: AdmissionRequest) -> bool:
        """Raises InternalError for a selector that makes no sense."""
        if self.problem:
            raise errors.InternalError(
                f"Internal error occurred: {self.problem}", details={"causes": [{"message": self.problem}]}
            )
        if self.objects.everything:
            return True
        # what has no metadata, the options of an exec, is selected by nothing
        seen = [obj for obj in (request.obj, request.old) if obj is not None and "metadata" in obj]
        return any(self.objects.matches(_labels(obj)) for obj in seen)

    def namespace_matches(self, request: AdmissionRequest, namespaces: Namespaces) -> bool:
        """Raises NotFound when the namespace whose labels would count is not there."""
        if self.namespaces.everything:
            return True
        name = attribute_namespace(request)
        if not name:
            return True  # cluster-scoped
        writes = request.operation in ("CREATE", "UPDATE") and not request.subresource
        if writes and is_namespace(request.kind) and request.obj is not None:
            return self.namespaces.matches(_labels(request.obj))
        return self.namespaces.matches(_labels(namespaces.get(name)))


def _labels(obj: Object) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


class Namespaces:
    """Namespaces as the watch cache has them."""

    def __init__(self, table: ServedTable) -> None:
        self._table = table

    def get(self, name: str) -> Object:
        """Raises NotFound."""
        served = self._table.find("", "v1", "namespaces")
        entry = served.cache.get("", name) if served else None
        if served is None or entry is None:
            raise errors.not_found("namespaces", name)
        return served.object(entry)


# --- following configurations ----------------------------------------------------------------------------------------


class Matched(Protocol):
    """What a configuration is compiled to: something that knows its rules."""

    @property
    def rules(self) -> Rules: ...


M = TypeVar("M", bound=Matched)


class Followed(Generic[T]):
    """The compiled forms of all objects of one resource, in the order of their names."""

    def __init__(self, table: ServedTable, plural: str, compile: Callable[[Object], T]) -> None:
        self._served: Served | None = table.find(GROUP, "v1", plural)
        self._compile = compile
        self._seen = -1
        self._made: dict[str, tuple[Entry, T]] = {}
        self.items: list[T] = []

    def moved(self) -> bool:
        """Bring `items` up to date; whether there was anything to do."""
        served = self._served
        if served is None or served.cache.changed == self._seen:
            return False
        cache = served.cache
        self._seen = cache.changed
        made: dict[str, tuple[Entry, T]] = {}
        for path in cache.order:
            entry, known = cache.entries[path], self._made.get(path)
            fresh = known is None or known[0] is not entry
            made[path] = (entry, self._compile(served.object(entry))) if fresh or known is None else known
        self._made = made
        self.items = [item for _, item in made.values()]
        return True


Key = tuple[Kind, str, str]


class Selection(Generic[M]):
    """What applies to a request, by its rules."""

    def __init__(self, equivalents: Equivalents) -> None:
        self._equivalents = equivalents
        self._generation = -1
        self._found: dict[Key, list[tuple[M, Match]]] = {}
        self._items: list[M] = []

    def use(self, items: list[M]) -> None:
        self._items = items
        self._found = {}

    def of(self, request: AdmissionRequest) -> list[tuple[M, Match]]:
        if not self._items:
            return []
        generation = self._equivalents.table.kinds.generation
        if generation != self._generation:
            self._generation, self._found = generation, {}
        key = (request.kind, request.subresource, request.operation)
        found = self._found.get(key)
        if found is None:
            found = []
            if not exempt(request.kind):
                for item in self._items:
                    match = item.rules.match(*key, self._equivalents)
                    if match is not None:
                        found.append((item, match))
            self._found[key] = found
        return found


# --- versions --------------------------------------------------------------------------------------------------------


class Versions:
    """The objects of one request in the versions that webhooks and policies are written for."""

    def __init__(self, table: ServedTable, request: AdmissionRequest) -> None:
        self.table, self.request = table, request
        self._old: dict[Kind, Object | None] = {}

    def schema(self, kind: Kind) -> Schema:
        """Of what `new` shows: a subresource may have a body of its own."""
        body = body_kind(kind, self.request.subresource)
        if body.kind == kind.kind:
            return kind.schema
        if self.request.subresource == "scale":
            from kcore.api.scale import SCHEMA

            return SCHEMA
        from kcore.api import bodies

        return bodies.schema(body.kind) or ANY

    async def new(self, kind: Kind) -> Object | None:
        """The object as it is now; not to be changed."""
        return await self._shown(self.request.obj, kind)

    async def old(self, kind: Kind) -> Object | None:
        if kind not in self._old:
            self._old[kind] = await self._shown(self.request.old, kind)
        return self._old[kind]

    async def _shown(self, obj: Object | None, kind: Kind) -> Object | None:
        request = self.request
        if obj is None:
            return None
        if request.subresource == "scale" and request.kind.scale is not None:
            from kcore.api.scale import scale_object

            return scale_object(obj, request.kind.scale)
        if kind is request.kind or body_kind(request.kind, request.subresource).kind != request.kind.kind:
            return obj
        return await convert(obj, request.kind, kind)

    async def settle(self, changed: Object, kind: Kind) -> Object:
        """A changed object, back in the request's own version: decoded and defaulted like one that was sent."""
        from kcore.api import validation

        request = self.request
        if request.subresource == "scale" and request.kind.scale is not None:
            from kcore.api.scale import with_replicas

            return with_replicas(request.obj or {}, request.kind.scale, changed)
        own = body_kind(request.kind, request.subresource)
        if own.kind != request.kind.kind:
            from kcore.api import bodies

            if bodies.schema(own.kind) is not None:
                bodies.check(changed, own.kind)
            return changed
        validation.prepare(changed, kind.schema, kind.kind)
        if type(changed.get("metadata")) is not dict:
            changed["metadata"] = {}
        kind.strategy.default(changed)
        if kind is request.kind:
            return changed
        out = await convert(changed, kind, request.kind)
        request.kind.strategy.default(out)
        return out


async def convert(obj: Object, source: Kind, target: Kind) -> Object:
    """The object as another version of its kind shows it."""
    copy: Object = layout.decode_json(layout.encode_json(obj))
    if target.conversion is not None:  # a custom resource: perhaps a webhook converts it
        return (await target.conversion.read([copy]))[0]
    stored = source.to_storage(copy) if source.to_storage is not None else copy
    out = target.from_storage(stored) if target.from_storage is not None else stored
    out["kind"], out["apiVersion"] = target.kind, target.api_version
    return out
