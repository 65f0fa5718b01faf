"""The shape of a kind, as one immutable tree that everything shape-driven walks.

Validation, strict decoding, strategic merge patch, server-side apply, pruning and OpenAPI all read the same
nodes. The built-in kinds' nodes come from the schema bundle (`kcore_kinds`), a CRD's from its own
``openAPIV3Schema``. Nodes of named definitions are shared and may refer to themselves (JSONSchemaProps does).
"""

from __future__ import annotations

from typing import Any

import attrs


@attrs.define(slots=True, eq=False)
class Schema:
    """One node. Mutable only while it is being built (definitions may be recursive)."""

    # object, array, string, integer, number, boolean; "" for any value;
    # the two upstream scalars that JSON Schema cannot say: "int-or-string", "quantity"
    type: str = ""
    format: str = ""  # int32, int64, double, byte, date-time, ...
    name: str = ""  # the definition's name if it is a named one: io.k8s.api.core.v1.PodSpec
    properties: dict[str, Schema] = attrs.Factory(dict)
    required: tuple[str, ...] = ()
    values: Schema | None = None  # a map's values (additionalProperties)
    items: Schema | None = None  # a list's items
    enum: tuple[Any, ...] = ()
    nullable: bool = False
    preserve_unknown: bool = False  # unknown members are kept and are no mistake
    embedded: bool = False  # x-kubernetes-embedded-resource / RawExtension: a whole object of any kind

    # how lists and maps merge in server-side apply (structured-merge-diff)
    list_type: str = "atomic"  # atomic, set, map
    list_map_keys: tuple[str, ...] = ()
    map_type: str = "granular"  # granular, atomic

    # how they merge in a strategic merge patch
    patch_strategy: frozenset[str] = frozenset()  # of "merge", "replace", "retainKeys"
    patch_merge_key: str = ""

    # CRD rules that have no room above: minimum, pattern, x-kubernetes-validations, default, ...
    rules: dict[str, Any] = attrs.Factory(dict)

    checker: Any = attrs.field(default=None, init=False, repr=False)
    """What `kcore.api.rules` compiled from it: kept here, for custom resources' schemas come and go."""
    keyed: bool | None = attrs.field(default=None, init=False, repr=False)
    """Whether there is a set or a list-map in it or below, once somebody has looked."""
    embeds: bool | None = attrs.field(default=None, init=False, repr=False)
    """Whether there is an embedded object in it or below, once somebody has looked."""
    ruled: bool | None = attrs.field(default=None, init=False, repr=False)
    """Whether there is a CEL rule in it or below, once somebody has looked."""
    compiled: Any = attrs.field(default=None, init=False, repr=False)
    """Its own CEL rules, compiled (`kcore.api.structural.expressions`)."""

    def child(self, key: str) -> Schema | None:
        """The node of an object's member: a declared property, else the map's values."""
        return self.properties.get(key) or self.values


ANY = Schema(preserve_unknown=True)
