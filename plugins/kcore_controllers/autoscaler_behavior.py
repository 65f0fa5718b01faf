"""How quickly an autoscaler may act: ``spec.behavior`` and its defaults."""

from __future__ import annotations

import math
from collections import deque

import attrs

from kcore.objects import Object

_UP: Object = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN: Object = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
KEPT = 3600.0  # seconds; the longest window that behavior allows

Condition = tuple[str, bool, str, str]


@attrs.define
class History:
    """What an autoscaler has recommended and done, with the seconds of trio's clock."""

    recommended: deque[tuple[float, int]]
    ups: deque[tuple[float, int]]
    downs: deque[tuple[float, int]]

    def scaled(self, now: float, change: int) -> None:
        (self.ups if change > 0 else self.downs).append((now, abs(change)))
        for events in (self.ups, self.downs):
            while events and events[0][0] < now - KEPT:
                events.popleft()


def limit(
    hpa: Object, history: History, present: int, wanted: int, now: float
) -> tuple[int, tuple[Condition, Condition]]:
    """The size that the behaviour allows on the way to `wanted`, and the conditions AbleToScale and ScalingLimited."""
    behavior = hpa["spec"].get("behavior") or {}
    up, down = {**_UP, **(behavior.get("scaleUp") or {})}, {**_DOWN, **(behavior.get("scaleDown") or {})}
    if not history.recommended:  # what it was before anybody looked counts as recommended, so nothing is hurried
        history.recommended.append((now, present))
    history.recommended.append((now, wanted))
    while history.recommended[0][0] < now - KEPT:
        history.recommended.popleft()
    stable = _stabilize(history, present, now, up, down)
    able: Condition = ("AbleToScale", True, "ReadyForNewScale", "recommended size matches current size")
    if stable != wanted:
        direction = "Down" if wanted < present else "Up"
        word = "higher" if direction == "Down" else "lower"
        message = f"recent recommendations were {word} than current one, applying the "
        message += ("highest" if direction == "Down" else "lowest") + " recent recommendation"
        able = ("AbleToScale", True, f"Scale{direction}Stabilized", message)
    lowest, highest = hpa["spec"].get("minReplicas", 1), hpa["spec"]["maxReplicas"]
    size = stable
    if stable > present:
        ceiling = _allowed(up, history, present, now, 1)
        size = min(stable, ceiling, highest)
        reason = "ScaleUpLimit" if ceiling < min(stable, highest) else "TooManyReplicas"
        text = "the desired replica count is increasing faster than the maximum scale rate"
        text = text if reason == "ScaleUpLimit" else "the desired replica count is more than the maximum replica count"
    else:
        floor = _allowed(down, history, present, now, -1)
        size = max(stable, floor, lowest)
        reason = "ScaleDownLimit" if floor > max(stable, lowest) else "TooFewReplicas"
        text = "the desired replica count is decreasing faster than the maximum scale rate"
        text = (
            text if reason == "ScaleDownLimit" else "the desired replica count is less than the minimum replica count"
        )
    if size == stable:
        return size, (
            able,
            ("ScalingLimited", False, "DesiredWithinRange", "the desired count is within the acceptable range"),
        )
    return size, (able, ("ScalingLimited", True, reason, text))


def _stabilize(history: History, present: int, now: float, up: Object, down: Object) -> int:
    """Not above the lowest recommendation of the window when growing, not below the highest when shrinking."""
    wanted = history.recommended[-1][1]
    since_up, since_down = now - up["stabilizationWindowSeconds"], now - down["stabilizationWindowSeconds"]
    lowest = min((n for at, n in history.recommended if at > since_up), default=wanted)
    highest = max((n for at, n in history.recommended if at > since_down), default=wanted)
    if wanted > present:
        return max(min(lowest, wanted), present)
    return min(max(highest, wanted), present)


def _allowed(rules: Object, history: History, present: int, now: float, sign: int) -> int:
    """The farthest size that the policies allow now; `present` when they are used up."""
    if rules["selectPolicy"] == "Disabled":
        return present
    bounds: list[int] = []
    for policy in rules["policies"]:
        begin = now - policy["periodSeconds"]
        start = present - sum(n for at, n in history.ups if at > begin)
        start += sum(n for at, n in history.downs if at > begin)
        if policy["type"] == "Pods":
            bounds.append(start + sign * int(policy["value"]))
        elif sign > 0:
            bounds.append(math.ceil(start * (1 + policy["value"] / 100)))
        else:
            bounds.append(int(start * (1 - policy["value"] / 100)))
    most = (rules["selectPolicy"] == "Max") == (sign > 0)
    bound = max(bounds) if most else min(bounds)
    return max(bound, present) if sign > 0 else min(bound, present)
