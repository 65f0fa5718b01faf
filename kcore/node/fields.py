"""What pods may ask about themselves: fieldRef and resourceFieldRef (the downward API)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from kcore.errors import KcoreError
from kcore.objects import Object, quantity

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]")


class BadReference(KcoreError):
    """A reference in a pod's spec that leads nowhere (container reason CreateContainerConfigError)."""


def field(pod: Object, path: str, ips: tuple[str, ...], host_ip: str) -> str:
    """The value of a fieldRef. `ips` are the pod's addresses. Raises BadReference."""
    meta, spec = pod["metadata"], pod["spec"]
    match = _SUBSCRIPT.fullmatch(path)
    if match:
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return format_map(meta.get(path.removeprefix("metadata.")) or {})
    values = {
        "metadata.name": meta.get("name", ""),
        "metadata.namespace": meta.get("namespace", ""),
        "metadata.uid": meta.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": ips[0] if ips else "",
        "status.podIPs": ",".join(ips),
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
    }
    if path not in values:
        raise BadReference(f"unsupported fieldPath: {path}")
    return str(values[path])


def format_map(labels: Mapping[str, str]) -> str:
    """Labels or annotations as a downward API file has them: sorted, one to a line, values quoted."""
    quoted = {k: v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for k, v in labels.items()}
    return "\n".join(f'{k}="{quoted[k]}"' for k in sorted(quoted))


def resource(pod: Object, container_name: str, path: str, divisor: str, allocatable: Mapping[str, str]) -> str:
    """The value of a resourceFieldRef, in units of `divisor`, rounded up. A limit that is not set is the node's."""
    spec = pod["spec"]
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        if container["name"] == container_name:
            break
    else:
        raise BadReference(f"container {container_name} not found")
    which, _, name = path.partition(".")
    if which not in ("limits", "requests") or not name:
        raise BadReference(f"unsupported container resource : {path}")
    found = (container.get("resources", {}).get(which) or {}).get(name)
    if found is None:
        found = allocatable.get(name, "0") if which == "limits" else "0"
    unit = quantity.parse(divisor or "1") or quantity.parse("1")
    return str(math.ceil(quantity.parse(found) / unit))
