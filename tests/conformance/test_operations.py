"""sig-api-machinery, sig-auth, sig-instrumentation, sig-node (DRA): kinds whose every operation must work.

FlowSchema and PriorityLevelConfiguration; webhook configurations (listing, patching, updating); admission policies and
their bindings; resource quotas; service accounts; certificate requests; events of both groups; DeviceClass,
ResourceClaim, ResourceClaimTemplate, ResourceSlice.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.conformance.conftest import APPLY, Api

NS = "/namespaces/default"
CLIENT = {"url": "https://127.0.0.1:1/x"}
HOOK = {"name": "a.example.com", "clientConfig": CLIENT, "sideEffects": "None", "admissionReviewVersions": ["v1"]}
CLAIM = {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu"}}]}}
RULES = {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"],
                            "resources": ["deployments"]}]}  # fmt: skip
LIMITED = {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
SLICE = {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1}}
MUTATION = {"patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": 'Object{spec: Object.spec{paused: true}}'}}  # fmt: skip

# what a controller writes into the status of a new object, once: not between what the test writes
_SETTLED = {"validatingadmissionpolicies": "observedGeneration", "resourcequotas": "hard"}
# resource: (path, kind, members, has a status to write)
CASES: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    "flowschemas": (
        "/apis/flowcontrol.apiserver.k8s.io/v1", "FlowSchema",
        {"spec": {"priorityLevelConfiguration": {"name": "x"}}}, True,
    ),
    "prioritylevelconfigurations": (
        "/apis/flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", {"spec": LIMITED}, True,
    ),
    "mutatingwebhookconfigurations": (
        "/apis/admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", {"webhooks": [HOOK]}, False,
    ),
    "validatingwebhookconfigurations": (
        "/apis/admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", {"webhooks": [HOOK]}, False,
    ),
    "validatingadmissionpolicies": (
        "/apis/admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy",
        {"spec": {"matchConstraints": RULES, "validations": [{"expression": "true"}]}}, True,
    ),
    "validatingadmissionpolicybindings": (
        "/apis/admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding",
        {"spec": {"policyName": "p", "validationActions": ["Deny"]}}, False,
    ),
    "mutatingadmissionpolicies": (
        "/apis/admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy",
        {"spec": {"matchConstraints": RULES, "reinvocationPolicy": "Never", "mutations": [MUTATION]}}, False,
    ),
    "mutatingadmissionpolicybindings": (
        "/apis/admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding",
        {"spec": {"policyName": "p"}}, False,
    ),
    "resourcequotas": (f"/api/v1{NS}", "ResourceQuota", {"spec": {"hard": {"count/foos": "1"}}}, True),
    "serviceaccounts": (f"/api/v1{NS}", "ServiceAccount", {}, False),
    "events": (
        f"/api/v1{NS}", "Event",
        {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "Tested"}, False,
    ),
    "events.events.k8s.io": (
        f"/apis/events.k8s.io/v1{NS}", "Event",
        {"eventTime": "2025-01-01T00:00:00.000000Z", "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
         "reason": "Tested", "type": "Normal", "reportingController": "a/b", "reportingInstance": "c",
         "action": "Do"}, False,
    ),
    "deviceclasses": ("/apis/resource.k8s.io/v1", "DeviceClass", {"spec": {}}, False),
    "resourceclaims": (f"/apis/resource.k8s.io/v1{NS}", "ResourceClaim", {"spec": CLAIM}, True),
    "resourceclaimtemplates": (
        f"/apis/resource.k8s.io/v1{NS}", "ResourceClaimTemplate", {"spec": {"spec": CLAIM}}, False,
    ),
    "resourceslices": ("/apis/resource.k8s.io/v1", "ResourceSlice", {"spec": SLICE}, False),
    "runtimeclasses": ("/apis/node.k8s.io/v1", "RuntimeClass", {"handler": "x"}, False),
    "csidrivers": ("/apis/storage.k8s.io/v1", "CSIDriver", {"spec": {"attachRequired": False}}, False),
    "csistoragecapacities": (
        f"/apis/storage.k8s.io/v1{NS}", "CSIStorageCapacity", {"storageClassName": "x", "capacity": "1Gi"}, False,
    ),
    "volumeattachments": (
        "/apis/storage.k8s.io/v1", "VolumeAttachment",
        {"spec": {"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "p"}}}, True,
    ),
    "storageclasses": ("/apis/storage.k8s.io/v1", "StorageClass", {"provisioner": "a.example.com/b"}, False),
    "leases": (
        f"/apis/coordination.k8s.io/v1{NS}", "Lease", {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 30}},
        False,
    ),
    "csinodes": ("/apis/storage.k8s.io/v1", "CSINode", {"spec": {"drivers": []}}, False),
    "ingressclasses": ("/apis/networking.k8s.io/v1", "IngressClass", {"spec": {"controller": "a.b/c"}}, False),
    "podtemplates": (
        f"/api/v1{NS}", "PodTemplate", {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}, False,
    ),
}  # fmt: skip


@pytest.mark.conformance(
    "API priority and fairness should support FlowSchema API operations",
    "API priority and fairness should support PriorityLevelConfiguration API operations",
    "MutatingAdmissionPolicy should support MutatingAdmissionPolicy API operations",
    "MutatingAdmissionPolicy should support MutatingAdmissionPolicyBinding API operations",
    "ValidatingAdmissionPolicy should support ValidatingAdmissionPolicy API operations",
    "ValidatingAdmissionPolicy should support ValidatingAdmissionPolicyBinding API operations",
    "ResourceQuota should manage the lifecycle of a ResourceQuota",
    "ServiceAccounts should run through the lifecycle of a ServiceAccount",
    "Events API should delete a collection of events",
    "Events API should ensure that an event can be fetched, patched, deleted, and listed",
    "Events should delete a collection of events",
    "Events should manage the lifecycle of an event",
    "CSIInlineVolumes should run through the lifecycle of a CSIDriver",
    "CSINodes CSI Conformance should run through the lifecycle of a csinode",
    "CSIStorageCapacity should support CSIStorageCapacities API operations",
    "StorageClasses CSI Conformance should run through the lifecycle of a StorageClass",
    "VolumeAttachment Conformance should apply changes to a volumeattachment status",
    "VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment",
    "Lease lease API should be available",
    "RuntimeClass should support RuntimeClasses API operations",
    "PodTemplates should delete a collection of pod templates",
    "PodTemplates should replace a pod template",
    "PodTemplates should run the lifecycle of PodTemplates",
    "[DRA] CRUD Tests resource.k8s.io/v1 DeviceClass",
    "[DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim",
    "[DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate",
    "[DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice",
)
@pytest.mark.parametrize("resource", CASES)
async def test_all_operations_of_a_kind_work(api: Api, resource: str) -> None:
    prefix, kind, members, has_status = CASES[resource]
    plural = resource.partition(".")[0]
    path, group = f"{prefix}/{plural}", prefix.split("/namespaces")[0].removeprefix("/apis/").removeprefix("/api/")
    mine = "labelSelector=conformance%3Dyes"

    def new(name: str) -> Any:
        meta = {"name": name, "labels": {"conformance": "yes"}}
        return {"apiVersion": group, "kind": kind, "metadata": meta, **members}

    events = await api.watch(f"{path}?{mine}")
    created = await api.post(path, new("one"), 201)
    assert created["metadata"]["uid"]
    for _ in range(100 if plural in _SETTLED else 0):
        if _SETTLED[plural] in (await api.get(f"{path}/one")).get("status", {}):
            break
        await trio.sleep(0.1)
    assert (await api.get(f"{path}/one"))["metadata"]["uid"] == created["metadata"]["uid"]
    assert await api.names(f"{path}?{mine}") == ["one"]
    patched = await api.patch(f"{path}/one", {"metadata": {"annotations": {"patched": "true"}}})
    assert patched["metadata"]["annotations"]["patched"] == "true"
    patched["metadata"]["annotations"]["updated"] = "true"
    updated = await api.put(f"{path}/one", patched)
    assert updated["metadata"]["annotations"] == {**patched["metadata"]["annotations"], "updated": "true"}
    await api.put(f"{path}/one", patched, 409)
    applied = {"apiVersion": group, "kind": kind, "metadata": {"name": "one", "labels": {"applied": "yes"}}}
    found = await api.patch(f"{path}/one?fieldManager=me", applied, type=APPLY)
    assert found["metadata"]["labels"] == {"conformance": "yes", "applied": "yes"}
    assert await events.seen(4) == [("ADDED", "one"), *[("MODIFIED", "one")] * 3]
    if has_status:
        status = await api.get(f"{path}/one/status")
        await api.put(f"{path}/one/status", status)
        await api.patch(f"{path}/one/status", {"metadata": {"annotations": {"status": "patched"}}})
        await events.close()
    await api.delete(f"{path}/one")
    await api.get(f"{path}/one", 404)
    for name in ("two", "three"):
        await api.post(path, new(name), 201)
    await api.delete(f"{path}?{mine}")
    assert await api.names(f"{path}?{mine}") == []
    if not has_status:
        assert (await events.next())["type"] == "DELETED"
        await events.close()


async def test_a_namespaced_kind_is_listed_in_all_namespaces(api: Api) -> None:
    await api.post("/api/v1/namespaces", {"metadata": {"name": "other"}})
    for namespace in ("default", "other"):
        await api.post(f"/api/v1/namespaces/{namespace}/events", {
            "metadata": {"name": "e", "labels": {"mine": "yes"}}, "involvedObject": {"namespace": namespace},
        })  # fmt: skip
    assert await api.names("/api/v1/events?labelSelector=mine") == ["e", "e"]
    assert await api.names("/apis/events.k8s.io/v1/events?labelSelector=mine") == ["e", "e"]
