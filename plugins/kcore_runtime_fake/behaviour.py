"""What a pod's annotations say about how its containers behave.

All of them begin with ``kcore.dev/`` and are for all containers of the pod, or with ``.NAME`` at the end for one of
them (``kcore.dev/exit-code.app: "3"``). Durations are Go's (``500ms``, ``1m30s``) or plain seconds.

============== =========================================================================================
start-delay    how long the container takes from its start to running
run-time       it ends after so long
exit-code      with this code (0)
crash-loop     ``true``: the same as run-time 1s and exit-code 1
log            text that is printed at the start, one or more lines
log-every      a line is printed at this interval ...
log-line       ... with this text (``{n}`` is the number of the line)
ready-after    HTTP answers 503, gRPC NOT_SERVING, and exec probes fail until the container has run so long
ready-for      and again after so long
http-status    the status of HTTP answers (200)
delay          how long answers to HTTP requests take
stop-delay     how long it takes to end when asked; more than its grace period, and it is killed (exit code 137)
cpu            CPU use: a quantity (``100m``) or a curve
memory         memory use: a quantity (``64Mi``) or a curve
============== =========================================================================================

Curves: ``100m..500m/10m`` rises from the first to the second value in ten minutes and begins anew; ``100m~500m/1h``
swings between the two.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import attrs

from kcore.objects import quantity

PREFIX = "kcore.dev/"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_CURVE = re.compile(r"(.+?)(\.\.|~)([^/]+)/(.+)")


class BadBehaviour(ValueError):
    """An annotation cannot be understood. The message names it."""


def duration(text: str) -> float:
    """Seconds of ``1m30s``, ``500ms`` or ``2.5``."""
    try:
        return float(text)
    except ValueError:
        pass
    if not text or _PART.sub("", text):
        raise ValueError(f"not a duration: {text!r}")
    return sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text))


@attrs.frozen
class Curve:
    """A measurement over time: from `low` to `high` in `period` seconds, as a ramp or a swing."""

    low: float
    high: float
    period: float = 0.0  # 0: constantly `low`
    swing: bool = False

    def at(self, seconds: float) -> float:
        """The value so long after the start."""
        if not self.period:
            return self.low
        turn = seconds / self.period
        part = (1 - math.cos(2 * math.pi * turn)) / 2 if self.swing else turn % 1.0
        return self.low + (self.high - self.low) * part

    def total(self, seconds: float) -> float:
        """The integral from the start: use of CPU so far."""
        if not self.period:
            return self.low * seconds
        if self.swing:
            angle = 2 * math.pi * seconds / self.period
            part = (seconds - math.sin(angle) * self.period / (2 * math.pi)) / 2
        else:
            whole, rest = divmod(seconds / self.period, 1.0)
            part = (whole + rest * rest) / 2 * self.period
        return self.low * seconds + (self.high - self.low) * part


def curve(text: str) -> Curve:
    """``100m``, ``100m..500m/10m`` or ``100m~500m/1h``."""
    match = _CURVE.fullmatch(text)
    if not match:
        value = float(quantity.parse(text))
        return Curve(value, value)
    low, how, high, period = match.groups()
    return Curve(float(quantity.parse(low)), float(quantity.parse(high)), duration(period), how == "~")


@attrs.frozen
class Behaviour:
    """How one container behaves."""

    start_delay: float = 0.0
    run_time: float | None = None
    exit_code: int = 0
    log: str = ""
    log_every: float = 0.0
    log_line: str = "line {n}"
    ready_after: float = 0.0
    ready_for: float = math.inf
    http_status: int = 200
    delay: float = 0.0
    stop_delay: float = 0.0
    cpu: Curve = Curve(0.0, 0.0)
    memory: Curve = Curve(0.0, 0.0)

    def ready(self, running_for: float) -> bool:
        return self.ready_after <= running_for < self.ready_after + self.ready_for


_READERS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "start-delay": ("start_delay", duration),
    "run-time": ("run_time", duration),
    "exit-code": ("exit_code", int),
    "log": ("log", str),
    "log-every": ("log_every", duration),
    "log-line": ("log_line", str),
    "ready-after": ("ready_after", duration),
    "ready-for": ("ready_for", duration),
    "http-status": ("http_status", int),
    "delay": ("delay", duration),
    "stop-delay": ("stop_delay", duration),
    "cpu": ("cpu", curve),
    "memory": ("memory", curve),
}


def behaviour(container: str, annotations: Mapping[str, str], default: Behaviour) -> Behaviour:
    """What the annotations say about `container`. Raises BadBehaviour."""
    found: dict[str, object] = {}
    for name, text in sorted(annotations.items(), key=lambda item: "." in item[0].removeprefix(PREFIX)):
        if not name.startswith(PREFIX):
            continue
        word, _, whose = name.removeprefix(PREFIX).partition(".")
        if whose and whose != container:
            continue
        if word == "crash-loop":
            if text == "true":
                found.setdefault("run_time", 1.0)
                found.setdefault("exit_code", 1)
            continue
        if word not in _READERS:
            continue
        field, read = _READERS[word]
        try:
            found[field] = read(text)
        except ValueError as error:
            raise BadBehaviour(f"annotation {name}: {error}") from error
    return attrs.evolve(default, **found) if found else default  # type: ignore[arg-type]  # read by field
