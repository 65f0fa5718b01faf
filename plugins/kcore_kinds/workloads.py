"""Workloads: what keeps pods running, or runs them to their end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kcore_kinds import podspec, podwarnings
from kcore_kinds.declare import Builtin
from kcore_kinds.podspec import missing
from kcore_kinds.volumes import fill_claim

Object = dict[str, Any]

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


class Workload(Builtin):
    """Has a template of pods in its spec."""

    def default(self, obj: Object) -> None:
        podspec.fill_template(obj["spec"]["template"])

    def warnings(self, obj: Object, old: Object | None) -> Iterable[str]:
        if old is not None and old["spec"].get("template") == obj["spec"].get("template"):
            return ()
        return podwarnings.warnings(obj["spec"]["template"].get("spec") or {}, "spec.template.spec")


class ReplicationControllerStrategy(Workload):
    orphans_by_default = True

    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        missing(spec, {"replicas": 1})
        if isinstance(spec.get("template"), dict):
            super().default(obj)
            labels = (spec["template"].get("metadata") or {}).get("labels")
            if labels:
                missing(spec, {"selector": dict(labels)})
                missing(obj["metadata"], {"labels": dict(labels)})

    def warnings(self, obj: Object, old: Object | None) -> Iterable[str]:
        return super().warnings(obj, old) if obj["spec"].get("template") else ()


class ReplicaSetStrategy(Workload):
    def default(self, obj: Object) -> None:
        missing(obj["spec"], {"replicas": 1})
        super().default(obj)


class DeploymentStrategy(Workload):
    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        missing(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
        strategy = spec["strategy"]
        missing(strategy, {"type": "RollingUpdate"})
        if strategy["type"] == "RollingUpdate":
            missing(strategy, {"rollingUpdate": {}})
            missing(strategy["rollingUpdate"], {"maxUnavailable": "25%", "maxSurge": "25%"})
        super().default(obj)


class DaemonSetStrategy(Workload):
    """Beside its generation a DaemonSet counts its templates, in an annotation that was a field once."""

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        _annotate(obj, TEMPLATE_GENERATION, "1")

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        count = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "0")
        if obj["spec"]["template"] != old["spec"]["template"]:
            count = str(int(count) + 1)
        _annotate(obj, TEMPLATE_GENERATION, count)

    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        missing(spec, {"revisionHistoryLimit": 10})
        strategy = spec["updateStrategy"]
        missing(strategy, {"type": "RollingUpdate"})
        if strategy["type"] == "RollingUpdate":
            missing(strategy, {"rollingUpdate": {}})
            missing(strategy["rollingUpdate"], {"maxUnavailable": 1, "maxSurge": 0})
        super().default(obj)


class StatefulSetStrategy(Workload):
    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        missing(spec, {"replicas": 1, "revisionHistoryLimit": 10, "podManagementPolicy": "OrderedReady"})
        strategy = spec["updateStrategy"]
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
            # a type of the client's own gets no rollingUpdate, but a half-given one is completed
            missing(strategy, {"rollingUpdate": {}})
        if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
            missing(strategy["rollingUpdate"], {"partition": 0})
        missing(spec, {"persistentVolumeClaimRetentionPolicy": {}})
        missing(spec["persistentVolumeClaimRetentionPolicy"], {"whenDeleted": "Retain", "whenScaled": "Retain"})
        for claim in spec.get("volumeClaimTemplates") or ():
            missing(claim, {"apiVersion": "v1", "kind": "PersistentVolumeClaim"})
            missing(claim.setdefault("spec", {}), {})
            fill_claim(claim["spec"])
            claim["status"] = {"phase": "Pending"}
        super().default(obj)


def _annotate(obj: Object, name: str, value: str) -> None:
    notes = obj["metadata"]["annotations"] = dict(obj["metadata"].get("annotations") or {})
    notes[name] = value


class JobStrategy(Workload):
    orphans_by_default = True
    orphan_warning = (
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them "
        "or set propagationPolicy=Orphan to suppress this warning"
    )

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        if obj["spec"].get("manualSelector") is not True:
            self._select_own_pods(obj["metadata"], obj["spec"])

    @staticmethod
    def _select_own_pods(meta: Object, spec: Object) -> None:
        """A job finds its pods by its own uid, unless the client takes care of it."""
        uid, name = meta.get("uid", ""), meta.get("name", "")
        labels = spec["template"]["metadata"].setdefault("labels", {})
        for key, value in ((CONTROLLER_UID, uid), ("controller-uid", uid), (JOB_NAME, name), ("job-name", name)):
            labels.setdefault(key, value)
        selector = spec["selector"] = spec.get("selector") or {}
        matched = selector["matchLabels"] = selector.get("matchLabels") or {}
        matched.setdefault(CONTROLLER_UID, uid)

    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        super().default(obj)
        fill_job(spec)
        missing(spec, {"manualSelector": False})
        labels = (spec["template"].get("metadata") or {}).get("labels")
        if labels:
            missing(obj["metadata"], {"labels": dict(labels)})


def fill_job(spec: Object) -> None:
    """The defaults of a job of its own."""
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    missing(
        spec,
        {
            "parallelism": 1,
            "backoffLimit": 6 if spec.get("backoffLimitPerIndex") is None else 2147483647,
            "completionMode": "NonIndexed",
            "suspend": False,
            "podReplacementPolicy": "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed",
        },
    )
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"


class CronJobStrategy(Builtin):
    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        missing(
            spec,
            {
                "concurrencyPolicy": "Allow",
                "suspend": False,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1,
            },
        )
        podspec.fill_template(spec["jobTemplate"]["spec"]["template"])

    def warnings(self, obj: Object, old: Object | None) -> Iterable[str]:
        template = obj["spec"]["jobTemplate"].get("spec", {}).get("template", {})
        yield from podwarnings.warnings(template.get("spec") or {}, "spec.jobTemplate.spec.template.spec")
