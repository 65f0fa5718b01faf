"""Flows of UDP that the kernel still sends where no endpoint is any more.

Rules are asked for the first packet of a flow only. A client of UDP that keeps its port would go on for ever with an
endpoint that is gone, or with none, if it began before there was one: such flows are forgotten here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping

import attrs

from kcore.linux.commands import CommandFailed, run
from kcore.proxy import Route


@attrs.frozen
class Flow:
    """One line of ``conntrack -L``."""

    source: str
    source_port: int
    to: str
    to_port: int
    answered_by: str
    answered_by_port: int


def parse(listed: str) -> Iterator[Flow]:
    """What ``conntrack -L`` printed: each line has the addresses of both directions."""
    for line in listed.splitlines():
        words = [word.partition("=") for word in line.split()]
        values: dict[str, list[str]] = {}
        for name, _, value in words:
            values.setdefault(name, []).append(value)
        try:
            yield Flow(
                values["src"][0],
                int(values["sport"][0]),
                values["dst"][0],
                int(values["dport"][0]),
                values["src"][1],
                int(values["sport"][1]),
            )
        except (KeyError, IndexError, ValueError):
            continue  # not a flow of two directions


def stale(flows: Iterable[Flow], routes: Iterable[Route]) -> Iterator[Flow]:
    """Those that lead from a service to what is none of its endpoints. `routes` are those of one protocol."""
    at: dict[tuple[str, int], set[tuple[str, int]]] = {}
    at_port: dict[int, set[tuple[str, int]]] = {}
    for route in routes:
        endpoints = {(e.address, e.port) for e in route.cluster_endpoints + route.local_endpoints}
        for address in route.addresses + route.outside_addresses:
            at[address, route.port] = endpoints
        if route.node_port:
            at_port[route.node_port] = endpoints
    for flow in flows:
        wanted = at.get((flow.to, flow.to_port))
        if wanted is None:
            wanted = at_port.get(flow.to_port)
        if wanted is not None and (flow.answered_by, flow.answered_by_port) not in wanted:
            yield flow


def _touched(before: Mapping[str, Route | None], after: Mapping[str, Route | None]) -> list[Route]:
    """Routes of UDP as flows must find them now: what is gone, and addresses that it had, have no endpoints."""
    gone, here = [], []
    for key, new in after.items():
        old = before.get(key)
        if old is not None and old.protocol == "UDP":
            gone.append(attrs.evolve(old, cluster_endpoints=(), local_endpoints=()))
        if new is not None and new.protocol == "UDP":
            here.append(new)
    return gone + here  # the later ones win


async def forget_stale(before: Mapping[str, Route | None], after: Mapping[str, Route | None]) -> None:
    """Forget the flows of routes that changed, unless they lead to an endpoint that the route has now."""
    routes = _touched(before, after)
    if not routes or shutil.which("conntrack") is None:
        return
    v6 = any(":" in address for route in routes for address in route.addresses)
    for family in ("ipv4", "ipv6") if v6 else ("ipv4",):
        what = ["-f", family, "-p", "udp"]
        for flow in stale(parse(await _conntrack(["-L", *what])), routes):
            ends = ["-s", flow.source, "-d", flow.to]
            ports = ["--sport", str(flow.source_port), "--dport", str(flow.to_port)]
            await _conntrack(["-D", *what, *ends, *ports])


async def _conntrack(words: list[str]) -> str:
    try:
        return await run(["conntrack", *words])
    except CommandFailed:
        return ""  # none, or it was over by itself meanwhile
