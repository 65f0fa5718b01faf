"""Flows of UDP that the kernel remembers: those to endpoints that are gone would go on for as long as clients send."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from kcore.linux.commands import CommandFailed, run
from kcore.proxy import Route


async def forget_stale(before: Mapping[str, Route | None], after: Mapping[str, Route | None]) -> None:
    """Forget flows to endpoints that a route has lost, and, if it has its first one now, those that led nowhere."""
    if shutil.which("conntrack") is None:
        return
    for key, old in before.items():
        new = after[key]
        route = old or new
        if route is None or route.protocol != "UDP":
            continue
        had = {e.address for e in old.cluster_endpoints} if old is not None else set()
        has = {e.address for e in new.cluster_endpoints} if new is not None else set()
        for address in dict.fromkeys(route.addresses + route.outside_addresses):
            family = ["-f", "ipv6" if ":" in address else "ipv4"]
            for endpoint in had - has:
                await _forget([*family, "--orig-dst", address, "--reply-src", endpoint])
            if has and not had:
                await _forget([*family, "--orig-dst", address, "--dport", str(route.port)])
        if route.node_port and ((had - has) or (has and not had)):
            await _forget(["--dport", str(route.node_port)])


async def _forget(match: list[str]) -> None:
    try:
        await run(["conntrack", "-D", "-p", "udp", *match])
    except CommandFailed:
        pass  # there were none
