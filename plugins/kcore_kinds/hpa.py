"""HorizontalPodAutoscalers between v1 and v2.

v1 knows the target of the CPU alone. What else a v2 object says goes into annotations as JSON when it is read as v1,
and comes back from there. Objects are stored as v2.
"""

from __future__ import annotations

from typing import Any

import msgspec

Object = dict[str, Any]

_PREFIX = "autoscaling.alpha.kubernetes.io/"
METRICS, CURRENT, CONDITIONS, BEHAVIOR = (
    _PREFIX + name for name in ("metrics", "current-metrics", "conditions", "behavior")
)


def to_v2(hpa: Object) -> Object:
    """A v1 object as v2."""
    meta, noted = _without_annotations(hpa["metadata"])
    spec, status = dict(hpa.get("spec") or {}), dict(hpa.get("status") or {})
    metrics = [_metric_to_v2(m, "target") for m in noted.get(METRICS, [])]
    cpu = spec.pop("targetCPUUtilizationPercentage", None)
    if cpu is not None:
        metrics.append(_cpu("target", {"type": "Utilization", "averageUtilization": cpu}))
    if metrics:
        spec["metrics"] = metrics
    if BEHAVIOR in noted:
        spec["behavior"] = _renamed(noted[BEHAVIOR], _lower)
    current = [_metric_to_v2(m, "current") for m in noted.get(CURRENT, [])]
    used = status.pop("currentCPUUtilizationPercentage", None)
    if used is not None:
        current.append(_cpu("current", {"averageUtilization": used}))
    if current:
        status["currentMetrics"] = current
    if CONDITIONS in noted:
        status["conditions"] = noted[CONDITIONS]
    return {**hpa, "apiVersion": "autoscaling/v2", "metadata": meta, "spec": spec, "status": status}


def to_v1(hpa: Object) -> Object:
    """A v2 object as v1."""
    spec, status = dict(hpa.get("spec") or {}), dict(hpa.get("status") or {})
    notes: Object = {}
    rest = []
    for metric in spec.pop("metrics", None) or ():
        target = (metric.get("resource") or {}).get("target") or {}
        if (metric.get("resource") or {}).get("name") == "cpu" and target.get("averageUtilization") is not None:
            spec["targetCPUUtilizationPercentage"] = target["averageUtilization"]
        else:
            rest.append(_metric_to_v1(metric, "target"))
    if rest:
        notes[METRICS] = rest
    behavior = spec.pop("behavior", None)
    if behavior:
        notes[BEHAVIOR] = _renamed(behavior, _upper)
    rest = []
    for metric in status.pop("currentMetrics", None) or ():
        used = (metric.get("resource") or {}).get("current") or {}
        if (metric.get("resource") or {}).get("name") == "cpu" and used.get("averageUtilization") is not None:
            status["currentCPUUtilizationPercentage"] = used["averageUtilization"]
        rest.append(_metric_to_v1(metric, "current"))
    if rest:
        notes[CURRENT] = rest
    conditions = status.pop("conditions", None)
    if conditions:
        notes[CONDITIONS] = conditions
    status.setdefault("currentReplicas", 0)
    meta = dict(hpa["metadata"])
    if notes:
        texts = {name: msgspec.json.encode(value).decode() for name, value in notes.items()}
        meta["annotations"] = {**(meta.get("annotations") or {}), **texts}
    return {**hpa, "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}


def _without_annotations(meta: Object) -> tuple[Object, Object]:
    """The metadata without the annotations of this conversion, and what they said. Bad JSON is ignored."""
    noted: Object = {}
    kept = dict(meta.get("annotations") or {})
    for name in (METRICS, CURRENT, CONDITIONS, BEHAVIOR):
        text = kept.pop(name, None)
        if text is not None:
            try:
                noted[name] = msgspec.json.decode(text)
            except msgspec.DecodeError:
                continue
    meta = {k: v for k, v in meta.items() if k != "annotations"}
    if kept:
        meta["annotations"] = kept
    return meta, noted


def _cpu(role: str, value: Object) -> Object:
    return {"type": "Resource", "resource": {"name": "cpu", role: value}}


# How v1's annotations call what v2 has under "target" or "current", and under "metric".
_VALUES = {
    "averageUtilization": "{}AverageUtilization",
    "averageValue": "{}AverageValue",
    "value": "{}Value",
}


def _source(metric: Object) -> str:
    kind = str(metric.get("type", "Resource"))
    return kind[0].lower() + kind[1:]


def _metric_to_v1(metric: Object, role: str) -> Object:
    source = _source(metric)
    inner = dict(metric.get(source) or {})
    values = inner.pop(role, None) or {}
    named = inner.pop("metric", None) or {}
    if "name" in named:
        inner["metricName"] = named["name"]
    if named.get("selector"):
        inner["metricSelector" if source == "external" else "selector"] = named["selector"]
    if source == "object":
        inner["target"] = inner.pop("describedObject", {})
        if "averageValue" in values:
            inner["averageValue"] = values["averageValue"]
            values = {k: v for k, v in values.items() if k != "averageValue"}
    for name, pattern in _VALUES.items():
        if name in values:
            inner[pattern.format(role)] = values[name]
    return {"type": metric.get("type", ""), source: inner}


def _metric_to_v2(metric: Object, role: str) -> Object:
    source = _source(metric)
    inner = dict(metric.get(source) or {})
    values: Object = {}
    for name, pattern in _VALUES.items():
        if pattern.format(role) in inner:
            values[name] = inner.pop(pattern.format(role))
    if source == "object":
        inner["describedObject"] = inner.pop("target", {})
        if "averageValue" in inner:
            values["averageValue"] = inner.pop("averageValue")
    if role == "target":
        kinds = {"averageUtilization": "Utilization", "averageValue": "AverageValue", "value": "Value"}
        values = {"type": next((kinds[n] for n in kinds if n in values), "Value"), **values}
    named = {}
    if "metricName" in inner:
        named["name"] = inner.pop("metricName")
    for name in ("selector", "metricSelector"):
        if name in inner:
            named["selector"] = inner.pop(name)
    if named:
        inner["metric"] = named
    inner[role] = values
    return {"type": metric.get("type", ""), source: inner}


_RULES = ("StabilizationWindowSeconds", "SelectPolicy", "Policies", "Tolerance")
_POLICY = ("Type", "Value", "PeriodSeconds")


def _upper(name: str) -> str:
    return name[0].upper() + name[1:]


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _renamed(behavior: Object, case: Any) -> Object:
    """The behavior with its names in the other case; the annotation writes what is missing as null."""
    out: Object = {}
    for direction in ("ScaleUp", "ScaleDown"):
        rules = behavior.get(_upper(direction)) or behavior.get(_lower(direction))
        if not rules:
            if case is _upper:
                out[direction] = None
            continue
        inner: Object = {}
        for name in _RULES:
            value = rules.get(name, rules.get(_lower(name)))
            if name == "Policies" and value is not None:
                value = [{case(p): v.get(p, v.get(_lower(p))) for p in _POLICY} for v in value]
            if value is not None or case is _upper:
                inner[case(name)] = value
        out[case(direction)] = inner
    return out
