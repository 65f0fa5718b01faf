"""The chains that are there whatever the services are, and where they are entered."""

from __future__ import annotations

import attrs

from kcore_proxy_iptables import names
from kcore_proxy_iptables.rules import Setup

MARKER = "everything is written again when this is gone"
_NEW = "-m conntrack --ctstate NEW "


@attrs.frozen
class Entry:
    """A rule in a chain of the machine's that leads into one of ours."""

    table: str
    chain: str
    target: str
    comment: str
    match: str = ""

    @property
    def rule(self) -> str:
        return f'{self.match}-m comment --comment "{self.comment}" -j {self.target}'


_PORTALS, _OUTSIDE = "kubernetes service portals", "kubernetes externally-visible service portals"
_WALL = "kubernetes load balancer firewall"

ENTRIES = (  # from the last to the first: each is put in front
    Entry("nat", "PREROUTING", names.SERVICES, _PORTALS),
    Entry("nat", "OUTPUT", names.SERVICES, _PORTALS),
    Entry("nat", "POSTROUTING", names.POSTROUTING, "kubernetes postrouting rules"),
    Entry("filter", "FORWARD", names.FORWARD, "kubernetes forwarding rules"),
    Entry("filter", "FORWARD", names.SERVICES, _PORTALS, _NEW),
    Entry("filter", "OUTPUT", names.SERVICES, _PORTALS, _NEW),
    Entry("filter", "FORWARD", names.EXTERNAL, _OUTSIDE, _NEW),
    Entry("filter", "INPUT", names.EXTERNAL, _OUTSIDE, _NEW),
    Entry("filter", "INPUT", names.NODEPORTS, "kubernetes health check service ports"),
    Entry("filter", "FORWARD", names.FIREWALL, _WALL, _NEW),
    Entry("filter", "OUTPUT", names.FIREWALL, _WALL, _NEW),
    Entry("filter", "INPUT", names.FIREWALL, _WALL, _NEW),
)


def first(setup: Setup) -> dict[tuple[str, str], list[str]]:
    """What stands at the head of each shared chain, by (table, chain)."""
    mark = setup.mark
    clear = mark.partition("/")[0]
    lines: dict[tuple[str, str], list[str]] = {
        (table, chain): [] for table, chains in names.HUBS.items() for chain in chains
    }
    for table in names.HUBS:  # a rule that does nothing: unlike the bare chain it goes with `iptables -F` too
        lines[table, names.CANARY] = [f'-m comment --comment "{MARKER}"']
    lines["nat", names.MARK_MASQ] = [f"-j MARK --or-mark {clear}"]
    lines["nat", names.POSTROUTING] = [
        f"-m mark ! --mark {mark} -j RETURN",
        f"-j MARK --xor-mark {clear}",  # once is enough, should the packet come by again
        '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    ]
    lines["filter", names.FORWARD] = [
        f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {mark} -j ACCEPT',
        '-m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED'
        " -j ACCEPT",
    ]
    if setup.localhost_node_ports and not setup.v6:
        # with route_localnet the neighbours of this machine could otherwise reach what listens on 127.0.0.1 alone
        lines["filter", names.FIREWALL] = [
            '-m comment --comment "block incoming localnet connections" ! -s 127.0.0.0/8 -d 127.0.0.0/8'
            " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
        ]
    return lines


def last(setup: Setup) -> dict[tuple[str, str], list[str]]:
    """What stands at the end of each shared chain."""
    said = '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"'
    at = [f"-d {cidr} " for cidr in setup.node_port_cidrs] or [""]
    not_here = (
        "" if setup.localhost_node_ports and not setup.v6 else f"! -d {'::1/128' if setup.v6 else '127.0.0.0/8'} "
    )
    if setup.node_port_cidrs:
        not_here = ""
    lines = [f"{said} {cidr}{not_here}-m addrtype --dst-type LOCAL -j {names.NODEPORTS}" for cidr in at]
    return {("nat", names.SERVICES): lines}
