"""How long a DaemonSet leaves a failed pod on its node before it tries again."""

from __future__ import annotations

import attrs

FIRST, LONGEST = 1.0, 900.0  # seconds, doubling in between
FORGOTTEN = 2 * LONGEST  # seconds without a failure after which a node begins anew


@attrs.define
class _Failures:
    generation: int
    last: float
    delay: float


class FailedPods:
    """A pod that its node refuses fails at once, and so would the next ones, many a second."""

    def __init__(self) -> None:
        self._failures: dict[str, dict[str, _Failures]] = {}  # DaemonSet -> node

    def wait(self, key: str, generation: int, node: str, now: float) -> float:
        """Seconds until the failed pod of the node may be replaced; 0 counts as doing it."""
        of_set = self._failures.setdefault(key, {})
        it = of_set.get(node)
        if it is None or it.generation != generation or now - it.last > FORGOTTEN:
            of_set[node] = _Failures(generation, now, FIRST)
            return 0.0
        if now < it.last + it.delay:
            return it.last + it.delay - now
        it.last, it.delay = now, min(it.delay * 2, LONGEST)
        return 0.0

    def forget(self, key: str) -> None:
        self._failures.pop(key, None)
