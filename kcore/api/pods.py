"""pods/binding and pods/eviction: giving a pod its node, and asking for its end within its disruption budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcore import clock, errors
from kcore.api import answers, decoding, deletion, fields, negotiate, options
from kcore.api.auth import User
from kcore.api.options import Caller
from kcore.api.routing import RequestInfo
from kcore.api.served import Served
from kcore.api.storage import admission_request
from kcore.errors import Cause
from kcore.http.messages import AnyResponse, Request
from kcore.objects import Object, meta, selectors

if TYPE_CHECKING:
    from kcore.api.server import ApiServer

_VIOLATES = "Cannot evict pod as it would violate the pod's disruption budget."
_MAX_DISRUPTED = 2000  # pods that a budget may list as on their way out


class Pods:
    """Handlers of subresources (`kcore.api.subresources`)."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def _pods(self) -> Served:
        served = self._server.table.find("", "v1", "pods")
        if served is None:
            raise self._server.unknown_resource()
        return served

    async def _begin(
        self, request: Request, served: Served, info: RequestInfo, caller: Caller, kind: str, version: str
    ) -> Object:
        """The body, once admission has seen it."""
        body = decoding.part(request, kind, version, caller)
        name = info.name or (body.get("metadata") or {}).get("name", "")
        seen = admission_request("CREATE", served, info.subresource, info.namespace, name, caller, body)
        storage = self._server.storage
        await storage.admitting.validate(seen, await storage.admitting.admit(seen))
        return seen.obj or body

    def _created(self, request: Request, caller: Caller) -> AnyResponse:
        response = answers.encoded(answers.success(code=201), negotiate.negotiate(request), 201)
        response.headers += answers.warning_headers(caller.warnings)
        return response

    # --- binding ------------------------------------------------------------------------------------------------

    async def bind(self, request: Request, served: Served, info: RequestInfo, user: User) -> AnyResponse:
        """POST pods/<name>/binding, or bindings with the name inside."""
        caller = options.caller(request, user, "create")
        binding = await self._begin(request, served, info, caller, "Binding", "v1")
        about = binding.get("metadata") or {}
        target = binding.get("target") or {}
        name = info.name or about.get("name", "")
        causes = []  # of which upstream makes a 500, as if it were its own fault
        if target.get("kind") not in (None, "", "Node"):
            causes.append(fields.not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
        if not target.get("name"):
            causes.append(fields.required("target.name"))
        if causes:
            raise errors.invalid("Binding", name, causes)

        def assign(pod: Object) -> None:
            self._check_bindable(pod, name, about)
            pod["spec"]["nodeName"] = target["name"]
            for section in ("labels", "annotations"):
                if about.get(section):
                    pod["metadata"][section] = {**(pod["metadata"].get(section) or {}), **about[section]}
            status = pod.setdefault("status", {})
            meta.set_condition(status, {"type": "PodScheduled", "status": "True", "lastProbeTime": None})
            status.pop("nominatedNodeName", None)  # it has its node: room is no longer kept for it elsewhere
            for found in status["conditions"]:
                if found["type"] == "PodScheduled":
                    for member in ("reason", "message", "observedGeneration"):
                        found.pop(member, None)

        await self._server.storage.modify(self._pods(), info.namespace, name, assign, dry_run=caller.dry_run)
        return self._created(request, caller)

    @staticmethod
    def _check_bindable(pod: Object, name: str, about: Object) -> None:
        why = ""
        if about.get("uid") and about["uid"] != pod["metadata"]["uid"]:
            asked, uid = about["uid"], pod["metadata"]["uid"]
            why = f"Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}"
        elif pod["metadata"].get("deletionTimestamp"):
            why = f"pod {name} is being deleted, cannot be assigned to a host"
        elif pod["spec"].get("nodeName"):
            why = f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"'
        elif pod["spec"].get("schedulingGates"):
            why = f"pod {name} has non-empty .spec.schedulingGates"
        if why:
            raise errors.conflict("pods/binding", name, why)

    # --- eviction -----------------------------------------------------------------------------------------------

    async def evict(self, request: Request, served: Served, info: RequestInfo, user: User) -> AnyResponse:
        """POST pods/<name>/eviction: delete the pod if its disruption budget allows it, else 429."""
        caller = options.caller(request, user, "create")
        eviction = await self._begin(request, served, info, caller, "Eviction", "policy/v1")
        if (eviction.get("metadata") or {}).get("name", info.name) != info.name:
            raise errors.BadRequest("name in URL does not match name in Eviction object")
        wanted = options.parse_delete_options(eviction.get("deleteOptions") or {})
        wanted.dry_run = wanted.dry_run or caller.dry_run
        storage = self._server.storage
        entry = await storage.get(served, info.namespace, info.name)
        pod = served.object(entry)
        uid = pod["metadata"]["uid"]
        if wanted.uid is not None and wanted.uid != uid:
            raise errors.conflict(
                "Pod",
                info.name,
                f"the UID in the precondition ({wanted.uid}) does not match the UID in record ({uid}). "
                "The object might have been deleted and then recreated",
            )
        if not _unprotected(pod):
            await self._ask_budget(info.namespace, pod, wanted.dry_run)
            if not wanted.dry_run:
                await storage.modify(served, info.namespace, info.name, _mark_disrupted)
                wanted.resource_version = None
        wanted.uid = uid
        await deletion.delete(storage, served, info.namespace, info.name, wanted, caller, admitted=True)
        return self._created(request, caller)

    async def _ask_budget(self, namespace: str, pod: Object, dry_run: bool) -> None:
        """Take one disruption from the pod's budget, if it has one. Raises TooManyRequests."""
        budgets = self._server.table.find("policy", "v1", "poddisruptionbudgets")
        if budgets is None:
            return
        labels = meta.labels(pod)
        found = [
            entry
            for path in budgets.cache.paths(namespace)
            if selectors.from_object(
                (budgets.object(entry := budgets.cache.entries[path]).get("spec") or {}).get("selector")
            ).matches(labels)
        ]
        if len(found) > 1:
            raise errors.ApiError(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                reason="",
            )
        if not found:
            return
        budget = budgets.object(found[0])
        if not meta.pod_ready(pod):
            policy = budget["spec"].get("unhealthyPodEvictionPolicy", "IfHealthyBudget")
            status = budget.get("status") or {}
            healthy = status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0
            if policy == "AlwaysAllow" or healthy:
                return  # the pod is of no use to the budget: ending it disrupts nothing
        name = pod["metadata"]["name"]
        await self._server.storage.modify(
            budgets, namespace, found[0].name, lambda pdb: _take_disruption(pdb, name), dry_run=dry_run
        )


def _unprotected(pod: Object) -> bool:
    """No budget protects what has not started, has finished, or is ending already."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Pending", "Succeeded", "Failed") or bool(pod["metadata"].get("deletionTimestamp"))


def _take_disruption(pdb: Object, pod: str) -> None:
    name, status = pdb["metadata"]["name"], pdb.setdefault("status", {})
    if status.get("observedGeneration", 0) < pdb["metadata"].get("generation", 0):
        raise _refused(f"The disruption budget {name} is still being processed by the server.", retry=10)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise errors.Forbidden(
            f'poddisruptionbudgets.policy "{name}" is forbidden: pdb disruptions allowed is negative'
        )
    if len(status.get("disruptedPods") or ()) > _MAX_DISRUPTED:
        raise errors.Forbidden(
            f'poddisruptionbudgets.policy "{name}" is forbidden: DisruptedPods map too big - too many evictions not '
            "confirmed by PDB controller"
        )
    if allowed == 0:
        healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        if healthy <= desired:
            raise _refused(f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
        raise _refused(f"The disruption budget {name} does not allow evicting pods currently")
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: clock.timestamp()}
    if allowed == 1:
        condition = {
            "type": "DisruptionAllowed",
            "status": "False",
            "reason": "InsufficientPods",
            "message": "",
            "observedGeneration": status.get("observedGeneration", 0),
        }
        meta.set_condition(status, condition)


def _refused(why: str, retry: int = 0) -> errors.TooManyRequests:
    details: Object = {"causes": [Cause("DisruptionBudget", why).to_json()]}
    if retry:
        details["retryAfterSeconds"] = retry
    return errors.TooManyRequests(_VIOLATES, details=details)


def _mark_disrupted(pod: Object) -> None:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": None,
    }
    meta.set_condition(pod.setdefault("status", {}), condition)
