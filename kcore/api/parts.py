"""Subresources that write one part of their object: which part, as a function that carries over the rest."""

from __future__ import annotations

from collections.abc import Callable

from kcore.objects import Object


def _only(new: Object, old: Object, section: str, *members: str) -> None:
    """`new` becomes `old` with some members of one section taken from what `new` was."""
    given = new.get(section) or {}
    managed = new["metadata"].get("managedFields")
    new.clear()
    new.update(old)
    new["metadata"] = dict(old["metadata"])
    if managed is not None:
        new["metadata"]["managedFields"] = managed
    part = dict(old.get(section) or {})
    for member in members:
        if member in given:
            part[member] = given[member]
        else:
            part.pop(member, None)
    new[section] = part


def finalize(new: Object, old: Object) -> None:
    """namespaces/finalize: the finalizers of the spec."""
    _only(new, old, "spec", "finalizers")


def ephemeral_containers(new: Object, old: Object) -> None:
    """pods/ephemeralcontainers: debug containers, which nothing else may add."""
    _only(new, old, "spec", "ephemeralContainers")


def resize(new: Object, old: Object) -> None:
    """pods/resize: the resources of containers."""
    wanted = {c["name"]: c for c in (new.get("spec") or {}).get("containers") or ()}
    containers = []
    for container in old["spec"].get("containers") or ():
        given = wanted.get(container["name"], {})
        changed = {k: given[k] for k in ("resources", "resizePolicy") if k in given}
        containers.append({**container, **changed})
    new["spec"] = {**old["spec"], "containers": containers}
    _only(new, old, "spec", "containers")


def approval(new: Object, old: Object) -> None:
    """certificatesigningrequests/approval: the conditions of the status."""
    _only(new, old, "status", "conditions")


PARTS: dict[tuple[str, str, str], Callable[[Object, Object], None]] = {
    ("", "namespaces", "finalize"): finalize,
    ("", "pods", "ephemeralcontainers"): ephemeral_containers,
    ("", "pods", "resize"): resize,
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): approval,
}
"""By (group, plural, subresource)."""
