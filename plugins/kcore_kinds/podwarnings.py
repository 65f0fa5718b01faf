"""What a client is told about a pod's spec that is accepted but does not do what it seems to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

# Volume sources that are gone: how they are called in the warning, since when deprecated, since when without function.
_GONE = {
    "rbd": ("rbd", "1.28", "1.31"),
    "scaleIO": ("scaleIO", "1.16", "1.22"),
    "cephfs": ("cephfs", "1.28", "1.31"),
    "glusterfs": ("glusterfs", "1.25", "1.26"),
    "quobyte": ("quobyte", "1.22", "1.25"),
    "photonPersistentDisk": ("photonPersistentDisk", "1.11", "1.16"),
    "flocker": ("flocker", "1.22", "1.25"),
    "storageos": ("storageOS", "1.22", "1.25"),
}
_TERMS = (
    ("requiredDuringSchedulingIgnoredDuringExecution", ""),
    ("preferredDuringSchedulingIgnoredDuringExecution", ".podAffinityTerm"),
)


def warnings(spec: Object, at: str = "spec") -> Iterator[str]:
    """Warnings for the pod spec that stands at the path `at`."""
    for i, volume in enumerate(spec.get("volumes") or ()):
        for source in volume.keys() & _GONE.keys():
            if volume[source] is not None:
                shown, deprecated, gone = _GONE[source]
                yield f"{at}.volumes[{i}].{shown}: deprecated in v{deprecated}, non-functional in v{gone}+"
    for i, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        if constraint.get("labelSelector") is None:
            path = f"{at}.topologySpreadConstraints[{i}].labelSelector"
            yield f"{path}: a null labelSelector results in matching no pod"
    for sort in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(sort) or {}
        for list_name, inner in _TERMS:
            for i, term in enumerate(affinity.get(list_name) or ()):
                found = (term.get("podAffinityTerm") or {}) if inner else term
                if found.get("labelSelector") is None:
                    path = f"{at}.affinity.{sort}.{list_name}[{i}]{inner}.labelSelector"
                    yield f"{path}: a null labelSelector results in matching no pod"
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        yield f"{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
