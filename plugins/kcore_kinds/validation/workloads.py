"""The rules of workloads: a selector that finds the template's pods, and what may change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kcore.api import fields
from kcore.errors import Cause
from kcore.objects import meta
from kcore_kinds.validation import common, pods
from kcore_kinds.validation.common import Object, immutable, not_negative

_STATEFUL_UPDATE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_BOTH_ZERO = "may not be 0 when `maxSurge` is 0"


def selector_and_template(spec: Object, *, empty: str, claims: Iterable[str] = ()) -> Iterator[Cause]:
    """`empty` is what to say of a selector that would match every pod; `claims` name volumes that each pod gets."""
    selector = spec.get("selector")
    if selector is None:
        yield fields.required("spec.selector")
    else:
        yield from common.label_selector("spec.selector", selector)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield fields.invalid("spec.selector", selector, empty)
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    if common.selector_valid(selector) and not common.matches(selector, labels):
        why = "`selector` does not match template `labels`"
        yield fields.invalid("spec.template.metadata.labels", labels, why)
    yield from pods.template("spec.template", template, claims)


def always_restarts(template: Object, path: str = "spec.template") -> Iterator[Cause]:
    spec = template.get("spec") or {}
    policy = spec.get("restartPolicy", "Always")
    if policy != "Always":
        yield fields.not_supported(f"{path}.spec.restartPolicy", policy, ["Always"])
    if spec.get("activeDeadlineSeconds") is not None:
        yield fields.forbidden(
            f"{path}.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported"
        )


def _empty(kind: str) -> str:
    return f"empty selector is invalid for {kind}"


def _common(obj: Object, kind: str) -> Iterator[Cause]:
    spec = obj["spec"]
    yield from not_negative("spec.replicas", spec.get("replicas"))
    yield from not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from selector_and_template(spec, empty=_empty(kind))
    yield from always_restarts(spec.get("template") or {})


def replica_set(obj: Object, old: Object | None) -> Iterator[Cause]:
    yield from _common(obj, "deployment")  # upstream says so
    if old is not None:
        yield from immutable("spec.selector", obj["spec"].get("selector"), old["spec"].get("selector"))


def replication_controller(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    yield from not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    selector = spec.get("selector") or {}
    if not selector:
        yield fields.required("spec.selector")
    yield from not_negative("spec.replicas", spec.get("replicas"))
    template = spec.get("template")
    if template is None:
        yield fields.required("spec.template")
        return
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector and not selector.items() <= labels.items():
        yield fields.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from pods.template("spec.template", template)
    yield from always_restarts(template)


def deployment(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    yield from not_negative("spec.replicas", spec.get("replicas"))
    yield from selector_and_template(spec, empty=_empty("deployment"))
    yield from always_restarts(spec.get("template") or {})
    yield from _strategy("spec.strategy", spec.get("strategy") or {})
    yield from not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        yield from not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= spec.get("minReadySeconds", 0):
            why = "must be greater than minReadySeconds"
            yield fields.invalid("spec.progressDeadlineSeconds", deadline, why)
    if old is not None:
        yield from immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))


def _strategy(path: str, strategy: Object) -> Iterator[Cause]:
    type, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if type == "Recreate":
        if rolling is not None:
            yield fields.forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif type == "RollingUpdate":
        if rolling is None:
            yield fields.required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")
        else:
            yield from _rolling(f"{path}.rollingUpdate", rolling)
    else:
        yield fields.not_supported(f"{path}.type", type, ["Recreate", "RollingUpdate"])


def _rolling(path: str, rolling: Object) -> Iterator[Cause]:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    yield from common.count_or_percent(f"{path}.maxUnavailable", unavailable)
    if isinstance(surge, str) and surge.rstrip("%").isdigit():
        pass  # more than all of them at once is allowed
    else:
        yield from common.count_or_percent(f"{path}.maxSurge", surge)
    if _zero(unavailable) and _zero(surge):
        yield fields.invalid(f"{path}.maxUnavailable", unavailable, _BOTH_ZERO)


def _zero(value: Any) -> bool:
    return value in (None, 0, "0", "0%")


def deployment_status(obj: Object, old: Object) -> Iterator[Cause]:
    status = obj.get("status") or {}
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
    for name in ("observedGeneration", *names):
        yield from not_negative(f"status.{name}", status.get(name))
    yield from _not_above(status, "replicas", ("updatedReplicas", "readyReplicas", "availableReplicas"))
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        why = "cannot be greater than readyReplicas"
        yield fields.invalid("status.availableReplicas", status["availableReplicas"], why)


def _not_above(status: Object, limit: str, names: tuple[str, ...]) -> Iterator[Cause]:
    for name in names:
        if status.get(name, 0) > status.get(limit, 0):
            yield fields.invalid(f"status.{name}", status.get(name, 0), f"cannot be greater than status.{limit}")


def replica_set_status(obj: Object, old: Object) -> Iterator[Cause]:
    status = obj.get("status") or {}
    names = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
    for name in names:
        yield from not_negative(f"status.{name}", status.get(name))
    yield from _not_above(status, "replicas", names[1:4])


def stateful_set(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    policy = spec.get("podManagementPolicy")
    if not policy:
        yield fields.required("spec.podManagementPolicy")
    elif policy not in ("OrderedReady", "Parallel"):
        why = "must be 'OrderedReady' or 'Parallel'"
        yield fields.invalid("spec.podManagementPolicy", policy, why)
    yield from _stateful_strategy("spec.updateStrategy", spec.get("updateStrategy") or {})
    yield from not_negative("spec.replicas", spec.get("replicas"))
    yield from not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from not_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    claims = [meta.name(claim) for claim in spec.get("volumeClaimTemplates") or ()]
    yield from selector_and_template(spec, empty=_empty("statefulset"), claims=claims)
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "Always")
    if policy != "Always":
        yield fields.not_supported("spec.template.spec.restartPolicy", policy, ["Always"])
    if old is not None:
        free = (
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        )
        if _without(spec, free) != _without(old["spec"], free):
            yield fields.forbidden("spec", _STATEFUL_UPDATE)


def _without(spec: Object, names: tuple[str, ...]) -> Object:
    return {k: v for k, v in spec.items() if k not in names}


def _stateful_strategy(path: str, strategy: Object) -> Iterator[Cause]:
    type, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if not type:
        yield fields.required(f"{path}.type")
    elif type == "OnDelete":
        if rolling is not None:
            why = "only allowed for updateStrategy 'RollingUpdate'"
            yield fields.invalid(f"{path}.rollingUpdate", rolling, why)
    elif type == "RollingUpdate":
        yield from not_negative(f"{path}.rollingUpdate.partition", (rolling or {}).get("partition"))
        yield from common.count_or_percent(
            f"{path}.rollingUpdate.maxUnavailable", (rolling or {}).get("maxUnavailable")
        )
    else:
        yield fields.invalid(f"{path}.type", type, "must be 'RollingUpdate' or 'OnDelete'")


def daemon_set(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    yield from selector_and_template(spec, empty=_empty("daemonset"))
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "Always")
    if policy != "Always":
        yield fields.not_supported("spec.template.spec.restartPolicy", policy, ["Always"])
    yield from not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "RollingUpdate":
        rolling = strategy.get("rollingUpdate")
        if rolling is None:
            yield fields.required("spec.updateStrategy.rollingUpdate")
        else:
            yield from _daemon_rolling("spec.updateStrategy.rollingUpdate", rolling)
    elif strategy.get("type") != "OnDelete":
        yield fields.not_supported("spec.updateStrategy.type", strategy.get("type"), ["RollingUpdate", "OnDelete"])
    yield from not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    if old is not None:
        yield from immutable("spec.selector", spec.get("selector"), old["spec"].get("selector"))


def _daemon_rolling(path: str, rolling: Object) -> Iterator[Cause]:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    yield from common.count_or_percent(f"{path}.maxUnavailable", unavailable)
    yield from common.count_or_percent(f"{path}.maxSurge", surge)
    if _zero(unavailable) and _zero(surge):
        yield fields.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")
    elif not _zero(unavailable) and not _zero(surge):
        yield fields.invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")


def controller_revision(obj: Object, old: Object | None) -> Iterator[Cause]:
    if obj.get("data") is None:
        yield fields.required("data", "data is mandatory")
    yield from not_negative("revision", obj.get("revision"))
    if old is not None:
        yield from immutable("data", obj.get("data"), old.get("data"))
