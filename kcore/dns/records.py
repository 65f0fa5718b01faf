"""From Services, EndpointSlices and Pods to resource records.

Nothing is made before it is asked for: the informers' indexes are the data, and a lookup walks from the name to the
one service it is about. Whoever keeps answers forgets them when `on_change` says so.

Source of the rules: "Kubernetes DNS-Based Service Discovery" 1.1.0, and the docs' page "DNS for Services and Pods" for
pods; where both leave it open (SRV records of a bare service name, names of endpoints without a host name) CoreDNS'
answers, which are what programs have come to expect.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator

import attrs
import trio

from kcore import clock
from kcore.client.informer import Informer, Informers
from kcore.dns import NAME, NAMESPACE, NOERROR, NXDOMAIN, VERSION, Found, Record
from kcore.objects import Object, meta
from kcore.objects.resources import ENDPOINTSLICES, NAMESPACES, PODS, SERVICES

SERVICE_NAME = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
INSECURE, VERIFIED, DISABLED = "insecure", "verified", "disabled"
MAX_CHASE = 8
"""How many services may point to one another before it is given up as a circle."""

_FINISHED = ("Succeeded", "Failed")


@attrs.frozen(slots=True)
class _Endpoint:
    hostname: str
    address: str
    ports: tuple[tuple[str, str, int], ...]  # (name, protocol, port)


class Records:
    """All records of one cluster."""

    def __init__(self, informers: Informers, domain: str, *, service: str, ttl: int = 5, pods: str = INSECURE) -> None:
        """`service` is the server's own address; `pods` says which pod records there are: for every address in an
        existing namespace, for addresses of running pods, none."""
        self.domain, self.ttl, self._service, self._pods_mode = domain.lower().rstrip("."), ttl, service, pods
        self._labels = self.domain.split(".")
        self._services: Informer = informers.get(SERVICES)
        self._slices: Informer = informers.get(ENDPOINTSLICES)
        self._namespaces: Informer = informers.get(NAMESPACES)
        self._services.add_index("address", _addresses)
        self._slices.add_index("service", lambda s: [_service_of(s)])
        self._slices.add_index("headless-address", _headless_addresses)
        self._followed = [self._services, self._slices, self._namespaces]
        self._pods: Informer | None = None
        if pods == VERIFIED:
            self._pods = informers.get(PODS)
            self._pods.add_index("address", _pod_addresses)
            self._followed.append(self._pods)
        self._serial = int(clock.now())
        self._listeners: list[Callable[[], None]] = []
        for informer in self._followed:
            informer.on_change(self._changed)

    # --- being told --------------------------------------------------------------------------------------------------

    @property
    def synced(self) -> bool:
        """Whether everything has been seen once. Before, a name that is not found may yet exist."""
        return all(informer.synced.is_set() for informer in self._followed)

    async def wait_synced(self) -> None:
        for informer in self._followed:
            await informer.synced.wait()
        await trio.lowlevel.checkpoint()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` at every change of something that answers are made of."""
        self._listeners.append(listener)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _outline(old) == _outline(new):
            return  # a status, a label: nothing that is answered
        self._serial = max(self._serial, int(clock.now()))
        for listener in self._listeners:
            listener()

    # --- asking ------------------------------------------------------------------------------------------------------

    def lookup(self, name: str, type: str) -> Found | None:
        """None: the name is in no zone of the cluster. `type` "ANY" gives the records of the first type there is."""
        answers: list[Record] = []
        asked = name
        for _ in range(MAX_CHASE):
            found = self._lookup(asked, type)
            if found is None:
                return Found(NOERROR, tuple(answers), chase=asked) if answers else None
            answers += found.answers
            if not found.chase:
                return attrs.evolve(found, answers=tuple(answers)) if len(answers) > len(found.answers) else found
            asked = found.chase
        return Found(NOERROR, tuple(answers))

    def _lookup(self, name: str, type: str) -> Found | None:
        if name == self.domain or name.endswith("." + self.domain):
            labels = name.split(".")[: -len(self._labels)]
            found = self._in_zone(name, labels, type)
            return self._missing() if found is None else found if found.answers else self._nothing()
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._reverse(name, type)
        return None

    def _in_zone(self, name: str, labels: list[str], type: str) -> Found | None:
        """Of ``LABELS.DOMAIN``; None when there is no such name."""
        match labels:
            case []:
                return self._apex(type)
            case ["dns"] | ["svc"] | ["pod"]:
                return Found(NOERROR)
            case ["dns-version"]:
                return self._typed(name, type, "TXT", [VERSION])
            case ["ns", "dns"]:
                return self._hosts(name, type, [self._service])
            case [namespace, "svc" | "pod"]:
                return Found(NOERROR) if self._namespaces.get(namespace) is not None else None
            case [*rest, service, namespace, "svc"]:
                return self._of_service(name, rest, service, namespace, type)
            case [address, namespace, "pod"]:
                return self._of_pod(name, address, namespace, type)
        return None

    def _of_service(self, name: str, rest: list[str], service: str, namespace: str, type: str) -> Found | None:
        obj = self._services.get(f"{namespace}/{service}")
        if obj is None:
            return None
        spec = obj["spec"]
        if spec.get("type") == "ExternalName":
            target = str(spec.get("externalName", "")).lower().rstrip(".")
            if rest or not target:
                return None
            alias = Record(name, "CNAME", self.ttl, target)
            return Found(NOERROR, (alias,), chase="" if type in ("CNAME", "ANY") else target)
        canonical = f"{service}.{namespace}.svc.{self.domain}"
        match rest:
            case []:
                return self._service_itself(obj, canonical, type)
            case [protocol] if protocol.startswith("_"):
                known = any(p == protocol[1:] for _, p, _ in self._ports(obj))
                return Found(NOERROR) if known else None
            case [hostname]:
                found = [e.address for e in self._endpoints(obj) if e.hostname == hostname]
                return self._hosts(name, type, found) if found else None
            case [port, protocol] if port.startswith("_") and protocol.startswith("_"):
                return self._servers(obj, name, canonical, type, port[1:], protocol[1:])
        return None

    def _service_itself(self, obj: Object, canonical: str, type: str) -> Found:
        if type == "SRV":
            found = self._servers(obj, canonical, canonical, type, "", "")
            return found if found is not None else Found(NOERROR)
        addresses = _addresses(obj) or [e.address for e in self._endpoints(obj)]
        return self._hosts(canonical, type, addresses)

    def _servers(
        self, obj: Object, name: str, canonical: str, type: str, port_name: str, protocol: str
    ) -> Found | None:
        """SRV records of the ports called so; "" for all ports. None when there is no such port."""
        targets: dict[tuple[int, str], list[str]] = {}  # (port, name) -> addresses
        own = _addresses(obj)
        if own:
            for found, of, port in self._ports(obj):
                if not port_name or (found, of) == (port_name, protocol):
                    targets[port, canonical] = own
        else:
            for endpoint in self._endpoints(obj):
                for found, of, port in endpoint.ports:
                    if not port_name or (found, of) == (port_name, protocol):
                        behind = targets.setdefault((port, f"{endpoint.hostname}.{canonical}"), [])
                        behind.append(endpoint.address)
        if not targets:
            known = any((n, p) == (port_name, protocol) for n, p, _ in self._ports(obj))
            return Found(NOERROR) if known else None
        if type not in ("SRV", "ANY"):
            return Found(NOERROR)
        weight = max(1, 100 // len(targets))
        answers = tuple(Record(name, "SRV", self.ttl, (0, weight, port, target)) for port, target in targets)
        hosts = {target: addresses for (_, target), addresses in targets.items()}
        more = (r for target, addresses in hosts.items() for r in self._host_records(target, addresses))
        return Found(NOERROR, answers, tuple(more))

    def _of_pod(self, name: str, label: str, namespace: str, type: str) -> Found | None:
        if self._pods_mode == DISABLED or self._namespaces.get(namespace) is None:
            return None
        address = _undashed(label)
        if not address:
            return None
        if self._pods is not None:
            there = (meta.namespace(pod) for pod in self._pods.indexed("address", address))
            if namespace not in there:
                return None
        return self._hosts(name, type, [address])

    def _reverse(self, name: str, type: str) -> Found | None:
        address = _unreversed(name)
        if not address:
            return None
        names = [
            f"{meta.name(s)}.{meta.namespace(s)}.svc.{self.domain}" for s in self._services.indexed("address", address)
        ] or sorted(self._endpoint_names(address))
        if not names:
            return None
        found = self._typed(name, type, "PTR", names)
        return found if found.answers else self._nothing()

    def _endpoint_names(self, address: str) -> set[str]:
        found = set()
        for slice in self._slices.indexed("headless-address", address):
            service = self._services.get(_service_of(slice))
            if service is not None and not _addresses(service):
                of = f"{meta.name(service)}.{meta.namespace(service)}.svc.{self.domain}"
                found |= {f"{e.hostname}.{of}" for e in self._endpoints(service) if e.address == address}
        return found

    # --- what services are made of -----------------------------------------------------------------------------------

    def _ports(self, service: Object) -> Iterator[tuple[str, str, int]]:
        for port in service["spec"].get("ports") or ():
            yield port.get("name", ""), port.get("protocol", "TCP").lower(), port["port"]

    def _endpoints(self, service: Object) -> list[_Endpoint]:
        """Those that are ready (or all, if the service says so), each address of a host name once."""
        found: dict[tuple[str, str], _Endpoint] = {}
        unready = bool(service["spec"].get("publishNotReadyAddresses"))
        for slice in self._slices.indexed("service", meta.key(service)):
            if slice.get("addressType") not in ("IPv4", "IPv6"):
                continue
            ports = tuple(
                ((p.get("name") or ""), (p.get("protocol") or "TCP").lower(), p["port"])
                for p in slice.get("ports") or ()
                if p.get("port")
            )
            for endpoint in slice.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is False and not unready:
                    continue
                for address in endpoint.get("addresses") or ():
                    hostname = (endpoint.get("hostname") or _dashed(address)).lower()
                    before = found.get((hostname, address))
                    all = ports if before is None else tuple(dict.fromkeys((*before.ports, *ports)))
                    found[hostname, address] = _Endpoint(hostname, address, all)
        return list(found.values())

    # --- records -----------------------------------------------------------------------------------------------------

    def _host_records(self, name: str, addresses: Iterable[str]) -> Iterator[Record]:
        for address in dict.fromkeys(addresses):
            yield Record(name, "AAAA" if ":" in address else "A", self.ttl, address)

    def _hosts(self, name: str, type: str, addresses: Iterable[str]) -> Found:
        records = tuple(self._host_records(name, addresses))
        if type == "ANY" and records:
            type = records[0].type
        return Found(NOERROR, tuple(r for r in records if r.type == type))

    def _typed(self, name: str, asked: str, type: str, data: list[str]) -> Found:
        if asked not in (type, "ANY"):
            return Found(NOERROR)
        return Found(NOERROR, tuple(Record(name, type, self.ttl, d) for d in data))

    def _apex(self, type: str) -> Found:
        server = f"ns.dns.{self.domain}"
        if type == "NS":
            more = tuple(self._host_records(server, [self._service]))
            return Found(NOERROR, (Record(self.domain, "NS", self.ttl, server),), more)
        return Found(NOERROR, (self.authority(),)) if type in ("SOA", "ANY") else Found(NOERROR)

    def authority(self) -> Record:
        """The SOA record; its last figure is how long a negative answer may be believed (RFC 2308)."""
        server, mailbox = f"ns.dns.{self.domain}", f"hostmaster.{self.domain}"
        return Record(self.domain, "SOA", self.ttl, (server, mailbox, self._serial, 7200, 1800, 86400, self.ttl))

    def _missing(self) -> Found:
        return Found(NXDOMAIN, authority=(self.authority(),))

    def _nothing(self) -> Found:
        return Found(NOERROR, authority=(self.authority(),))


def own_service(service: Object) -> bool:
    """Whether it is the Service of the cluster's DNS."""
    return meta.namespace(service) == NAMESPACE and meta.name(service) == NAME


def _service_of(slice: Object) -> str:
    return f"{meta.namespace(slice)}/{meta.labels(slice).get(SERVICE_NAME, '')}"


def _addresses(service: Object) -> list[str]:
    """ClusterIPs; none of a headless service."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return []
    return [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP", "")] if ip and ip != "None"]


def _headless_addresses(slice: Object) -> list[str]:
    if HEADLESS not in meta.labels(slice):
        return []
    return [a for e in slice.get("endpoints") or () for a in e.get("addresses") or ()]


def _pod_addresses(pod: Object) -> list[str]:
    status = pod.get("status") or {}
    if status.get("phase") in _FINISHED:
        return []
    return [p["ip"] for p in status.get("podIPs") or () if p.get("ip")]


def _outline(obj: Object) -> object:
    """What of an object answers depend on."""
    if "endpoints" in obj:
        return obj["endpoints"], obj.get("ports"), meta.labels(obj).get(SERVICE_NAME)
    if "podIPs" in (obj.get("status") or {}):
        return _pod_addresses(obj)
    return obj.get("spec"), (obj.get("status") or {}).get("phase")


def _dashed(address: str) -> str:
    return address.replace(".", "-").replace(":", "-")


def _undashed(label: str) -> str:
    """The address that ``172-17-0-3`` or ``fd00--7`` stands for; "" if none."""
    for text in (label.replace("-", "."), label.replace("-", ":")):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return ""


def _unreversed(name: str) -> str:
    """The address of ``4.3.2.1.in-addr.arpa`` or 32 nibbles under ip6.arpa; "" if it is none."""
    labels = name.split(".")[:-2]
    labels.reverse()
    try:
        if name.endswith(".in-addr.arpa"):
            return str(ipaddress.IPv4Address(".".join(labels)))
        if len(labels) != 32 or any(len(nibble) != 1 for nibble in labels):
            return ""
        text = "".join(labels)
        return str(ipaddress.IPv6Address(":".join(text[i : i + 4] for i in range(0, 32, 4))))
    except ValueError:
        return ""
