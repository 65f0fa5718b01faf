"""Which requests a webhook is asked about, and in what form it sees them."""

from __future__ import annotations

import pytest

from kcore.http.messages import Response
from tests.dynamic.conftest import (
    RULE,
    create,
    patch,
    register,
    webhook,
)

SELECTED = [
    ({"objectSelector": {"matchLabels": {"app": "x"}}}, True),
    ({"objectSelector": {"matchLabels": {"app": "y"}}}, False),
    ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}, True),
    ({"namespaceSelector": {"matchLabels": {"team": "none"}}}, False),
    ({"rules": [{**RULE, "operations": ["UPDATE"]}]}, False),
    ({"rules": [{**RULE, "scope": "Cluster"}]}, False),
    ({"rules": [{**RULE, "scope": "Namespaced"}]}, True),
    ({"rules": [{**RULE, "resources": ["*"]}]}, True),
    ({"rules": [{**RULE, "resources": ["*/*"]}]}, True),
    ({"rules": [{**RULE, "resources": ["configmaps/*"]}]}, True),
    ({"rules": [{**RULE, "resources": ["configmaps/status"]}]}, False),
    ({"rules": [{**RULE, "apiGroups": ["*"], "apiVersions": ["*"]}]}, True),
    ({"rules": [{**RULE, "apiGroups": ["apps"]}]}, False),
    ({"matchConditions": [{"name": "c", "expression": "request.userInfo.username == 'admin'"}]}, True),
    ({"matchConditions": [{"name": "c", "expression": "object.data.k == 'w'"}]}, False),
    ({"matchConditions": [{"name": "c", "expression": "authorizer.path('/x').check('get').allowed()"}]}, True),
    ({"matchConditions": [{"name": "c", "expression": "object.nope == 1"}], "failurePolicy": "Ignore"}, False),
    ({"matchConditions": [{"name": "c", "expression": "object.no == 1"}, {"name": "d", "expression": "1>2"}]}, False),
]  # fmt: skip


@pytest.mark.parametrize(("more", "called"), SELECTED)
async def test_who_is_asked_is_what_rules_selectors_and_conditions_say(api, hooks, more, called):
    await register(api, "Validating", webhook(hooks.client("/v"), **more))
    await create(api)
    assert bool(hooks.asked) is called


async def test_a_match_condition_that_fails_refuses_the_request(api, hooks):
    conditions = [{"name": "c", "expression": "object.nope == 1"}]
    await register(api, "Validating", webhook(hooks.client("/v"), matchConditions=conditions))
    status = await create(api, expect=403)
    assert status["message"] == (
        "configmaps \"a\" is forbidden: expression 'object.nope == 1' resulted in error: no such key: nope"
    )
    assert not hooks.asked


async def test_an_object_that_was_or_will_be_selected_is_seen(api, hooks):
    await create(api)
    await register(api, "Validating", webhook(hooks.client("/v"), objectSelector={"matchLabels": {"app": "x"}}))
    path = "/api/v1/namespaces/default/configmaps/a"
    for labels in ({"app": "y"}, {"app": "z"}, {"app": "x"}):
        await api.call(
            "PATCH", path, {"metadata": {"labels": labels}}, content_type="application/merge-patch+json", expect=200
        )
    assert [a["object"]["metadata"]["labels"]["app"] for a in hooks.asked] == ["y", "x"]


async def test_a_namespace_is_selected_by_its_own_labels(api, hooks):
    rule = {**RULE, "resources": ["namespaces"]}
    selector = {"matchLabels": {"team": "a"}}
    await register(api, "Validating", webhook(hooks.client("/v"), rules=[rule], namespaceSelector=selector))
    for name, team in (("one", "a"), ("two", "b")):
        await api.call(
            "POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": {"team": team}}}, expect=201
        )
    assert [(a["name"], a["namespace"]) for a in hooks.asked] == [("one", "one")]


async def test_cluster_scoped_objects_are_in_every_namespace_selector(api, hooks):
    rule = {"apiGroups": ["storage.k8s.io"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["*"]}
    selector = {"matchLabels": {"team": "a"}}
    await register(api, "Validating", webhook(hooks.client("/v"), rules=[rule], namespaceSelector=selector))
    path = "/apis/storage.k8s.io/v1/storageclasses"
    await api.call("POST", path, {"metadata": {"name": "s"}, "provisioner": "p.example.com"}, expect=201)
    assert len(hooks.asked) == 1


@pytest.mark.parametrize("policy", ["Equivalent", "Exact"])
async def test_a_rule_for_another_version_of_a_resource(api, hooks, policy):
    rule = {"apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["*"]}
    hooks.answers["/m"] = patch({"op": "add", "path": "/spec/targetCPUUtilizationPercentage", "value": 33})
    await register(api, "Mutating", webhook(hooks.client("/m"), rules=[rule], matchPolicy=policy))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    body = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target}}
    made = await api.call("POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", body, expect=201)
    cpu = made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] if "metrics" in made["spec"] else 80
    if policy == "Exact":
        assert not hooks.asked
        return
    (asked,) = hooks.asked
    assert (asked["kind"]["version"], asked["requestKind"]["version"]) == ("v1", "v2")
    assert (asked["resource"]["version"], asked["requestResource"]["version"]) == ("v1", "v2")
    assert asked["object"]["apiVersion"] == "autoscaling/v1"
    assert cpu == 33


async def test_a_scale_is_shown_as_a_scale_and_may_be_changed(api, hooks):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 1}
    path = "/apis/apps/v1/namespaces/default/deployments"
    await api.call("POST", path, {"metadata": {"name": "d"}, "spec": spec}, expect=201)
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments/scale"]}
    hooks.answers["/m"] = patch({"op": "replace", "path": "/spec/replicas", "value": 2})
    await register(api, "Mutating", webhook(hooks.client("/m"), rules=[rule]))
    body = {"spec": {"replicas": 9}}
    scale = await api.call("PATCH", f"{path}/d/scale", body, content_type="application/merge-patch+json", expect=200)
    assert scale["spec"]["replicas"] == 2
    (asked,) = hooks.asked
    assert asked["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (asked["subResource"], asked["object"]["spec"], asked["oldObject"]["spec"]) == (
        "scale",
        {"replicas": 9},
        {"replicas": 1},
    )


@pytest.mark.parametrize("replicas", ["many", -1, True])
async def test_a_scale_is_not_changed_to_what_it_cannot_be(api, hooks, replicas):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 1}
    path = "/apis/apps/v1/namespaces/default/deployments"
    await api.call("POST", path, {"metadata": {"name": "d"}, "spec": spec}, expect=201)
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments/scale"]}
    hooks.answers["/m"] = patch({"op": "replace", "path": "/spec/replicas", "value": replicas})
    await register(api, "Mutating", webhook(hooks.client("/m"), rules=[rule]))
    body = {"spec": {"replicas": 9}}
    await api.call("PATCH", f"{path}/d/scale", body, content_type="application/merge-patch+json", expect=500)
    assert (await api.call("GET", f"{path}/d"))["spec"]["replicas"] == 1


async def test_a_binding_is_not_changed_to_what_it_cannot_be(api, hooks):
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.call("POST", "/api/v1/namespaces/default/pods", pod, expect=201)
    hooks.answers["/m"] = patch({"op": "replace", "path": "/target", "value": "node"})
    rule = {**RULE, "resources": ["pods/binding"]}
    await register(api, "Mutating", webhook(hooks.client("/m"), rules=[rule]))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    status = await api.call("POST", "/api/v1/namespaces/default/pods/p/binding", binding, expect=500)
    assert "json: cannot unmarshal string" in status["message"]


async def test_a_binding_may_be_changed(api, hooks):
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.call("POST", "/api/v1/namespaces/default/pods", pod, expect=201)
    hooks.answers["/m"] = patch({"op": "replace", "path": "/target/name", "value": "other"})
    rule = {**RULE, "resources": ["pods/binding"]}
    await register(api, "Mutating", webhook(hooks.client("/m"), rules=[rule]))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    await api.call("POST", "/api/v1/namespaces/default/pods/p/binding", binding, expect=201)
    made = await api.call("GET", "/api/v1/namespaces/default/pods/p")
    assert made["spec"]["nodeName"] == "other"


async def test_exec_is_a_connect(api, hooks):
    from kcore.api.routes import Routes

    async def answer(call):
        return Response(200, b"{}")

    api.server.routes.append(Routes(resources={("", "pods", "exec"): answer}))
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.call("POST", "/api/v1/namespaces/default/pods", pod, expect=201)
    hooks.answers["/v"] = {"allowed": False, "status": {"message": "no shells"}}
    rule = {**RULE, "resources": ["pods/exec"], "operations": ["CONNECT"]}
    await register(api, "Validating", webhook(hooks.client("/v"), rules=[rule]))
    path = "/api/v1/namespaces/default/pods/p/exec?command=sh&command=-c&stdin=true&container=c"
    status = await api.call("POST", path, expect=400)
    assert status["message"].endswith("denied the request: no shells")
    (asked,) = hooks.asked
    assert (asked["operation"], asked["name"], asked["subResource"]) == ("CONNECT", "p", "exec")
    assert asked["kind"] == {"group": "", "version": "v1", "kind": "PodExecOptions"}
    assert asked["object"] == {
        "kind": "PodExecOptions",
        "apiVersion": "v1",
        "stdin": True,
        "container": "c",
        "command": ["sh", "-c"],
    }


async def test_an_eviction_is_one_request_to_admission(api, hooks):
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.call("POST", "/api/v1/namespaces/default/pods", pod, expect=201)
    rule = {**RULE, "resources": ["pods", "pods/eviction"]}
    await register(api, "Validating", webhook(hooks.client("/v"), rules=[rule]))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    await api.call("POST", "/api/v1/namespaces/default/pods/p/eviction", eviction, expect=201)
    assert [(a["operation"], a["kind"]["kind"], a.get("subResource")) for a in hooks.asked] == [
        ("CREATE", "Eviction", "eviction")
    ]
