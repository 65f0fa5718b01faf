"""The rules of autoscalers, disruption budgets and priorities."""

from __future__ import annotations

from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, not_negative, one_of, problems

METRICS = ["ContainerResource", "External", "Object", "Pods", "Resource"]
MAX_USER_PRIORITY = 1_000_000_000
SYSTEM = {"system-node-critical": 2000001000, "system-cluster-critical": 2000000000}


def autoscaler_v1(obj: Object, old: Object | None) -> Iterator[Cause]:
    yield from _scaling(obj["spec"])
    percent = obj["spec"].get("targetCPUUtilizationPercentage")
    if percent is not None and percent < 1:
        path = "spec.metrics[0].resource.target.averageUtilization"
        yield fields.invalid(path, percent, "must be greater than 0")


def autoscaler(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    yield from _scaling(spec)
    for i, metric in enumerate(spec.get("metrics") or ()):
        yield from _metric(f"spec.metrics[{i}]", metric)
    for name in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(name)
        if rules is not None:
            yield from _rules(f"spec.behavior.{name}", rules)


def _scaling(spec: Object) -> Iterator[Cause]:
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        yield fields.invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        yield fields.invalid("spec.maxReplicas", most, "must be greater than 0")
    if least is not None and most < least:
        yield fields.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    yield from _target("spec.scaleTargetRef", spec.get("scaleTargetRef") or {})


def _target(path: str, ref: Object) -> Iterator[Cause]:
    for name in ("kind", "name"):
        if not ref.get(name):
            yield fields.required(f"{path}.{name}")
        else:
            yield from problems(f"{path}.{name}", ref[name], names.path_segment(ref[name]))
    version = ref.get("apiVersion", "")
    if "/" not in version and ref.get("kind") != "ReplicationController":
        yield fields.invalid(f"{path}.apiVersion", version, "apiVersion must specify API group")


def _metric(path: str, metric: Object) -> Iterator[Cause]:
    type = metric.get("type")
    if not type:
        yield fields.required(f"{path}.type", "must specify a metric source type")
        return
    if type not in METRICS:
        yield fields.not_supported(f"{path}.type", type, METRICS)
        yield fields.not_supported(f"{path}.type", type, METRICS)
        return
    source = type[0].lower() + type[1:]
    inner = metric.get(source)
    if inner is None:
        yield fields.required(f"{path}.{source}", "must populate information for the given metric source")
        return
    target, at = inner.get("target") or {}, f"{path}.{source}.target"
    if source in ("resource", "containerResource") and not inner.get("name"):
        yield fields.required(f"{path}.{source}.name", "must specify a resource name")
    if source == "containerResource" and not inner.get("container"):
        yield fields.required(f"{path}.{source}.container", "must specify a container")
    if source in ("pods", "object", "external") and not (inner.get("metric") or {}).get("name"):
        yield fields.required(f"{path}.{source}.metric.name", "must specify a metric name")
    if not target.get("type"):
        yield fields.required(f"{at}.type", "must specify a metric target type")
    else:
        choices = ["AverageValue", "Utilization", "Value"]
        if target["type"] not in choices:
            yield fields.invalid(f"{at}.type", target["type"], "must be either Utilization, Value, or AverageValue")
    used = target.get("averageUtilization")
    if used is not None and used < 1:
        yield fields.invalid(f"{at}.averageUtilization", used, "must be greater than 0")


def _rules(path: str, rules: Object) -> Iterator[Cause]:
    window = rules.get("stabilizationWindowSeconds")
    yield from not_negative(f"{path}.stabilizationWindowSeconds", window)
    if window is not None and window > 3600:
        yield fields.invalid(f"{path}.stabilizationWindowSeconds", window, "must be less than or equal to 3600")
    yield from one_of(f"{path}.selectPolicy", rules.get("selectPolicy"), ["Disabled", "Max", "Min"])
    policies = rules.get("policies") or []
    if not policies:
        yield fields.required(f"{path}.policies", "must specify at least one Policy")
    for i, policy in enumerate(policies):
        at = f"{path}.policies[{i}]"
        yield from one_of(f"{at}.type", policy.get("type"), ["Percent", "Pods"])
        if policy.get("value", 0) <= 0:
            yield fields.invalid(f"{at}.value", policy.get("value", 0), "must be greater than zero")
        seconds = policy.get("periodSeconds", 0)
        if seconds <= 0:
            yield fields.invalid(f"{at}.periodSeconds", seconds, "must be greater than zero")
        elif seconds > 1800:
            yield fields.invalid(f"{at}.periodSeconds", seconds, "must be less than or equal to 1800")


def disruption_budget(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        internal = {
            "MinAvailable": least,
            "Selector": spec.get("selector"),
            "MaxUnavailable": most,
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        }
        yield fields.invalid("spec", internal, "minAvailable and maxUnavailable cannot be both set")
    yield from common.count_or_percent("spec.minAvailable", least)
    yield from common.count_or_percent("spec.maxUnavailable", most)
    policy = spec.get("unhealthyPodEvictionPolicy")
    yield from one_of("spec.unhealthyPodEvictionPolicy", policy, ["AlwaysAllow", "IfHealthyBudget"])
    yield from common.label_selector("spec.selector", spec.get("selector"))


def priority_class(obj: Object, old: Object | None) -> Iterator[Cause]:
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith("system-"):
        if SYSTEM.get(name) != value:
            why = "priority class names with 'system-' prefix are reserved for system use only. error: "
            what = f"{name} is not a known system priority class"
            if name in SYSTEM:
                what = f"value of {name} PriorityClass must be {SYSTEM[name]}"
            yield fields.forbidden("metadata.name", why + what)
    elif value > MAX_USER_PRIORITY:
        why = f"maximum allowed value of a user defined priority is {MAX_USER_PRIORITY}"
        yield fields.forbidden("value", why)
    yield from one_of("preemptionPolicy", obj.get("preemptionPolicy"), ["Never", "PreemptLowerPriority"])
    if old is not None:
        if value != old.get("value", 0):
            yield fields.forbidden("value", "may not be changed in an update.")
        policy = obj.get("preemptionPolicy")
        yield from common.immutable("preemptionPolicy", policy, old.get("preemptionPolicy"))
