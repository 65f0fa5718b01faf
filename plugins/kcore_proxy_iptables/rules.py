"""From one route to its rules: chains of its own, and lines in the chains that all share.

::

    KUBE-SERVICES --ClusterIP--> KUBE-SVC-x (or KUBE-SVL-x) --at random--> KUBE-SEP-a: DNAT to the endpoint
         |  `--external, load balancer's IP--> [KUBE-FW-x: who may] --> KUBE-EXT-x: masquerade, or keep to this node
         `--to this machine--> KUBE-NODEPORTS ----------------------------^

Where no endpoint may be chosen nothing is rewritten, and the table `filter` refuses: REJECT if nobody serves, DROP if
others do but a policy keeps the traffic here. Rules are as kube-proxy writes them.
"""

from __future__ import annotations

import attrs

from kcore.proxy import Endpoint, Route
from kcore_proxy_iptables import names

Lines = tuple[str, ...]
"""Rules without the ``-A CHAIN`` at the front."""


@attrs.frozen
class Setup:
    """What does not depend on the services."""

    v6: bool
    cluster_cidrs: tuple[str, ...]  # of this family
    masquerade_all: bool
    mark: str  # 0x4000/0x4000
    node_port_cidrs: tuple[str, ...]  # of this family
    localhost_node_ports: bool


@attrs.define
class Rules:
    """What one route adds."""

    chains: dict[str, list[str]] = attrs.Factory(dict)
    """Chains of its own in the table nat."""
    shared: dict[tuple[str, str], list[str]] = attrs.Factory(dict)
    """Lines in others, by (table, chain)."""

    def share(self, table: str, chain: str, line: str) -> None:
        self.shared.setdefault((table, chain), []).append(line)


def of_route(route: Route, setup: Setup) -> Rules:
    """`route` is of one family already."""
    rules = Rules()
    if not route.addresses:
        return rules  # a service of the other family
    cluster, local = names.of_route("KUBE-SVC-", route), names.of_route("KUBE-SVL-", route)
    outside = bool(route.external_addresses or route.balancer_addresses or route.node_port)
    if route.cluster_endpoints and (outside or not route.internal_local):
        rules.chains[cluster] = _choice(route, route.cluster_endpoints)
    if route.local_endpoints and ((outside and route.external_local) or route.internal_local):
        rules.chains[local] = _choice(route, route.local_endpoints)
    for endpoint in set(route.cluster_endpoints + route.local_endpoints):
        name = names.of_endpoint(route, endpoint)
        if any(f"-j {name}" in line for chain in rules.chains.values() for line in chain):
            rules.chains[name] = _endpoint(route, endpoint)
    inside = local if route.internal_local else cluster
    _inside(rules, route, inside, setup)
    if outside:
        _outside(rules, route, cluster, local, setup)
    return rules


def _inside(rules: Rules, route: Route, chain: str, setup: Setup) -> None:
    for address in route.addresses:
        match = f"{_said(route, 'cluster IP')} {_to(route, address)}"
        if chain not in rules.chains:
            rules.share("filter", names.SERVICES, _refusal(route, bool(route.endpoints), _to(route, address)))
            continue
        rules.share("nat", names.SERVICES, f"{match} -j {chain}")
        if setup.masquerade_all:
            rules.chains[chain].insert(0, f"{match} -j {names.MARK_MASQ}")
        else:
            for cidr in setup.cluster_cidrs:
                rules.chains[chain].insert(0, f"{match} ! -s {cidr} -j {names.MARK_MASQ}")


def _outside(rules: Rules, route: Route, cluster: str, local: str, setup: Setup) -> None:
    reached = bool(route.cluster_endpoints or (route.local_endpoints if route.external_local else ()))
    entry = names.of_route("KUBE-EXT-", route)
    if reached:
        rules.chains[entry] = _entry(rules, route, cluster, local, setup)
    for address in route.external_addresses:
        if reached:
            rules.share("nat", names.SERVICES, f"{_said(route, 'external IP')} {_to(route, address)} -j {entry}")
        _refuse_outside(rules, route, _to(route, address))
    for address in route.balancer_addresses:
        into = _firewall(rules, route, address, entry) if reached and route.source_ranges else entry
        if reached:
            rules.share("nat", names.SERVICES, f"{_said(route, 'loadbalancer IP')} {_to(route, address)} -j {into}")
        _refuse_outside(rules, route, _to(route, address))
    if route.node_port:
        proto = route.protocol.lower()
        match = f"-m {proto} -p {proto} --dport {route.node_port}"
        if reached:
            rules.share("nat", names.NODEPORTS, f"{_said(route)} {match} -j {entry}")
        _refuse_outside(rules, route, f"-m addrtype --dst-type LOCAL {match}")
    if route.health_port:
        said = f'-m comment --comment "{route.service} health check node port"'
        line = f"{said} -m tcp -p tcp --dport {route.health_port} -j ACCEPT"
        rules.share("filter", names.NODEPORTS, line)


def _entry(rules: Rules, route: Route, cluster: str, local: str, setup: Setup) -> list[str]:
    """KUBE-EXT: what comes from outside."""
    about = f"{route.title} external destinations"
    lines = []
    if not route.external_local:
        lines.append(f'-m comment --comment "masquerade traffic for {about}" -j {names.MARK_MASQ}')
        lines.append(f"-j {cluster}")
        return lines
    if cluster in rules.chains:  # this machine, and its pods, need not go out to come in again
        for cidr in setup.cluster_cidrs:
            lines.append(f'-m comment --comment "pod traffic for {about}" -s {cidr} -j {cluster}')
        here = "-m addrtype --src-type LOCAL"
        lines.append(f'-m comment --comment "masquerade LOCAL traffic for {about}" {here} -j {names.MARK_MASQ}')
        lines.append(f'-m comment --comment "route LOCAL traffic for {about}" {here} -j {cluster}')
    if local in rules.chains:
        lines.append(f"-j {local}")
    return lines


def _firewall(rules: Rules, route: Route, address: str, entry: str) -> str:
    chain = names.of_route("KUBE-FW-", route)
    said = _said(route, "loadbalancer IP")
    lines = [f"{said} -s {source} -j {entry}" for source in route.source_ranges]
    lines.append(f'-m comment --comment "other traffic to {route.title} will be dropped by {names.FIREWALL}"')
    rules.chains[chain] = lines
    refusal = f'-m comment --comment "{route.title} traffic not accepted by {chain}" {_to(route, address)} -j DROP'
    rules.share("filter", names.FIREWALL, refusal)
    return chain


def _refuse_outside(rules: Rules, route: Route, match: str) -> None:
    if not route.node_endpoints:
        rules.share("filter", names.EXTERNAL, _refusal(route, False, match))


def _refusal(route: Route, served: bool, match: str) -> str:
    """Nobody serves: the client should know at once. Others serve: silence, and a load balancer tries elsewhere."""
    if route.served_anywhere and not served:
        return f'-m comment --comment "{route.title} has no local endpoints" {match} -j DROP'
    return f'-m comment --comment "{route.title} has no endpoints" {match} -j REJECT'


def _choice(route: Route, endpoints: tuple[Endpoint, ...]) -> list[str]:
    """Each with the same chance; first of all the one that the client had."""
    chains = [(names.of_endpoint(route, e), names.target(e)) for e in endpoints]
    lines = []
    if route.affinity_seconds:
        for name, target in chains:
            recent = f"-m recent --name {name} --rcheck --seconds {route.affinity_seconds} --reap"
            lines.append(f'-m comment --comment "{route.title} -> {target}" {recent} -j {name}')
    for i, (name, target) in enumerate(chains):
        left = len(chains) - i
        chance = f" -m statistic --mode random --probability {1 / left:.10f}" if left > 1 else ""
        lines.append(f'-m comment --comment "{route.title} -> {target}"{chance} -j {name}')
    return lines


def _endpoint(route: Route, endpoint: Endpoint) -> list[str]:
    proto = route.protocol.lower()
    recent = f" -m recent --name {names.of_endpoint(route, endpoint)} --set" if route.affinity_seconds else ""
    return [
        # a pod that reaches itself by its service must see the answer come from there
        f"{_said(route)} -s {endpoint.address} -j {names.MARK_MASQ}",
        f"{_said(route)}{recent} -m {proto} -p {proto} -j DNAT --to-destination {names.target(endpoint)}",
    ]


def _said(route: Route, what: str = "") -> str:
    text = f"{route.title} {what}" if what else route.title
    return f'-m comment --comment "{text}"'


def _to(route: Route, address: str) -> str:
    proto = route.protocol.lower()
    return f"-m {proto} -p {proto} -d {address} --dport {route.port}"
