"""sig-api-machinery, sig-architecture: garbage, namespaces, quotas, nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trio.testing import MockClock

from tests.conformance.conftest import Api
from tests.conformance.objects import APPS, NS, POD_SPEC, controller, deployment, meta


async def pods_of(api: Api, app: str) -> list[Any]:
    found: list[Any] = (await api.get(f"{NS}/pods?labelSelector=app%3D{app}"))["items"]
    return found


async def with_pods(api: Api, name: str, count: int = 2) -> None:
    """A replication controller whose pods run."""
    await api.post(f"{NS}/replicationcontrollers", controller(name, count))

    async def running() -> bool:
        return len([p for p in await pods_of(api, name) if p["status"]["phase"] == "Running"]) == count

    await api.until(running)


# --- garbage --------------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Garbage collector should delete pods created by rc when not orphaning",
)
async def test_pods_go_with_their_controller(api: Api, autojump_clock: MockClock) -> None:
    await with_pods(api, "rc")
    await api.delete(f"{NS}/replicationcontrollers/rc", {"propagationPolicy": "Background"})

    async def none() -> bool:
        return not await pods_of(api, "rc")

    await api.until(none)


@pytest.mark.conformance(
    "Garbage collector should orphan pods created by rc if delete options say so",
)
async def test_pods_are_orphaned_if_the_options_say_so(api: Api, autojump_clock: MockClock) -> None:
    await with_pods(api, "rc")
    await api.delete(f"{NS}/replicationcontrollers/rc", {"propagationPolicy": "Orphan"})
    await api.until(lambda: api.gone(f"{NS}/replicationcontrollers/rc"))
    await api.later(6)
    left = await pods_of(api, "rc")
    assert len(left) == 2
    assert not any(p["metadata"].get("ownerReferences") for p in left)


@pytest.mark.conformance(
    "Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so",
)
async def test_a_controller_stays_until_its_pods_are_gone(api: Api, autojump_clock: MockClock) -> None:
    await with_pods(api, "rc")
    await api.delete(f"{NS}/replicationcontrollers/rc", {"propagationPolicy": "Foreground"})
    waiting = await api.get(f"{NS}/replicationcontrollers/rc")
    assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
    await api.until(lambda: api.gone(f"{NS}/replicationcontrollers/rc"))
    assert not await pods_of(api, "rc")


@pytest.mark.conformance(
    "Garbage collector should delete RS created by deployment when not orphaning",
    "Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan",
)
@pytest.mark.parametrize("policy", ["Background", "Orphan"])
async def test_replica_sets_of_a_deployment(api: Api, autojump_clock: MockClock, policy: str) -> None:
    await api.post(f"{APPS}/deployments", deployment("d"))

    async def made() -> bool:
        return len(await api.names(f"{APPS}/replicasets")) == 1

    await api.until(made)
    await api.delete(f"{APPS}/deployments/d", {"propagationPolicy": policy})
    await api.until(lambda: api.gone(f"{APPS}/deployments/d"))
    await api.later(6)
    left = (await api.get(f"{APPS}/replicasets"))["items"]
    assert [s["metadata"].get("ownerReferences") for s in left] == ([None] if policy == "Orphan" else [])


@pytest.mark.conformance(
    "Garbage collector should not delete dependents that have both valid owner and owner that's waiting for "
    "dependents to be deleted",
)
async def test_a_dependent_with_another_valid_owner_stays(api: Api, autojump_clock: MockClock) -> None:
    owners = [await api.post(f"{NS}/configmaps", meta(name)) for name in ("going", "staying")]
    refs = [{"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"],
             "blockOwnerDeletion": True} for o in owners]  # fmt: skip
    await api.post(f"{NS}/configmaps", meta("child", ownerReferences=refs))
    await api.later(1)
    await api.delete(f"{NS}/configmaps/going", {"propagationPolicy": "Foreground"})
    await api.until(lambda: api.gone(f"{NS}/configmaps/going"), 10)
    child = await api.get(f"{NS}/configmaps/child")
    assert [o["name"] for o in child["metadata"]["ownerReferences"]] == ["staying"]
    assert "deletionTimestamp" not in child["metadata"]


@pytest.mark.conformance(
    "Garbage collector should not be blocked by dependency circle",
)
async def test_a_circle_of_owners_goes_with_one_of_them(api: Api, autojump_clock: MockClock) -> None:
    made = [await api.post(f"{NS}/configmaps", meta(f"c{i}")) for i in range(3)]
    for i, one in enumerate(made):
        owner = made[i - 1]["metadata"]
        ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["name"], "uid": owner["uid"],
               "blockOwnerDeletion": True}  # fmt: skip
        await api.patch(f"{NS}/configmaps/{one['metadata']['name']}", {"metadata": {"ownerReferences": [ref]}})
    await api.later(1)
    await api.delete(f"{NS}/configmaps/c0", {"propagationPolicy": "Foreground"})
    for i in range(3):
        await api.until(lambda i=i: api.gone(f"{NS}/configmaps/c{i}"))


# --- namespaces -----------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Namespaces should patch a Namespace",
    "Namespaces should apply an update to a Namespace",
    "Namespaces should apply changes to a namespace status",
)
async def test_a_namespace_is_patched_updated_and_has_a_status(api: Api, autojump_clock: MockClock) -> None:
    await api.post("/api/v1/namespaces", meta("n"))
    await api.patch("/api/v1/namespaces/n", {"metadata": {"labels": {"a": "b"}}})
    found = await api.get("/api/v1/namespaces/n")
    found["metadata"]["labels"]["updated"] = "yes"
    assert (await api.put("/api/v1/namespaces/n", found))["metadata"]["labels"]["updated"] == "yes"
    condition = {"type": "StatusPatched", "status": "True", "reason": "Test", "message": "m"}
    await api.patch("/api/v1/namespaces/n/status", {"status": {"conditions": [condition]}})
    status = (await api.get("/api/v1/namespaces/n/status"))["status"]
    assert status["conditions"][0]["type"] == "StatusPatched"
    assert status["phase"] == "Active"


@pytest.mark.conformance(
    "Namespaces should apply a finalizer to a Namespace",
)
async def test_a_finalizer_holds_a_namespace(api: Api, autojump_clock: MockClock) -> None:
    namespace = await api.post("/api/v1/namespaces", meta("n"))
    namespace["spec"]["finalizers"].append("example.com/hold")
    await api.put("/api/v1/namespaces/n/finalize", namespace)
    await api.delete("/api/v1/namespaces/n")
    await api.later(6)
    held = await api.get("/api/v1/namespaces/n")
    assert (held["status"]["phase"], held["spec"]["finalizers"]) == ("Terminating", ["example.com/hold"])
    held["spec"]["finalizers"] = []
    await api.put("/api/v1/namespaces/n/finalize", held)
    await api.until(lambda: api.gone("/api/v1/namespaces/n"))


@pytest.mark.conformance(
    "Namespaces should ensure that all pods are removed when a namespace is deleted",
    "Namespaces should ensure that all services are removed when a namespace is deleted",
)
async def test_what_is_in_a_namespace_goes_with_it(api: Api, autojump_clock: MockClock) -> None:
    await api.post("/api/v1/namespaces", meta("n"))
    await api.post("/api/v1/namespaces/n/pods", {**meta("p"), "spec": POD_SPEC})
    await api.post("/api/v1/namespaces/n/services", {**meta("s"), "spec": {"ports": [{"port": 80}]}})
    await api.delete("/api/v1/namespaces/n")
    await api.until(lambda: api.gone("/api/v1/namespaces/n"))
    await api.post("/api/v1/namespaces", meta("n"))
    assert await api.names("/api/v1/namespaces/n/pods") == await api.names("/api/v1/namespaces/n/services") == []


@pytest.mark.conformance(
    "OrderedNamespaceDeletion namespace deletion should delete pod first",
)
async def test_pods_go_before_all_else_in_a_namespace(api: Api, autojump_clock: MockClock) -> None:
    await api.post("/api/v1/namespaces", meta("n"))
    await api.post("/api/v1/namespaces/n/pods", {**meta("p", finalizers=["example.com/hold"]), "spec": POD_SPEC})
    await api.post("/api/v1/namespaces/n/configmaps", meta("c"))
    await api.delete("/api/v1/namespaces/n")
    await api.later(10)
    assert "c" in await api.names("/api/v1/namespaces/n/configmaps"), "it waits for the pod"
    await api.patch("/api/v1/namespaces/n/pods/p", {"metadata": {"finalizers": None}})
    await api.until(lambda: api.gone("/api/v1/namespaces/n"))


# --- quotas ---------------------------------------------------------------------------------------------------------


async def quota(api: Api, hard: Any, name: str = "q", **spec: Any) -> None:
    await api.post(f"{NS}/resourcequotas", {**meta(name), "spec": {"hard": hard, **spec}})

    async def counted() -> bool:
        status = (await api.get(f"{NS}/resourcequotas/{name}")).get("status") or {}
        return set(status.get("used") or ()) == set(hard)

    await api.until(counted, 10)


async def used(api: Api, wanted: Any, name: str = "q") -> None:
    async def as_wanted() -> bool:
        found = (await api.get(f"{NS}/resourcequotas/{name}"))["status"]["used"]
        return all(found[key] == value for key, value in wanted.items())

    await api.until(as_wanted)


LIVES: dict[str, tuple[str, Any, Any]] = {
    "configmaps": (f"{NS}/configmaps", meta("x"), {"configmaps": 1}),
    "secrets": (f"{NS}/secrets", meta("x"), {"secrets": 1}),
    "services": (
        f"{NS}/services", {**meta("x"), "spec": {"type": "NodePort", "ports": [{"port": 80}]}},
        {"services": 1, "services.nodeports": 1},
    ),
    "replicasets": (f"{APPS}/replicasets", deployment("x", 0), {"count/replicasets.apps": 1}),
    "replicationcontrollers": (f"{NS}/replicationcontrollers", controller("x", 0), {"replicationcontrollers": 1}),
    "pods": (
        f"{NS}/pods",
        {**meta("x"), "spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}}},
        ]}},
        {"pods": 1, "requests.cpu": "500m", "requests.memory": "64Mi"},
    ),
}  # fmt: skip


@pytest.mark.conformance(
    "ResourceQuota should create a ResourceQuota and capture the life of a configMap.",
    "ResourceQuota should create a ResourceQuota and capture the life of a pod.",
    "ResourceQuota should create a ResourceQuota and capture the life of a replica set.",
    "ResourceQuota should create a ResourceQuota and capture the life of a replication controller.",
    "ResourceQuota should create a ResourceQuota and capture the life of a secret.",
    "ResourceQuota should create a ResourceQuota and capture the life of a service.",
)
@pytest.mark.parametrize("resource", LIVES)
async def test_a_quota_captures_the_life_of_an_object(api: Api, autojump_clock: MockClock, resource: str) -> None:
    path, obj, amounts = LIVES[resource]
    await api.later(1)
    before = len(await api.names(path))
    counts = {name: amount + before if isinstance(amount, int) and resource == name else amount
              for name, amount in amounts.items()}  # fmt: skip
    await quota(api, {name: str(amount) for name, amount in counts.items()})
    await api.post(path, obj)
    await used(api, {name: str(amount) for name, amount in counts.items()})
    second = json.loads(json.dumps(obj).replace('"name": "x"', '"name": "y"', 1))
    refused = await api.post(path, second, 403)
    assert "exceeded quota: q, requested:" in refused["message"]
    await api.delete(f"{path}/x", {"gracePeriodSeconds": 0})
    await used(api, {name: str(before if resource == name else 0) for name in counts})
    await api.post(path, second)


@pytest.mark.conformance(
    "ResourceQuota should be able to update and delete ResourceQuota.",
    "ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated.",
    "ResourceQuota should apply changes to a resourcequota status",
)
async def test_a_quota_is_updated_deleted_and_its_status_counted_again(api: Api, autojump_clock: MockClock) -> None:
    await quota(api, {"count/podtemplates": "1"})
    found = await api.get(f"{NS}/resourcequotas/q")
    found["spec"]["hard"]["count/podtemplates"] = "2"
    await api.put(f"{NS}/resourcequotas/q", found)

    async def told() -> bool:
        status = (await api.get(f"{NS}/resourcequotas/q/status"))["status"]
        return bool(status["hard"] == {"count/podtemplates": "2"})

    await api.until(told)
    await api.patch(f"{NS}/resourcequotas/q/status", {"status": {"hard": {"count/podtemplates": "3"}}})
    await api.until(told)
    await api.delete(f"{NS}/resourcequotas/q")
    await api.get(f"{NS}/resourcequotas/q", 404)


@pytest.mark.conformance(
    "ResourceQuota should verify ResourceQuota with best effort scope.",
    "ResourceQuota should verify ResourceQuota with terminating scopes.",
)
@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("BestEffort", {}, {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]}),
        ("Terminating", {"activeDeadlineSeconds": 3600}, {}),
        ("NotTerminating", {}, {"activeDeadlineSeconds": 3600}),
    ],
)
async def test_a_quota_with_a_scope_counts_only_its_own(
    api: Api, autojump_clock: MockClock, scope: str, inside: Any, outside: Any
) -> None:
    await api.later(1)
    await quota(api, {"pods": "5"}, scopes=[scope])
    await api.post(f"{NS}/pods", {**meta("out"), "spec": {**POD_SPEC, **outside}})
    await api.post(f"{NS}/pods", {**meta("in"), "spec": {**POD_SPEC, **inside}})
    await used(api, {"pods": "1"})
    await api.delete(f"{NS}/pods/in", {"gracePeriodSeconds": 0})
    await used(api, {"pods": "0"})


# --- architecture ---------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Conformance Tests should have at least two untainted nodes",
)
async def test_there_are_two_nodes_that_take_pods(api: Api, autojump_clock: MockClock) -> None:

    async def untainted() -> bool:
        nodes = (await api.get("/api/v1/nodes"))["items"]
        return len([n for n in nodes if not n["spec"].get("taints")]) >= 2

    await api.until(untainted)
