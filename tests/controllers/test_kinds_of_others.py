"""Namespaces, garbage and quotas with kinds that are not built in: of definitions, and of other servers."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from kcore import errors
from kcore.objects import meta
from kcore.objects.resources import (
    APISERVICES,
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    GVR,
    NAMESPACES,
    RESOURCEQUOTAS,
)
from kcore.testing.cluster import FakeCluster

from .conftest import Start

FISH = GVR("lakes.example.com", "v1", "fish", "Fish")
BOATS = GVR("lakes.example.com", "v1", "boats", "Boat")
WIDGETS = GVR("example.com", "v1", "widgets", "Widget")
ALL = ["create", "delete", "deletecollection", "get", "list", "watch"]


def resource(gvr: GVR, *verbs: str) -> dict[str, Any]:
    return {"name": gvr.resource, "kind": gvr.kind, "namespaced": True, "verbs": list(verbs) or ALL}


async def lake(c: FakeCluster, *resources: dict[str, Any], available: bool = True) -> None:
    """Another server, which answers for lakes.example.com."""
    c.client.discovered["lakes.example.com", "v1"] = list(resources)
    spec = {"group": "lakes.example.com", "version": "v1", "service": {"name": "lake", "namespace": "default"}}
    status = {"conditions": [{"type": "Available", "status": str(available)}]}
    body = {"metadata": {"name": "v1.lakes.example.com"}, "spec": spec, "status": status}
    await c.client.create(APISERVICES, body)


def definition() -> dict[str, Any]:
    names = {"plural": "widgets", "kind": "Widget"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {}}}]
    status = {"conditions": [{"type": "Established", "status": "True"}]}
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {
        **kind,
        "metadata": {"name": "widgets.example.com"},
        "spec": {**spec, "versions": versions},
        "status": status,
    }


def owned(name: str, owner: dict[str, Any], gvr: GVR) -> dict[str, Any]:
    ref = {"apiVersion": gvr.api_version, "kind": gvr.kind, "name": meta.name(owner), "uid": meta.uid(owner)}
    return {"metadata": {"name": name, "namespace": "default", "ownerReferences": [ref]}}


async def test_a_namespace_is_emptied_of_what_other_servers_have(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("namespace") as c:
        await lake(c, resource(FISH), resource(BOATS, "list", "delete"), {**resource(FISH), "name": "fish/status"})
        await c.client.create(NAMESPACES, {"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}})
        for gvr in (FISH, BOATS):
            await c.client.create(gvr, {"metadata": {"name": "a", "namespace": "ns"}})
        await c.client.delete(NAMESPACES, "ns")
        await c.settle(20)
        assert await c.all(FISH, "ns") == await c.all(BOATS, "ns") == []
        with pytest.raises(errors.NotFound):
            await c.client.get(NAMESPACES, "ns")


async def test_a_namespace_waits_for_a_server_that_is_away(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("namespace") as c:
        await lake(c, resource(FISH), available=False)
        await c.client.create(NAMESPACES, {"metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}})
        await c.client.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "ns"}})
        await c.client.delete(NAMESPACES, "ns")
        await c.settle(20)
        assert await c.all(CONFIGMAPS, "ns") == []
        ns = await c.client.get(NAMESPACES, "ns")
        failure = meta.condition(ns, "NamespaceDeletionDiscoveryFailure") or {}
        assert (failure["status"], failure["reason"]) == ("True", "DiscoveryFailed")
        assert failure["message"] == (
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
            "lakes.example.com/v1: stale GroupVersion discovery: lakes.example.com/v1"
        )
        for type in ("NamespaceDeletionContentFailure", "NamespaceContentRemaining"):
            assert (meta.condition(ns, type) or {})["status"] == "False"
        await c.client.delete(APISERVICES, "v1.lakes.example.com")
        await c.settle(30)
        with pytest.raises(errors.NotFound):
            await c.client.get(NAMESPACES, "ns")


async def test_garbage_is_found_across_servers(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("garbagecollector") as c:
        await c.client.create(CUSTOMRESOURCEDEFINITIONS, definition())
        await lake(c, resource(FISH), resource(BOATS, "list"))
        fish = await c.client.create(FISH, {"metadata": {"name": "f", "namespace": "default"}})
        widget = await c.client.create(WIDGETS, owned("w", fish, FISH))
        await c.client.create(CONFIGMAPS, owned("c", widget, WIDGETS))
        await c.client.create(FISH, owned("g", widget, WIDGETS))
        await c.settle(60)
        assert len(await c.all(CONFIGMAPS)) == 1
        await c.client.delete(FISH, "f", "default")
        await c.settle(60)
        assert await c.all(WIDGETS) == await c.all(CONFIGMAPS) == await c.all(FISH) == []


async def test_what_an_object_of_a_server_owns_outlives_the_servers_registration(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("garbagecollector") as c:
        await lake(c, resource(FISH))
        fish = await c.client.create(FISH, {"metadata": {"name": "f", "namespace": "default"}})
        await c.client.create(CONFIGMAPS, owned("c", fish, FISH))
        await c.settle(60)
        await c.client.delete(APISERVICES, "v1.lakes.example.com")
        await c.settle(60)
        await c.client.patch(CONFIGMAPS, "c", {"data": {"a": "b"}}, "default")
        await c.settle(60)
        assert len(await c.all(CONFIGMAPS)) == 1
        await c.client.delete(FISH, "f", "default")
        await c.settle(60)
        assert len(await c.all(CONFIGMAPS)) == 1  # nobody can tell
        await lake(c, resource(FISH))
        await c.settle(60)
        assert await c.all(CONFIGMAPS) == []


async def _used(c: FakeCluster) -> dict[str, str]:
    quota = await c.client.get(RESOURCEQUOTAS, "q", "default")
    used: dict[str, str] = quota["status"]["used"]
    return used


async def test_objects_of_custom_kinds_are_counted_as_they_come_and_go(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("resourcequota") as c:
        hard = {"count/widgets.example.com": "3", "count/deployments.apps": "1", "count/fish.lakes.example.com": "9"}
        await c.client.create(
            RESOURCEQUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}
        )
        await c.settle(5)
        assert await _used(c) == dict.fromkeys(hard, "0")
        await lake(c, resource(FISH))
        await c.client.create(FISH, {"metadata": {"name": "f", "namespace": "default"}})
        await c.client.create(CUSTOMRESOURCEDEFINITIONS, definition())
        for name in "ab":
            await c.client.create(WIDGETS, {"metadata": {"name": name, "namespace": "default"}})
        await c.settle(30)
        assert await _used(c) == {**dict.fromkeys(hard, "0"), "count/widgets.example.com": "2",
                                  "count/fish.lakes.example.com": "1"}  # fmt: skip
        await c.client.delete(WIDGETS, "a", "default")
        await c.settle(5)
        assert (await _used(c))["count/widgets.example.com"] == "1"
        await c.client.delete(CUSTOMRESOURCEDEFINITIONS, "widgets.example.com")
        await c.settle(30)
        assert (await _used(c))["count/widgets.example.com"] == "0"
