"""metrics.k8s.io: what kubectl top and autoscalers are told."""

from __future__ import annotations

import re

import pytest

from kcore.errors import NotFound
from kcore.objects import quantity
from kcore.objects.resources import PODS

from .conftest import Kubelets, pod


async def test_nodes_are_listed_and_got(world: Kubelets) -> None:
    await world.run(pod("a", "node-1"))
    found = await world.ask("nodes")
    assert (found["kind"], found["apiVersion"]) == ("NodeMetricsList", "metrics.k8s.io/v1beta1")
    assert [n["metadata"]["name"] for n in found["items"]] == ["node-1", "node-2"]
    one = await world.ask("nodes", "node-1")
    assert (one["kind"], one["window"]) == ("NodeMetrics", "15s")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["timestamp"])
    assert set(one["usage"]) == {"cpu", "memory"}
    assert quantity.parse(one["usage"]["memory"]) > 0


async def test_pods_are_listed_by_namespace_and_selector(world: Kubelets) -> None:
    await world.run(pod("a", "node-1", app="x"), pod("b", "node-2", app="y"), pod("c", "node-2", app="x"))

    async def names(**what: str) -> list[str]:
        return [p["metadata"]["name"] for p in (await world.ask("pods", **what))["items"]]

    assert await names() == ["a", "b", "c"]
    assert await names(namespace="default", query="labelSelector=app%3Dx") == ["a", "c"]
    assert await names(query="fieldSelector=metadata.name%3Db") == ["b"]
    assert await names(namespace="elsewhere") == []


async def test_a_pod_tells_of_each_container(world: Kubelets) -> None:
    await world.run(pod("a", "node-1", app="x"))
    found = await world.ask("pods", "a", namespace="default")
    assert found["kind"] == "PodMetrics"
    assert found["metadata"]["labels"] == {"app": "x"}
    assert [c["name"] for c in found["containers"]] == ["app", "side"]
    assert all(quantity.parse(c["usage"]["memory"]) > 0 for c in found["containers"])


async def test_what_nobody_measures_is_not_found(world: Kubelets) -> None:
    with pytest.raises(NotFound):
        await world.ask("nodes", "node-9")
    pending = {"metadata": {"name": "pending", "namespace": "default"}, "spec": {"containers": []}}
    await world.client.create(PODS, pending)
    with pytest.raises(NotFound, match="podmetrics"):
        await world.ask("pods", "pending", namespace="default")


async def test_a_kubelet_that_does_not_answer_is_left_out(world: Kubelets) -> None:
    await world.run(pod("a", "node-1"), pod("b", "node-2"))
    await world.nodes.stop("node-2")
    assert [n["metadata"]["name"] for n in (await world.ask("nodes"))["items"]] == ["node-1"]
    assert [p["metadata"]["name"] for p in (await world.ask("pods"))["items"]] == ["a"]
    with pytest.raises(NotFound, match="nodemetrics"):
        await world.ask("nodes", "node-2")
