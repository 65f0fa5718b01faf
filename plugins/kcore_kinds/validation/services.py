"""The rules of services and of the addresses behind them."""

from __future__ import annotations

from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import IMMUTABLE, Object, one_of, problems

TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]
POLICIES = ["PreferDualStack", "RequireDualStack", "SingleStack"]
PROTOCOLS = ["SCTP", "TCP", "UDP"]
_MAX_AFFINITY = 86400


def service(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    type, headless = spec.get("type", "ClusterIP"), spec.get("clusterIP") == "None"
    if not spec.get("ports") and not headless and type != "ExternalName":
        yield fields.required("spec.ports")
    yield from _type(spec, type)
    yield from _ports(spec, type)
    yield from common.labels("spec.selector", spec.get("selector"))
    yield from _affinity(spec)
    yield from _families(spec)
    yield from _addresses(spec, type)
    yield from _traffic(spec, type)
    if old is not None:
        yield from _update(spec, old["spec"])


def _families(spec: Object) -> Iterator[Cause]:
    families = spec.get("ipFamilies") or []
    for i, family in enumerate(families):
        yield from one_of(f"spec.ipFamilies[{i}]", family, ["IPv4", "IPv6"])
        if family in families[:i]:
            yield fields.duplicate(f"spec.ipFamilies[{i}]", family)
    yield from one_of("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), POLICIES)


def _type(spec: Object, type: str) -> Iterator[Cause]:
    if type == "LoadBalancer" and spec.get("clusterIP") == "None":
        yield fields.invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services")
    elif type == "NodePort" and spec.get("clusterIP") == "None":
        yield fields.invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services")
    elif type == "ExternalName":
        if spec.get("clusterIP") or spec.get("clusterIPs"):
            yield fields.forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'")
        host = (spec.get("externalName") or "").removesuffix(".")
        if not host:
            yield fields.required("spec.externalName")
        else:
            yield from problems("spec.externalName", host, names.dns_subdomain(host))


def _ports(spec: Object, type: str) -> Iterator[Cause]:
    ports = spec.get("ports") or []
    seen_names: set[str] = set()
    for i, port in enumerate(ports):
        path, name = f"spec.ports[{i}]", port.get("name", "")
        if not name and len(ports) > 1:
            yield fields.required(f"{path}.name")
        elif name:
            yield from problems(f"{path}.name", name, names.dns_label(name))
            if name in seen_names:
                yield fields.duplicate(f"{path}.name", name)
            seen_names.add(name)
        yield from common.port_number(f"{path}.port", port.get("port", 0))
        yield from one_of(f"{path}.protocol", port.get("protocol"), PROTOCOLS, required=True)
        yield from common.port(f"{path}.targetPort", port.get("targetPort"))
        if port.get("appProtocol"):
            yield from problems(f"{path}.appProtocol", port["appProtocol"], names.qualified_name(port["appProtocol"]))
    yield from one_of("spec.type", type, TYPES, required=True)
    if type == "ClusterIP":
        for i, port in enumerate(ports):
            if port.get("nodePort"):
                yield fields.forbidden(f"spec.ports[{i}].nodePort", "may not be used when `type` is 'ClusterIP'")
    yield from _duplicates(ports)


def _duplicates(ports: list[Object]) -> Iterator[Cause]:
    pairs: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    for i, port in enumerate(ports):
        protocol = port.get("protocol", "TCP")
        if port.get("nodePort"):
            if (protocol, port["nodePort"]) in node_ports:
                yield fields.duplicate(f"spec.ports[{i}].nodePort", port["nodePort"])
            node_ports.add((protocol, port["nodePort"]))
    for i, port in enumerate(ports):
        protocol = port.get("protocol", "TCP")
        if (protocol, port.get("port")) in pairs:
            yield fields.duplicate(f"spec.ports[{i}]", {"protocol": protocol, "port": port.get("port")})
        pairs.add((protocol, port.get("port", 0)))


def _affinity(spec: Object) -> Iterator[Cause]:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    yield from one_of("spec.sessionAffinity", affinity, ["ClientIP", "None"], required=True)
    if affinity == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        if seconds is not None and not 0 < seconds <= _MAX_AFFINITY:
            yield fields.invalid(path, seconds, f"must be greater than 0 and less than {_MAX_AFFINITY}")
    elif affinity == "None" and config is not None:
        why = "must not be set when session affinity is None"
        yield fields.forbidden("spec.sessionAffinityConfig", why)


def _addresses(spec: Object, type: str) -> Iterator[Cause]:
    given = spec.get("clusterIPs") or []
    if type != "ExternalName" and given and given[0] != "None":
        if spec.get("clusterIP") and given[0] != spec["clusterIP"]:
            yield fields.invalid("spec.clusterIPs", given, "first value must match `clusterIP`")
        for i, address in enumerate(given):
            yield from common.ip_address(f"spec.clusterIPs[{i}]", address)
    for i, address in enumerate(spec.get("externalIPs") or ()):
        yield from common.ip_address(f"spec.externalIPs[{i}]", address)
    for i, network in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from common.cidr(f"spec.loadBalancerSourceRanges[{i}]", network)


def _traffic(spec: Object, type: str) -> Iterator[Cause]:
    external = spec.get("externalTrafficPolicy")
    outside = type in ("NodePort", "LoadBalancer") or (type == "ClusterIP" and spec.get("externalIPs"))
    if external is not None:
        if not outside:
            why = "may only be set for externally-accessible services"
            yield fields.invalid("spec.externalTrafficPolicy", external, why)
        else:
            yield from one_of("spec.externalTrafficPolicy", external, ["Cluster", "Local"])
    internal = spec.get("internalTrafficPolicy")
    yield from one_of("spec.internalTrafficPolicy", internal, ["Cluster", "Local"])
    if spec.get("healthCheckNodePort") and not (type == "LoadBalancer" and external == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield fields.invalid("spec.healthCheckNodePort", spec["healthCheckNodePort"], why)
    if spec.get("loadBalancerClass") is not None and type != "LoadBalancer":
        yield fields.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
    if spec.get("allocateLoadBalancerNodePorts") is not None and type != "LoadBalancer":
        why = "may only be used when `type` is 'LoadBalancer'"
        yield fields.forbidden("spec.allocateLoadBalancerNodePorts", why)


def _update(new: Object, old: Object) -> Iterator[Cause]:
    """The address stays as long as the service has one."""
    if "ExternalName" in (new.get("type"), old.get("type")):
        return
    before, after = old.get("clusterIPs") or [], new.get("clusterIPs") or []
    if before and after[:1] != before[:1]:
        yield fields.invalid("spec.clusterIPs[0]", after, "may not change once set")
    balancer = new.get("loadBalancerClass")
    if new.get("type") == old.get("type") == "LoadBalancer" and balancer != old.get("loadBalancerClass"):
        yield fields.invalid("spec.loadBalancerClass", balancer, "may not change once set")


def endpoints(obj: Object, old: Object | None) -> Iterator[Cause]:
    for i, subset in enumerate(obj.get("subsets") or ()):
        path = f"subsets[{i}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield fields.required(path, "must specify `addresses` or `notReadyAddresses`")
        for sort in ("addresses", "notReadyAddresses"):
            for j, address in enumerate(subset.get(sort) or ()):
                yield from common.ip_address(f"{path}.{sort}[{j}].ip", address.get("ip", ""))
        ports = subset.get("ports") or []
        for j, port in enumerate(ports):
            if not port.get("name") and len(ports) > 1:
                yield fields.required(f"{path}.ports[{j}].name")
            elif port.get("name"):
                yield from problems(f"{path}.ports[{j}].name", port["name"], names.dns_label(port["name"]))
            yield from common.port_number(f"{path}.ports[{j}].port", port.get("port", 0))
            yield from one_of(f"{path}.ports[{j}].protocol", port.get("protocol"), PROTOCOLS, required=True)


def endpoint_slice(obj: Object, old: Object | None) -> Iterator[Cause]:
    type = obj.get("addressType")
    yield from one_of("addressType", type or None, ["FQDN", "IPv4", "IPv6"])
    if not type:
        yield fields.required("addressType")
    for i, endpoint in enumerate(obj.get("endpoints") or ()):
        addresses = endpoint.get("addresses") or []
        if not addresses:
            yield fields.required(f"endpoints[{i}].addresses", "must contain at least 1 item")
        for j, address in enumerate(addresses):
            path = f"endpoints[{i}].addresses[{j}]"
            if type == "FQDN":
                yield from problems(path, address, names.dns_subdomain(address))
            elif type in ("IPv4", "IPv6"):
                yield from common.ip_address(path, address)
    seen: set[str] = set()
    for i, port in enumerate(obj.get("ports") or ()):
        name = port.get("name") or ""
        if name:
            yield from problems(f"ports[{i}].name", name, names.dns_label(name))
        if name in seen:
            yield fields.duplicate(f"ports[{i}].name", name)
        seen.add(name)
        yield from one_of(f"ports[{i}].protocol", port.get("protocol"), PROTOCOLS, required=True)
        if port.get("port") is not None:
            yield from common.port_number(f"ports[{i}].port", port["port"])
    if old is not None and type != old.get("addressType"):
        yield fields.invalid("addressType", type, IMMUTABLE)
