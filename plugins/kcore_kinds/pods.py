"""Pods and pod templates: what the API server itself knows of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kcore import clock
from kcore.objects.qos import qos_class
from kcore_kinds import podspec, podwarnings
from kcore_kinds.declare import Builtin

Object = dict[str, Any]


class PodStrategy(Builtin):
    graceful_seconds = 30

    def default(self, obj: Object) -> None:
        podspec.fill_pod(obj["spec"])
        status = obj["status"]
        ips = status.get("podIPs")
        if status.get("podIP") and (not ips or ips[0].get("ip") != status["podIP"]):
            status["podIPs"] = [{"ip": status["podIP"]}]
        elif ips and not status.get("podIP"):
            status["podIP"] = ips[0].get("ip", "")
        if status.get("phase") and not status.get("qosClass"):
            status["qosClass"] = qos_class(obj["spec"])

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        status = obj["status"] = {"phase": "Pending"}
        if obj["spec"].get("schedulingGates"):
            set_gated(status)

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        # containers for debugging come and go through a subresource of their own
        if "ephemeralContainers" in old["spec"]:
            obj["spec"].setdefault("ephemeralContainers", old["spec"]["ephemeralContainers"])

    def prepare_status(self, obj: Object, old: Object) -> None:
        super().prepare_status(obj, old)
        if "status" in old and "qosClass" in old["status"]:
            obj.setdefault("status", {})["qosClass"] = old["status"]["qosClass"]

    def warnings(self, obj: Object, old: Object | None) -> Iterable[str]:
        return podwarnings.warnings(obj["spec"]) if old is None else ()


def set_gated(status: Object) -> None:
    """Say why the scheduler does not look at the pod."""
    status["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": None,
            "lastTransitionTime": clock.timestamp(),
        }
    ]


class PodTemplateStrategy(Builtin):
    returns_deleted = True
    allow_create_on_update = True

    def default(self, obj: Object) -> None:
        podspec.fill_template(obj["template"])

    def warnings(self, obj: Object, old: Object | None) -> Iterable[str]:
        return podwarnings.warnings(obj["template"].get("spec") or {}, "template.spec") if old is None else ()
