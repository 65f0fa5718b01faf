"""Everything that a node asks of a pod before it lets it in; the first refusal is the pod's end."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from kcore.node import eviction
from kcore.node.admission import Refusal
from kcore.objects import Object

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

SAFE_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    )
)
"""Kubernetes docs, "Using sysctls in a Kubernetes Cluster"."""
_IPC = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def admit(worker: PodWorker) -> Refusal | None:
    """Enter the pod into the node's ledger, or say why not."""
    agent, pod = worker.agent, worker.pod
    if agent.shutting_down:
        return Refusal("NodeShutdown", "Pod was rejected as the node is shutting down.")
    return (
        eviction.refusal(pod, agent.evictions.pressures)
        or sysctl_refusal(pod, agent.config.allowed_sysctls)
        or _system_refusal(pod)
        or agent.ledger.admit(pod, agent.node)
    )


def sysctl_refusal(pod: Object, allowed: tuple[str, ...]) -> Refusal | None:
    spec = pod["spec"]
    for sysctl in (spec.get("securityContext") or {}).get("sysctls") or ():
        name = sysctl["name"].replace("/", ".")
        if name.startswith("net.") and spec.get("hostNetwork"):
            return _forbidden(f'sysctl "{name}" not allowed with host net enabled')
        if name.startswith(_IPC) and spec.get("hostIPC"):
            return _forbidden(f'sysctl "{name}" not allowed with host ipc enabled')
        if name not in SAFE_SYSCTLS and not any(fnmatchcase(name, a) for a in allowed):
            return _forbidden(f'forbidden sysctl: "{name}" not allowlisted')
    return None


def _forbidden(text: str) -> Refusal:
    return Refusal("SysctlForbidden", f"Pod was rejected: {text}")


def _system_refusal(pod: Object) -> Refusal | None:
    wanted = (pod["spec"].get("os") or {}).get("name", "linux")
    if wanted == "linux":
        return None
    text = f"Failed to admit pod as the OS field doesn't match node OS (pod: {wanted}, node: linux)"
    return Refusal("PodOSNotSupported", f"Pod was rejected: {text}")
