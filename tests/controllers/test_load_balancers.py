"""Addresses from pools for Services of type LoadBalancer."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from kcore_controllers.catalogue import LoadBalancerConfig
from kcore_controllers.pools import Pool
from trio.testing import MockClock

from kcore.objects import Object
from kcore.objects.resources import EVENTS, SERVICES
from kcore.testing.client import MemoryClient

from .conftest import Start


def balanced(name: str, **spec: Any) -> Object:
    own = {"type": "LoadBalancer", "ports": [{"port": 80}], "ipFamilies": ["IPv4"], **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": own}


async def addresses(c: Any, name: str) -> list[str]:
    service = await c.client.get(SERVICES, name, "default")
    found = service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    assert all(entry["ipMode"] == "VIP" for entry in found)
    return [entry["ip"] for entry in found]


async def said(c: Any, reason: str) -> list[str]:
    return [e["message"] for e in await c.all(EVENTS) if e["reason"] == reason]


def pools(*texts: str, **more: Any) -> Any:
    return {"service-lb": {"pools": list(texts), **more}}


async def test_each_service_gets_an_address_of_its_own_and_gives_it_back(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("service-lb", settings=pools("192.0.2.4/30")) as c:
        for name in ("a", "b", "c"):
            await c.client.create(SERVICES, balanced(name))
        await c.settle(5)
        assert [await addresses(c, n) for n in ("a", "b", "c")] == [["192.0.2.5"], ["192.0.2.6"], []]
        assert await said(c, "SyncLoadBalancerFailed") == [
            "Error syncing load balancer: failed to ensure load balancer: all addresses of the pools are taken"
        ]
        await c.client.delete(SERVICES, "a", "default")
        await c.settle(70)
        assert await addresses(c, "c") == ["192.0.2.5"]
        await c.client.patch(SERVICES, "b", {"spec": {"type": "ClusterIP"}}, "default")
        await c.settle(5)
        assert await addresses(c, "b") == []
        assert await said(c, "DeletedLoadBalancer") == ["Deleted load balancer"]


async def test_what_was_given_away_before_a_restart_stays(cluster: Start, autojump_clock: MockClock) -> None:
    client = MemoryClient()
    first = balanced("zz")  # comes last, and yet keeps what it has
    first["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.10", "ipMode": "VIP"}]}}
    await client.create(SERVICES, balanced("another"))
    await client.create(SERVICES, first)
    async with cluster("service-lb", settings=pools("192.0.2.10-192.0.2.11"), client=client) as c:
        await c.settle(5)
        assert await addresses(c, "zz") == ["192.0.2.10"]
        assert await addresses(c, "another") == ["192.0.2.11"]


async def test_an_address_that_is_asked_for_is_given_if_it_is_free(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("service-lb", settings=pools("192.0.2.0/24")) as c:
        await c.client.create(SERVICES, balanced("a", loadBalancerIP="192.0.2.77"))
        await c.settle(2)
        await c.client.create(SERVICES, balanced("b", loadBalancerIP="192.0.2.77"))
        await c.client.create(SERVICES, balanced("c", loadBalancerIP="198.51.100.1"))
        await c.settle(2)
        assert [await addresses(c, n) for n in ("a", "b", "c")] == [["192.0.2.77"], [], []]
        messages = " ".join(await said(c, "SyncLoadBalancerFailed"))
        assert "192.0.2.77 is taken" in messages
        assert "198.51.100.1 is in no pool" in messages


async def test_a_service_of_two_families_gets_two_addresses(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("service-lb", settings=pools("192.0.2.0/24", "2001:db8::10-2001:db8::11")) as c:
        await c.client.create(SERVICES, balanced("a", ipFamilies=["IPv6", "IPv4"]))
        await c.settle(2)
        assert await addresses(c, "a") == ["2001:db8::10", "192.0.2.1"]


async def test_services_of_another_class_and_their_status_are_left_alone(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("service-lb", settings=pools("192.0.2.0/24")) as c:
        theirs = balanced("a", loadBalancerClass="example.com/other")
        theirs["status"] = {"loadBalancer": {"ingress": [{"ip": "198.51.100.9", "ipMode": "VIP"}]}}
        await c.client.create(SERVICES, theirs)
        await c.settle(2)
        assert await addresses(c, "a") == ["198.51.100.9"]


@pytest.mark.parametrize("text", ["192.0.2.9-192.0.2.1", "192.0.2.1-2001:db8::1", "x", "192.0.2.1/24", ""])
def test_a_pool_that_is_none_is_refused_before_anything_starts(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        LoadBalancerConfig(pools=[text])


def test_a_pool_holds_what_it_gives() -> None:
    pool = Pool.parse("192.0.2.0/30")
    assert list(pool) == ["192.0.2.1", "192.0.2.2"]
    assert ipaddress.ip_address("192.0.2.3") not in pool
    assert ipaddress.ip_address("::1") not in pool
