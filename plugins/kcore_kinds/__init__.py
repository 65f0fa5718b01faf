"""The built-in kinds, one module per API group.

A kind is a declaration (`kcore.api.kinds.Kind`): its names, its shape from the schema bundle, and a strategy
for what it does differently from others. Declaring is cheap; shapes are built when first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from kcore.api.kinds import Definitions, Kind
from kcore.hookspecs import hookimpl

# In the order in which discovery lists the groups.
MODULES = (
    "core",
    "apiregistration",
    "apps",
    "events",
    "authentication",
    "authorization",
    "autoscaling",
    "batch",
    "certificates",
    "networking",
    "policy",
    "rbac",
    "storage",
    "admissionregistration",
    "apiextensions",
    "scheduling",
    "coordination",
    "node",
    "discovery",
    "resource",
    "flowcontrol",
)


@hookimpl
def kcore_kinds() -> Iterable[Kind]:
    """Every kind of every module; a group's preferred version comes first."""
    kinds: list[Kind] = []
    for name in MODULES:
        kinds += import_module(f"kcore_kinds.{name}").KINDS
    return kinds


@hookimpl
def kcore_definitions() -> Iterable[Definitions]:
    """The schema bundle, for the OpenAPI documents."""
    from kcore_kinds import bundle

    return (bundle,)
