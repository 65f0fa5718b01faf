"""A Node object as its agent reports it."""

from __future__ import annotations

import hashlib
import os
import platform
import uuid
from functools import lru_cache

from kcore import clock
from kcore.node.config import VERSION, NodeConfig
from kcore.objects import Object

_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)
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


def new_node(config: NodeConfig, runtime: str, boot_id: str) -> Object:
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
        "status": node_status(config, {}, runtime, boot_id),
    }


def node_status(config: NodeConfig, old: Object, runtime: str, boot_id: str) -> Object:
    """.status, keeping what others wrote into `old`."""
    now = clock.timestamp()
    found = {c["type"]: c for c in old.get("conditions") or ()}
    conditions = []
    for type, status, reason, message in _CONDITIONS:
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
    capacity = dict(config.capacity)
    machine = hashlib.md5(config.name.encode(), usedforsecurity=False).hexdigest()
    return {
        **old,
        "capacity": capacity,
        "allocatable": dict(capacity),
        "conditions": [*found.values(), *conditions],
        "addresses": [
            {"type": "InternalIP", "address": config.address},
            {"type": "Hostname", "address": config.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.port}},
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
