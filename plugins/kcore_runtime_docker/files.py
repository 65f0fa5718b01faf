"""The files that containers of a pod see beside their image: volumes, names of hosts, the last words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from kcore.linux.volumes import HostVolumes
from kcore.runtime import ContainerConfig, SandboxConfig
from kcore_runtime_docker import spec

_MOST_WORDS = 4096  # bytes of a termination message, as upstream
_HOSTS = """# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
fe00::\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


@attrs.frozen
class PodFiles:
    """Below the directories of the pods' volumes."""

    volumes: HostVolumes

    def sandbox(self, config: SandboxConfig, address: str, host: str) -> None:
        """Write resolv.conf and hosts. A pod of the host network has the machine's own, if it says nothing else."""
        directory = self.volumes.pod(config.uid)
        directory.mkdir(parents=True, exist_ok=True)
        dns = config.dns
        if dns.servers or dns.searches or dns.options:
            lines = [f"nameserver {server}" for server in dns.servers]
            lines += [f"search {' '.join(dns.searches)}"] if dns.searches else []
            lines += [f"options {' '.join(dns.options)}"] if dns.options else []
            text = "\n".join(lines) + "\n"
        else:
            text = _read(Path("/etc/resolv.conf"))
        (directory / "resolv.conf").write_text(text)
        names = f"{config.hostname}.{config.domain}\t{config.hostname}" if config.domain else config.hostname
        own = _read(Path("/etc/hosts")) if config.host_network else f"{_HOSTS}{address}\t{names}\n"
        by_address: dict[str, list[str]] = {}
        for name, target in config.hosts.items():
            by_address.setdefault(target, []).append(name)
        if by_address:
            own += "\n# Entries added by HostAliases.\n"
            own += "".join(f"{target}\t{chr(9).join(names)}\n" for target, names in by_address.items())
        (directory / "etc-hosts").write_text(own)
        self._sign(config.uid, config.attempt).touch()

    def begin(self, config: SandboxConfig) -> None:
        """A sandbox is going to be made: an earlier one of the same attempt counts no more."""
        self._sign(config.uid, config.attempt).unlink(missing_ok=True)

    def made(self, uid: str, attempt: int) -> bool:
        """Whether `sandbox` came to its end: one that was killed half-way has left a sandbox that is none."""
        return self._sign(uid, attempt).exists()

    def _sign(self, uid: str, attempt: int) -> Path:
        return self.volumes.pod(uid) / f"sandbox-{attempt}"

    async def mounts(self, uid: str, key: str, config: ContainerConfig) -> list[dict[str, Any]]:
        """For the engine. Raises RuntimeFailure."""
        out = []
        for number, mount in enumerate(config.mounts):
            source = await self.volumes.prepare(uid, mount.volume)
            if mount.sub_path:
                source = await self.volumes.sub_path(uid, f"{key}-{number}", source, mount.sub_path)
            out.append(spec.bind(source, mount.path, read_only=mount.read_only, propagation=mount.propagation))
        taken = {mount.path for mount in config.mounts}
        for name, target in (("etc-hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")):
            if target not in taken:
                out.append(spec.bind(self.volumes.pod(uid) / name, target, read_only=False))
        return out

    def termination(self, uid: str, key: str) -> Path:
        """An empty file, for what a container says last."""
        directory = self.volumes.pod(uid) / "termination"
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / key
        file.write_bytes(b"")
        file.chmod(0o666)
        return file

    def forget(self, termination: str) -> None:
        if termination:
            Path(termination).unlink(missing_ok=True)

    def last_words(self, path: str) -> str:
        try:
            with Path(path).open("rb") as file:
                return file.read(_MOST_WORDS).decode(errors="replace")
        except OSError:
            return ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
