"""Nodes and namespaces: where pods run, and in whose name."""

from __future__ import annotations

from typing import Any

from kcore_kinds.declare import Builtin
from kcore_kinds.podspec import missing

Object = dict[str, Any]

FINALIZER = "kubernetes"


class NodeStrategy(Builtin):
    def prepare_create(self, obj: Object) -> None:
        """A node may come with a status: it is the kubelet that registers it."""

    def default(self, obj: Object) -> None:
        spec, status = obj["spec"], obj["status"]
        if spec.get("podCIDR") and not spec.get("podCIDRs"):
            spec["podCIDRs"] = [spec["podCIDR"]]
        if status.get("capacity") and not status.get("allocatable"):
            status["allocatable"] = dict(status["capacity"])


class NamespaceStrategy(Builtin):
    def prepare_create(self, obj: Object) -> None:
        """A new namespace is active, and one finalizer waits for its content to be deleted."""
        obj["status"] = {"phase": "Active"}
        spec = obj["spec"]
        if FINALIZER not in (spec.get("finalizers") or ()):
            spec["finalizers"] = [*(spec.get("finalizers") or ()), FINALIZER]

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        obj["spec"] = old["spec"]  # finalizers change through /finalize alone

    def default(self, obj: Object) -> None:
        """Every namespace carries its name as a label, so that selectors can name it."""
        missing(obj["status"], {"phase": "Active"})
        name = obj["metadata"].get("name")
        if name:
            labels = obj["metadata"].setdefault("labels", {})
            labels["kubernetes.io/metadata.name"] = name
