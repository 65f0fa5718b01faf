"""Sets of completion indexes in text: ``0-3,7``."""

from __future__ import annotations


def parse(text: str) -> set[int]:
    out: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        out.update(range(int(first), int(last or first) + 1))
    return out


def format(indexes: set[int]) -> str:
    parts: list[str] = []
    run: list[int] = []
    for i in [*sorted(indexes), None]:
        if run and (i is None or i != run[-1] + 1):
            if len(run) == 1:
                parts.append(f"{run[0]}")
            else:  # upstream writes two neighbours with a comma, three and more as a range
                parts.append(f"{run[0]},{run[1]}" if len(run) == 2 else f"{run[0]}-{run[-1]}")
            run = []
        if i is not None:
            run.append(i)
    return ",".join(parts)
