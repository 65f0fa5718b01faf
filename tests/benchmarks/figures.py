"""How a benchmark says what it has found: measured, wanted, and how far from the floor of the same run."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def heading(text: str) -> None:
    print(f"\n{text}", flush=True)


def figure(name: str, measured: str, target: str, met: bool | None, floor: str = "") -> None:
    """One line. `met` is None where nothing is promised."""
    verdict = {True: "ok", False: "MISSED", None: ""}[met]
    print(f"  {name:44} {measured:>14}   {target:>16} {verdict:6}   {floor}".rstrip(), flush=True)


def rate(name: str, measured: float, least: float | None, floor: float, floor_name: str) -> None:
    """Things a second; more is better."""
    target = f"at least {least:,.0f}/s" if least is not None else ""
    met = None if least is None else measured >= least
    figure(name, f"{measured:,.0f}/s", target, met, f"{measured / floor:5.2f} of {floor_name} ({floor:,.0f}/s)")


def duration(name: str, seconds: float, most: float | None, floor: float | None = None, floor_name: str = "") -> None:
    """Seconds, shown as milliseconds below ten; less is better."""
    target = f"at most {_time(most)}" if most is not None else ""
    met = None if most is None else seconds <= most
    ratio = f"{seconds / floor:5.1f} x {floor_name} ({_time(floor)})" if floor else ""
    figure(name, _time(seconds), target, met, ratio)


def _time(seconds: float) -> str:
    return (
        f"{seconds:.1f} s"
        if seconds >= 10
        else f"{seconds * 1000:,.0f} ms"
        if seconds >= 0.01
        else f"{seconds * 1000:.2f} ms"
    )


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used so far: what work costs, however busy the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now."""
    return _status(pid, "VmRSS:")


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held so far."""
    return _status(pid, "VmHWM:")


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0
