"""sig-network: names, as a pod would look them up: by the servers, search domains and options of its resolv.conf."""

from __future__ import annotations

import io
from typing import Any

import dns.resolver
import pytest

from tests.clients.conftest import Kubectl
from tests.conformance.conftest import Place

ZONE = "cluster.local"


class Names:
    """A pod, and a resolver that has read the pod's own resolv.conf."""

    def __init__(self, kubectl: Kubectl, pod: str = "prober") -> None:
        self.kubectl, self.pod = kubectl, pod
        text = self.file("/etc/resolv.conf")
        self.resolver = dns.resolver.Resolver(configure=False)
        self.resolver.read_resolv_conf(io.StringIO(text))  # type: ignore[arg-type]
        self.resolver.cache = None
        ports = kubectl.cluster.get("endpointslice", "-n", "kube-system", "kube-dns-kcore")["ports"]
        self.resolver.port = ports[0]["port"]  # of a user who may not listen on 53: another

    def file(self, path: str) -> str:
        return self.kubectl("exec", self.pod, "--", "cat", path)

    def look(self, name: str, type: str = "A") -> list[str]:
        """The records' data, sorted; [] when there are none."""
        try:
            return sorted(item.to_text() for item in self.resolver.resolve(name, type, search=True, lifetime=10))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []


@pytest.fixture
def names(place: Place) -> Names:
    place.kubectl.pod("prober")
    return Names(place.kubectl)


def service(place: Place, name: str, **spec: Any) -> Any:
    body = {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}], "selector": {"app": name}, **spec}
    place.kubectl.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": body})
    return place.kubectl.cluster.get("service", "-n", place.namespace, name)["spec"]


def addresses(place: Place, name: str) -> list[str]:
    found = place.kubectl.cluster.get("pod", "-n", place.namespace, name)["status"]["podIPs"]
    return [ip["ip"] for ip in found]


@pytest.mark.conformance("DNS should provide DNS for the cluster")
def test_the_api_server_is_found_by_name(names: Names, place: Place) -> None:
    ip = place.kubectl.cluster.get("service", "-n", "default", "kubernetes")["spec"]["clusterIP"]
    assert names.look("kubernetes.default") == [ip]
    assert names.look(f"kubernetes.default.svc.{ZONE}.") == [ip]


@pytest.mark.conformance("DNS should provide DNS for services")
def test_services_headless_and_not_are_found_by_name_port_and_address(names: Names, place: Place) -> None:
    ip = service(place, "regular", selector={"app": "prober"})["clusterIP"]
    service(place, "headless", clusterIP="None", selector={"app": "prober"})
    here = f"{place.namespace}.svc.{ZONE}."
    place.until(lambda: names.look(f"headless.{here}") == addresses(place, "prober"))
    assert names.look(f"regular.{here}") == [ip]
    assert names.look(f"_http._tcp.regular.{here}", "SRV") == [f"0 100 80 regular.{here}"]
    (record,) = names.look(f"_http._tcp.headless.{here}", "SRV")
    assert names.look(record.split()[-1]) == addresses(place, "prober")
    reverse = ".".join(reversed(ip.split("."))) + ".in-addr.arpa."
    assert names.look(reverse, "PTR") == [f"regular.{here}"]


@pytest.mark.conformance("DNS should resolve DNS of partial qualified names for services (LinuxOnly)")
def test_names_may_be_left_unfinished(names: Names, place: Place) -> None:
    ip = service(place, "partial")["clusterIP"]
    for name in ("partial", f"partial.{place.namespace}", f"partial.{place.namespace}.svc"):
        assert names.look(name) == [ip], name
    assert names.look("partial.default") == []
    assert names.look(f"_http._tcp.partial.{place.namespace}.svc", "SRV")


@pytest.mark.conformance("DNS should provide DNS for ExternalName services")
def test_an_external_name_is_an_alias_that_follows_its_service(names: Names, place: Place) -> None:
    kind = {"type": "ExternalName", "selector": None, "ports": None}
    service(place, "away", externalName="foo.example.com", **kind)
    name = f"away.{place.namespace}.svc.{ZONE}."
    place.until(lambda: names.look(name, "CNAME") == ["foo.example.com."])
    service(place, "away", externalName="bar.example.com", **kind)
    place.until(lambda: names.look(name, "CNAME") == ["bar.example.com."])
    change = '{"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 80}]}}'
    place.kubectl("patch", "service", "away", "-p", change)
    ip = place.kubectl.cluster.get("service", "-n", place.namespace, "away")["spec"]["clusterIP"]
    place.until(lambda: names.look(name) == [ip])
    assert names.look(name, "CNAME") == []


@pytest.mark.conformance("DNS should provide DNS for pods for Hostname")
def test_a_pod_with_a_host_name_is_found_by_it(names: Names, place: Place) -> None:
    service(place, "family", clusterIP="None", selector={"app": "member"})
    place.kubectl.pod("member", hostname="elder", subdomain="family")
    here = f"{place.namespace}.svc.{ZONE}."
    place.until(lambda: names.look(f"elder.family.{here}") == addresses(place, "member"))
    assert names.look(f"younger.family.{here}") == []


@pytest.mark.conformance("DNS should provide DNS for pods for Subdomain")
def test_a_pod_in_a_subdomain_knows_its_full_name_and_is_found_by_it(names: Names, place: Place) -> None:
    service(place, "family", clusterIP="None", selector={"app": "member"})
    place.kubectl.pod("member", hostname="elder", subdomain="family")
    full = f"elder.family.{place.namespace}.svc.{ZONE}"
    (line,) = [ln for ln in Names(place.kubectl, "member").file("/etc/hosts").splitlines() if full in ln]
    assert line.split() == [*addresses(place, "member"), full, "elder"]
    place.until(lambda: names.look(f"{full}.") == addresses(place, "member"))


@pytest.mark.conformance("DNS should provide /etc/hosts entries for the cluster")
def test_a_pod_finds_itself_in_its_hosts_file(place: Place) -> None:
    place.kubectl.pod("self", hostname="me", subdomain="us")
    hosts = [line.split() for line in Names(place.kubectl, "self").file("/etc/hosts").splitlines()]
    assert ["127.0.0.1", "localhost"] in hosts
    assert [*addresses(place, "self"), f"me.us.{place.namespace}.svc.{ZONE}", "me"] in hosts


@pytest.mark.conformance("DNS should support configurable pod DNS nameservers")
def test_a_pod_may_choose_servers_search_domains_and_options(place: Place) -> None:
    config = {
        "nameservers": ["1.1.1.1"],
        "searches": ["resolv.conf.local"],
        "options": [{"name": "ndots", "value": "2"}],
    }
    place.kubectl.pod("own", dnsPolicy="None", dnsConfig=config)
    lines = place.kubectl("exec", "own", "--", "cat", "/etc/resolv.conf").splitlines()
    assert lines == ["search resolv.conf.local", "nameserver 1.1.1.1", "options ndots:2"]
