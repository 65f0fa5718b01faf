"""Input for iptables-restore, and reading what iptables-save says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Chains = dict[str, dict[str, tuple[str, ...]]]
"""table -> chain -> rules"""

# A single transaction with all chains of a large cluster takes iptables (nf_tables) seconds: its work grows with the
# square of the number of chains.
MOST = 500


def scripts(
    changed: Mapping[tuple[str, str], Iterable[str]],
    gone: Iterable[tuple[str, str]],
    inserts: Iterable[tuple[str, str]],
) -> Iterable[str]:
    """What to give to ``iptables-restore --noflush``, one after the other. `changed`: all rules of each chain, by
    (table, chain); chains that others refer to come last. `gone` chains are deleted at the end. `inserts`: (table,
    line)."""
    chains = list(changed.items())
    gone, inserts = list(gone), list(inserts)
    for start in range(0, max(len(chains), 1), MOST):
        end = start + MOST >= len(chains)
        yield _script(chains[start : start + MOST], gone if end else [], inserts if end else [])


def _script(
    chains: list[tuple[tuple[str, str], Iterable[str]]], gone: list[tuple[str, str]], inserts: list[tuple[str, str]]
) -> str:
    out = []
    for table in ("mangle", "filter", "nat"):
        mine = [(chain, rules) for (t, chain), rules in chains if t == table]
        dead = [chain for t, chain in gone if t == table]
        put = [line for t, line in inserts if t == table]
        if not mine and not dead and not put:
            continue
        out.append(f"*{table}")
        out += [f":{chain} - [0:0]" for chain, _ in mine]
        out += [f":{chain} - [0:0]" for chain in dead]  # flushes it
        out += [f"-A {chain} {rule}" for chain, rules in mine for rule in rules]
        out += put
        out += [f"-X {chain}" for chain in dead]
        out.append("COMMIT")
    return "\n".join([*out, ""])


def parse(saved: str) -> Chains:
    """The output of iptables-save."""
    tables: Chains = {}
    found: dict[str, list[str]] = {}
    for line in saved.splitlines():
        if line.startswith("*"):
            found = {}
            tables[line[1:]] = found  # type: ignore[assignment]
        elif line.startswith(":"):
            found[line[1:].split(" ", 1)[0]] = []
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            found.setdefault(chain, []).append(rule)
    return {table: {chain: tuple(rules) for chain, rules in chains.items()} for table, chains in tables.items()}


_TARGET = re.compile(r"(?:^| )-[jg] (\S+)")


def target(rule: str) -> str:
    """Where a rule leads: ``KUBE-SERVICES``, ``ACCEPT``; "" if nowhere."""
    found = _TARGET.search(re.sub(r'"(?:\\.|[^"\\])*"', '""', rule))
    return found[1] if found else ""
