"""Claims that belong to a pod, claims that grow, and volumes that only one node has."""

from __future__ import annotations

from typing import Any

from trio.testing import MockClock

from kcore.objects import Object, meta
from kcore.objects.resources import EVENTS, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS

from .conftest import Start
from .objects import pod

STORAGE = ("persistentvolume-binder", "persistentvolume-expander", "ephemeral-volume")


def spec(size: str = "1Gi", **more: Any) -> Object:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **more}


def claim(name: str = "data", **more: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec(**more)}


def scratch(name: str) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec()}
    return pod(name, volumes=[{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}])


async def reasons(c: Any) -> set[str]:
    return {event["reason"] for event in await c.all(EVENTS)}


async def test_an_ephemeral_volume_gets_a_claim_that_its_pod_owns(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*STORAGE) as c:
        made = await c.client.create(PODS, scratch("p"))
        await c.settle()
        bound = await c.client.get(PERSISTENTVOLUMECLAIMS, "p-scratch", "default")
        assert meta.controlled_by(bound, made)
        assert bound["metadata"]["labels"] == {"a": "b"}
        assert bound["status"]["phase"] == "Bound"
        await c.client.delete(PERSISTENTVOLUMECLAIMS, "p-scratch", "default")
        await c.settle()
        again = await c.client.get(PERSISTENTVOLUMECLAIMS, "p-scratch", "default")
        assert meta.uid(again) != meta.uid(bound)


async def test_a_claim_of_somebody_else_is_not_taken_for_an_ephemeral_volume(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster(*STORAGE) as c:
        await c.client.create(PERSISTENTVOLUMECLAIMS, claim("p-scratch"))
        await c.client.create(PODS, scratch("p"))
        await c.settle(2)
        messages = {e["message"] for e in await c.all(EVENTS) if e["reason"] == "FailedBinding"}
        assert messages == {
            "ephemeral volume scratch: PVC default/p-scratch was not created for pod default/p (pod is not owner)"
        }
        theirs = await c.client.get(PERSISTENTVOLUMECLAIMS, "p-scratch", "default")
        assert not theirs["metadata"].get("ownerReferences")


async def test_a_claim_that_grows_takes_its_volume_along(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*STORAGE) as c:
        await c.client.create(PERSISTENTVOLUMECLAIMS, claim())
        user = pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
        await c.client.create(PODS, user)
        await c.settle()
        grown = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}}
        await c.client.patch(PERSISTENTVOLUMECLAIMS, "data", grown, "default")
        await c.settle()
        (volume,) = await c.all(PERSISTENTVOLUMES)
        assert volume["spec"]["capacity"] == {"storage": "5Gi"}
        bound = await c.client.get(PERSISTENTVOLUMECLAIMS, "data", "default")
        assert bound["status"]["capacity"] == {"storage": "5Gi"}
        assert "VolumeResizeSuccessful" in await reasons(c)


async def test_a_volume_that_somebody_else_resizes_is_left_to_them(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster(*STORAGE) as c:
        own = {**spec(), "capacity": {"storage": "1Gi"}, "csi": {"driver": "d", "volumeHandle": "h"}}
        own.pop("resources")
        await c.client.create(PERSISTENTVOLUMES, {"metadata": {"name": "pv"}, "spec": own})
        await c.client.create(PERSISTENTVOLUMECLAIMS, claim(storageClassName="", volumeName="pv"))
        await c.settle()
        grown = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}}
        await c.client.patch(PERSISTENTVOLUMECLAIMS, "data", grown, "default")
        await c.settle()
        (volume,) = await c.all(PERSISTENTVOLUMES)
        assert volume["spec"]["capacity"] == {"storage": "1Gi"}
        assert "ExternalExpanding" in await reasons(c)


async def test_a_volume_of_one_node_waits_for_the_choice_of_the_node_and_stays_there(
    cluster: Start, autojump_clock: MockClock
) -> None:
    settings = {"persistentvolume-binder": {"per_node": True}}
    async with cluster(*STORAGE, settings=settings) as c:
        await c.client.create(PERSISTENTVOLUMECLAIMS, claim())
        user = pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
        await c.client.create(PODS, user)
        await c.settle()
        assert await c.all(PERSISTENTVOLUMES) == []
        chosen = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-2"}}}
        await c.client.patch(PERSISTENTVOLUMECLAIMS, "data", chosen, "default")
        await c.settle()
        (volume,) = await c.all(PERSISTENTVOLUMES)
        (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}]
