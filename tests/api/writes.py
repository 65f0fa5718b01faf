"""A server of one object, for tests of what writes do to it and to its managed fields."""

from __future__ import annotations

import copy
from typing import Any

from kcore_kinds import bundle

from kcore.api import typed
from kcore.api.patch import apply as ssa
from kcore.api.schema import Schema

CONFIG_MAP = bundle.schema("io.k8s.api.core.v1.ConfigMap")
DEPLOYMENT = bundle.schema("io.k8s.api.apps.v1.Deployment")
SERVICE = bundle.schema("io.k8s.api.core.v1.Service")
POD = bundle.schema("io.k8s.api.core.v1.Pod")
Object = dict[str, Any]


def config_map(data: Object | None = None, **metadata: Any) -> Object:
    out: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", **metadata}}
    return out if data is None else {**out, "data": data}


class Server:
    """One object, and the writes that a server would let through the functions under test."""

    def __init__(self, schema: Schema = CONFIG_MAP, api_version: str = "v1"):
        self.schema, self.api_version = schema, api_version
        self.obj: Object | None = None
        self.now = 0

    def _stamp(self) -> str:
        self.now += 1
        return f"2024-01-01T00:00:{self.now:02d}Z"

    def apply(self, manager: str, obj: Object, *, force: bool = False, subresource: str = "") -> Object:
        before = copy.deepcopy((self.obj, obj))
        new = ssa.apply(
            self.obj,
            obj,
            self.schema,
            manager=manager,
            api_version=self.api_version,
            time=self._stamp(),
            force=force,
            subresource=subresource,
        )
        assert (self.obj, obj) == before, "apply changed its arguments"
        return self._store(new)

    def update(self, manager: str, obj: Object, subresource: str = "") -> Object:
        new = copy.deepcopy(obj)
        typed.read(new, self.schema)
        ssa.update_managed_fields(
            self.obj,
            new,
            self.schema,
            manager=manager,
            api_version=self.api_version,
            time=self._stamp(),
            subresource=subresource,
        )
        return self._store(new)

    def change(self, manager: str, **members: Any) -> Object:
        assert self.obj is not None
        return self.update(manager, {**self.obj, **members})

    def _store(self, new: Object) -> Object:
        typed.read(new, self.schema)
        new["metadata"].setdefault("uid", "1")
        self.obj = new
        return new

    def fields(self) -> Object:
        """What each manager holds."""
        assert self.obj is not None
        return {
            f"{e['manager']} {e['operation']}": e["fieldsV1"] for e in self.obj["metadata"].get("managedFields", [])
        }
