"""What the containers of a pod share, as the runtime is told: names, namespaces, resolver, published ports."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from kcore.node.fields import BadReference
from kcore.objects import Object, meta
from kcore.objects.qos import qos_class
from kcore.objects.resources import RUNTIMECLASSES
from kcore.runtime import Dns, Port, SandboxConfig
from kcore.runtime.texts import NAMESERVERS_MOST, SEARCHES_MOST

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

HOSTNAME_MOST, FQDN_MOST = 63, 64  # characters that the kernel and DNS take
RESOLV_CONF = Path("/etc/resolv.conf")


async def sandbox_config(worker: PodWorker) -> SandboxConfig:
    """Raises BadReference: the pod asks for what there is not."""
    pod, spec = worker.pod, worker.pod["spec"]
    m = pod["metadata"]
    hosts = {name: alias["ip"] for alias in spec.get("hostAliases") or () for name in alias.get("hostnames") or ()}
    every = (*spec["containers"], *(c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"))
    security = spec.get("securityContext") or {}
    return SandboxConfig(
        name=m["name"],
        namespace=m["namespace"],
        uid=worker.uid,
        attempt=worker.sandbox_attempt,
        hostname=hostname(worker),
        labels=dict(meta.labels(pod)),
        annotations=dict(meta.annotations(pod)),
        host_network=bool(spec.get("hostNetwork")),
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
        dns=dns(worker),
        hosts=hosts,
        sysctls={s["name"]: s["value"] for s in security.get("sysctls") or ()},
        ports=tuple(p for c in every for p in declared_ports(c) if p.host_port),
        domain=domain(worker),
        security=security,
        share_process_namespace=bool(spec.get("shareProcessNamespace")),
        runtime_handler=await _handler(worker),
        cgroup_class=qos_class(spec),
    )


async def _handler(worker: PodWorker) -> str:
    name = worker.pod["spec"].get("runtimeClassName")
    if not name:
        return ""
    found = await worker.lookup(RUNTIMECLASSES, "", name)
    if found is None:
        raise BadReference(f'failed to get sandbox runtime: RuntimeClass.node.k8s.io "{name}" not found')
    return str(found.get("handler", ""))


def domain(worker: PodWorker) -> str:
    """What follows the pod's host name in its full name; "" if it has none (Kubernetes docs, "DNS for Services and
    Pods": only a pod with a subdomain has)."""
    spec = worker.pod["spec"]
    if not spec.get("subdomain") or spec.get("hostnameOverride") or spec.get("hostNetwork"):
        return ""
    namespace = worker.pod["metadata"]["namespace"]
    return f"{spec['subdomain']}.{namespace}.svc.{worker.agent.host.cluster.domain}"


def hostname(worker: PodWorker) -> str:
    """What `hostname` prints in the pod. Raises BadReference: a full name that the kernel does not take."""
    spec = worker.pod["spec"]
    if spec.get("hostnameOverride"):
        return str(spec["hostnameOverride"])
    if spec.get("hostNetwork"):
        return worker.agent.name
    short = str(spec.get("hostname") or worker.pod["metadata"]["name"])[:HOSTNAME_MOST].rstrip("-.")
    behind = domain(worker)
    if not spec.get("setHostnameAsFQDN") or not behind:
        return short
    full = f"{short}.{behind}"
    if len(full) > FQDN_MOST:
        raise BadReference(
            f"Failed to construct FQDN from Pod hostname and cluster domain, FQDN {full} is too long "
            f"({FQDN_MOST} characters is the max, {len(full)} characters requested)"
        )
    return full


@lru_cache(maxsize=1)
def _of_machine(changed: float) -> Dns:
    """The machine's own /etc/resolv.conf; `changed` is when it was written."""
    rows: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in RESOLV_CONF.read_text(errors="replace").splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver":
            rows[word] += rest[:1]
        elif word in rows:
            rows[word] = rest
    return Dns(tuple(rows["nameserver"]), tuple(rows["search"]), tuple(rows["options"]))


def _inherited(worker: PodWorker) -> Dns:
    """What the policy "Default" gives. Pods that are not programs of this machine have nothing to inherit."""
    if not worker.agent.real:
        return Dns()
    try:
        return _of_machine(RESOLV_CONF.stat().st_mtime)
    except OSError:
        return Dns()


def dns(worker: PodWorker) -> Dns:
    """resolv.conf by the pod's dnsPolicy and dnsConfig (Kubernetes docs, "DNS for Services and Pods")."""
    spec, host = worker.pod["spec"], worker.agent.host
    config = spec.get("dnsConfig") or {}
    policy = spec.get("dnsPolicy", "ClusterFirst")
    first = policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.get("hostNetwork"))
    given = Dns() if policy == "None" else _inherited(worker)
    servers, searches, options = list(given.servers), list(given.searches), list(given.options)
    if first and host.dns_servers:
        name = host.cluster.domain
        servers = list(host.dns_servers)
        searches = [f"{worker.pod['metadata']['namespace']}.svc.{name}", f"svc.{name}", name, *searches]
        options = ["ndots:5"]
    servers += config.get("nameservers") or ()
    searches += config.get("searches") or ()
    by_name = {o.partition(":")[0]: o for o in options}
    for o in config.get("options") or ():
        by_name[o["name"]] = f"{o['name']}:{o['value']}" if o.get("value") else o["name"]
    return Dns(
        tuple(dict.fromkeys(servers))[:NAMESERVERS_MOST],
        tuple(dict.fromkeys(searches))[:SEARCHES_MOST],
        tuple(by_name.values()),
    )


def declared_ports(spec: Object) -> tuple[Port, ...]:
    """The ports of a container's spec."""
    return tuple(
        Port(
            p["containerPort"], p.get("protocol", "TCP"), p.get("name", ""), p.get("hostPort", 0), p.get("hostIP", "")
        )
        for p in spec.get("ports") or ()
    )
