"""LimitRanger: requests and limits that a namespace's LimitRanges give and bound.

https://kubernetes.io/docs/concepts/policy/limit-range/
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from kcore.api.admission import AdmissionRequest
from kcore.objects import Object, quantity
from kcore.objects.qos import qos_class
from kcore.objects.resources import LIMITRANGES
from kcore_admission.base import Plugin, forbidden, is_create

ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger(Plugin):
    name = "LimitRanger"
    looks_at = (LIMITRANGES,)

    def handles(self, request: AdmissionRequest) -> bool:
        if is_create(request, "pods", "persistentvolumeclaims"):
            return True
        return request.operation == "UPDATE" and not request.subresource and _is_claim(request)

    async def admit(self, request: AdmissionRequest) -> None:
        if _is_claim(request):
            return
        pod = request.obj
        assert pod is not None
        items = await self._items(request, "Container")
        limits: Object = {}
        requests: Object = {}
        for item in items:
            limits.update(item.get("default") or {})
            requests.update(item.get("defaultRequest") or {})
        if limits or requests:
            _give(pod, requests, limits)

    async def validate(self, request: AdmissionRequest) -> None:
        obj = request.obj
        assert obj is not None
        problems: list[str] = []
        if _is_claim(request):
            for item in await self._items(request, "PersistentVolumeClaim"):
                problems += _check_claim(item, (obj["spec"].get("resources") or {}).get("requests") or {})
        else:
            for item in await self._items(request, "Container"):
                for _, container in _containers(obj["spec"]):
                    problems += _check(item, "Container", container.get("resources") or {})
            for item in await self._items(request, "Pod"):
                problems += _check(item, "Pod", _pod_resources(obj["spec"]))
        if problems:
            text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise forbidden(request, text)

    async def _items(self, request: AdmissionRequest, type: str) -> list[Object]:
        ranges = await self.seen["limitranges"].all(request.namespace)
        return [i for r in ranges for i in (r.get("spec") or {}).get("limits") or () if i.get("type") == type]


def _is_claim(request: AdmissionRequest) -> bool:
    return request.kind.resource == "persistentvolumeclaims"


def _containers(spec: Object) -> Iterator[tuple[str, Object]]:
    for container in spec.get("containers") or ():
        yield "container", container
    for container in spec.get("initContainers") or ():
        yield "init container", container


def _give(pod: Object, requests: Object, limits: Object) -> None:
    """Set what containers leave open, and note it on the pod."""
    notes = []
    for sort, container in _containers(pod["spec"]):
        resources = container["resources"] = dict(container.get("resources") or {})
        for what, defaults in (("requests", requests), ("limits", limits)):
            given = dict(resources.get(what) or {})
            missing = sorted(defaults.keys() - given.keys())
            if missing:
                resources[what] = given | {name: defaults[name] for name in missing}
                notes.append(f"{', '.join(missing)} {what[:-1]} for {sort} {container.get('name', '')}")
    if notes:
        annotations = pod["metadata"]["annotations"] = dict(pod["metadata"].get("annotations") or {})
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(notes)
        if pod.get("status"):
            pod["status"]["qosClass"] = qos_class(pod["spec"])


def _pod_resources(spec: Object) -> Object:
    """What a pod's containers need together: the sum of those that run at once, or the largest init container."""
    out: Object = {}
    for what in ("requests", "limits"):
        total: dict[str, Decimal] = {}
        for sort, container in _containers(spec):
            for name, amount in ((container.get("resources") or {}).get(what) or {}).items():
                value = quantity.parse(amount)
                if sort == "container" or container.get("restartPolicy") == "Always":
                    total[name] = total.get(name, Decimal(0)) + value
                else:
                    total[name] = max(total.get(name, Decimal(0)), value)
        # in bytes they read as the LimitRange writes them
        out[what] = {n: _text(n, v) for n, v in total.items()}
    return out


def _text(name: str, value: Decimal) -> str:
    if name == "cpu":
        return quantity.canonical(str(value))
    return quantity.format_binary(int(value))


def _check(item: Object, type: str, resources: Object) -> Iterator[str]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, bound in sorted((item.get("min") or {}).items()):
        if name not in requests:
            yield f"minimum {name} usage per {type} is {bound}.  No request is specified"
        elif quantity.parse(requests[name]) < quantity.parse(bound):
            yield f"minimum {name} usage per {type} is {bound}, but request is {requests[name]}"
        elif name in limits and quantity.parse(limits[name]) < quantity.parse(bound):
            yield f"minimum {name} usage per {type} is {bound}, but limit is {limits[name]}"
    for name, bound in sorted((item.get("max") or {}).items()):
        if name not in limits:
            yield f"maximum {name} usage per {type} is {bound}.  No limit is specified"
        elif quantity.parse(limits[name]) > quantity.parse(bound):
            yield f"maximum {name} usage per {type} is {bound}, but limit is {limits[name]}"
        elif name in requests and quantity.parse(requests[name]) > quantity.parse(bound):
            yield f"maximum {name} usage per {type} is {bound}, but request is {requests[name]}"
    for name, bound in sorted((item.get("maxLimitRequestRatio") or {}).items()):
        start = f"{name} max limit to request ratio per {type} is {bound}, but"
        request, limit = quantity.parse(requests.get(name, 0)), quantity.parse(limits.get(name, 0))
        if not request:
            yield f"{start} no request is specified or request is 0"
        elif not limit:
            yield f"{start} no limit is specified or limit is 0"
        elif limit / request > quantity.parse(bound):
            yield f"{start} provided ratio is {float(limit / request):.6f}"


def _check_claim(item: Object, requests: Object) -> Iterator[str]:
    type = "PersistentVolumeClaim"
    for word, bounds, wrong in (("minimum", item.get("min"), -1), ("maximum", item.get("max"), 1)):
        for name, bound in sorted((bounds or {}).items()):
            if name not in requests:
                yield f"{word} {name} usage per {type} is {bound}.  No request is specified"
            elif quantity.parse(requests[name]).compare(quantity.parse(bound)) == wrong:
                yield f"{word} {name} usage per {type} is {bound}, but request is {requests[name]}"
