"""The tables of services, endpoints, ingresses and network policies."""

from __future__ import annotations

from collections.abc import Iterator

from kcore.api.kinds import Column
from kcore_kinds.tables.cells import AGE, NAME, NONE, UNSET, Object, at, col, labels_text, selector_text, some


def _spec(obj: Object) -> Object:
    found: Object = obj.get("spec") or {}
    return found


def _balancer(obj: Object) -> list[str]:
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [i.get("ip") or i.get("hostname") or "" for i in ingress]


def _external_ip(service: Object) -> str:
    spec = _spec(service)
    given = list(spec.get("externalIPs") or ())
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    if spec.get("type") == "LoadBalancer":
        return ",".join(sorted({*_balancer(service)}) + given) or "<pending>"
    return ",".join(given) or NONE


def _service_port(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port', 0)}{node}/{port.get('protocol', 'TCP')}"


def _addresses(endpoints: Object) -> Iterator[str]:
    for subset in endpoints.get("subsets") or ():
        ready = subset.get("addresses") or ()
        for port in subset.get("ports") or ():
            for address in ready:
                yield f"{address['ip']}:{port['port']}"
        if not subset.get("ports"):
            yield from (address["ip"] for address in ready)


def _slice_ports(slice: Object) -> str:
    ports = slice.get("ports") or ()
    return some((str(p["port"]) if p.get("port") is not None else "*" for p in ports), 3) or UNSET


def _slice_addresses(slice: Object) -> str:
    found = (a for e in slice.get("endpoints") or () for a in e.get("addresses") or ())
    return some(found, 3) or UNSET


def _hosts(ingress: Object) -> str:
    hosts = [r["host"] for r in _spec(ingress).get("rules") or () if r.get("host")]
    return some(hosts, 3) or "*"


def _parameters(ingress_class: Object) -> str:
    found = _spec(ingress_class).get("parameters")
    if not found:
        return NONE
    group = f".{found['apiGroup']}" if found.get("apiGroup") else ""
    return f"{found.get('kind', '')}{group}/{found.get('name', '')}"


def _parent(address: Object) -> str:
    ref = _spec(address).get("parentRef")
    if not ref:
        return NONE
    resource = ref.get("resource", "") + (f".{ref['group']}" if ref.get("group") else "")
    return "/".join(part for part in (resource, ref.get("namespace"), ref.get("name")) if part)


TABLES: dict[str, tuple[Column, ...]] = {
    "services": (
        NAME,
        col("Type", at("spec.type")),
        col("Cluster-IP", at("spec.clusterIP", NONE)),
        col("External-IP", _external_ip),
        col("Port(s)", lambda s: ",".join(map(_service_port, _spec(s).get("ports") or ())) or NONE),
        AGE,
        col("Selector", lambda s: labels_text(_spec(s).get("selector")), wide=True),
    ),
    "endpoints": (NAME, col("Endpoints", lambda e: some(_addresses(e), 3) or NONE), AGE),
    "endpointslices.discovery.k8s.io": (
        NAME,
        col("AddressType", at("addressType")),
        col("Ports", _slice_ports),
        col("Endpoints", _slice_addresses),
        AGE,
    ),
    "ingresses.networking.k8s.io": (
        NAME,
        col("Class", at("spec.ingressClassName", NONE)),
        col("Hosts", _hosts),
        col("Address", lambda i: ",".join(_balancer(i))),
        col("Ports", lambda i: "80, 443" if _spec(i).get("tls") else "80"),
        AGE,
    ),
    "ingressclasses.networking.k8s.io": (
        NAME,
        col("Controller", at("spec.controller")),
        col("Parameters", _parameters),
        AGE,
    ),
    "ipaddresses.networking.k8s.io": (NAME, col("ParentRef", _parent)),
    "networkpolicies.networking.k8s.io": (
        NAME,
        col("Pod-Selector", lambda p: selector_text(_spec(p).get("podSelector"))),
        AGE,
    ),
    "servicecidrs.networking.k8s.io": (NAME, col("CIDRs", lambda c: ",".join(_spec(c).get("cidrs") or ())), AGE),
}
