"""The rules of ingresses and network policies."""

from __future__ import annotations

from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, one_of, problems

PATH_TYPES = ["Exact", "ImplementationSpecific", "Prefix"]
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")


def ingress(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    rules = spec.get("rules") or []
    if not rules and spec.get("defaultBackend") is None:
        yield fields.invalid("spec", rules, "either `defaultBackend` or `rules` must be specified")
    if spec.get("defaultBackend") is not None:
        yield from _backend("spec.defaultBackend", spec["defaultBackend"])
    for i, rule in enumerate(rules):
        yield from _host(f"spec.rules[{i}].host", rule.get("host"))
        http = rule.get("http")
        if http is None:
            continue
        paths = http.get("paths") or []
        if not paths:
            yield fields.required(f"spec.rules[{i}].http.paths")
        for j, path in enumerate(paths):
            yield from _path(f"spec.rules[{i}].http.paths[{j}]", path)
    for i, tls in enumerate(spec.get("tls") or ()):
        for j, host in enumerate(tls.get("hosts") or ()):
            yield from _host(f"spec.tls[{i}].hosts[{j}]", host)
    if spec.get("ingressClassName") is not None:
        name = spec["ingressClassName"]
        yield from problems("spec.ingressClassName", name, names.dns_subdomain(name))


_WILDCARD = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    r"regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def _host(path: str, host: str | None) -> Iterator[Cause]:
    if not host:
        return
    bare = host.replace(".", "")
    if bare.isdigit() or ":" in host:
        yield fields.invalid(path, host, "must be a DNS name, not an IP address")
    elif "*" in host:
        if not host.startswith("*.") or names.dns_subdomain(host[2:]):
            yield fields.invalid(path, host, _WILDCARD)
    else:
        yield from problems(path, host, names.dns_subdomain(host))


def _path(at: str, given: Object) -> Iterator[Cause]:
    type, path = given.get("pathType"), given.get("path", "")
    if not type:
        yield fields.required(f"{at}.pathType", "pathType must be specified")
    elif type in ("Exact", "Prefix"):
        if not path.startswith("/"):
            yield fields.invalid(f"{at}.path", path, "must be an absolute path")
        for bad in _BAD_SEQUENCES:
            if bad in path:
                yield fields.invalid(f"{at}.path", path, f"must not contain '{bad}'")
        for bad in _BAD_ENDS:
            if path.endswith(bad):
                yield fields.invalid(f"{at}.path", path, f"cannot end with '{bad}'")
    elif type == "ImplementationSpecific":
        if path and not path.startswith("/"):
            yield fields.invalid(f"{at}.path", path, "must be an absolute path")
    else:
        yield fields.not_supported(f"{at}.pathType", type, PATH_TYPES)
    yield from _backend(f"{at}.backend", given.get("backend") or {})


def _backend(path: str, backend: Object) -> Iterator[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        yield fields.invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        for name in ("kind", "name"):
            if not resource.get(name):
                yield fields.required(f"{path}.resource.{name}", f"resource.{name} is required")
    elif service is None:
        yield fields.required(path, "resource or service backend is required")
    else:
        yield from _service(f"{path}.service", service)


def _service(path: str, service: Object) -> Iterator[Cause]:
    name, port = service.get("name", ""), service.get("port") or {}
    if not name:
        yield fields.required(f"{path}.name")
    else:
        yield from problems(f"{path}.name", name, names.dns_label(name))
    if port.get("name") and port.get("number"):
        yield fields.invalid(path, "", "cannot set both port name & port number")
    elif port.get("name"):
        yield from problems(f"{path}.port.name", port["name"], common.port_name(port["name"]))
    elif port.get("number"):
        yield from common.port_number(f"{path}.port.number", port["number"])
    else:
        yield fields.required(path, "port name or number is required")


def ingress_class(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    controller = spec.get("controller", "")
    if len(controller) > 250:
        yield fields.too_long("spec.controller", 250)
    domain, slash, rest = controller.partition("/")
    if not slash or not rest or names.dns_subdomain(domain):
        why = 'must be a domain-prefixed path (such as "acme.io/foo")'
        yield fields.invalid("spec.controller", controller, why)
    if old is not None and controller != (old.get("spec") or {}).get("controller"):
        yield fields.invalid("spec.controller", controller, common.IMMUTABLE)


def network_policy(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    yield from common.label_selector("spec.podSelector", spec.get("podSelector"))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{i}]"
            for j, port in enumerate(rule.get("ports") or ()):
                yield from _policy_port(f"{path}.ports[{j}]", port)
            for j, peer in enumerate(rule.get(peers) or ()):
                yield from _peer(f"{path}.{peers}[{j}]", peer)
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        yield fields.invalid("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for i, type in enumerate(types):
        if type not in ("Ingress", "Egress"):
            yield fields.not_supported(f"spec.policyTypes[{i}]", type, ["Ingress", "Egress"])


def _policy_port(path: str, given: Object) -> Iterator[Cause]:
    yield from one_of(f"{path}.protocol", given.get("protocol"), ["SCTP", "TCP", "UDP"])
    port, end = given.get("port"), given.get("endPort")
    if port is not None:
        yield from common.port(f"{path}.port", port)
        if end is not None:
            if isinstance(port, str):
                yield fields.invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
            elif end < port:
                yield fields.invalid(f"{path}.endPort", end, "must be greater than or equal to `port`")
    elif end is not None:
        yield fields.invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified")


def _peer(path: str, peer: Object) -> Iterator[Cause]:
    count = 0
    for name in ("podSelector", "namespaceSelector"):
        if peer.get(name) is not None:
            count += 1
            yield from common.label_selector(f"{path}.{name}", peer[name])
    if peer.get("ipBlock") is not None:
        count += 1
        yield from _block(f"{path}.ipBlock", peer["ipBlock"])
        if count > 1:
            yield fields.forbidden(path, "may not specify both ipBlock and another peer")
    if not count:
        yield fields.required(path, "must specify a peer")


def _block(path: str, block: Object) -> Iterator[Cause]:
    if not block.get("cidr"):
        yield fields.required(f"{path}.cidr")
        return
    whole = common.network(block["cidr"])
    yield from common.cidr(f"{path}.cidr", block["cidr"])
    for i, text in enumerate(block.get("except") or ()):
        part = common.network(text)
        yield from common.cidr(f"{path}.except[{i}]", text)
        if whole is None or part is None:
            continue
        inside = whole.version == part.version and part.network_address in whole and part.prefixlen > whole.prefixlen
        if not inside:
            yield fields.invalid(f"{path}.except[{i}]", text, "must be a strict subset of `cidr`")
