"""How the group modules of this package say what they serve: a line or two for each resource.

    apps = Group("apps")
    apps.serve("Deployment", "deployments", hash="8aSe+NMegvE=", short="deploy", status=True, scale=ScalePaths(),)

Names of definitions and of protobuf messages follow from group, version and kind, as they do upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from kcore.api import layout
from kcore.api.kinds import Kind, ScalePaths, Strategy, Subresource
from kcore.api.names import dns_subdomain
from kcore.api.peek import Peek
from kcore.api.schema import Schema
from kcore.errors import Cause
from kcore_kinds.tables import TABLES

Object = dict[str, Any]


class NameRule(Protocol):
    """Why a name is no good; [] if it is fine. With `prefix` it is one that five characters will follow."""

    def __call__(self, name: str, *, prefix: bool = False) -> list[str]: ...


Selectable = dict[str, Callable[[Object], str]]

ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS = ("get", "patch", "update")
PROXY = ("create", "delete", "get", "patch", "update")


class Group:
    """One version of one API group; collects the kinds that `serve` declares."""

    def __init__(self, group: str, version: str = "v1", *, package: str = ""):
        self.group, self.version = group, version
        # the part of the Go package path between "io.k8s." and the kind
        self._package = package or f"api.{group.partition('.')[0] or 'core'}.{version}"
        self.kinds: list[Kind] = []

    def serve(
        self,
        kind: str,
        plural: str,
        *,
        hash: str = "",
        namespaced: bool = True,
        short: str = "",
        category: str = "",
        verbs: tuple[str, ...] = ALL,
        status: bool = False,
        generation: bool = False,
        names: NameRule = dns_subdomain,
        upsert: bool = False,
        blind: bool = True,
        scale: ScalePaths | None = None,
        subresources: tuple[Subresource, ...] = (),
        strategy: Builtin | None = None,
        selectable: Selectable | None = None,
        virtual: bool = False,
        **more: Any,
    ) -> Kind:
        """Declare a resource. `hash` is the storage version hash, `short` its short names, separated by blanks.

        `status`, `generation` and `names` complete the strategy: has it the subresource, does it count generations,
        and the rule for names; `upsert` lets a PUT create what is not there, and without `blind` a PUT must name the
        version that it changes.
        """
        definition = f"io.k8s.{self._package}.{kind}"
        rules = strategy or Builtin()
        rules.definition = definition
        rules.has_status, rules.has_generation, rules.names = status, generation, names
        rules.allow_create_on_update = upsert or rules.allow_create_on_update
        rules.allow_unconditional_update = blind and rules.allow_unconditional_update
        subs = list(subresources)
        if status:
            subs.append(Subresource("status", kind, STATUS, namespaced=namespaced))
        if scale:
            subs.append(
                Subresource("scale", "Scale", STATUS, group="autoscaling", version="v1", namespaced=namespaced)
            )
        declared = Kind(
            self.group,
            self.version,
            kind,
            plural,
            namespaced=namespaced,
            singular=kind.lower(),
            verbs=verbs,
            short_names=tuple(short.split()),
            categories=(category,) if category else (),
            subresources={s.name: s for s in sorted(subs, key=lambda s: s.name)},
            strategy=rules,
            schema_source=lambda: _schema(definition),
            columns=TABLES.get(f"{plural}.{self.group}" if self.group else plural, ()),
            selectable=selectable or {},
            storage_version_hash=hash,
            scale=scale,
            message=f"k8s.io.{self._package.replace('-', '_')}.{kind}",
            virtual=virtual,
            **more,
        )
        self.kinds.append(declared)
        return declared


def _schema(definition: str) -> Schema:
    from kcore_kinds import bundle

    return bundle.schema(definition)


class Builtin(Strategy):
    """The strategy of a built-in kind. `Group.serve` completes it with what its declaration says."""

    returns_deleted = False  # DELETE answers with the object, not with a Status
    orphans_by_default = False  # DELETE without propagationPolicy leaves dependents alone
    names: NameRule = staticmethod(dns_subdomain)
    definition: str = ""

    def __init__(self) -> None:
        self._blanks: dict[str, bytes] = {}  # by member, encoded: decoding makes a new one sooner than copying

    def prepare_create(self, obj: Object) -> None:
        """What the client says of the status is dropped: it begins as Go writes an empty one."""
        super().prepare_create(obj)
        if self.has_status:
            obj.update(self.blank("status"))
        obj.get("metadata", {}).pop("selfLink", None)  # once written by servers, ignored ever since

    def blank(self, member: str) -> Object:
        """A member as it is written before anything is known of it: ``{"status": {...}}``; {} if it is left out."""
        found = self._blanks.get(member)
        if found is None:
            from kcore.api import typed
            from kcore_kinds import bundle

            whole = typed.empty(bundle.schema(self.definition))
            blank = {member: whole[member]} if member in whole else {}
            found = self._blanks[member] = layout.encode_json(blank)
        return layout.decode_json(found)  # type: ignore[no-any-return]

    def validate(self, obj: Object) -> Iterable[Cause]:
        from kcore_kinds import validation

        return validation.check(self.definition, obj)

    def validate_update(self, obj: Object, old: Object) -> Iterable[Cause]:
        from kcore_kinds import validation

        return validation.check(self.definition, obj, old)

    def validate_status(self, obj: Object, old: Object) -> Iterable[Cause]:
        from kcore_kinds import validation

        return validation.check_status(self.definition, obj, old)

    def validate_name(self, name: str, *, prefix: bool = False) -> list[str]:
        return self.names(name, prefix=prefix)


def field(path: str) -> Peek:
    """Reads a dotted path as a field selector sees it."""
    return Peek(path)


def fields(*paths: str) -> Selectable:
    """Selectable fields that are read where their names say."""
    return {path: field(path) for path in paths}
