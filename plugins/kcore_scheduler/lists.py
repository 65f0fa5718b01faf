"""The lists of policies in the config: their form, and Kubernetes' own."""

from __future__ import annotations

from typing import Any

import attrs

WEIGHTS = {
    "PrioritySort": 1.0,
    "SchedulingGates": 1.0,
    "NodeUnschedulable": 1.0,
    "NodeName": 1.0,
    "TaintToleration": 3.0,
    "NodeAffinity": 2.0,
    "NodePorts": 1.0,
    "NodeResourcesFit": 1.0,
    "VolumeBinding": 1.0,
    "PodTopologySpread": 2.0,
    "InterPodAffinity": 2.0,
    "NodeResourcesBalancedAllocation": 1.0,
    "ImageLocality": 1.0,
    "DefaultPreemption": 1.0,
    "DefaultBinder": 1.0,
}
"""Kubernetes' default policies in its order, with the weights of their scores."""


@attrs.frozen
class Entry:
    """One policy of a list. `args` is its own config section."""

    name: str
    weight: float
    args: dict[str, Any]


def defaults() -> list[Any]:
    return list(WEIGHTS)


def entries(value: list[Any], where: str) -> list[Entry]:
    """Raises ValueError or TypeError that says which entry is wrong and what would be right."""
    return [_entry(item, f"{where}[{i}]") for i, item in enumerate(value)]


def checked_entries(instance: Any, attribute: attrs.Attribute[Any], value: list[Any]) -> None:
    entries(value, attribute.name)


def checked_profiles(instance: Any, attribute: attrs.Attribute[Any], value: dict[str, Any]) -> None:
    for name, items in value.items():
        if not isinstance(items, list):
            raise TypeError(f"{attribute.name}.{name}: must be a list of policies, not {items!r}")
        entries(items, f"{attribute.name}.{name}")


def _entry(item: Any, where: str) -> Entry:
    if isinstance(item, str):
        return Entry(item, WEIGHTS.get(item, 1.0), {})
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise TypeError(f"{where}: must be a policy's name, or a table with name, weight and args, not {item!r}")
    unknown = sorted(item.keys() - {"name", "weight", "args"})
    if unknown:
        raise ValueError(f"{where}: no such setting {', '.join(unknown)}; a policy has name, weight and args")
    weight = item.get("weight", WEIGHTS.get(item["name"], 1.0))
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1e6:
        raise ValueError(f"{where}.weight: must be a number from 0 to 1000000, not {weight!r}")
    args = item.get("args", {})
    if not isinstance(args, dict):
        raise TypeError(f"{where}.args: must be a table, not {args!r}")
    return Entry(item["name"], float(weight), args)
