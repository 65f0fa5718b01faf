"""Routes put in force by iptables: what changed, in one ``iptables-restore`` for each IP family.

What should be in the kernel is remembered by route, so that a change costs what it changes. The first time, and
whenever somebody has flushed the rules (the canary chains are gone), everything is written, and chains of this proxy
that nobody wants any more are deleted. Rules of others are never touched.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import attrs
import trio

from kcore.errors import KcoreError, UserError
from kcore.linux.commands import CommandFailed, run
from kcore.metrics import Metrics
from kcore.proxy import Route
from kcore_proxy_iptables import IptablesConfig, hubs, names, restore
from kcore_proxy_iptables.conntrack import forget_stale
from kcore_proxy_iptables.rules import Rules, Setup, of_route

_ROUTE_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")
_ORDER = ("KUBE-SEP-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-")
_LAST = (names.SERVICES, names.NODEPORTS, names.EXTERNAL, names.FIREWALL)  # which lead into those of routes
_NOTHING = Rules()

Chain = tuple[str, str]  # table, name


@attrs.define(eq=False)
class Family:
    """The rules of one IP family."""

    setup: Setup
    _rules: dict[str, Rules] = attrs.Factory(dict)  # by route
    _written: dict[Chain, tuple[str, ...]] = attrs.Factory(dict)

    @property
    def _program(self) -> str:
        return "ip6tables" if self.setup.v6 else "iptables"

    async def apply(self, changed: Mapping[str, Route | None]) -> None:
        """Raises CommandFailed; then everything is written the next time."""
        before = {key: self._rules.get(key, _NOTHING) for key in changed}
        for key, route in changed.items():
            if route is None:
                self._rules.pop(key, None)
            else:
                self._rules[key] = of_route(route.of_family(self.setup.v6), self.setup)
        if not self._written:
            await self.write_all()
            return
        after = {key: self._rules.get(key, _NOTHING) for key in changed}
        wanted = {("nat", n): tuple(ls) for rules in after.values() for n, ls in rules.chains.items()}
        gone = [("nat", n) for rules in before.values() for n in rules.chains if ("nat", n) not in wanted]
        touched = {hub for key in changed for hub in _moved(before[key], after[key])}
        wanted |= {hub: lines for hub, lines in self._hubs().items() if hub in touched}
        wanted = {chain: lines for chain, lines in wanted.items() if self._written.get(chain) != lines}
        try:
            await self._restore(wanted, gone, [])
        except CommandFailed:
            await self.write_all()  # somebody has been at our chains

    async def write_all(self) -> None:
        """All rules, whatever is there; raises CommandFailed."""
        saved = restore.parse(await run([f"{self._program}-save"]))
        wanted = self._hubs()
        for rules in self._rules.values():
            wanted |= {("nat", name): tuple(lines) for name, lines in rules.chains.items()}
        stale = [(t, c) for t, chains in saved.items() for c in chains if names.ours(t, c) and (t, c) not in wanted]
        there = {
            (t, c, restore.target(rule))
            for t, chains in saved.items()
            for c, rules in chains.items()
            for rule in rules
        }
        missing = [e for e in hubs.ENTRIES if (e.table, e.chain, e.target) not in there]
        self._written.clear()
        await self._restore(wanted, stale, [(e.table, f"-I {e.chain} 1 {e.rule}") for e in missing])

    async def healthy(self) -> bool:
        """Whether the canaries are there still."""
        try:
            for table in names.HUBS:
                if hubs.MARKER not in await run([self._program, "--wait", "-t", table, "-S", names.CANARY]):
                    return False
        except CommandFailed:
            return False
        return True

    async def remove(self) -> None:
        """Take every rule of this proxy away; raises CommandFailed."""
        saved = restore.parse(await run([f"{self._program}-save"]))
        script = []
        for table, chains in saved.items():
            ours = [chain for chain in chains if names.ours(table, chain)]
            entries = [
                f"-D {chain} {rule}"
                for chain, rules in chains.items()
                for rule in rules
                if chain not in ours and restore.target(rule) in ours
            ]
            if ours:
                flushed = [f":{chain} - [0:0]" for chain in ours]
                script += [f"*{table}", *flushed, *entries, *(f"-X {chain}" for chain in ours), "COMMIT"]
        if script:
            await run([f"{self._program}-restore", "--noflush", "--wait"], "\n".join([*script, ""]))
        self._written.clear()

    def _hubs(self) -> dict[Chain, tuple[str, ...]]:
        """The chains that all routes share, as they should be."""
        lines = hubs.first(self.setup)
        for key in sorted(self._rules):
            for hub, own in self._rules[key].shared.items():
                lines[hub] += own
        for hub, own in hubs.last(self.setup).items():
            lines[hub] += own
        return {hub: tuple(found) for hub, found in lines.items()}

    async def _restore(
        self, wanted: dict[Chain, tuple[str, ...]], gone: list[Chain], inserts: list[tuple[str, str]]
    ) -> None:
        if not (wanted or gone or inserts):
            return
        ordered = {chain: wanted[chain] for chain in sorted(wanted, key=_rank)}
        try:
            for script in restore.scripts(ordered, gone, inserts):
                await run([f"{self._program}-restore", "--noflush", "--wait"], script)
        except CommandFailed:
            self._written.clear()
            raise
        self._written |= wanted
        for chain in gone:
            self._written.pop(chain, None)


def _moved(before: Rules, after: Rules) -> set[Chain]:
    """Shared chains in which a route has other lines now."""
    return {
        hub for hub in before.shared.keys() | after.shared.keys() if before.shared.get(hub) != after.shared.get(hub)
    }


def _rank(chain: Chain) -> tuple[int, str]:
    """A chain comes after those that its rules lead into: they may be in an earlier transaction."""
    _, name = chain
    for rank, prefix in enumerate(_ORDER):
        if name.startswith(prefix):
            return rank + 1, name
    return (len(_ORDER) + 1 if name in _LAST else 0), name


@attrs.define(eq=False)
class IptablesBackend:
    """A `kcore.proxy.Backend`. Made by `open`."""

    config: IptablesConfig
    log: logging.Logger
    families: list[Family]
    _failures: object
    _routes: dict[str, Route] = attrs.Factory(dict)
    _lock: trio.Lock = attrs.Factory(trio.Lock)

    @classmethod
    async def open(cls, config: IptablesConfig, log: logging.Logger, metrics: Metrics) -> IptablesBackend:
        """Raises UserError if this machine, or this user, cannot."""
        if os.geteuid() != 0 or shutil.which("iptables-restore") is None:
            raise UserError(
                "the iptables proxy needs root and the program iptables; run kcore as root (on Debian: "
                'apt-get install iptables), or use the userspace proxy: proxy.use = "userspace"'
            )
        try:
            await run(["iptables-save", "-t", "nat"])
        except CommandFailed as error:
            raise UserError(f"the iptables proxy cannot read the rules of this machine: {error}") from error
        families = [Family(_setup(config, v6=False))]
        try:
            await run(["ip6tables-save", "-t", "nat"])
            families.append(Family(_setup(config, v6=True)))
        except CommandFailed as error:
            log.warning("no rules for IPv6: %s", error)
        if config.localhost_node_ports:
            await trio.to_thread.run_sync(_ROUTE_LOCALNET.write_text, "1\n")
        failures = metrics.counter(
            "kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "Cumulative proxy iptables restore failures"
        )
        return cls(config, log, families, failures)

    async def apply(self, changed: Mapping[str, Route | None]) -> None:
        """See `Backend.apply`."""
        async with self._lock:
            stale = {key: self._routes.get(key) for key in changed}
            for family in self.families:
                try:
                    await family.apply(changed)
                except CommandFailed as error:
                    self._failures.inc()  # type: ignore[attr-defined]  # a counter of kcore.metrics
                    raise KcoreError(f"the rules of the proxy cannot be written: {error}") from error
            for key, route in changed.items():
                if route is None:
                    self._routes.pop(key, None)
                else:
                    self._routes[key] = route
            await forget_stale(stale, changed)

    def served(self, route: Route) -> list[tuple[str, int]]:
        """See `Backend.served`."""
        found = [(address, route.port) for address in dict.fromkeys(route.addresses + route.outside_addresses)]
        return found + ([("127.0.0.1", route.node_port)] if route.node_port else [])

    async def watch(self) -> None:
        """Write everything again when somebody has flushed it."""
        while True:
            await trio.sleep(self.config.check_seconds)
            await self.heal()

    async def heal(self) -> bool:
        """Look whether the rules are there still, and write them again if not. Whether they were gone."""
        gone = False
        async with self._lock:
            for family in self.families:
                if await family.healthy():
                    continue
                gone = True
                self.log.warning("the rules of the proxy were gone; they are written again")
                try:
                    await family.write_all()
                except CommandFailed as error:
                    self.log.warning("they cannot be: %s", error)
        return gone

    async def remove(self) -> None:
        """Leave the machine as it was."""
        for family in self.families:
            await family.remove()


def _setup(config: IptablesConfig, *, v6: bool) -> Setup:
    def mine(cidrs: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cidr for cidr in cidrs if (":" in cidr) is v6)

    bit = 1 << config.masquerade_bit
    return Setup(
        v6=v6,
        cluster_cidrs=mine(tuple(filter(None, config.cluster_cidr.split(",")))),
        masquerade_all=config.masquerade_all,
        mark=f"{bit:#x}/{bit:#x}",
        node_port_cidrs=mine(config.node_port_addresses),
        localhost_node_ports=config.localhost_node_ports,
    )
