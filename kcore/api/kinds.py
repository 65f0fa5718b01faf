"""How a kind is declared. Built-in kinds and CustomResourceDefinitions make the same declaration.

The machinery knows no kind by name: whatever differs between a Pod and a ConfigMap stands in its `Kind` --
names, shape, and a `Strategy` whose methods are called at fixed points of a request:

    create:  decode -> prepare_create -> default -> admission -> validate -> store
    update:  decode -> default -> prepare_update -> admission -> validate_update -> store
    status:  decode -> default -> prepare_status -> admission -> validate_status -> store
    read:    stored bytes are served as they are; `from_storage` only where another version is asked for

Decoding is `kcore.api.validation.prepare`, and the only place where an object takes its canonical form: strategies
find a built-in kind's object as Go writes it -- what is always there is there, and nothing is null that need not be.

Objects are plain dicts as JSON has them. Strategy methods change the object they are given in place; they never
see an object that is in the store or in a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import attrs

from kcore.api.auth import User
from kcore.api.schema import ANY, Schema
from kcore.errors import Cause

Object = dict[str, Any]


class Conversion:
    """How stored objects become those of a custom kind's version, and back.

    In the store lies what was written, under the schema and in the storage version of that time. What was written
    since the declaration last changed is served as it lies; anything older is decoded once and brought up to date.
    """

    remote: bool = False  # a webhook converts: `read` has to be awaited before an entry can be looked at

    def current(self, version: str, revision: int) -> bool:
        """Whether an object stored as apiVersion `version` at `revision` is as this version has it."""
        raise NotImplementedError

    def local(self, obj: Object) -> Object:
        """A stored object, which may be changed, in this version. Never called where `remote`."""
        raise NotImplementedError

    async def read(self, objects: list[Object]) -> list[Object]:
        """Stored objects in this version. Raises InternalError where a webhook fails."""
        return [self.local(obj) for obj in objects]

    async def write(self, obj: Object) -> Object:
        """An object of this version in the storage version. Raises InternalError where a webhook fails."""
        raise NotImplementedError

    def across(self, obj: Object, api_version: str) -> tuple[Object, Schema] | None:
        """An object of any version of the kind in another one, and that one's schema; None if there is none such.

        Neither defaulted nor changed in place. Where `remote`, it is called in a worker thread (`aside.waiting`).
        Raises InternalError where a webhook fails.
        """
        raise NotImplementedError

    def written(self, revision: int) -> None:
        """An object of this declaration has been stored: perhaps after another one took its place."""


class Strategy:
    """What a kind does differently. This base class is a kind with no rules of its own and a plain spec/status.

    ``generation`` is kept by the machinery: 1 at creation, +1 when `spec_changed` says so.
    """

    has_status: bool = True  # a main-resource write leaves .status as it is, a /status write leaves the rest
    has_generation: bool = True
    allow_create_on_update: bool = False  # PUT of a name that does not exist creates it
    allow_unconditional_update: bool = True  # PUT without resourceVersion is a plain overwrite
    graceful_seconds: int | None = None  # DELETE's default grace period; None: the kind is deleted at once
    returns_deleted: bool = False  # DELETE answers with the object that was deleted, not with a Status
    orphans_by_default: bool = False  # a DELETE without propagationPolicy leaves dependents alone
    orphan_warning: str = ""  # what such a DELETE is warned of

    def default(self, obj: Object) -> None:
        """Fill in what upstream's defaulting fills in (idempotent)."""

    def prepare_create(self, obj: Object) -> None:
        """Drop or set what the client may not choose at creation. The base class drops .status."""
        if self.has_status:
            obj.pop("status", None)

    def prepare_owner(self, obj: Object, user: User) -> None:
        """Note who creates the object, after `prepare_create`, where the kind keeps that."""

    def prepare_update(self, obj: Object, old: Object) -> None:
        """Carry over what a main-resource write may not change. The base class carries over .status."""
        if self.has_status:
            if "status" in old:
                obj["status"] = old["status"]
            else:
                obj.pop("status", None)

    def prepare_status(self, obj: Object, old: Object) -> None:
        """Carry over what a /status write may not change: by default everything but .status and some metadata."""
        status = obj.get("status")
        meta = obj.get("metadata", {})
        kept = dict(old)
        kept["metadata"] = {**old["metadata"], **{k: meta[k] for k in ("managedFields",) if k in meta}}
        obj.clear()
        obj.update(kept)
        if status is not None:
            obj["status"] = status
        else:
            obj.pop("status", None)

    def managed_reset(self, subresource: str) -> tuple[str, ...] | None:
        """The top-level members that this endpoint does not write, and so nobody comes to own through it.

        None: what follows from the schema of a built-in kind.
        """
        return None

    def validate(self, obj: Object) -> Iterable[Cause]:
        """Every error of a new object, beyond what the metadata rules say."""
        return ()

    def validate_update(self, obj: Object, old: Object) -> Iterable[Cause]:
        """Every error of a change; by default those of the object itself."""
        return self.validate(obj)

    def validate_status(self, obj: Object, old: Object) -> Iterable[Cause]:
        """Every error of a status change."""
        return ()

    def warnings(self, obj: Object, old: Object | None) -> Iterable[str]:
        """Texts for Warning headers on create and update."""
        return ()

    def spec_changed(self, obj: Object, old: Object) -> bool:
        """Whether the change raises .metadata.generation: by default, anything but metadata and status."""
        keys = (obj.keys() | old.keys()) - {"metadata", "status", "apiVersion", "kind"}
        return any(obj.get(k) != old.get(k) for k in keys)

    def grace_period(self, obj: Object, asked: int | None) -> int | None:
        """Seconds that a deletion gives `obj` to end, or None when the kind is deleted at once.

        The base class knows pods' rule: what was asked for, else .spec.terminationGracePeriodSeconds, and none for
        what no node runs (not scheduled, or finished).
        """
        if self.graceful_seconds is None:
            return None
        spec = obj.get("spec") or {}
        if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        if asked is not None:
            return asked
        own = spec.get("terminationGracePeriodSeconds")
        return self.graceful_seconds if own is None else max(int(own), 1 if own < 0 else 0)

    def validate_name(self, name: str, *, prefix: bool = False) -> list[str]:
        """Why `name` (or, with `prefix`, a generateName) is no good: upstream's sentences; [] if it is fine.

        The base class takes a DNS-1123 subdomain.
        """
        from kcore.api.names import dns_subdomain

        return dns_subdomain(name, prefix=prefix)


@attrs.frozen
class Column:
    """A column of a kind's Table. `cell` takes the object and returns the cell's JSON value."""

    name: str
    cell: Callable[[Object], Any]
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


@attrs.frozen
class Subresource:
    """``/scale``, ``/log``, ...: what discovery says of it, and who answers.

    `status` and `scale` are answered by the machinery; others by a handler that a plugin registers for
    (resource, subresource).
    """

    name: str
    kind: str  # the kind its body has: Scale, Eviction, TokenRequest, Pod, PodExecOptions, ...
    verbs: tuple[str, ...]
    group: str = ""  # set when it differs from the parent's
    version: str = ""
    namespaced: bool = True


@attrs.define(eq=False)
class Kind:
    """The declaration of one served version of one resource."""

    group: str  # "" for core
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    verbs: tuple[str, ...] = ()
    shown_verbs: tuple[str, ...] = ()  # what discovery says, in this order; () for `verbs`
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: dict[str, Subresource] = attrs.Factory(dict)
    strategy: Strategy = attrs.Factory(Strategy)
    schema_source: Callable[[], Schema] = lambda: ANY  # called once, when the shape is first needed
    # the ``openAPIV3Schema`` of a custom kind as its author wrote it, for OpenAPI documents; they only read it. None:
    # a built-in kind, or a custom one whose documents are made from `schema`
    raw_schema: Callable[[], Object] | None = None
    columns: tuple[Column, ...] = ()  # () gives Name and Age
    selectable: dict[str, Callable[[Object], str]] = attrs.Factory(dict)  # beyond metadata.name/namespace
    storage_version_hash: str = ""
    storage_version: str = ""  # "" means this one; autoscaling/v1 is stored as v2
    to_storage: Callable[[Object], Object] | None = None  # from this version to the stored one
    from_storage: Callable[[Object], Object] | None = None
    conversion: Conversion | None = None  # of a custom kind, in place of the two above
    list_kind: str = ""  # "" means the kind with List behind it
    warning: str = ""  # a deprecated version says so in every answer
    scale: ScalePaths | None = None  # where /scale finds its numbers
    message: str = ""  # protobuf message name; "" for a kind that has no protobuf form
    store_prefix: str = ""  # "" lets the machinery choose
    virtual: bool = False  # never stored: Binding, TokenReview, SubjectAccessReview...; a handler answers
    _schema: Schema | None = None

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The name in messages and RBAC: ``deployments.apps``, ``pods``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def listed(self) -> str:
        """The kind of a list of these."""
        return self.list_kind or self.kind + "List"

    @property
    def schema(self) -> Schema:
        if self._schema is None:
            self._schema = self.schema_source()
        return self._schema


@attrs.frozen
class ScalePaths:
    """Dotted paths of a scalable kind, as a CRD's scale subresource names them."""

    spec_replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    # a LabelSelector object (workloads), a map (ReplicationController) or a string (CRDs)
    selector: str = ".spec.selector"


class Definitions(Protocol):
    """JSON Schemas of the built-in kinds, for OpenAPI documents (the module `kcore_kinds.bundle` is one)."""

    def definitions(self) -> list[str]:
        """The names of all definitions: ``io.k8s.api.core.v1.Pod``."""

    def raw(self, definition_name: str, /) -> Object:
        """The definition as OpenAPI v3 has it, without descriptions; a new dict each time."""

    def docs(self, definition_name: str, /) -> dict[str, str]:
        """Descriptions: of the definition itself at "", of each of its properties at its name."""

    def gvk(self, definition: str, /) -> tuple[str, str, str] | None:
        """(group, version, kind) of a definition that is a kind of its own."""


class KindTable:
    """All kinds that are served, by group, version and plural. Changes while the server runs (CRDs)."""

    def __init__(self, definitions: Definitions | None = None) -> None:
        self.definitions = definitions  # without them OpenAPI documents know only the kinds' own schemas
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self.generation = 0  # +1 with every change: discovery and OpenAPI documents are cached by it

    def add(self, kind: Kind) -> None:
        """Serve `kind` from now on; replaces an earlier declaration of the same name."""
        self._kinds[kind.group, kind.version, kind.plural] = kind
        self.generation += 1

    def remove(self, kind: Kind) -> None:
        self._kinds.pop((kind.group, kind.version, kind.plural), None)
        self.generation += 1

    def get(self, group: str, version: str, plural: str) -> Kind | None:
        return self._kinds.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> Kind | None:
        for k in self._kinds.values():
            if k.kind == kind and k.version == version and k.group == group:
                return k
        return None

    def builtin(self, group: str) -> bool:
        """Whether the group has kinds that were not declared by users."""
        return any(k.group == group and k.conversion is None for k in self._kinds.values())

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._kinds.values()))

    def __len__(self) -> int:
        return len(self._kinds)
