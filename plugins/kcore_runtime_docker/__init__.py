"""Real containers, by a Docker engine (API 1.41 or newer) on this machine.

A pod's sandbox is a container that only waits: it holds the namespaces that the pod's containers join. The network is
not Docker's but kcore's own (`kcore.linux.network`), so that each pod has an address of its node's podCIDR and Docker
needs neither a bridge nor rules. All that has to be found again after a restart stands in labels of the containers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import attrs

from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider
from kcore.runtime import Runtime


@attrs.frozen
class DockerConfig:
    """``[nodes.runtime] use = "docker"``"""

    socket: str = "/var/run/docker.sock"
    """The engine's socket."""
    pause_image: str = ""
    """The image of sandboxes, present or to be pulled; "" for a built-in one of a few hundred bytes."""
    cgroup_parent: str = "/kubepods"
    """The control group of all pods; "" leaves it to the engine."""
    log_driver: str = "local"
    """What keeps the output of containers: "local" keeps it as it is; "json-file" is what collectors read from the
    engine's directory, and it keeps no bytes that are not UTF-8."""
    log_size: str = "10m"
    """Size at which a container's log is rotated."""
    log_files: int = attrs.field(default=5, validator=attrs.validators.gt(0))
    """Files that are kept of a container's log."""
    mtu: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """Of the pods' interfaces, in bytes; 0 for the kernel's."""
    masquerade: bool = True
    """Whether pods reach what is beyond the cluster with the machine's address."""
    timeout: float = attrs.field(default=120.0, validator=attrs.validators.gt(0))
    """Seconds that the engine may take for one request; pulls and streams may take longer."""


@asynccontextmanager
async def open_docker(context: Context, config: DockerConfig) -> AsyncIterator[Runtime]:
    from kcore_runtime_docker.engine import open_engine

    async with open_engine(context, config) as engine:
        yield engine


@hookimpl
def kcore_runtime() -> Iterable[Provider[Runtime]]:
    return [Provider("docker", open_docker, DockerConfig, help="Real containers, by a Docker engine")]
