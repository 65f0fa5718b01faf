"""The admission plugins that a cluster has to ask for, and those that guard rights, each alone."""

from __future__ import annotations

import copy
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from kcore_admission import PLUGINS, kcore_admission
from kcore_admission.config import (
    EventLimit,
    EventLimitConfig,
    Exemptions,
    Levels,
    LimitedResource,
    NodeSelectorConfig,
    PodSecurityConfig,
    QuotaConfig,
)
from kcore_admission.standards import Policy, checks, violations
from kcore_api_http.order import ADMISSION, in_order

from kcore import errors
from kcore.api.admission import AdmissionRequest
from kcore.api.auth import Attributes, Decision, User
from kcore.api.kinds import Kind, KindTable
from kcore.objects.resources import NAMESPACES, PODS, RESOURCEQUOTAS, STORAGECLASSES
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient

ALICE = User("alice", ("dev",), uid="a1")
POD = {"metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": [{"name": "c", "image": "img"}]}}


class Rights:
    """An authorizer that knows a list of (verb, resource/subresource, name)."""

    def __init__(self, *allowed: tuple[str, str, str]):
        self.allowed = allowed

    async def authorize(self, wanted: Attributes) -> Decision:
        what = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
        return Decision(True if (wanted.verb, what, wanted.name) in self.allowed else None)


@attrs.define
class Server:
    kinds: KindTable
    authorizers: list[Rights]


@attrs.define
class Part:
    server: Server


@pytest.fixture
def api() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
def plugin(api, tmp_path):
    @asynccontextmanager
    async def open_one(name: str, config: Any = None, *rights: tuple[str, str, str]):
        kinds = KindTable()
        kinds.add(Kind("", "v1", "Pod", "pods"))
        kinds.add(Kind("apps", "v1", "ReplicaSet", "replicasets"))
        context = TestContext(tmp_path, api=api)
        context.parts["api"] = Part(Server(kinds, [Rights(*rights)]))
        provider = next(p for p in kcore_admission() if p.name == name)
        async with provider.open(context, config or provider.config()) as opened:
            yield opened

    return open_one


def write(obj: Any, plural: str = "pods", kind: str = "Pod", group: str = "", **more: Any) -> AdmissionRequest:
    declared = Kind(group, "v1", kind, plural, namespaced=more.pop("namespaced", True))
    more.setdefault("operation", "CREATE")
    more.setdefault("subresource", "")
    name = obj["metadata"].get("name", "")
    return AdmissionRequest(kind=declared, namespace="shop", name=name, user=ALICE, obj=copy.deepcopy(obj), **more)


async def admitted(opened, request: AdmissionRequest) -> Any:
    assert opened.handles(request)
    await opened.admit(request)
    await opened.validate(request)
    return request.obj


async def refused(opened, request: AdmissionRequest) -> str:
    with pytest.raises(errors.ApiError) as caught:
        await admitted(opened, request)
    return caught.value.message


async def namespace(api, **annotations: str) -> None:
    await api.create(NAMESPACES, {"metadata": {"name": "shop", "annotations": annotations}})


# --- order ----------------------------------------------------------------------------------------------------------


def test_plugins_run_in_upstreams_order_whatever_the_config_says():
    assert in_order(reversed(ADMISSION)) == list(ADMISSION)
    assert in_order(["ResourceQuota", "Mine", "NamespaceLifecycle"]) == ["NamespaceLifecycle", "Mine", "ResourceQuota"]
    assert in_order(["MutatingAdmissionWebhook", "MutatingAdmissionPolicy"])[0] == "MutatingAdmissionPolicy"


def test_every_plugin_has_a_place_in_that_order():
    assert in_order(PLUGINS) == list(PLUGINS)


# --- placement ------------------------------------------------------------------------------------------------------

SELECTOR = "scheduler.alpha.kubernetes.io/node-selector"


async def test_pods_get_the_node_selector_of_their_namespace(plugin, api):
    await namespace(api, **{SELECTOR: "env=prod, disk=ssd"})
    async with plugin("PodNodeSelector") as opened:
        pod = await admitted(opened, write(POD))
        assert pod["spec"]["nodeSelector"] == {"env": "prod", "disk": "ssd"}
        other = copy.deepcopy(POD)
        other["spec"]["nodeSelector"] = {"env": "test"}
        assert "conflicts with its namespace node label selector" in await refused(opened, write(other))


async def test_a_namespace_may_bound_what_its_pods_select(plugin, api):
    await namespace(api)
    config = NodeSelectorConfig(cluster_default="zone=a", namespaces={"shop": "zone=a,env=prod"})
    async with plugin("PodNodeSelector", config) as opened:
        assert (await admitted(opened, write(POD)))["spec"]["nodeSelector"] == {"zone": "a"}
        other = copy.deepcopy(POD)
        other["spec"]["nodeSelector"] = {"env": "test"}
        assert "conflict with its namespace whitelist" in await refused(opened, write(other))


async def test_tolerations_come_from_the_namespace_and_are_bounded_by_it(plugin, api):
    default = '[{"key":"gpu","operator":"Exists"}]'
    names = ("defaultTolerations", "tolerationsWhitelist")
    await namespace(api, **{f"scheduler.alpha.kubernetes.io/{n}": default for n in names})
    async with plugin("PodTolerationRestriction") as opened:
        pod = await admitted(opened, write(POD))
        assert pod["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
        narrower = copy.deepcopy(POD)
        narrower["spec"]["tolerations"] = [{"key": "gpu", "operator": "Equal", "value": "x", "effect": "NoSchedule"}]
        assert len((await admitted(opened, write(narrower)))["spec"]["tolerations"]) == 1, "one covers the other"
        other = copy.deepcopy(POD)
        other["spec"]["tolerations"] = [{"operator": "Exists"}]
        assert "conflict with its namespace whitelist" in await refused(opened, write(other))


async def test_who_asks_for_a_special_resource_tolerates_its_taint(plugin):
    pod = copy.deepcopy(POD)
    pod["spec"]["containers"][0]["resources"] = {"requests": {"example.com/gpu": "1", "cpu": "1"}}
    async with plugin("ExtendedResourceToleration") as opened:
        found = await admitted(opened, write(pod))
        again = await admitted(opened, write(found))
    wanted = [{"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert found["spec"]["tolerations"] == again["spec"]["tolerations"] == wanted


async def test_hard_anti_affinity_is_for_hosts_only(plugin):
    pod = copy.deepcopy(POD)
    terms = [{"topologyKey": "topology.kubernetes.io/zone"}]
    pod["spec"]["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    async with plugin("LimitPodHardAntiAffinityTopology") as opened:
        assert "but only key kubernetes.io/hostname is allowed" in await refused(opened, write(pod))
        terms[0]["topologyKey"] = "kubernetes.io/hostname"
        await admitted(opened, write(pod))


async def test_a_bound_pod_gets_the_zone_of_its_node(plugin, api):
    from kcore.objects.resources import NODES

    zone = {"topology.kubernetes.io/zone": "a", "other": "b"}
    await api.create(NODES, {"metadata": {"name": "n1", "labels": zone}})
    binding = {"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n1"}}
    async with plugin("PodTopologyLabels") as opened:
        found = await admitted(opened, write(binding, subresource="binding"))
    assert found["metadata"]["labels"] == {"topology.kubernetes.io/zone": "a"}


# --- events, services -----------------------------------------------------------------------------------------------


async def test_events_over_the_limit_are_refused_until_time_has_passed(plugin, autojump_clock):
    from kcore.clock import use_virtual

    config = EventLimitConfig([EventLimit("User", qps=1, burst=2), EventLimit("Server", qps=100, burst=100)])
    event = {"metadata": {"name": "e"}, "involvedObject": {"name": "web"}}
    use_virtual()
    async with plugin("EventRateLimit", config) as opened:
        for _ in range(2):
            await admitted(opened, write(event, "events", "Event"))
        said = await refused(opened, write(event, "events", "Event"))
        assert said == "limit reached on type User for key alice"
        await trio.sleep(1.1)
        await admitted(opened, write(event, "events", "Event"))


async def test_services_take_no_new_external_addresses(plugin):
    service = {"metadata": {"name": "s"}, "spec": {"externalIPs": ["1.2.3.4"]}}
    async with plugin("DenyServiceExternalIPs") as opened:
        said = await refused(opened, write(service, "services", "Service"))
        assert "Use of external IPs is denied by admission control." in said
        await admitted(opened, write(service, "services", "Service", operation="UPDATE", old=service))


# --- rights ---------------------------------------------------------------------------------------------------------


def owned(**more: Any) -> Any:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "u", **more}
    return {**POD, "metadata": {**POD["metadata"], "ownerReferences": [owner]}}


async def test_an_owner_reference_needs_the_right_to_delete(plugin):
    async with plugin("OwnerReferencesPermissionEnforcement") as opened:
        await admitted(opened, write(owned()))  # what one creates one may give away
        said = await refused(opened, write(owned(), operation="UPDATE", old=POD))
        assert "cannot set an ownerRef on a resource you can't delete: , <nil>" in said
    async with plugin("OwnerReferencesPermissionEnforcement", None, ("delete", "pods", "web")) as opened:
        await admitted(opened, write(owned(), operation="UPDATE", old=POD))


async def test_holding_up_an_owner_needs_the_right_to_its_finalizers(plugin):
    async with plugin("OwnerReferencesPermissionEnforcement") as opened:
        said = await refused(opened, write(owned(blockOwnerDeletion=True)))
        assert "a resource you can't set finalizers on" in said
        strange = owned(blockOwnerDeletion=True, kind="Strange")
        assert "cannot find RESTMapping for APIVersion apps/v1 Kind Strange" in await refused(opened, write(strange))
    right = ("update", "replicasets/finalizers", "rs")
    async with plugin("OwnerReferencesPermissionEnforcement", None, right) as opened:
        await admitted(opened, write(owned(blockOwnerDeletion=True)))


CSR = ("certificatesigningrequests", "CertificateSigningRequest", "certificates.k8s.io")


@pytest.mark.parametrize(
    ("name", "subresource", "verb", "status"),
    [
        ("CertificateApproval", "approval", "approve", {"conditions": [{"type": "Approved"}]}),
        ("CertificateSigning", "status", "sign", {"certificate": "x"}),
    ],
)
async def test_certificates_are_approved_and_signed_by_those_who_may(plugin, name, subresource, verb, status):
    old = {"metadata": {"name": "x"}, "spec": {"signerName": "example.com/web"}}
    more = {"operation": "UPDATE", "subresource": subresource, "namespaced": False, "old": old}
    new = {**old, "status": status}
    async with plugin(name) as opened:
        said = await refused(opened, write(new, *CSR, **more))
        assert said.endswith(f'user not permitted to {verb} requests with signerName "example.com/web"')
    for signer in ("example.com/web", "example.com/*"):
        async with plugin(name, None, (verb, "signers", signer)) as opened:
            await admitted(opened, write(new, *CSR, **more))


# --- claims ---------------------------------------------------------------------------------------------------------


async def test_claims_grow_only_if_their_class_lets_them(plugin, api):
    await api.create(STORAGECLASSES, {"metadata": {"name": "fast"}, "allowVolumeExpansion": True})
    await api.create(STORAGECLASSES, {"metadata": {"name": "fixed"}})

    def claim(size: str, name: str, phase: str = "Bound") -> Any:
        spec = {"storageClassName": name, "resources": {"requests": {"storage": size}}}
        return {"metadata": {"name": "c"}, "spec": spec, "status": {"phase": phase}}

    def grow(name: str, phase: str = "Bound") -> AdmissionRequest:
        new, old = claim("2Gi", name, phase), claim("1Gi", name, phase)
        return write(new, "persistentvolumeclaims", "PersistentVolumeClaim", operation="UPDATE", old=old)

    async with plugin("PersistentVolumeClaimResize") as opened:
        await admitted(opened, grow("fast"))
        assert "the storageclass that provisions the pvc must support resize" in await refused(opened, grow("fixed"))
        assert "Only bound persistent volume claims" in await refused(opened, grow("fast", "Pending"))


# --- quota ----------------------------------------------------------------------------------------------------------


def quota(name: str, hard: Any, **spec: Any) -> Any:
    used = dict.fromkeys(hard, "0")
    return {
        "metadata": {"name": name, "namespace": "shop"}, "spec": {"hard": hard, **spec},
        "status": {"hard": hard, "used": used},
    }  # fmt: skip


async def used(api, name: str) -> Any:
    return (await api.get(RESOURCEQUOTAS, name, "shop"))["status"]["used"]


async def test_two_api_processes_together_do_not_exceed_a_quota(plugin, api):
    await api.create(RESOURCEQUOTAS, quota("q", {"pods": "10"}))
    let_in = []

    async def attempt(opened) -> None:
        try:
            await admitted(opened, write(POD))
            let_in.append(1)
        except errors.Forbidden:
            pass

    async with plugin("ResourceQuota") as one, plugin("ResourceQuota") as two, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(attempt, one)
            nursery.start_soon(attempt, two)
    assert len(let_in) == 10
    assert await used(api, "q") == {"pods": "10"}


async def test_a_refusal_by_one_quota_books_nothing_in_another(plugin, api):
    await api.create(RESOURCEQUOTAS, quota("a", {"pods": "10"}))
    await api.create(RESOURCEQUOTAS, quota("b", {"count/pods": "0"}))
    async with plugin("ResourceQuota") as opened:
        await refused(opened, write(POD))
    assert await used(api, "a") == {"pods": "0"}


async def test_a_quota_counts_claims_of_a_class_of_attributes(plugin, api):
    scope = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]}
    hard = {"persistentvolumeclaims": "1"}
    await api.create(RESOURCEQUOTAS, quota("q", hard, scopeSelector={"matchExpressions": [scope]}))
    claim = {"metadata": {"name": "c"}, "spec": {"volumeAttributesClassName": "gold"}}
    async with plugin("ResourceQuota") as opened:
        plain = {"metadata": {"name": "d"}, "spec": {}}
        for obj in (plain, claim, plain):
            await admitted(opened, write(obj, "persistentvolumeclaims", "PersistentVolumeClaim"))
        await refused(opened, write(claim, "persistentvolumeclaims", "PersistentVolumeClaim"))


async def test_anything_can_be_counted(plugin, api):
    await api.create(RESOURCEQUOTAS, quota("q", {"count/widgets.example.com": "1"}))
    widget = {"metadata": {"name": "w"}}
    async with plugin("ResourceQuota") as opened:
        await admitted(opened, write(widget, "widgets", "Widget", "example.com"))
        await refused(opened, write(widget, "widgets", "Widget", "example.com"))


async def test_what_is_limited_needs_a_quota(plugin, api):
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    config = QuotaConfig([LimitedResource("pods", match_scopes=[scope])])
    pod = copy.deepcopy(POD)
    pod["spec"]["priorityClassName"] = "high"
    async with plugin("ResourceQuota", config) as opened:
        await admitted(opened, write(POD))
        said = await refused(opened, write(pod))
        assert said.endswith("insufficient quota to match these scopes: [{PriorityClass In [high]}]")
        await api.create(RESOURCEQUOTAS, quota("q", {"pods": "1"}, scopeSelector={"matchExpressions": [scope]}))
        await admitted(opened, write(pod))


# --- pod security ---------------------------------------------------------------------------------------------------


def pod_with(spec: Any = None, **container: Any) -> Any:
    return {"metadata": {}, "spec": {"containers": [{"name": "c", **container}], **(spec or {})}}


def found(pod: Any, level: str = "baseline", version: str = "latest") -> str:
    return violations(pod, Policy.parse(level, version))


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (pod_with({"hostPID": True}), "host namespaces (hostPID=true)"),
        (pod_with(securityContext={"privileged": True}), "privileged (container"),
        (pod_with(securityContext={"capabilities": {"add": ["NET_ADMIN"]}}), "non-default capabilities (container"),
        (pod_with({"volumes": [{"name": "v", "hostPath": {}}]}), 'hostPath volumes (volume "v")'),
        (pod_with(ports=[{"hostPort": 80}]), 'hostPort (container "c" uses hostPort 80)'),
        (pod_with(securityContext={"procMount": "Unmasked"}), "procMount (container"),
        (pod_with(securityContext={"seLinuxOptions": {"type": "x", "user": "u"}}), "seLinuxOptions (container"),
        (pod_with(securityContext={"seccompProfile": {"type": "Unconfined"}}), "seccompProfile (container"),
        (pod_with({"securityContext": {"sysctls": [{"name": "a.b"}]}}), "forbidden sysctls (a.b)"),
        (pod_with(securityContext={"windowsOptions": {"hostProcess": True}}), "hostProcess (container"),
        (pod_with(securityContext={"appArmorProfile": {"type": "Unconfined"}}), "forbidden AppArmor profile ("),
        (pod_with(livenessProbe={"httpGet": {"host": "1.2.3.4"}}), "probe or lifecycle host (container"),
    ],
)
def test_each_control_of_the_baseline(pod, reason):
    assert found(pod).startswith(reason)
    assert not found(pod, "privileged")


def test_each_control_of_the_restricted_level():
    text = found(pod_with({"volumes": [{"name": "v", "nfs": {}}]}, securityContext={"runAsUser": 0}), "restricted")
    for reason in ("allowPrivilegeEscalation != false", "unrestricted capabilities", "restricted volume types",
                   "runAsNonRoot != true", "runAsUser=0", "seccompProfile"):  # fmt: skip
        assert f"{reason} (" in text


def test_a_level_is_what_it_was_in_its_release():
    handler = pod_with(livenessProbe={"httpGet": {"host": "1.2.3.4"}})
    assert not found(handler, version="v1.33")
    assert found(handler, version="v1.34")
    sysctl = pod_with({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time"}]}})
    assert found(sysctl, version="v1.28")
    assert not found(sysctl, version="v1.29")
    assert len(checks(Policy.parse("restricted", "v1.0"))) < len(checks(Policy.parse("restricted", "latest")))


def test_windows_pods_are_not_held_to_what_they_do_not_have():
    safe = {"securityContext": {"runAsNonRoot": True}, "os": {"name": "windows"}}
    assert not found(pod_with(safe), "restricted")
    assert found(pod_with(safe), "restricted", "v1.24")


async def test_defaults_and_exemptions_come_from_the_config(plugin, api):
    await namespace(api)
    strict = PodSecurityConfig(Levels(enforce="restricted", audit="restricted"), Exemptions(runtime_classes=["vm"]))
    async with plugin("PodSecurity", strict) as opened:
        request = write(POD)
        assert 'violates PodSecurity "restricted:latest"' in await refused(opened, request)
        assert request.annotations["pod-security.kubernetes.io/enforce-policy"] == "restricted:latest"
        virtual = copy.deepcopy(POD)
        virtual["spec"]["runtimeClassName"] = "vm"
        request = write(virtual)
        await admitted(opened, request)
        assert request.annotations == {"pod-security.kubernetes.io/exempt": "runtimeClass"}


async def test_a_stricter_level_warns_of_the_pods_that_run_already(plugin, api):
    await namespace(api)
    for name in ("a", "b"):
        await api.create(PODS, {**POD, "metadata": {"name": name, "namespace": "shop"}})
    old = {"metadata": {"name": "shop"}}
    new = {"metadata": {"name": "shop", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    async with plugin("PodSecurity") as opened:
        request = write(new, "namespaces", "Namespace", operation="UPDATE", old=old, namespaced=False)
        await admitted(opened, request)
    assert request.warnings[0] == (
        'existing pods in namespace "shop" violate the new PodSecurity enforce level "restricted:latest"'
    )
    assert request.warnings[1].startswith("a (and 1 other pod): allowPrivilegeEscalation != false, ")
