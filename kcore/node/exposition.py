"""Writing the Prometheus text format without going through a registry: a node has thousands of series that live in its
pods, and only exist when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping

from kcore.node.measures import Histogram


def escape(value: str) -> str:
    """A label's value."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value


def labels(values: Mapping[str, str]) -> str:
    """``{a="1",b="2"}``, or nothing."""
    if not values:
        return ""
    return "{" + ",".join(f'{k}="{escape(v)}"' for k, v in values.items()) + "}"


class Page:
    """An exposition being written. `stamp` (milliseconds) is put behind every sample of a family that wants it."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, help: str) -> None:
        self._lines.append(f"# HELP {name} {help}\n# TYPE {name} {kind}")

    def sample(self, name: str, text: str, value: float, stamp: int = 0) -> None:
        """`text` is what `labels` made."""
        tail = f" {stamp}" if stamp else ""
        self._lines.append(f"{name}{text} {_number(value)}{tail}")

    def single(self, name: str, kind: str, help: str, value: float, **values: str) -> None:
        """A family of one sample."""
        self.family(name, kind, help)
        self.sample(name, labels(values), value)

    def histogram(self, name: str, values: Mapping[str, str], found: Histogram) -> None:
        """All series of one histogram."""
        total = 0
        for bound, count in zip((*found.bounds, float("inf")), found.counts, strict=True):
            total += count
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            self.sample(f"{name}_bucket", labels({**values, "le": le}), total)
        self.sample(f"{name}_sum", labels(values), found.sum)
        self.sample(f"{name}_count", labels(values), total)

    def text(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode()


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
