"""Services and their endpoints. Addresses and ports are allocated by the machinery, from what a service says here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kcore_kinds.declare import Builtin
from kcore_kinds.podspec import missing

Object = dict[str, Any]


def needs_cluster_ip(spec: Object) -> bool:
    return spec.get("type", "ClusterIP") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_ports(spec: Object) -> bool:
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False


def needs_health_port(spec: Object) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


class ServiceStrategy(Builtin):
    returns_deleted = True
    allow_create_on_update = True

    def default(self, obj: Object) -> None:
        spec = obj["spec"]
        missing(spec, {"sessionAffinity": "None", "type": "ClusterIP"})
        if spec["sessionAffinity"] == "None":
            spec.pop("sessionAffinityConfig", None)
        elif spec["sessionAffinity"] == "ClientIP":
            config = spec.setdefault("sessionAffinityConfig", {})
            missing(config, {"clientIP": {}})
            missing(config["clientIP"], {"timeoutSeconds": 10800})
        for port in spec.get("ports") or ():
            missing(port, {"protocol": "TCP"})
            if port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port.get("port", 0)
        external = spec["type"] in ("NodePort", "LoadBalancer") or spec.get("externalIPs")
        if external and needs_cluster_ip(spec):
            missing(spec, {"externalTrafficPolicy": "Cluster"})
        if spec["type"] == "LoadBalancer":
            missing(spec, {"allocateLoadBalancerNodePorts": True})
            for ingress in obj["status"]["loadBalancer"].get("ingress") or ():
                if ingress.get("ip"):
                    missing(ingress, {"ipMode": "VIP"})
        if needs_cluster_ip(spec):
            missing(spec, {"internalTrafficPolicy": "Cluster"})
            self._families(spec)
        self._other_form(spec)

    @staticmethod
    def _families(spec: Object) -> None:
        """One family: the cluster is single-stack. A headless service without a selector may name both."""
        address = str(spec.get("clusterIP") or "")
        family = "IPv6" if ":" in address else "IPv4"
        if address == "None" and not spec.get("selector") and not spec.get("ipFamilies"):
            missing(spec, {"ipFamilyPolicy": "RequireDualStack"})
            both = ["IPv4", "IPv6"] if spec["ipFamilyPolicy"] != "SingleStack" else ["IPv4"]
            spec["ipFamilies"] = both
        missing(spec, {"ipFamilyPolicy": "SingleStack", "ipFamilies": [family]})

    @staticmethod
    def _other_form(spec: Object) -> None:
        """clusterIP is the first of clusterIPs, whichever of them the client wrote."""
        if spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        elif spec.get("clusterIPs") and not spec.get("clusterIP"):
            spec["clusterIP"] = spec["clusterIPs"][0]

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        new, was = obj["spec"], old["spec"]
        _keep_allocated(new, was)
        _drop_of_former_type(new, was)
        self._other_form(new)

    def warnings(self, obj: Object, old: Object | None) -> Iterable[str]:
        if obj["spec"].get("externalIPs") and (
            old is None or old["spec"].get("externalIPs") != obj["spec"]["externalIPs"]
        ):
            yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"


def _keep_allocated(new: Object, was: Object) -> None:
    """What was allocated and is not mentioned stays: a client may PUT the service as it first wrote it."""
    if needs_cluster_ip(was) and needs_cluster_ip(new):
        if not new.get("clusterIP") and not new.get("clusterIPs"):
            for name in ("clusterIP", "clusterIPs"):
                if name in was:
                    new[name] = was[name]
        elif new.get("clusterIP") == was.get("clusterIP") and not new.get("clusterIPs") and "clusterIPs" in was:
            new["clusterIPs"] = was["clusterIPs"]
    if needs_node_ports(was) and needs_node_ports(new):
        free = {(p.get("protocol"), p["port"]): p["nodePort"] for p in was.get("ports") or () if p.get("nodePort")}
        taken = {p["nodePort"] for p in new.get("ports") or () if p.get("nodePort")}
        for port in new.get("ports") or ():
            known = free.get((port.get("protocol"), port.get("port")))
            if known and not port.get("nodePort") and known not in taken:
                port["nodePort"] = known
    if needs_health_port(was) and needs_health_port(new) and was.get("healthCheckNodePort"):
        missing(new, {"healthCheckNodePort": was["healthCheckNodePort"]})


def _drop_of_former_type(new: Object, was: Object) -> None:
    """Fields that make no sense for the new type go, when they are as they were."""
    if needs_cluster_ip(was) and not needs_cluster_ip(new):
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if new.get(name) == was.get(name):
                new.pop(name, None)
    if needs_node_ports(was) and not needs_node_ports(new):
        before = [p.get("nodePort") for p in was.get("ports") or ()]
        if [p.get("nodePort") for p in new.get("ports") or ()] == before:
            for port in new.get("ports") or ():
                port.pop("nodePort", None)
    if needs_health_port(was) and not needs_health_port(new):
        new.pop("healthCheckNodePort", None)
    if was.get("type") == "LoadBalancer" != new.get("type"):
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if new.get(name) == was.get(name):
                new.pop(name, None)
    inside = new.get("type") == "ClusterIP" and not new.get("externalIPs")
    if inside and new.get("externalTrafficPolicy") == was.get("externalTrafficPolicy"):
        new.pop("externalTrafficPolicy", None)


class EndpointsStrategy(Builtin):
    allow_create_on_update = True

    def default(self, obj: Object) -> None:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                missing(port, {"protocol": "TCP"})

    def warnings(self, obj: Object, old: Object | None) -> Iterable[str]:
        return ("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",)


class EndpointSliceStrategy(Builtin):
    def default(self, obj: Object) -> None:
        for port in obj.get("ports") or ():
            missing(port, {"name": "", "protocol": "TCP"})
