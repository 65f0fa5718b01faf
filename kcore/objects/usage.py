"""What objects use of the resources that a quota counts (the names are those of the ResourceQuota documentation).

Admission books by it what a new object will use; the controller counts by it what there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from decimal import Decimal

from kcore.objects import Object, quantity

_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def add(used: dict[str, Decimal], more: Mapping[str, Decimal]) -> None:
    """Only what the quota asks for."""
    for name, amount in more.items():
        if name in used:
            used[name] += amount


def of_pod(pod: Object) -> dict[str, Decimal]:
    out = {"pods": Decimal(1), "count/pods": Decimal(1)}
    for name, amount in _total(pod, "requests").items():
        out[f"requests.{name}"] = amount
        if name in _COMPUTE:
            out[name] = amount
    for name, amount in _total(pod, "limits").items():
        out[f"limits.{name}"] = amount
    return out


def _total(pod: Object, what: str) -> dict[str, Decimal]:
    """The sum of the containers, or one init container if that is more; sidecars run beside both."""
    spec = pod["spec"]
    total: Counter[str] = Counter()
    most: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or ():
        amounts = _amounts(container, what)
        if container.get("restartPolicy") == "Always":
            _plus(total, amounts)
        else:
            for name, amount in amounts.items():
                most[name] = max(most.get(name, Decimal(0)), amount + total[name])
    for container in spec.get("containers") or ():
        _plus(total, _amounts(container, what))
    out = {name: max(Decimal(total[name]), most.get(name, Decimal(0))) for name in {*total, *most}}
    for name, amount in (spec.get("overhead") or {}).items():
        out[name] = out.get(name, Decimal(0)) + quantity.parse(amount)
    return out


def _plus(total: Counter[str], amounts: dict[str, Decimal]) -> None:
    for name, amount in amounts.items():
        total[name] += amount  # type: ignore[assignment]  # a Counter of Decimals


def _amounts(container: Object, what: str) -> dict[str, Decimal]:
    return {n: quantity.parse(a) for n, a in ((container.get("resources") or {}).get(what) or {}).items()}


def of_object(resource: str, obj: Object) -> dict[str, Decimal]:
    one = Decimal(1)
    out = {resource: one, f"count/{resource}": one}
    if resource == "services":
        type = obj["spec"].get("type", "ClusterIP")
        if type == "LoadBalancer":
            out["services.loadbalancers"] = one
        if type in ("LoadBalancer", "NodePort"):
            out["services.nodeports"] = Decimal(len(obj["spec"].get("ports") or ()))
    elif resource == "persistentvolumeclaims":
        requests = (obj["spec"].get("resources") or {}).get("requests") or {}
        storage = quantity.parse(requests.get("storage", "0"))
        out["requests.storage"] = storage
        if name := obj["spec"].get("storageClassName"):
            out[f"{name}.storageclass.storage.k8s.io/requests.storage"] = storage
            out[f"{name}.storageclass.storage.k8s.io/persistentvolumeclaims"] = one
    return out


def text(name: str, amount: Decimal) -> str:
    """The canonical quantity: CPU in decimal units, bytes in binary ones."""
    if "cpu" in name:
        return quantity.format_milli(int(amount * 1000))
    if any(word in name for word in ("memory", "storage", "hugepages")) and amount == amount.to_integral_value():
        return quantity.format_binary(int(amount))
    return str(int(amount))


# --- scopes ---


def in_scope(quota: Object, obj: Object, resource: str = "pods") -> bool:
    """Whether a quota with scopes counts this object. Scopes are about pods, and one about claims."""
    return all(matches(s["scopeName"], s["operator"], s.get("values") or (), obj, resource) for s in scopes(quota))


def scopes(quota: Object) -> list[Object]:
    """The scopes of a quota in the form of a selector."""
    spec = quota["spec"]
    plain = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    return plain + list((spec.get("scopeSelector") or {}).get("matchExpressions") or ())


def matches(scope: str, operator: str, values: Collection[str], obj: Object, resource: str = "pods") -> bool:
    """Whether an object is in a scope."""
    spec = obj.get("spec") or {}
    if scope == "VolumeAttributesClass":
        return resource == "persistentvolumeclaims" and _matches_class(obj, operator, values)
    if resource != "pods":
        return False
    if scope in ("Terminating", "NotTerminating"):
        return (spec.get("activeDeadlineSeconds") is not None) == (scope == "Terminating")
    if scope in ("BestEffort", "NotBestEffort"):
        return (not _total(obj, "requests") and not _total(obj, "limits")) == (scope == "BestEffort")
    if scope == "CrossNamespacePodAffinity":
        return any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in _affinity_terms(spec))
    return _matches_name(spec.get("priorityClassName") or "", operator, values)


def _matches_name(name: str, operator: str, values: Collection[str]) -> bool:
    if operator == "Exists":
        return bool(name)
    if operator == "DoesNotExist":
        return not name
    return (name in values) == (operator == "In")


def _matches_class(claim: Object, operator: str, values: Collection[str]) -> bool:
    """A claim is of the class that it asks for, of the one that it has, and of the one that it is changed to."""
    status = claim.get("status") or {}
    changing = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    named = (claim["spec"].get("volumeAttributesClassName"), status.get("currentVolumeAttributesClassName"), changing)
    names = {n for n in named if n} or {""}
    if operator in ("Exists", "In"):
        return any(_matches_name(n, operator, values) for n in names)
    return all(_matches_name(n, operator, values) for n in names)


def _affinity_terms(spec: Object) -> list[Object]:
    terms: list[Object] = []
    for kind in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(kind) or {}
        terms += affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [p["podAffinityTerm"] for p in preferred]
    return terms
