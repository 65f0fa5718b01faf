"""Routes to the pods of other machines: two machines of the test's own on one link."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kcore.linux.network import PodNetwork
from kcore.linux.routes import DIRECT, VXLAN, PodRoutes
from tests.hosts import Lan, lan
from tests.linux.test_network import ask, namespace, netns, said, served
from tests.needs import needs


@pytest.fixture
def machines() -> Iterator[Lan]:
    needs("ip", "iptables", root=True)
    with lan("kcore-lan", "192.0.2.0/24", 2) as found:
        yield found


@pytest.mark.parametrize("mode", [DIRECT, VXLAN])
async def test_pods_reach_pods_of_the_other_machine_until_the_routes_go(machines: Lan, mode: str) -> None:
    first, second = machines.hosts
    with second.entered():
        network = await PodNetwork.open("node-2", "10.88.2.0/24", cluster_cidr="10.88.0.0/16")
        routes = PodRoutes(mode, second.address, "10.88.2.0/24")
        await routes.open()
        assert await routes.apply({"10.88.1.0/24": first.address}) == []
        there = namespace()
        two = there.__enter__()
        await network.attach(netns(two), "10.88.2.2")
    try:
        with first.entered(), namespace() as one, served(two, 80, "from afar"):
            network = await PodNetwork.open("node-1", "10.88.1.0/24", cluster_cidr="10.88.0.0/16")
            await network.attach(netns(one), "10.88.1.2")
            routes = PodRoutes(mode, first.address, "10.88.1.0/24")
            await routes.open()
            assert await routes.apply({"10.88.2.0/24": second.address}) == []
            assert await ask(netns(one), "10.88.2.2", 80) == b"from afar\n"
            assert await ask("/proc/thread-self/ns/net", "10.88.2.2", 80) == b"from afar\n"  # the machine itself
            again = PodRoutes(mode, first.address, "10.88.1.0/24")  # after a crash
            await again.open()
            assert await again.apply({"10.88.2.0/24": second.address}) == []
            assert await ask(netns(one), "10.88.2.2", 80) == b"from afar\n"
            await again.close()
            assert "10.88.2" not in said("ip", "route")
            assert "vxlan" not in said("ip", "-br", "link")
    finally:
        there.__exit__(None, None, None)


async def test_a_node_that_no_link_leads_to_is_told_and_the_others_are_reached(machines: Lan) -> None:
    with machines.hosts[0].entered():
        routes = PodRoutes(DIRECT, "192.0.2.1", "10.88.1.0/24")
        await routes.open()
        wanted = {"10.88.2.0/24": "198.51.100.9", "10.88.3.0/24": "192.0.2.2"}
        (failed,) = await routes.apply(wanted)
        assert failed.startswith("no route to the pods 10.88.2.0/24 by 198.51.100.9:")
        assert "10.88.3.0/24 via 192.0.2.2" in said("ip", "route")
        wanted["10.88.2.0/24"] = "192.0.2.9"  # it has moved
        assert await routes.apply(wanted) == []
        assert "10.88.2.0/24 via 192.0.2.9" in said("ip", "route")
        said("ip", "route", "add", "10.99.0.0/24", "via", "192.0.2.2")  # somebody else's
        await routes.close()
        left = said("ip", "route")
        assert "10.88" not in left
        assert "10.99.0.0/24 via 192.0.2.2" in left
