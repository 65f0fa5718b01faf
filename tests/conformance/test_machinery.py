"""sig-api-machinery: discovery, field validation, garbage, namespaces, quotas, chunks, watches, version."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from tests.conformance.conftest import APPLY, Api

NS = "/api/v1/namespaces/default"
APPS = "/apis/apps/v1/namespaces/default"
POD_SPEC = {"containers": [{"name": "c", "image": "i"}]}


def meta(name: str, **more: Any) -> Any:
    return {"metadata": {"name": name, **more}}


def controller(name: str, replicas: int = 2) -> Any:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": POD_SPEC}
    return {**meta(name), "spec": {"replicas": replicas, "selector": labels, "template": template}}


def deployment(name: str, replicas: int = 1) -> Any:
    spec = controller(name, replicas)["spec"]
    return {**meta(name), "spec": {**spec, "selector": {"matchLabels": spec["selector"]}}}


async def pods_of(api: Api, app: str) -> list[Any]:
    found: list[Any] = (await api.get(f"{NS}/pods?labelSelector=app%3D{app}"))["items"]
    return found


async def with_pods(api: Api, name: str, count: int = 2) -> None:
    """A replication controller whose pods run."""
    await api.post(f"{NS}/replicationcontrollers", controller(name, count))

    async def running() -> bool:
        return len([p for p in await pods_of(api, name) if p["status"]["phase"] == "Running"]) == count

    await api.until(running)


# --- discovery and version ------------------------------------------------------------------------------------------


async def test_the_server_version_is_found(api: Api) -> None:
    found = await api.get("/version")
    assert (found["major"], found["gitVersion"][:3]) == ("1", "v1.")


async def test_each_group_is_found_with_its_versions_and_its_preferred_one(api: Api) -> None:
    """Discovery should locate the groupVersion and a resource within each APIGroup; PreferredVersion."""
    groups = (await api.get("/apis"))["groups"]
    assert len(groups) > 15
    for group in groups:
        assert (await api.get(f"/apis/{group['name']}"))["preferredVersion"] == group["preferredVersion"]
        assert group["preferredVersion"] in group["versions"]
        for version in group["versions"]:
            listed = await api.get(f"/apis/{version['groupVersion']}")
            assert listed["groupVersion"] == version["groupVersion"]
            assert listed["resources"]


async def test_aggregated_discovery_is_negotiated(api: Api) -> None:
    """AggregatedDiscovery: the interface, and raw Accept headers."""
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    for path, group in (("/api", ""), ("/apis", "apps")):
        found = await api.get(path, accept=f"{accept},application/json")
        assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
        assert group in [item["metadata"].get("name", "") for item in found["items"]]
    assert (await api.get("/apis", accept="application/json"))["kind"] == "APIGroupList"


async def test_webhook_kinds_are_in_discovery(api: Api) -> None:
    """AdmissionWebhook should include webhook resources in discovery documents."""
    found = await api.get("/apis/admissionregistration.k8s.io/v1")
    names = {r["name"] for r in found["resources"]}
    assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= names


async def test_a_table_of_what_has_no_metadata_is_not_acceptable(api: Api) -> None:
    """Servers with support for Table transformation should return a 406."""
    review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    await api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, 406, accept=table)


# --- field validation -----------------------------------------------------------------------------------------------


async def test_unknown_and_duplicate_fields_of_a_typed_object_are_detected(api: Api) -> None:
    path = f"{NS}/configmaps?fieldValidation=Strict&dryRun=All"
    unknown, duplicate = 'unknown field "foo"', 'duplicate field "data"'
    both = (b'"foo":1,"data":{},"data":{}', f"{unknown}, {duplicate}")
    for wrong, why in ((b'"foo":1', unknown), (b'"data":{},"data":{}', duplicate), both):
        body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},' + wrong + b"}"
        assert why in (await api.post(path, body, 400))["message"]
    applied = {"apiVersion": "v1", "kind": "ConfigMap", **meta("x"), "foo": 1}
    path = f"{NS}/configmaps/x?fieldManager=a&fieldValidation=Strict"
    said = (await api.patch(path, applied, 500, type=APPLY))["message"]
    assert ".foo: field not declared in schema" in said


async def test_unknown_metadata_fields_of_a_typed_object_are_detected(api: Api) -> None:
    bad = deployment("x")
    bad["metadata"]["unknownMeta"] = "a"
    bad["spec"]["template"]["metadata"]["unknownMeta"] = "b"
    said = (await api.post(f"{APPS}/deployments?fieldValidation=Strict", bad, 400))["message"]
    assert 'unknown field "metadata.unknownMeta"' in said
    assert 'unknown field "spec.template.metadata.unknownMeta"' in said


# --- lists in chunks ------------------------------------------------------------------------------------------------


async def test_lists_come_in_chunks_of_one_revision(api: Api) -> None:
    """Servers with support for API chunking should return chunks of results for list calls."""
    for i in range(25):
        await api.post(f"{NS}/podtemplates", {**meta(f"t{i:02}"), "template": {"spec": POD_SPEC}})
    seen: list[str] = []
    version, token = "", ""
    while True:
        page = await api.get(f"{NS}/podtemplates?limit=10&continue={token}")
        version = version or page["metadata"]["resourceVersion"]
        assert page["metadata"]["resourceVersion"] == version
        seen += [item["metadata"]["name"] for item in page["items"]]
        left = page["metadata"].get("remainingItemCount", 0)
        assert left == 25 - len(seen)
        token = page["metadata"].get("continue", "")
        if not token:
            break
        await api.post(f"{NS}/podtemplates", {**meta(f"later{len(seen)}"), "template": {"spec": POD_SPEC}})
    assert seen == [f"t{i:02}" for i in range(25)]


async def test_a_list_goes_on_inconsistently_after_its_revision_was_compacted(api: Api) -> None:
    for i in range(6):
        await api.post(f"{NS}/podtemplates", {**meta(f"t{i}"), "template": {"spec": POD_SPEC}})
    first = await api.get(f"{NS}/podtemplates?limit=2")
    await api.delete(f"{NS}/podtemplates/t2")
    await api.post(f"{NS}/podtemplates", {**meta("t6"), "template": {"spec": POD_SPEC}})
    store = api.cluster.kernel.parts["store"]
    await store.compact(store.revision)
    refused = await api.get(f"{NS}/podtemplates?limit=2&continue={first['metadata']['continue']}", 410)
    assert refused["reason"] == "Expired"
    token = refused["metadata"]["continue"]
    rest = await api.get(f"{NS}/podtemplates?continue={token}")
    assert [item["metadata"]["name"] for item in rest["items"]] == ["t3", "t4", "t5", "t6"]
    assert rest["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]


# --- watches --------------------------------------------------------------------------------------------------------


async def test_watches_tell_of_additions_updates_and_deletions(api: Api) -> None:
    """Watchers should observe add, update, and delete watch notifications on configmaps."""
    a, both = (f"{NS}/configmaps?labelSelector=w+in+({x})" for x in ("a", "a,b"))
    one, two = await api.watch(a), await api.watch(both)
    await api.post(f"{NS}/configmaps", meta("x", labels={"w": "a"}))
    await api.patch(f"{NS}/configmaps/x", {"data": {"k": "v"}})
    await api.delete(f"{NS}/configmaps/x")
    await api.post(f"{NS}/configmaps", meta("y", labels={"w": "b"}))
    wanted = [("ADDED", "x"), ("MODIFIED", "x"), ("DELETED", "x")]
    assert await one.seen(3) == wanted
    assert await two.seen(4) == [*wanted, ("ADDED", "y")]
    await one.close()
    await two.close()


async def test_a_watch_starts_at_a_version_and_is_resumed_from_its_last(api: Api) -> None:
    """Watchers: start from a specific version; restart from the last one observed."""
    old = await api.post(f"{NS}/configmaps", meta("x", labels={"w": "r"}))
    new = await api.patch(f"{NS}/configmaps/x", {"data": {"k": "1"}})
    await api.patch(f"{NS}/configmaps/x", {"data": {"k": "2"}})
    await api.delete(f"{NS}/configmaps/x")
    for start, expected in ((old, ["MODIFIED", "MODIFIED", "DELETED"]), (new, ["MODIFIED", "DELETED"])):
        version = start["metadata"]["resourceVersion"]
        watch = await api.watch(f"{NS}/configmaps?labelSelector=w%3Dr&resourceVersion={version}")
        assert [t for t, _ in await watch.seen(len(expected))] == expected
        await watch.close()


async def test_an_object_that_leaves_the_selection_is_deleted_for_the_watch(api: Api) -> None:
    """Watchers should observe an object deletion if it stops meeting the requirements of the selector."""
    watch = await api.watch(f"{NS}/configmaps?labelSelector=w%3Ds")
    await api.post(f"{NS}/configmaps", meta("x", labels={"w": "s"}))
    await api.patch(f"{NS}/configmaps/x", {"metadata": {"labels": {"w": "other"}}})
    await api.patch(f"{NS}/configmaps/x", {"data": {"unseen": "1"}})
    await api.patch(f"{NS}/configmaps/x", {"metadata": {"labels": {"w": "s"}}})
    assert await watch.seen(3) == [("ADDED", "x"), ("DELETED", "x"), ("ADDED", "x")]
    await watch.close()


async def test_all_watches_see_one_order(api: Api) -> None:
    """Watchers should receive events on concurrent watches in same order."""
    watches = [await api.watch(f"{NS}/configmaps?labelSelector=w%3Do") for _ in range(5)]

    async def write(prefix: str) -> None:
        for i in range(5):
            await api.post(f"{NS}/configmaps", meta(f"{prefix}{i}", labels={"w": "o"}))
            await api.delete(f"{NS}/configmaps/{prefix}{i}")

    async with trio.open_nursery() as nursery:
        for prefix in "abc":
            nursery.start_soon(write, prefix)
    orders = [await watch.seen(30) for watch in watches]
    assert all(order == orders[0] for order in orders)
    for watch in watches:
        await watch.close()


# --- garbage --------------------------------------------------------------------------------------------------------


async def test_pods_go_with_their_controller(api: Api) -> None:
    """Garbage collector should delete pods created by rc when not orphaning."""
    await with_pods(api, "rc")
    await api.delete(f"{NS}/replicationcontrollers/rc", {"propagationPolicy": "Background"})

    async def none() -> bool:
        return not await pods_of(api, "rc")

    await api.until(none)


async def test_pods_are_orphaned_if_the_options_say_so(api: Api) -> None:
    await with_pods(api, "rc")
    await api.delete(f"{NS}/replicationcontrollers/rc", {"propagationPolicy": "Orphan"})
    await api.until(lambda: api.gone(f"{NS}/replicationcontrollers/rc"))
    await api.later(6)
    left = await pods_of(api, "rc")
    assert len(left) == 2
    assert not any(p["metadata"].get("ownerReferences") for p in left)


async def test_a_controller_stays_until_its_pods_are_gone(api: Api) -> None:
    """Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so."""
    await with_pods(api, "rc")
    await api.delete(f"{NS}/replicationcontrollers/rc", {"propagationPolicy": "Foreground"})
    waiting = await api.get(f"{NS}/replicationcontrollers/rc")
    assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
    await api.until(lambda: api.gone(f"{NS}/replicationcontrollers/rc"))
    assert not await pods_of(api, "rc")


@pytest.mark.parametrize("policy", ["Background", "Orphan"])
async def test_replica_sets_of_a_deployment(api: Api, policy: str) -> None:
    """Garbage collector: delete the RS of a deployment when not orphaning; orphan it otherwise."""
    await api.post(f"{APPS}/deployments", deployment("d"))

    async def made() -> bool:
        return len(await api.names(f"{APPS}/replicasets")) == 1

    await api.until(made)
    await api.delete(f"{APPS}/deployments/d", {"propagationPolicy": policy})
    await api.until(lambda: api.gone(f"{APPS}/deployments/d"))
    await api.later(6)
    left = (await api.get(f"{APPS}/replicasets"))["items"]
    assert [s["metadata"].get("ownerReferences") for s in left] == ([None] if policy == "Orphan" else [])


async def test_a_dependent_with_another_valid_owner_stays(api: Api) -> None:
    """Garbage collector should not delete dependents that have both valid owner and one waiting for them."""
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


async def test_a_circle_of_owners_goes_with_one_of_them(api: Api) -> None:
    """Garbage collector should not be blocked by dependency circle."""
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


async def test_a_namespace_is_patched_updated_and_has_a_status(api: Api) -> None:
    """Namespaces should patch, update a Namespace, and apply changes to its status."""
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


async def test_a_finalizer_holds_a_namespace(api: Api) -> None:
    """Namespaces should apply a finalizer to a Namespace."""
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


async def test_what_is_in_a_namespace_goes_with_it(api: Api) -> None:
    """Namespaces should ensure that all pods and services are removed when a namespace is deleted."""
    await api.post("/api/v1/namespaces", meta("n"))
    await api.post("/api/v1/namespaces/n/pods", {**meta("p"), "spec": POD_SPEC})
    await api.post("/api/v1/namespaces/n/services", {**meta("s"), "spec": {"ports": [{"port": 80}]}})
    await api.delete("/api/v1/namespaces/n")
    await api.until(lambda: api.gone("/api/v1/namespaces/n"))
    await api.post("/api/v1/namespaces", meta("n"))
    assert await api.names("/api/v1/namespaces/n/pods") == await api.names("/api/v1/namespaces/n/services") == []


async def test_pods_go_before_all_else_in_a_namespace(api: Api) -> None:
    """OrderedNamespaceDeletion namespace deletion should delete pod first."""
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


@pytest.mark.parametrize("resource", LIVES)
async def test_a_quota_captures_the_life_of_an_object(api: Api, resource: str) -> None:
    """ResourceQuota should create a ResourceQuota and capture the life of a configMap, secret, service, ..."""
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


async def test_a_quota_is_updated_deleted_and_its_status_counted_again(api: Api) -> None:
    """ResourceQuota: update and delete; changes to its status; a status that is promptly calculated."""
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


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("BestEffort", {}, {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1m"}}}]}),
        ("Terminating", {"activeDeadlineSeconds": 3600}, {}),
        ("NotTerminating", {}, {"activeDeadlineSeconds": 3600}),
    ],
)
async def test_a_quota_with_a_scope_counts_only_its_own(api: Api, scope: str, inside: Any, outside: Any) -> None:
    """ResourceQuota should verify ResourceQuota with best effort scope, with terminating scopes."""
    await api.later(1)
    await quota(api, {"pods": "5"}, scopes=[scope])
    await api.post(f"{NS}/pods", {**meta("out"), "spec": {**POD_SPEC, **outside}})
    await api.post(f"{NS}/pods", {**meta("in"), "spec": {**POD_SPEC, **inside}})
    await used(api, {"pods": "1"})
    await api.delete(f"{NS}/pods/in", {"gracePeriodSeconds": 0})
    await used(api, {"pods": "0"})


# --- architecture ---------------------------------------------------------------------------------------------------


async def test_there_are_two_nodes_that_take_pods(api: Api) -> None:
    """Conformance Tests should have at least two untainted nodes."""

    async def untainted() -> bool:
        nodes = (await api.get("/api/v1/nodes"))["items"]
        return len([n for n in nodes if not n["spec"].get("taints")]) >= 2

    await api.until(untainted)
