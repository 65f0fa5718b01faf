"""Where the pods of a namespace may run: node selectors, tolerations and affinity that an administrator prescribes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from kcore import errors
from kcore.api.admission import AdmissionRequest
from kcore.objects import Object
from kcore.objects.qos import qos_class
from kcore.objects.resources import NAMESPACES
from kcore.registry import Context
from kcore_admission.base import Plugin, forbidden
from kcore_admission.config import NodeSelectorConfig, TolerationsConfig

NODE_SELECTOR = "scheduler.alpha.kubernetes.io/node-selector"
DEFAULT_TOLERATIONS = "scheduler.alpha.kubernetes.io/defaultTolerations"
ALLOWED_TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
MEMORY_PRESSURE = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
HOSTNAME = "kubernetes.io/hostname"


def _is_pod(request: AdmissionRequest, *operations: str) -> bool:
    return request.kind.resource == "pods" and not request.subresource and request.operation in operations


async def _annotations(plugin: Plugin, request: AdmissionRequest) -> dict[str, str]:
    namespace = await plugin.seen["namespaces"].get(request.namespace)
    if namespace is None:
        raise errors.not_found("namespaces", request.namespace)
    return namespace["metadata"].get("annotations") or {}


class PodNodeSelector(Plugin):
    """The annotation of a namespace is a node selector that its pods all get."""

    name = "PodNodeSelector"
    looks_at = (NAMESPACES,)

    def __init__(self, context: Context, config: NodeSelectorConfig):
        super().__init__(context)
        self._default = _labels(config.cluster_default)
        self._allowed = {name: _labels(text) for name, text in config.namespaces.items()}

    def handles(self, request: AdmissionRequest) -> bool:
        return _is_pod(request, "CREATE")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        wanted = await self._of_namespace(request)
        given = request.obj["spec"].get("nodeSelector") or {}
        if any(given.get(key, value) != value for key, value in wanted.items()):
            raise forbidden(request, "pod node label selector conflicts with its namespace node label selector")
        if wanted:
            request.obj["spec"]["nodeSelector"] = {**given, **wanted}

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        await self.admit(request)
        allowed = self._allowed.get(request.namespace)
        given = request.obj["spec"].get("nodeSelector") or {}
        if allowed and any(allowed.get(key, value) != value for key, value in given.items()):
            raise forbidden(request, "pod node label selector labels conflict with its namespace whitelist")

    async def _of_namespace(self, request: AdmissionRequest) -> dict[str, str]:
        text = (await _annotations(self, request)).get(NODE_SELECTOR)
        return self._default if text is None else _labels(text)


def _labels(text: str) -> dict[str, str]:
    """``a=b,c=d``."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}


class PodTolerationRestriction(Plugin):
    """Annotations of a namespace give its pods tolerations and say which ones they may have."""

    name = "PodTolerationRestriction"
    looks_at = (NAMESPACES,)

    def __init__(self, context: Context, config: TolerationsConfig):
        super().__init__(context)
        self._default, self._allowed = config.default, config.allowed

    def handles(self, request: AdmissionRequest) -> bool:
        return _is_pod(request, "CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec = request.obj["spec"]
        given: list[Object] = list(spec.get("tolerations") or ())
        if request.operation == "CREATE":
            notes = await _annotations(self, request)
            given = _merged(_tolerations(request, notes, DEFAULT_TOLERATIONS, self._default), given)
        if qos_class(spec) != "BestEffort":
            given = _merged(given, [dict(MEMORY_PRESSURE)])
        if given:
            spec["tolerations"] = given

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        given = request.obj["spec"].get("tolerations") or []
        allowed = _tolerations(request, await _annotations(self, request), ALLOWED_TOLERATIONS, self._allowed)
        if allowed and not all(any(_covers(a, t) for a in allowed) for t in given):
            why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace "
            raise forbidden(request, f"{why}whitelist")


def _tolerations(
    request: AdmissionRequest, notes: dict[str, str], name: str, default: list[dict[str, Any]]
) -> list[Object]:
    if name not in notes:
        return [dict(t) for t in default]
    if not notes[name]:
        return []
    try:
        return msgspec.json.decode(notes[name], type=list[dict[str, Any]])
    except msgspec.MsgspecError as error:
        raise forbidden(request, str(error)) from None


def _merged(first: list[Object], second: list[Object]) -> list[Object]:
    """All of both, without those that another one covers."""
    every = [*first, *second]
    kept: list[Object] = []
    for i, one in enumerate(every):
        others = [*kept, *every[i + 1 :]]
        if not any(_covers(other, one) for other in others):
            kept.append(one)
    return kept


def _covers(wide: Object, narrow: Object) -> bool:
    """Every taint that `narrow` tolerates is tolerated by `wide`, for as long at least."""
    if wide == narrow:
        return True
    by_key = wide.get("key") or ""
    if wide.get("operator") != "Exists" and not by_key:
        return False
    if by_key and by_key != (narrow.get("key") or ""):
        return False
    if wide.get("effect") and wide["effect"] != (narrow.get("effect") or ""):
        return False
    if wide.get("effect") == "NoExecute" and wide.get("tolerationSeconds") is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or seconds > wide["tolerationSeconds"]:
            return False
    if wide.get("operator") == "Exists":
        return True
    return narrow.get("operator") != "Exists" and (wide.get("value") or "") == (narrow.get("value") or "")


class ExtendedResourceToleration(Plugin):
    """Nodes with special resources may be tainted by the resources' names: who asks for them may run there."""

    name = "ExtendedResourceToleration"

    def handles(self, request: AdmissionRequest) -> bool:
        return _is_pod(request, "CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        spec = request.obj["spec"]
        given: list[Object] = spec.get("tolerations") or []
        wanted = [{"key": name, "operator": "Exists", "effect": "NoSchedule"} for name in sorted(_extended(spec))]
        added = [t for t in wanted if t not in given]
        if added:
            spec["tolerations"] = [*given, *added]


def _extended(spec: Object) -> set[str]:
    found: set[str] = set()
    for sort in ("containers", "initContainers"):
        for container in spec.get(sort) or ():
            found |= set((container.get("resources") or {}).get("requests") or ())
    return {n for n in found if "/" in n and "kubernetes.io/" not in n and not n.startswith("requests.")}


class LimitPodHardAntiAffinityTopology(Plugin):
    """Nobody keeps a whole zone to himself by anti-affinity."""

    name = "LimitPodHardAntiAffinityTopology"

    def handles(self, request: AdmissionRequest) -> bool:
        return _is_pod(request, "CREATE", "UPDATE")

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.obj is not None
        for term in _hard_terms(request.obj["spec"]):
            key = term.get("topologyKey", "")
            if key != HOSTNAME:
                why = (
                    f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} "
                )
                raise forbidden(request, f"{why}is allowed")


def _hard_terms(spec: Object) -> Iterator[Object]:
    anti = (spec.get("affinity") or {}).get("podAntiAffinity") or {}
    yield from anti.get("requiredDuringSchedulingIgnoredDuringExecution") or ()


class PodTopologyLabels(Plugin):
    """A pod that is bound to a node gets the node's zone and region as labels, for the downward API to show."""

    name = "PodTopologyLabels"
    keys = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")

    def handles(self, request: AdmissionRequest) -> bool:
        if request.operation != "CREATE":
            return False
        return request.kind.resource == "bindings" or is_create_binding(request)

    async def admit(self, request: AdmissionRequest) -> None:
        from kcore.objects.resources import NODES

        assert request.obj is not None
        target = request.obj.get("target") or {}
        if target.get("kind", "Node") not in ("", "Node") or not target.get("name"):
            return
        try:
            node = await self.context.client().get(NODES, target["name"])
        except errors.NotFound:
            return
        labels = node["metadata"].get("labels") or {}
        found = {key: labels[key] for key in self.keys if key in labels}
        if found:
            meta = request.obj.setdefault("metadata", {})
            meta["labels"] = {**(meta.get("labels") or {}), **found}


def is_create_binding(request: AdmissionRequest) -> bool:
    return request.kind.resource == "pods" and request.subresource == "binding"
