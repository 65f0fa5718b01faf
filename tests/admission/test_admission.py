"""The admission plugins, each alone, on a cluster of nothing but state."""

from __future__ import annotations

import copy
from contextlib import asynccontextmanager
from typing import Any

import pytest
from kcore_admission import DEFAULTS, kcore_admission

from kcore import errors
from kcore.api.admission import AdmissionRequest
from kcore.api.auth import User
from kcore.api.kinds import Kind
from kcore.objects.resources import (
    LIMITRANGES,
    NAMESPACES,
    PRIORITYCLASSES,
    RESOURCEQUOTAS,
    SERVICEACCOUNTS,
    STORAGECLASSES,
)
from kcore.registry import NoConfig
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient

ALICE = User("alice", ("dev", "system:authenticated"), uid="a1")
POD = {
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"containers": [{"name": "c", "image": "img", "resources": {}}]},
    "status": {"phase": "Pending", "qosClass": "BestEffort"},
}


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
def plugin(api, tmp_path):
    @asynccontextmanager
    async def open_one(name: str):
        provider = next(p for p in kcore_admission() if p.name == name)
        async with provider.open(TestContext(tmp_path, api=api), NoConfig()) as opened:
            yield opened

    return open_one


def create(obj: Any, plural: str = "pods", kind: str = "Pod", group: str = "", **more: Any) -> AdmissionRequest:
    declared = Kind(group, "v1", kind, plural, namespaced=more.pop("namespaced", True))
    obj = copy.deepcopy(obj)
    return AdmissionRequest(
        operation=more.pop("operation", "CREATE"),
        kind=declared,
        subresource="",
        namespace="shop",
        name=obj["metadata"].get("name", ""),
        user=ALICE,
        obj=obj,
        **more,
    )


async def admitted(opened, request: AdmissionRequest) -> Any:
    assert opened.handles(request)
    await opened.admit(request)
    await opened.validate(request)
    return request.obj


def test_every_plugin_is_offered_under_its_upstream_name():
    names = [p.name for p in kcore_admission()]
    assert "NamespaceLifecycle" in names
    assert set(DEFAULTS) <= set(names)


@pytest.mark.parametrize("name", DEFAULTS)
async def test_a_plugin_opens_and_ignores_what_it_is_not_about(plugin, name):
    async with plugin(name) as opened:
        request = create({"metadata": {"name": "x"}}, "flowschemas", "FlowSchema", "flow", namespaced=False)
        assert not opened.handles(request)


async def test_nothing_is_created_in_a_namespace_that_is_missing(plugin):
    async with plugin("NamespaceLifecycle") as opened:
        with pytest.raises(errors.NotFound, match='namespaces "shop" not found'):
            await opened.admit(create(POD))


async def test_nothing_is_created_in_a_namespace_that_goes_away(plugin, api):
    await api.create(NAMESPACES, {"metadata": {"name": "shop"}, "status": {"phase": "Terminating"}})
    async with plugin("NamespaceLifecycle") as opened:
        with pytest.raises(errors.Forbidden, match="because it is being terminated") as refused:
            await opened.admit(create(POD))
        assert refused.value.details["causes"][0]["reason"] == "NamespaceTerminating"


async def test_system_namespaces_stay(plugin):
    async with plugin("NamespaceLifecycle") as opened:
        request = create(
            {"metadata": {"name": "kube-system"}}, "namespaces", "Namespace", namespaced=False, operation="DELETE"
        )
        with pytest.raises(errors.Forbidden, match="may not be deleted"):
            await opened.admit(request)


async def test_a_pod_gets_the_token_of_its_account(plugin, api, autojump_clock):
    await api.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "s"}]}, "shop")
    async with plugin("ServiceAccount") as opened:
        request = create(POD)
        pod = await admitted(opened, request)
        await opened.admit(request)  # again, as when a later plugin has changed the pod
    (volume,) = pod["spec"]["volumes"]
    (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
    assert volume["name"] == mount["name"]
    assert volume["name"].startswith("kube-api-access-")
    assert pod["spec"]["serviceAccountName"] == pod["spec"]["serviceAccount"] == "default"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "s"}]


async def test_a_pod_may_do_without_a_token(plugin, api, autojump_clock):
    await api.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "shop")
    pod = copy.deepcopy(POD)
    pod["spec"]["automountServiceAccountToken"] = False
    async with plugin("ServiceAccount") as opened:
        assert "volumes" not in (await admitted(opened, create(pod)))["spec"]


async def test_a_pod_waits_for_the_default_account_of_a_new_namespace(plugin, api, autojump_clock, nursery):
    import trio

    async def later():
        await trio.sleep(0.5)
        await api.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "shop")

    async with plugin("ServiceAccount") as opened:
        nursery.start_soon(later)
        pod = await admitted(opened, create(POD))
    assert pod["spec"]["serviceAccountName"] == "default"


async def test_a_pod_of_an_unknown_account_is_refused(plugin, autojump_clock):
    pod = copy.deepcopy(POD)
    pod["spec"]["serviceAccountName"] = "nope"
    async with plugin("ServiceAccount") as opened:
        with pytest.raises(errors.Forbidden) as refused:
            await opened.admit(create(pod))
    assert refused.value.message == (
        'pods "web" is forbidden: error looking up service account shop/nope: serviceaccount "nope" not found'
    )


async def test_pods_tolerate_a_node_that_does_not_answer_for_five_minutes(plugin):
    pod = copy.deepcopy(POD)
    pod["spec"]["tolerations"] = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]
    async with plugin("DefaultTolerationSeconds") as opened:
        found = (await admitted(opened, create(pod)))["spec"]["tolerations"]
    assert [t["key"] for t in found] == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    assert found[1]["tolerationSeconds"] == 300


async def test_a_new_node_is_tainted(plugin):
    async with plugin("TaintNodesByCondition") as opened:
        node = await admitted(opened, create({"metadata": {"name": "n"}}, "nodes", "Node", namespaced=False))
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


async def test_priority_comes_from_the_class_or_the_default_class(plugin, api):
    await api.create(PRIORITYCLASSES, {"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"})
    await api.create(PRIORITYCLASSES, {"metadata": {"name": "usual"}, "value": 3, "globalDefault": True})
    pod = copy.deepcopy(POD)
    pod["spec"]["priorityClassName"] = "high"
    async with plugin("Priority") as opened:
        high = await admitted(opened, create(pod))
        usual = await admitted(opened, create(POD))
    assert (high["spec"]["priority"], high["spec"]["preemptionPolicy"]) == (7, "Never")
    assert (usual["spec"]["priority"], usual["spec"]["priorityClassName"]) == (3, "usual")


async def test_a_priority_of_ones_own_is_refused(plugin):
    pod = copy.deepcopy(POD)
    pod["spec"]["priority"] = 5
    async with plugin("Priority") as opened:
        with pytest.raises(errors.Forbidden, match=r"the integer value of priority \(5\) must not be provided"):
            await opened.admit(create(pod))


async def test_there_is_one_default_priority_class(plugin, api):
    await api.create(PRIORITYCLASSES, {"metadata": {"name": "a"}, "value": 1, "globalDefault": True})
    new = {"metadata": {"name": "b"}, "value": 2, "globalDefault": True}
    async with plugin("Priority") as opened:
        request = create(new, "priorityclasses", "PriorityClass", "scheduling.k8s.io", namespaced=False)
        with pytest.raises(errors.Forbidden, match="PriorityClass a is already marked as default"):
            await admitted(opened, request)


async def test_limits_fill_what_a_container_leaves_open(plugin, api):
    limits = [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}}]
    await api.create(LIMITRANGES, {"metadata": {"name": "l"}, "spec": {"limits": limits}}, "shop")
    async with plugin("LimitRanger") as opened:
        pod = await admitted(opened, create(POD))
    assert pod["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}
    assert pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    )
    assert pod["status"]["qosClass"] == "Burstable"


async def test_what_exceeds_a_limit_is_refused_with_every_reason(plugin, api):
    limits = [{"type": "Container", "min": {"cpu": "100m"}, "maxLimitRequestRatio": {"memory": "1"}}]
    await api.create(LIMITRANGES, {"metadata": {"name": "l"}, "spec": {"limits": limits}}, "shop")
    pod = copy.deepcopy(POD)
    pod["spec"]["containers"][0]["resources"] = {
        "requests": {"cpu": "10m", "memory": "1Mi"},
        "limits": {"cpu": "500m", "memory": "2Mi"},
    }
    async with plugin("LimitRanger") as opened:
        with pytest.raises(errors.Forbidden) as refused:
            await admitted(opened, create(pod))
    assert refused.value.message == (
        'pods "web" is forbidden: [minimum cpu usage per Container is 100m, but request is 10m, '
        "memory max limit to request ratio per Container is 1, but provided ratio is 2.000000]"
    )


async def test_a_claim_gets_the_default_storage_class_but_not_when_it_asks_for_none(plugin, api):
    mark = {"storageclass.kubernetes.io/is-default-class": "true"}
    await api.create(STORAGECLASSES, {"metadata": {"name": "fast", "annotations": mark}})
    claim = {"metadata": {"name": "c"}, "spec": {}}
    none = {"metadata": {"name": "c"}, "spec": {"storageClassName": ""}}
    async with plugin("DefaultStorageClass") as opened:
        kind = ("persistentvolumeclaims", "PersistentVolumeClaim")
        assert (await admitted(opened, create(claim, *kind)))["spec"]["storageClassName"] == "fast"
        assert (await admitted(opened, create(none, *kind)))["spec"]["storageClassName"] == ""


async def test_a_pod_that_violates_the_standard_of_its_namespace_is_refused(plugin, api):
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    await api.create(NAMESPACES, {"metadata": {"name": "shop", "labels": label}})
    async with plugin("PodSecurity") as opened:
        with pytest.raises(errors.Forbidden) as refused:
            await admitted(opened, create(POD))
    assert refused.value.message == (
        'pods "web" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
        '(container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities '
        '(container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container '
        '"c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set '
        'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )


async def test_a_pod_that_keeps_to_the_standard_is_let_in(plugin, api):
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    await api.create(NAMESPACES, {"metadata": {"name": "shop", "labels": label}})
    pod = copy.deepcopy(POD)
    pod["spec"]["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod["spec"]["containers"][0]["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    async with plugin("PodSecurity") as opened:
        await admitted(opened, create(pod))


async def test_workloads_are_warned_about_pods_that_will_be_refused(plugin, api):
    label = {"pod-security.kubernetes.io/warn": "baseline"}
    await api.create(NAMESPACES, {"metadata": {"name": "shop", "labels": label}})
    template = {"spec": {**POD["spec"], "hostNetwork": True, "volumes": [{"name": "h", "hostPath": {"path": "/"}}]}}
    async with plugin("PodSecurity") as opened:
        request = create({"metadata": {"name": "d"}, "spec": {"template": template}}, "deployments", "D", "apps")
        await admitted(opened, request)
    assert request.warnings == [
        'would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true), hostPath volumes '
        '(volume "h")'
    ]


async def test_what_was_created_a_moment_ago_is_seen(plugin, api):
    async with plugin("DefaultStorageClass") as opened:
        mark = {"storageclass.kubernetes.io/is-default-class": "true"}
        await api.create(STORAGECLASSES, {"metadata": {"name": "fast", "annotations": mark}})
        claim = create({"metadata": {"name": "c"}, "spec": {}}, "persistentvolumeclaims", "PersistentVolumeClaim")
        assert (await admitted(opened, claim))["spec"]["storageClassName"] == "fast"


async def quota(api, hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> None:
    status = {"hard": hard, "used": used or dict.fromkeys(hard, "0")}
    await api.create(
        RESOURCEQUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}, "status": status}, "shop"
    )


async def test_what_a_pod_uses_is_booked_into_the_quota(plugin, api):
    await quota(api, {"pods": "2", "requests.cpu": "1"})
    pod = copy.deepcopy(POD)
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "300m"}}
    async with plugin("ResourceQuota") as opened:
        await admitted(opened, create(pod))
        await admitted(opened, create(pod, dry_run=True))
    booked = await api.get(RESOURCEQUOTAS, "q", "shop")
    assert booked["status"]["used"] == {"pods": "1", "requests.cpu": "300m"}


async def test_more_than_the_quota_is_refused_and_books_nothing(plugin, api):
    await quota(api, {"pods": "2"}, {"pods": "2"})
    async with plugin("ResourceQuota") as opened:
        with pytest.raises(errors.Forbidden) as refused:
            await admitted(opened, create(POD))
    assert refused.value.message == (
        'pods "web" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
    )
    assert (await api.get(RESOURCEQUOTAS, "q", "shop"))["status"]["used"] == {"pods": "2"}


async def test_a_quota_on_cpu_makes_pods_say_what_they_need(plugin, api):
    await quota(api, {"limits.cpu": "1", "requests.memory": "1Gi"})
    async with plugin("ResourceQuota") as opened:
        with pytest.raises(errors.Forbidden, match=r"must specify limits\.cpu for: c; requests\.memory for: c"):
            await admitted(opened, create(POD))


async def test_a_quota_for_others_counts_nothing(plugin, api):
    await quota(api, {"pods": "0"}, scopes=["NotBestEffort"])
    async with plugin("ResourceQuota") as opened:
        await admitted(opened, create(POD))


async def test_many_writers_at_once_do_not_exceed_a_quota(plugin, api):
    import trio

    await quota(api, {"pods": "3"})
    refused = []

    async def one(opened) -> None:
        try:
            await admitted(opened, create(POD))
        except errors.Forbidden as e:
            refused.append(e)

    async with plugin("ResourceQuota") as opened, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(one, opened)
    assert len(refused) == 7
    assert (await api.get(RESOURCEQUOTAS, "q", "shop"))["status"]["used"] == {"pods": "3"}


def test_the_api_server_has_every_plugin_that_is_one_by_default():
    from kcore_admission import DEFAULTS
    from kcore_api_http import ADMISSION

    assert set(DEFAULTS) <= set(ADMISSION)
    assert "NodeRestriction" in ADMISSION
