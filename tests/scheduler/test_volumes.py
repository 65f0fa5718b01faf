"""Pods go where their volumes are, or can be made."""

from __future__ import annotations

from typing import Any

import pytest
from trio.abc import Clock

from kcore import clock
from kcore.objects import Object
from kcore.objects.resources import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from kcore.scheduler.profile import Weighted
from kcore.testing.client import MemoryClient
from kcore.testing.scheduling import node, pod, running_scheduler

from .conftest import condition, node_of, settle
from .test_conformance import ZONE, claim, storage_class, volume

NAMES = ("PrioritySort", "NodeResourcesFit", "VolumeBinding", "DefaultBinder")


@pytest.fixture
async def policies(open_policy: Any) -> list[Weighted]:
    clock.use_virtual()
    return [Weighted(await open_policy(name)) for name in NAMES]


def using(name: str, claim_name: str) -> Object:
    return pod(name, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}])


async def zones(client: MemoryClient) -> None:
    for zone in "abc":
        await client.create(NODES, node(f"node-{zone}", labels={ZONE: zone}))


async def bind(client: MemoryClient, name: str, to: str) -> None:
    """What the volume controller does."""
    await client.patch(PERSISTENTVOLUMECLAIMS, name, {"spec": {"volumeName": to}}, "default")
    status = {"status": {"phase": "Bound"}}
    await client.patch(PERSISTENTVOLUMECLAIMS, name, status, "default", subresource="status")


async def test_a_bound_volume_pins_the_pod(
    autojump_clock: Clock, client: MemoryClient, policies: list[Weighted]
) -> None:
    await zones(client)
    await client.create(PERSISTENTVOLUMES, volume("pv-b", "b"))
    await client.create(PERSISTENTVOLUMECLAIMS, claim("data", "local", "pv-b"))
    async with running_scheduler(client, policies):
        await client.create(PODS, using("p", "data"))
        await settle()
    assert await node_of(client, "p") == "node-b"


async def test_a_volume_that_no_node_reaches_is_named(
    autojump_clock: Clock, client: MemoryClient, policies: list[Weighted]
) -> None:
    await zones(client)
    await client.create(PERSISTENTVOLUMES, volume("pv-x", "x"))
    await client.create(PERSISTENTVOLUMECLAIMS, claim("data", "local", "pv-x"))
    async with running_scheduler(client, policies):
        await client.create(PODS, using("p", "data"))
        await settle()
    message = (await condition(client, "p"))["message"]
    assert message == "0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity."


async def test_an_unbound_claim_of_an_immediate_class_waits_for_its_volume(
    autojump_clock: Clock, client: MemoryClient, policies: list[Weighted]
) -> None:
    await zones(client)
    await client.create(STORAGECLASSES, {**storage_class("now"), "volumeBindingMode": "Immediate"})
    await client.create(PERSISTENTVOLUMECLAIMS, claim("data", "now"))
    await client.create(PERSISTENTVOLUMES, volume("pv-a", "a"))
    async with running_scheduler(client, policies):
        await client.create(PODS, using("p", "data"))
        await settle()
        message = (await condition(client, "p"))["message"]
        assert message == "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
        await bind(client, "data", "pv-a")
        await settle(2)
    assert await node_of(client, "p") == "node-a"


async def test_a_free_volume_is_claimed_and_the_pod_waits_until_it_is_bound(
    autojump_clock: Clock, client: MemoryClient, policies: list[Weighted]
) -> None:
    await zones(client)
    await client.create(STORAGECLASSES, storage_class("local"))
    await client.create(PERSISTENTVOLUMES, volume("pv-c", "c"))
    await client.create(PERSISTENTVOLUMECLAIMS, claim("data", "local"))
    await client.create(PERSISTENTVOLUMECLAIMS, claim("other", "local"))
    async with running_scheduler(client, policies):
        await client.create(PODS, using("p", "data"))
        await settle()
        reference = (await client.get(PERSISTENTVOLUMES, "pv-c"))["spec"]["claimRef"]
        assert (reference["namespace"], reference["name"]) == ("default", "data")
        await settle(30)
        assert await node_of(client, "p") == ""
        await client.create(PODS, using("q", "other"))
        await settle()
        message = (await condition(client, "q"))["message"]
        assert message == "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."
        await bind(client, "data", "pv-c")
        await settle()
        assert await node_of(client, "p") == "node-c"


async def test_a_volume_is_made_where_the_pod_will_run(
    autojump_clock: Clock, client: MemoryClient, policies: list[Weighted]
) -> None:
    await zones(client)
    await client.create(STORAGECLASSES, storage_class("fast", "csi.example.com", zone="b"))
    await client.create(PERSISTENTVOLUMECLAIMS, claim("data", "fast"))
    async with running_scheduler(client, policies):
        await client.create(PODS, using("p", "data"))
        await settle()
        found = await client.get(PERSISTENTVOLUMECLAIMS, "data", "default")
        assert found["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == "node-b"
        await client.create(PERSISTENTVOLUMES, volume("made", "b"))
        await bind(client, "data", "made")
        await settle()
    assert await node_of(client, "p") == "node-b"


async def test_a_volume_that_never_comes_sends_the_pod_back(
    autojump_clock: Clock, client: MemoryClient, policies: list[Weighted]
) -> None:
    await zones(client)
    await client.create(STORAGECLASSES, storage_class("fast", "csi.example.com"))
    await client.create(PERSISTENTVOLUMECLAIMS, claim("data", "fast"))
    async with running_scheduler(client, policies) as scheduler:
        await client.create(PODS, using("p", "data"))
        await settle(601)
        assert "timed out waiting" in (await condition(client, "p"))["message"]
        assert scheduler._cache.assumed_pods <= 1
