"""A Node object as its agent reports it."""

from __future__ import annotations

import hashlib
import os
import platform
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any

from kcore import clock
from kcore.node.config import VERSION, NodeConfig
from kcore.node.machine import Room
from kcore.objects import Object, quantity

_PRESSURES = {
    "MemoryPressure": (
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    ),
    "DiskPressure": (
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    ),
    "PIDPressure": (
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    ),
}
_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


def architecture() -> str:
    """As Go names it."""
    return _ARCH.get(platform.machine(), platform.machine())


@lru_cache(maxsize=1)
def _system() -> tuple[str, str]:
    """Kernel version and name of the operating system's image."""
    name = "Linux"
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", name)
    except OSError:
        pass
    return os.uname().release, name


def new_node(config: NodeConfig, runtime: str, boot_id: str, **more: Any) -> Object:
    """The object to register with."""
    labels = {
        "beta.kubernetes.io/arch": architecture(),
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
        "kubernetes.io/hostname": config.name,
        "kubernetes.io/os": "linux",
        **config.labels,
    }
    spec: Object = {}
    if config.pod_cidr:
        spec |= {"podCIDR": config.pod_cidr, "podCIDRs": [config.pod_cidr]}
    if config.provider_id:
        spec["providerID"] = config.provider_id
    if config.taints:
        spec["taints"] = [dict(t) for t in config.taints]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": config.name,
            "labels": labels,
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": spec,
        "status": node_status(config, {}, runtime, boot_id, **more),
    }


def allocatable(config: NodeConfig, *, real: bool) -> dict[str, str]:
    """What pods may take: the capacity without what is reserved and, on a machine, what eviction keeps free."""
    out = dict(config.capacity)
    taken: dict[str, int] = {}
    for name, text in config.reserved.items():
        taken[name] = quantity.milli(text) if name == "cpu" else quantity.value(text)
    for t in config.thresholds if real else ():
        name = {"memory.available": "memory", "nodefs.available": "ephemeral-storage"}.get(t.signal, "")
        if name in out and not t.grace:
            total = quantity.value(out[name])
            taken[name] = taken.get(name, 0) + t.amount(Room(total, total))
    for name, amount in taken.items():
        if name == "cpu" and name in out:
            out[name] = quantity.format_milli(max(0, quantity.milli(out[name]) - amount))
        elif name in out:
            left = max(0, quantity.value(out[name]) - amount)
            out[name] = f"{left // 1024}Ki" if out[name].endswith("Ki") else quantity.format_binary(left)
    return out


def _conditions(pressures: frozenset[str], down: str) -> list[tuple[str, str, str, str]]:
    """(type, status, reason, message); `down` says why the node is not ready."""
    rows = []
    for type, texts in _PRESSURES.items():
        reason, message = texts[type in pressures]
        rows.append((type, "True" if type in pressures else "False", reason, message))
    if down:
        return [*rows, ("Ready", "False", "KubeletNotReady", down)]
    return [*rows, ("Ready", "True", "KubeletReady", "kubelet is posting ready status")]


def node_status(
    config: NodeConfig,
    old: Object,
    runtime: str,
    boot_id: str,
    *,
    real: bool = False,
    pressures: frozenset[str] = frozenset(),
    down: str = "",
    handlers: tuple[str, ...] = (),
) -> Object:
    """.status, keeping what others wrote into `old`."""
    now = clock.timestamp()
    found = {c["type"]: c for c in old.get("conditions") or ()}
    conditions = []
    for type, status, reason, message in _conditions(pressures, down):
        before = found.pop(type, None)
        same = before is not None and before["status"] == status
        conditions.append(
            {
                "type": type,
                "status": status,
                "lastHeartbeatTime": now,
                "lastTransitionTime": before["lastTransitionTime"] if same and before else now,
                "reason": reason,
                "message": message,
            }
        )
    kernel, image = _system()
    machine = _machine_id() if real else ""
    machine = machine or hashlib.md5(config.name.encode(), usedforsecurity=False).hexdigest()
    return {
        **old,
        "capacity": {**(old.get("capacity") or {}), **config.capacity},
        "allocatable": {**_extended(old), **allocatable(config, real=real)},
        "conditions": [*found.values(), *conditions],
        "addresses": [
            {"type": "InternalIP", "address": config.address},
            {"type": "Hostname", "address": config.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
        **({"runtimeHandlers": [{"name": h} if h else {} for h in handlers]} if handlers else {}),
        "nodeInfo": {
            "machineID": machine,
            "systemUUID": str(uuid.UUID(machine)),
            "bootID": boot_id,
            "kernelVersion": kernel,
            "osImage": image,
            "containerRuntimeVersion": runtime,
            "kubeletVersion": VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": architecture(),
        },
    }


def _extended(old: Object) -> Object:
    """Resources that others (device plugins, administrators) have put into the capacity: all of them may be taken."""
    return {k: v for k, v in (old.get("allocatable") or old.get("capacity") or {}).items() if "/" in k}


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return ""
