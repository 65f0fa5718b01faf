"""How a strategy is called: as the machinery calls it for a create or an update."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from kcore_kinds import kcore_kinds

from kcore.api import validation
from kcore.api.kinds import Kind

TABLE = {(k.resource, k.version): k for k in kcore_kinds()}
Object = dict[str, Any]


def kind(resource: str, version: str = "v1") -> Kind:
    return TABLE[resource, version]


@pytest.fixture
def created() -> Callable[..., Object]:
    """The object as a create stores it: ``created("pods", {...spec...})`` or with whole members by keyword."""

    def create(resource: str, spec: Any = None, version: str = "v1", **members: Any) -> Object:
        declared = kind(resource, version)
        meta = {"name": "x", "namespace": "ns", "uid": "u-1", **members.pop("metadata", {})}
        obj = {"apiVersion": declared.api_version, "kind": declared.kind, "metadata": meta, **members}
        if spec is not None:
            obj["spec"] = copy.deepcopy(spec)
        validation.normalize(obj, declared.schema)
        declared.strategy.prepare_create(obj)
        declared.strategy.default(obj)
        again = copy.deepcopy(obj)
        declared.strategy.default(again)
        assert again == obj, "defaulting is idempotent"
        return obj

    return create


@pytest.fixture
def updated() -> Callable[[str, Object, Object], Object]:
    """The object as an update of `old` to `new` stores it."""

    def update(resource: str, old: Object, new: Object) -> Object:
        declared, new = kind(resource), copy.deepcopy(new)
        validation.normalize(new, declared.schema)
        declared.strategy.default(new)
        declared.strategy.prepare_update(new, copy.deepcopy(old))
        return new

    return update
