"""What the engine is asked to create: from the contract's words to Docker's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kcore.linux.privileges import least_oom_score
from kcore.runtime import ContainerConfig, Resources, RuntimeFailure, SandboxConfig

Object = dict[str, Any]
PERIOD = 100_000  # microseconds: the kernel's default, and upstream's
_PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}


def sandbox(config: SandboxConfig, image: str, labels: Mapping[str, str], cgroup: str) -> Object:
    """The container that holds the pod's namespaces."""
    host: Object = {
        "NetworkMode": "host" if config.host_network else "none",
        "IpcMode": "host" if config.host_ipc else "shareable",
        "CgroupParent": cgroup,
        "CpuShares": 2,
        "OomScoreAdj": max(-998, least_oom_score()),
        "LogConfig": {"Type": "none"},
        "SecurityOpt": ["no-new-privileges"],
    }
    if config.runtime_handler:
        host["Runtime"] = config.runtime_handler
    if config.host_pid:
        host["PidMode"] = "host"
    if config.sysctls:
        host["Sysctls"] = dict(config.sysctls)
    body: Object = {"Image": image, "Labels": dict(labels), "HostConfig": host}
    if config.hostname and not config.host_network:
        body["Hostname"] = config.hostname
    return body


def container(
    sandbox_id: str,
    config: ContainerConfig,
    *,
    mounts: list[Object],
    labels: Mapping[str, str],
    pid_mode: str,
    runtime: str,
    cgroup: str,
    log: Mapping[str, Any],
) -> Object:
    """A container of the pod. Raises RuntimeFailure for a security context that cannot be honoured."""
    security, joined = config.security, f"container:{sandbox_id}"
    host: Object = {
        "NetworkMode": joined,
        "IpcMode": joined,
        "CgroupParent": cgroup,
        "Mounts": mounts,
        "LogConfig": dict(log),
        **limits(config.resources),
        "OomScoreAdj": max(config.oom_score_adj, least_oom_score()),
        **_security(security),
    }
    if pid_mode:
        host["PidMode"] = pid_mode
    if runtime:
        host["Runtime"] = runtime
    body: Object = {
        "Image": config.image,
        "Env": [f"{name}={value}" for name, value in config.env],
        "Labels": dict(labels),
        "Tty": config.tty,
        "OpenStdin": config.stdin,
        "StdinOnce": config.stdin and config.stdin_once,
        "User": user(security),
        "HostConfig": host,
    }
    if config.command:  # replaces the image's command as well
        body["Entrypoint"], body["Cmd"] = list(config.command), list(config.args)
    elif config.args:
        body["Cmd"] = list(config.args)
    if config.working_dir:
        body["WorkingDir"] = config.working_dir
    if config.stop_signal:
        body["StopSignal"] = config.stop_signal
    return body


def limits(resources: Resources) -> Object:
    """Millicores and bytes as the kernel has them. The least share is 2: the kernel's own minimum."""
    asked = resources.cpu_request or resources.cpu_limit
    out: Object = {"CpuShares": max(2, asked * 1024 // 1000)}
    if resources.cpu_limit:
        out |= {"CpuPeriod": PERIOD, "CpuQuota": max(1000, resources.cpu_limit * PERIOD // 1000)}
    if resources.memory_limit:
        out |= {"Memory": resources.memory_limit, "MemorySwap": resources.memory_limit}
    return out


def user(security: Mapping[str, Any]) -> str:
    uid, gid = security.get("runAsUser"), security.get("runAsGroup")
    if gid is not None:
        return f"{uid or 0}:{gid}"
    return "" if uid is None else str(uid)


def bind(source: Path, target: str, *, read_only: bool, propagation: str = "") -> Object:
    options = {"Propagation": _PROPAGATION.get(propagation, "rprivate")}
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": read_only, "BindOptions": options}


def _security(security: Mapping[str, Any]) -> Object:
    capabilities = security.get("capabilities") or {}
    groups = [*(security.get("supplementalGroups") or ())]
    if security.get("fsGroup") is not None:
        groups.append(security["fsGroup"])
    options = [] if security.get("allowPrivilegeEscalation", True) else ["no-new-privileges"]
    out: Object = {
        "Privileged": bool(security.get("privileged")),
        "ReadonlyRootfs": bool(security.get("readOnlyRootFilesystem")),
        "CapAdd": list(capabilities.get("add") or ()),
        "CapDrop": list(capabilities.get("drop") or ()),
        "GroupAdd": [str(group) for group in groups],
        "SecurityOpt": options + _seccomp(security.get("seccompProfile") or {}),
    }
    if security.get("procMount") == "Unmasked":
        out |= {"MaskedPaths": [], "ReadonlyPaths": []}
    return out


def _seccomp(profile: Mapping[str, Any]) -> list[str]:
    """Nothing said means Unconfined, as upstream without SeccompDefault; RuntimeDefault is the engine's own."""
    kind = profile.get("type", "Unconfined")
    if kind == "RuntimeDefault":
        return []
    if kind == "Unconfined":
        return ["seccomp=unconfined"]
    path = Path("/var/lib/kubelet/seccomp") / profile.get("localhostProfile", "")
    try:
        return [f"seccomp={path.read_text()}"]
    except OSError as error:
        raise RuntimeFailure(f"cannot load seccomp profile {path}: {error.strerror}") from error
