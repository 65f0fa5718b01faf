"""Ports of a container: those it declares, and those that only its probes and hooks name."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from kcore.objects import Object
from kcore.runtime import Port


def number(port: int | str, declared: list[Object]) -> int:
    """A probe's port: a number, or the name of a declared port. 0 if there is no such name."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for p in declared:
        if p.get("name") == port:
            return int(p["containerPort"])
    return 0


def probe_ports(spec: Object, declared: tuple[Port, ...]) -> tuple[Port, ...]:
    """The declared ports and those of probes and hooks, each with the protocol that its probes will speak."""
    by_number = {(p.port, p.protocol): p for p in declared}
    for at, scheme in _asked(spec):
        known = by_number.get((at, "TCP"), Port(at))
        if not known.scheme or known.scheme == "tcp":
            by_number[at, "TCP"] = attrs.evolve(known, scheme=scheme)
    return tuple(by_number.values())


def _asked(spec: Object) -> Iterator[tuple[int, str]]:
    declared = spec.get("ports") or []
    lifecycle = spec.get("lifecycle") or {}
    actions = [spec.get(k) or {} for k in ("startupProbe", "livenessProbe", "readinessProbe")]
    actions += [lifecycle.get(k) or {} for k in ("postStart", "preStop")]
    for action in actions:
        if "httpGet" in action and not action["httpGet"].get("host"):
            get = action["httpGet"]
            yield number(get["port"], declared), get.get("scheme", "HTTP").lower()
        elif "tcpSocket" in action and not action["tcpSocket"].get("host"):
            yield number(action["tcpSocket"]["port"], declared), "tcp"
        elif "grpc" in action:
            yield int(action["grpc"]["port"]), "grpc"
