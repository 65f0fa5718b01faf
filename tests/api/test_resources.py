"""What single resources need of the machinery: pods' ends, bindings, evictions, services' addresses."""

from __future__ import annotations

import trio

from kcore import errors
from kcore.api.routes import Routes
from kcore.http.messages import Response
from kcore.objects.resources import NAMESPACES, PODS, SERVICES

PODS_PATH = "/api/v1/namespaces/default/pods"
SERVICES_PATH = "/api/v1/namespaces/default/services"
MERGE = {"content_type": "application/merge-patch+json"}


def pod(name="p", node="", **labels):
    spec = {"containers": [{"name": "c", "image": "i"}], **({"nodeName": node} if node else {})}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


async def test_a_running_pods_deletion_waits_for_its_grace_and_can_only_be_hastened(api):
    await api.call("POST", PODS_PATH, pod(node="n1"), expect=201)
    marked = await api.call("DELETE", PODS_PATH + "/p", expect=200)
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert marked["metadata"]["generation"] == 2
    shorter = await api.call("DELETE", PODS_PATH + "/p?gracePeriodSeconds=3", expect=200)
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 3
    same = await api.call("DELETE", PODS_PATH + "/p?gracePeriodSeconds=60", expect=200)
    assert same["metadata"]["resourceVersion"] == shorter["metadata"]["resourceVersion"]
    await api.call("DELETE", PODS_PATH + "/p", {"gracePeriodSeconds": 0}, expect=200)
    await api.call("GET", PODS_PATH + "/p", expect=404)


async def test_a_pods_second_deletion_does_not_change_what_happens_to_its_dependents(api):
    await api.call("POST", PODS_PATH, pod(node="n1"), expect=201)
    held = {"metadata": {"finalizers": ["example.com/a"]}}
    await api.call("PATCH", PODS_PATH + "/p", held, content_type="application/merge-patch+json", expect=200)
    for grace in (5, 0):
        marked = await api.call("DELETE", f"{PODS_PATH}/p?gracePeriodSeconds={grace}", expect=200)
        again = await api.call("DELETE", PODS_PATH + "/p?propagationPolicy=Foreground", expect=200)
        assert again["metadata"] == marked["metadata"]


async def test_a_pod_that_no_node_runs_is_deleted_at_once(api):
    await api.call("POST", PODS_PATH, pod(), expect=201)
    gone = await api.call("DELETE", PODS_PATH + "/p", expect=200)
    assert gone["metadata"]["deletionGracePeriodSeconds"] == 0
    await api.call("GET", PODS_PATH + "/p", expect=404)


async def test_binding_gives_a_pod_its_node_once(api):
    await api.call("POST", PODS_PATH, pod(), expect=201)
    await api.client.create(
        PODS, {"target": {"kind": "Node", "name": "n1"}}, "default", name="p", subresource="binding"
    )
    bound = await api.client.get(PODS, "p", "default")
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    status = await api.call("POST", PODS_PATH + "/p/binding", {"target": {"name": "n2"}}, expect=409)
    assert 'pod p is already assigned to node "n1"' in status["message"]


async def test_eviction_keeps_to_the_disruption_budget(api):
    running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    for name in ("p", "q"):
        await api.call("POST", PODS_PATH, pod(name, "n1", a="b"), expect=201)
        await api.call("PATCH", f"{PODS_PATH}/{name}/status", running, expect=200, **MERGE)
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}
    await api.call("POST", budgets, budget, expect=201)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    early = await api.call("POST", PODS_PATH + "/p/eviction", eviction, expect=429)
    assert early["details"]["retryAfterSeconds"] == 10
    counted = {"currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 2}
    await api.call(
        "PATCH", budgets + "/b/status", {"status": {**counted, "observedGeneration": 1}}, expect=200, **MERGE
    )
    await api.call("POST", PODS_PATH + "/p/eviction", eviction, expect=201)
    evicted = await api.call("GET", PODS_PATH + "/p", expect=200)
    assert evicted["metadata"]["deletionTimestamp"]
    assert evicted["status"]["conditions"][-1]["type"] == "DisruptionTarget"
    eviction["metadata"]["name"] = "q"
    await api.call("POST", PODS_PATH + "/q/eviction", eviction, expect=429)
    await api.call("GET", budgets + "/b", expect=200)


async def test_concurrent_services_never_share_an_address_or_a_port(api):
    async def create(i):
        spec = {"type": "NodePort", "ports": [{"port": 80}]}
        await api.client.create(SERVICES, {"metadata": {"name": f"s{i}"}, "spec": spec}, "default")

    async with trio.open_nursery() as nursery:
        for i in range(60):
            nursery.start_soon(create, i)
    services = (await api.client.list(SERVICES, "default")).items
    assert len({s["spec"]["clusterIP"] for s in services}) == 60
    assert len({s["spec"]["ports"][0]["nodePort"] for s in services}) == 60


async def test_an_address_can_be_taken_again_when_its_service_is_gone(api):
    wanted = {"metadata": {"name": "a"}, "spec": {"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}}
    await api.call("POST", SERVICES_PATH, wanted, expect=201)
    other = {**wanted, "metadata": {"name": "b"}}
    status = await api.call("POST", SERVICES_PATH, other, expect=422)
    assert "provided IP is already allocated" in status["message"]
    await api.call("DELETE", SERVICES_PATH + "/a", expect=200)
    await api.call("GET", "/apis/networking.k8s.io/v1/ipaddresses/10.96.7.7", expect=404)
    await api.call("POST", SERVICES_PATH, other, expect=201)


async def test_a_dry_run_takes_no_address_and_writes_nothing(api):
    revision = api.store.revision
    shown = await api.call(
        "POST", SERVICES_PATH + "?dryRun=All", {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}
    )
    assert shown["spec"]["clusterIP"].startswith("10.96.")
    assert api.store.revision == revision


async def test_a_namespace_is_held_by_its_finalizers(api):
    await api.client.create(NAMESPACES, {"metadata": {"name": "n"}})
    ending = await api.call("DELETE", "/api/v1/namespaces/n", expect=200)
    assert ending["status"]["phase"] == "Terminating"
    ending["spec"]["finalizers"] = []
    await api.call("PUT", "/api/v1/namespaces/n/finalize", ending, expect=200)
    await api.call("GET", "/api/v1/namespaces/n", expect=404)


async def test_who_may_not_is_told_so_and_who_is_unknown_is_refused(api):
    status = await api.call("GET", PODS_PATH, token="weaktok", expect=403)
    assert status["message"] == (
        'pods is forbidden: User "weak" cannot list resource "pods" in API group "" in the namespace "default"'
    )
    await api.call("GET", PODS_PATH, token="nonsense", expect=401)
    as_other = {"impersonate_user": "someone"}
    status = await api.call("GET", PODS_PATH, expect=403, **as_other)
    assert 'User "someone" cannot list' in status["message"]


async def test_an_error_in_a_plugin_is_a_500_and_the_server_goes_on(api, caplog):
    class Broken:
        async def authorize(self, attributes):
            raise ZeroDivisionError("oops")

    api.server.authorizers.insert(0, Broken())
    status = await api.call("GET", PODS_PATH, expect=500)
    assert status["reason"] == "InternalError"
    api.server.authorizers.pop(0)
    await api.call("GET", PODS_PATH, expect=200)


async def test_server_side_apply_creates_owns_and_conflicts(api):
    path = "/api/v1/namespaces/default/configmaps/x"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    apply = {"content_type": "application/apply-patch+yaml"}
    await api.call("PATCH", path + "?fieldManager=m1", body, expect=201, **apply)
    status = await api.call("PATCH", path + "?fieldManager=m2", {**body, "data": {"a": "2"}}, expect=409, **apply)
    assert 'conflict with "m1"' in status["message"]
    forced = await api.call(
        "PATCH", path + "?fieldManager=m2&force=true", {**body, "data": {"a": "2"}}, expect=200, **apply
    )
    assert forced["data"] == {"a": "2"}


async def test_the_server_answers_503_until_its_caches_are_full(api):
    api.server._closing = True
    try:
        await api.client.get(PODS, "x", "default")
    except errors.ServiceUnavailable:
        pass
    else:
        raise AssertionError("a closed server has answered")
    api.server._closing = False


async def test_a_daemon_set_counts_its_templates(api):
    path = "/apis/apps/v1/namespaces/default/daemonsets"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    count = "deprecated.daemonset.template.generation"
    made = await api.call("POST", path, body, expect=201)
    assert made["metadata"]["annotations"] == {count: "1"}
    mine = {"metadata": {"annotations": {count: "7"}}, "spec": {"minReadySeconds": 1}}
    same = await api.call("PATCH", path + "/d", mine, expect=200, **MERGE)
    assert same["metadata"]["annotations"] == {count: "1"}
    other = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}}
    new = await api.call("PATCH", path + "/d", other, expect=200, **MERGE)
    assert new["metadata"]["annotations"] == {count: "2"}


async def test_deleting_a_job_warns_of_the_pods_that_stay(api):
    path = "/apis/batch/v1/namespaces/default/jobs"
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}

    async def warnings(query):
        await api.call("POST", path, {"metadata": {"name": "j"}, "spec": {"template": template}}, expect=201)
        response = await api.send("DELETE", f"{path}/j{query}")
        await api.call("PATCH", path + "/j", {"metadata": {"finalizers": None}}, **MERGE)
        return [v for k, v in response.headers if k.lower() == b"warning"]

    assert b"child pods are preserved by default when jobs are deleted" in (await warnings(""))[0]
    assert await warnings("?propagationPolicy=Background") == []


async def test_the_events_of_both_groups_are_refused_as_the_core_groups(api):
    event = {"metadata": {"name": "x"}, "regarding": {"namespace": "default"}}
    status = await api.call("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event, expect=422)
    assert status["details"].get("group") is None
    assert status["message"].startswith('Event "x" is invalid: ')


async def test_a_proxy_is_asked_for_an_object_by_its_name_beside_scheme_and_port(api):
    asked = []

    async def proxy(call):
        asked.append((call.name, call.rest))
        return Response(200, b"", "text/plain")

    api.server.routes.append(Routes({("", "services", "proxy"): proxy}))
    await api.call("POST", SERVICES_PATH, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}, expect=201)
    for name in ("s", "s:80", "http:s:80"):
        assert (await api.send("GET", f"{SERVICES_PATH}/{name}/proxy/a/b")).status == 200
    status = await api.call("GET", f"{SERVICES_PATH}/t:80/proxy/", expect=404)
    assert asked == [("s", "/a/b"), ("s:80", "/a/b"), ("http:s:80", "/a/b")]
    assert status["message"] == 'services "t" not found'


async def test_a_cluster_of_one_family_of_addresses_refuses_services_that_need_two(api):
    def service(**spec):
        return {"metadata": {"name": "two"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}, **spec}}

    path = "/api/v1/namespaces/default/services"
    doc = await api.call("POST", path, service(ipFamilyPolicy="RequireDualStack"), expect=422)
    assert doc["message"] == (
        'Service "two" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not '
        "configured for dual-stack services"
    )
    doc = await api.call("POST", path, service(ipFamilies=["IPv6"]), expect=422)
    assert doc["details"]["causes"][0]["field"] == "spec.ipFamilies[0]"
    made = await api.call("POST", path, service(ipFamilyPolicy="PreferDualStack"), expect=201)
    assert (made["spec"]["ipFamilies"], made["spec"]["ipFamilyPolicy"]) == (["IPv4"], "PreferDualStack")
