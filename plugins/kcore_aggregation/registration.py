"""APIServices of what this server answers itself: one for each of its group versions, made and removed by itself.

The label says who looks after an object: ``onstart`` ones (built-in groups) are put right when the server starts and
then belong to the administrator, ``true`` ones (custom resources) always follow their definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kcore import errors
from kcore.api.kinds import Kind
from kcore.client import Client
from kcore.objects import Object
from kcore.objects.resources import APISERVICES

LABEL = "kube-aggregator.kubernetes.io/automanaged"
GROUP = "apiregistration.k8s.io"
FIRST = 20000
"""The priority of the one group that is no APIService: theirs."""
_CUSTOM = (1000, 100)
_UNKNOWN = (100, 100)

# Group priorities, and version priorities where they are not 15 (upstream's table).
_GROUPS = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "admissionregistration.k8s.io": 16700,
    "apiextensions.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "resource.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "internal.apiserver.k8s.io": 16000,
    "storagemigration.k8s.io": 15800,
}
_VERSIONS = {("", "v1"): 1, ("autoscaling", "v2"): 30, ("flowcontrol.apiserver.k8s.io", "v1"): 21}


def name_of(group: str, version: str) -> str:
    return f"{version}.{group}"


def _desired(group: str, version: str, priorities: tuple[int, int], label: str) -> Object:
    spec: Object = {"groupPriorityMinimum": priorities[0], "version": version, "versionPriority": priorities[1]}
    if group:
        spec["group"] = group
    return {
        "apiVersion": APISERVICES.api_version,
        "kind": APISERVICES.kind,
        "metadata": {"name": name_of(group, version), "labels": {LABEL: label}},
        "spec": spec,
    }


def built_in(kinds: Iterable[Kind], custom: set[str]) -> Iterator[Object]:
    """The APIServices of the groups of `kinds` that are not in `custom`."""
    seen = set()
    for kind in kinds:
        key = (kind.group, kind.version)
        if key in seen or kind.group == GROUP or kind.group in custom:
            continue
        seen.add(key)
        version = _VERSIONS.get(key, 15 if "beta" not in kind.version and "alpha" not in kind.version else 9)
        priority = (_GROUPS[kind.group], version) if kind.group in _GROUPS else _UNKNOWN
        yield _desired(kind.group, kind.version, priority, "onstart")


def custom(definitions: Iterable[Object]) -> dict[str, Object]:
    """The APIServices of CustomResourceDefinitions, by name."""
    out = {}
    for definition in definitions:
        spec = definition["spec"]
        for version in spec.get("versions") or ():
            if version.get("served") and not definition["metadata"].get("deletionTimestamp"):
                out[name_of(spec["group"], version["name"])] = _desired(
                    spec["group"], version["name"], _CUSTOM, "true"
                )
    return out


async def put(client: Client, wanted: Object, found: Object | None) -> None:
    """Create or put right one of our own. Raises ApiError.

    Without the label it is somebody else's; a built-in group's may have become another server's.
    """
    if found is None:
        try:
            await client.create(APISERVICES, wanted)
        except errors.AlreadyExists:
            pass  # somebody was quicker: the next event shows what it is
        return
    label = (found["metadata"].get("labels") or {}).get(LABEL)
    spec = found["spec"]
    if label is None or (label != "true" and spec.get("service")):
        return
    if {k: v for k, v in spec.items() if v} == wanted["spec"]:
        return
    await client.update(APISERVICES, {**found, "spec": wanted["spec"]})


async def drop(client: Client, found: Object) -> None:
    """Delete one that follows a definition which is gone."""
    meta = found["metadata"]
    try:
        await client.delete(APISERVICES, meta["name"], uid=meta["uid"])
    except (errors.NotFound, errors.Conflict):
        pass
