"""What stands in the labels of a container: all that a restarted node has to know about it.

The keys of Kubernetes' own are those that every tool that looks at Docker on a node expects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from kcore.runtime import ContainerConfig, Port, SandboxConfig

NODE = "kcore.dev/node"
SANDBOX = "io.kubernetes.sandbox.id"
TYPE = "io.kubernetes.docker.type"
UID = "io.kubernetes.pod.uid"
ADDRESS = "kcore.dev/address"
_STATE = "kcore.dev/state"
POD, CONTAINER = "podsandbox", "container"


def of_sandbox(node: str, config: SandboxConfig, address: str) -> dict[str, str]:
    state = {
        "name": config.name,
        "namespace": config.namespace,
        "uid": config.uid,
        "attempt": config.attempt,
        "labels": dict(config.labels),
        "annotations": dict(config.annotations),
        "ports": [attrs.asdict(port) for port in config.ports],
        "class": config.cgroup_class,
        "handler": config.runtime_handler,
        "share": config.share_process_namespace,
    }
    return {
        NODE: node,
        TYPE: POD,
        ADDRESS: address,
        UID: config.uid,
        "io.kubernetes.pod.name": config.name,
        "io.kubernetes.pod.namespace": config.namespace,
        "io.kubernetes.container.name": "POD",
        _STATE: json.dumps(state),
    }


def of_container(node: str, sandbox: str, uid: str, config: ContainerConfig, termination: str) -> dict[str, str]:
    state = {
        "name": config.name,
        "attempt": config.attempt,
        "image": config.image,
        "labels": dict(config.labels),
        "termination": termination,
        "policy": config.termination_message_policy,
        "tty": config.tty,
    }
    own = {k: v for k, v in config.labels.items() if k.startswith("io.kubernetes.")}
    return {**own, NODE: node, TYPE: CONTAINER, SANDBOX: sandbox, UID: uid, _STATE: json.dumps(state)}


def state(labels: Mapping[str, str]) -> dict[str, Any]:
    """What `of_sandbox` or `of_container` put down."""
    found: dict[str, Any] = json.loads(labels[_STATE])
    return found


def ports(labels: Mapping[str, str]) -> tuple[Port, ...]:
    return tuple(Port(**port) for port in state(labels)["ports"])


def container_name(kind: str, config: SandboxConfig, attempt: int) -> str:
    """The engine's name for it, as node tools know it: ``k8s_NAME_POD_NAMESPACE_UID_ATTEMPT``."""
    return f"k8s_{kind}_{config.name}_{config.namespace}_{config.uid}_{attempt}"
