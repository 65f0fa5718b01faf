"""sig-node, sig-storage: what the API does with the objects that pods and nodes lean on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.conftest import Api
from tests.conformance.objects import NS, POD_SPEC, meta


@pytest.mark.conformance(
    "ConfigMap should fail to create ConfigMap with empty key",
    "Secrets should fail to create secret due to empty secret key",
)
@pytest.mark.parametrize("kind", ["configmaps", "secrets"])
async def test_a_key_is_not_empty(api: Api, kind: str) -> None:
    await api.post(f"{NS}/{kind}", {**meta("x"), "data": {"": "dmFsdWU="}}, 422)


@pytest.mark.conformance(
    "ConfigMap should run through a ConfigMap lifecycle",
    "ConfigMap should update ConfigMap successfully",
    "Secrets should patch a secret",
)
@pytest.mark.parametrize("kind", ["configmaps", "secrets"])
async def test_the_life_of_what_pods_mount(api: Api, kind: str) -> None:
    path = f"{NS}/{kind}"
    made = await api.post(path, {**meta("x", labels={"mine": "yes"}), "data": {"k": "YQ=="}}, 201)
    await api.put(f"{path}/x", {**made, "data": {"k": "Yg=="}})
    await api.patch(f"{path}/x", {"metadata": {"labels": {"more": "yes"}}, "data": {"l": "Yw=="}})
    assert (await api.get(f"{path}/x"))["data"] == {"k": "Yg==", "l": "Yw=="}
    listed = (await api.get(f"/api/v1/{kind}?labelSelector=mine%3Dyes"))["items"]
    assert [o["metadata"]["labels"]["more"] for o in listed] == ["yes"]
    await api.delete(f"{path}?labelSelector=mine%3Dyes")
    await api.get(f"{path}/x", 404)


@pytest.mark.conformance(
    "RuntimeClass should reject a Pod requesting a non-existent RuntimeClass",
    "RuntimeClass should reject a Pod requesting a deleted RuntimeClass",
    "RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead",
    "RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead",
)
async def test_pods_of_a_runtime_class(api: Api) -> None:
    path = "/apis/node.k8s.io/v1/runtimeclasses"
    none: dict[str, Any] = {**POD_SPEC, "runtimeClassName": "none"}
    await api.post(f"{NS}/pods", {**meta("none"), "spec": none}, 403)
    for name, more in (("plain", {}), ("heavy", {"overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}})):
        wanted = {**POD_SPEC, "runtimeClassName": name}
        await api.post(path, {**meta(name), "handler": "fake", **more}, 201)
        made = await api.post(f"{NS}/pods", {**meta(name), "spec": wanted}, 201)
        assert made["spec"].get("overhead", {}) == more.get("overhead", {}).get("podFixed", {})

        async def running(name: str = name) -> bool:
            return bool((await api.get(f"{NS}/pods/{name}"))["status"].get("phase") == "Running")

        await api.until(running)
        await api.delete(f"{path}/{name}")
        await api.later(1)
        await api.post(f"{NS}/pods", {**meta("late"), "spec": wanted}, 403)


@pytest.mark.conformance("Node Lifecycle should run through the lifecycle of a node")
async def test_the_life_of_a_node(api: Api) -> None:
    path = "/api/v1/nodes"
    made = await api.post(path, meta("made-up", labels={"made": "up"}), 201)
    await api.patch(f"{path}/made-up", {"metadata": {"labels": {"more": "yes"}}})
    status = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Tested"}]}}
    await api.patch(f"{path}/made-up/status", status)
    found = await api.get(f"{path}/made-up")
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    assert any(c.get("reason") == "Tested" for c in found["status"]["conditions"])
    assert await api.names(f"{path}?labelSelector=made%3Dup") == ["made-up"]
    await api.delete(f"{path}?labelSelector=made%3Dup")
    await api.get(f"{path}/made-up", 404)


@pytest.mark.conformance(
    "PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC",
    "PersistentVolumes CSI Conformance should apply changes to a pv/pvc status",
)
async def test_the_life_of_a_volume_and_its_claim(api: Api) -> None:
    size = {"storage": "1Gi"}
    volume = {
        "capacity": size,
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "none",
        "hostPath": {"path": "/x"},
    }
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": size}}
    await api.post("/api/v1/persistentvolumes", {**meta("v", labels={"mine": "yes"}), "spec": volume}, 201)
    await api.post(f"{NS}/persistentvolumeclaims", {**meta("c", labels={"mine": "yes"}), "spec": claim}, 201)

    async def bound() -> bool:
        return bool((await api.get(f"{NS}/persistentvolumeclaims/c")).get("status", {}).get("phase") == "Bound")

    await api.until(bound)
    for path in ("/api/v1/persistentvolumes/v", f"{NS}/persistentvolumeclaims/c"):
        await api.patch(path, {"metadata": {"labels": {"patched": "yes"}}})
        await api.patch(f"{path}/status", {"metadata": {"annotations": {"seen": "yes"}}})
        got = await api.get(path)
        assert got["metadata"]["labels"] == {"mine": "yes", "patched": "yes"}
    assert (await api.get("/api/v1/persistentvolumes/v"))["spec"]["claimRef"]["name"] == "c"
    assert await api.names("/api/v1/persistentvolumeclaims?labelSelector=mine%3Dyes") == ["c"]
    await api.delete(f"{NS}/persistentvolumeclaims?labelSelector=mine%3Dyes")
    await api.delete("/api/v1/persistentvolumes?labelSelector=mine%3Dyes")

    async def gone() -> bool:
        return await api.gone("/api/v1/persistentvolumes/v") and await api.gone(f"{NS}/persistentvolumeclaims/c")

    await api.until(gone)
