"""Files that a runtime writes for a pod, the same in every runtime: /etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

from collections.abc import Sequence

from kcore.runtime import Dns, SandboxConfig

SEARCHES_MOST, NAMESERVERS_MOST = 32, 3  # what Kubernetes lets a pod have
_LOCAL = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hosts_file(config: SandboxConfig, addresses: Sequence[str], of_host: str = "") -> str:
    """/etc/hosts of a pod with these addresses; `of_host` is the machine's own file, for pods of its network.

    The same as the kubelet's file (Kubernetes docs, "Adding entries to Pod /etc/hosts with HostAliases"). A container
    that mounts something at /etc/hosts keeps that instead.
    """
    if config.host_network:
        text = f"# Kubernetes-managed hosts file (host network).\n{of_host or _LOCAL}"
    else:
        name = config.hostname.partition(".")[0] if config.domain else config.hostname
        names = f"{name}.{config.domain}\t{name}" if config.domain else name or config.name
        text = f"# Kubernetes-managed hosts file.\n{_LOCAL}" + "".join(f"{a}\t{names}\n" for a in addresses)
    rows: dict[str, list[str]] = {}
    for alias, address in config.hosts.items():
        rows.setdefault(address, []).append(alias)
    if rows:
        lines = "".join(f"{address}\t" + "\t".join(names) + "\n" for address, names in rows.items())
        text += f"\n# Entries added by HostAliases.\n{lines}"
    return text


def resolv_conf(dns: Dns) -> str:
    """/etc/resolv.conf."""
    lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.options:
        lines.append(f"options {' '.join(dns.options)}")
    return "".join(line + "\n" for line in lines)
