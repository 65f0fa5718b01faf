"""sig-api-machinery: admission webhooks, called by a running cluster over TLS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes import client

from tests.conformance.conftest import Place
from tests.conformance.hooks import deny, patch

REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
CONFIG_MAPS = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
POD = {"containers": [{"name": "c", "image": "busybox", "command": ["sleep", "1000"]}]}
KINDS = ["mutating", "validating"]


def webhook(place: Place, path: str, *rules: Any, **more: Any) -> Any:
    """A webhook for the namespace of the test; for configmaps that are made, if nothing else is said."""
    return {
        "name": f"{path[1:]}.example.com",
        "clientConfig": place.hooks.client(path),
        "rules": list(rules) or [CONFIG_MAPS],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}},
        "objectSelector": {"matchExpressions": [{"key": "marker", "operator": "DoesNotExist"}]},
        **more,
    }


@contextmanager
def registered(place: Place, kind: str, *webhooks: Any, **labels: str) -> Iterator[str]:
    """A configuration in force; gives its path. `kind`: mutating or validating."""
    name = f"{place.namespace}-{webhooks[0]['name']}"
    place.hooks.answers["/marker"] = lambda request: deny("in force")
    marker = webhook(place, "/marker", objectSelector={"matchLabels": {"marker": name}})
    plural = f"{REGISTRATION}/{kind}webhookconfigurations"
    place.call("POST", plural, {"metadata": {"name": name, "labels": labels}, "webhooks": [*webhooks, marker]})
    try:
        place.until(lambda: "in force" in str(tried(place, labels={"marker": name})))
        yield f"{plural}/{name}"
    finally:
        place.call("DELETE", f"{plural}?fieldSelector=metadata.name%3D{name}")


def maps(place: Place) -> str:
    return f"/api/v1/namespaces/{place.namespace}/configmaps"


def config_map(name: str = "cm", data: Any = None, **meta: Any) -> Any:
    return {"metadata": {"name": name, **meta}, "data": data or {"mutation-start": "yes"}}


def tried(place: Place, **meta: Any) -> Any:
    """What the creation of a configmap would come to: the object, or a Status."""
    return place.answer("POST", f"{maps(place)}?dryRun=All", config_map("tried", **meta))[1]


def stage(number: int, unless: str = "") -> Any:
    """A webhook that adds a member to the data once the stage before it has been there."""
    before = "mutation-start" if number == 1 else f"mutation-stage-{number - 1}"

    def answer(request: Any) -> Any:
        if before not in request["object"].get("data", {}):
            return {}
        return patch({"op": "add", "path": f"/data/mutation-stage-{number}", "value": "yes"})

    return answer


def refuse_marked(request: Any) -> Any:
    """Refuses what says in its data that it is not wanted."""
    obj = request.get("object") or request["oldObject"]
    return deny("the object contains unwanted data") if "unwanted" in (obj.get("data") or {}).values() else {}


# --- configurations -------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "AdmissionWebhook listing mutating webhooks should work",
    "AdmissionWebhook listing validating webhooks should work",
)
@pytest.mark.parametrize("kind", KINDS)
def test_configurations_are_listed_and_deleted_together_and_then_do_nothing(place: Place, kind: str) -> None:
    place.hooks.answers |= {"/first": stage(1), "/deny": refuse_marked}
    api = client.AdmissionregistrationV1Api(place.client)
    hook = webhook(place, "/first" if kind == "mutating" else "/deny")
    label = f"list-of={place.namespace}"
    with registered(place, kind, hook, **{"list-of": place.namespace}):
        listed = getattr(api, f"list_{kind}_webhook_configuration")(label_selector=label)
        assert [item.webhooks[0].name for item in listed.items] == [hook["name"]]
        if kind == "mutating":
            assert "mutation-stage-1" in place.call("POST", maps(place), config_map())["data"]
        else:
            place.call("POST", maps(place), config_map(data={"a": "unwanted"}), 403)
        getattr(api, f"delete_collection_{kind}_webhook_configuration")(label_selector=label)
        place.until(
            lambda: "in force" not in str(tried(place, labels={"marker": f"{place.namespace}-{hook['name']}"}))
        )
        made = place.call("POST", maps(place), config_map("later", {"mutation-start": "unwanted"}))
        assert made["data"] == {"mutation-start": "unwanted"}


@pytest.mark.conformance(
    "AdmissionWebhook patching/updating a mutating webhook should work",
    "AdmissionWebhook patching/updating a validating webhook should work",
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_that_is_updated_or_patched_works_otherwise_at_once(place: Place, kind: str) -> None:
    place.hooks.answers |= {"/first": stage(1), "/deny": refuse_marked}

    def works() -> bool:
        _, found = place.answer("POST", f"{maps(place)}?dryRun=All", config_map(data={"mutation-start": "unwanted"}))
        return "mutation-stage-1" in found.get("data", {}) or "unwanted data" in found.get("message", "")

    with registered(place, kind, webhook(place, "/first" if kind == "mutating" else "/deny")) as path:
        assert works()
        found = place.call("GET", path)
        found["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
        place.call("PUT", path, found)
        place.until(lambda: not works())
        operations = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]
        place.call("PATCH", path, operations, type="application/json-patch+json")
        place.until(works)


CONDITION = {"name": "not-of-the-system", "expression": "!('kube-system' in request.userInfo.groups)"}
LATER = {"name": "named", "expression": "object.metadata.name != 'spared'"}


@pytest.mark.conformance(
    "AdmissionWebhook should be able to create and update mutating webhook configurations with match conditions",
    "AdmissionWebhook should be able to create and update validating webhook configurations with match conditions",
)
@pytest.mark.parametrize("kind", KINDS)
def test_match_conditions_are_kept_changed_and_heeded(place: Place, kind: str) -> None:
    place.hooks.answers["/all"] = lambda request: deny("asked")
    hook = webhook(place, "/all", matchConditions=[CONDITION])
    with registered(place, kind, hook) as path:
        assert place.call("GET", path)["webhooks"][0]["matchConditions"] == [CONDITION]
        assert "asked" in place.call("POST", maps(place), config_map("spared"), 403)["message"]
        found = place.call("GET", path)
        found["webhooks"][0]["matchConditions"] = [CONDITION, LATER]
        assert place.call("PUT", path, found)["webhooks"][0]["matchConditions"] == [CONDITION, LATER]
        place.until(lambda: place.answer("POST", f"{maps(place)}?dryRun=All", config_map("spared"))[0] == 201)
        place.call("POST", maps(place), config_map("other"), 403)


@pytest.mark.conformance(
    "AdmissionWebhook should reject mutating webhook configurations with invalid match conditions",
    "AdmissionWebhook should reject validating webhook configurations with invalid match conditions",
)
@pytest.mark.parametrize("kind", KINDS)
def test_match_conditions_that_do_not_compile_are_refused(place: Place, kind: str) -> None:
    hook = webhook(place, "/all", matchConditions=[{"name": "bad", "expression": "... [] bad expression"}])
    body = {"metadata": {"name": "bad"}, "webhooks": [hook]}
    refused = place.call("POST", f"{REGISTRATION}/{kind}webhookconfigurations", body, 422)
    (cause,) = refused["details"]["causes"]
    assert cause["field"] == "webhooks[0].matchConditions[0].expression"
    assert "compilation failed" in cause["message"]


@pytest.mark.conformance(
    "AdmissionWebhook should not be able to mutate or prevent deletion of webhook configuration objects"
)
def test_no_webhook_touches_configurations_of_webhooks(place: Place) -> None:
    place.hooks.answers |= {
        "/veto": lambda request: deny("never"),
        "/label": lambda request: patch({"op": "add", "path": "/metadata/labels", "value": {"touched": "yes"}}),
    }
    rule = {"apiGroups": ["admissionregistration.k8s.io"], "apiVersions": ["*"], "operations": ["*"],
            "resources": ["*"]}  # fmt: skip
    everywhere: Any = {"namespaceSelector": {}}
    with (
        registered(place, "validating", webhook(place, "/veto", rule, CONFIG_MAPS, **everywhere)),
        registered(place, "mutating", webhook(place, "/label", rule, **everywhere)),
    ):
        for kind in KINDS:
            body = {"metadata": {"name": f"free-{kind}"}, "webhooks": []}
            plural = f"{REGISTRATION}/{kind}webhookconfigurations"
            assert "labels" not in place.call("POST", plural, body)["metadata"]
            place.call("DELETE", f"{plural}/free-{kind}")
            place.call("GET", f"{plural}/free-{kind}", expect=404)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.conformance("AdmissionWebhook should be able to deny attaching pod")
def test_attaching_to_a_pod_is_refused(place: Place) -> None:
    place.hooks.answers["/attach"] = lambda request: deny("attaching to pod is not allowed")
    place.kubectl.pod("p", "sleep", "1000")
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["pods/attach"]}
    with registered(place, "validating", webhook(place, "/attach", rule, objectSelector={})):
        assert "attaching to pod is not allowed" in place.kubectl.error("attach", "p", "-i", "-c=c")


@pytest.mark.conformance("AdmissionWebhook should be able to deny pod and configmap creation")
def test_pods_and_config_maps_that_are_not_wanted_are_refused_in_every_way(place: Place) -> None:
    away = threading.Event()

    def pods(request: Any) -> Any:
        obj = request["object"]
        if obj["metadata"]["name"] == "hanging":
            away.wait(30)
        unwanted = "webhook-disallow" in obj["metadata"].get("labels", {}).values()
        return deny("the pod contains unwanted label") if unwanted else {}

    place.hooks.answers |= {"/pods": pods, "/maps": refuse_marked}
    pods_rule = {**CONFIG_MAPS, "resources": ["pods"]}
    maps_rule = {**CONFIG_MAPS, "operations": ["CREATE", "UPDATE"]}
    path = f"/api/v1/namespaces/{place.namespace}/pods"
    hooks = webhook(place, "/pods", pods_rule, timeoutSeconds=1), webhook(place, "/maps", maps_rule)
    with registered(place, "validating", *hooks):
        pod = {"metadata": {"name": "p", "labels": {"x": "webhook-disallow"}}, "spec": POD}
        refused = place.call("POST", path, pod, 403)
        assert refused["message"] == 'admission webhook "pods.example.com" denied the request: ' \
            "the pod contains unwanted label"  # fmt: skip
        late = place.call("POST", path, {"metadata": {"name": "hanging"}, "spec": POD}, 500)
        assert "context deadline exceeded" in late["message"]
        away.set()
        place.call("POST", maps(place), config_map(data={"a": "unwanted"}), 403)
        place.call("POST", maps(place), config_map(data={"a": "b"}))
        place.call("PUT", f"{maps(place)}/cm", config_map(data={"a": "unwanted"}), 403)
        place.call("PATCH", f"{maps(place)}/cm", {"data": {"a": "unwanted"}}, 403)
        place.kubectl("create", "namespace", spared := f"{place.namespace}-spared")
        place.call("POST", f"/api/v1/namespaces/{spared}/configmaps", config_map(data={"a": "unwanted"}))
        place.kubectl("delete", "namespace", spared, "--wait=false")


@pytest.mark.conformance("AdmissionWebhook should deny crd creation")
def test_a_definition_is_refused(place: Place) -> None:
    place.hooks.answers["/crd"] = lambda request: deny("the crd contains unwanted label")
    rule = {"apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["*"], "operations": ["CREATE"],
            "resources": ["customresourcedefinitions"]}  # fmt: skip
    mine: Any = {"namespaceSelector": {}, "objectSelector": {"matchLabels": {"unwanted": place.namespace}}}
    with registered(place, "validating", webhook(place, "/crd", rule, **mine)):
        schema = {"openAPIV3Schema": {"type": "object"}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        names = {"plural": "nopes", "kind": "Nope"}
        spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
        body = {"metadata": {"name": "nopes.example.com", "labels": {"unwanted": place.namespace}}, "spec": spec}
        refused = place.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body, 403)
        assert "unwanted label" in refused["message"]


@pytest.mark.conformance("AdmissionWebhook should unconditionally reject operations on fail closed webhook")
def test_a_webhook_that_cannot_be_called_refuses_if_it_fails_closed(place: Place) -> None:
    nobody = {"url": "https://127.0.0.1:1/", "caBundle": place.hooks.ca}
    closed = webhook(place, "/closed", clientConfig=nobody, failurePolicy="Fail")
    selected = {"matchLabels": {"unlucky": "yes"}}
    with registered(place, "validating", {**closed, "objectSelector": selected}):
        refused = place.call("POST", maps(place), config_map(labels={"unlucky": "yes"}), 500)
        assert refused["reason"] == "InternalError"
        assert 'failed calling webhook "closed.example.com"' in refused["message"]


@pytest.mark.conformance("AdmissionWebhook should honor timeout")
def test_a_webhook_has_as_long_as_it_may_take(place: Place) -> None:
    answered = threading.Event()

    def slow(request: Any) -> Any:
        if request["object"]["metadata"]["name"] == "slow":
            answered.wait(30)
        return {}

    place.hooks.answers["/slow"] = slow
    body = config_map("slow")
    with registered(place, "validating", webhook(place, "/slow", timeoutSeconds=1, failurePolicy="Fail")):
        assert "context deadline exceeded" in place.call("POST", maps(place), body, 500)["message"]
    with registered(place, "validating", webhook(place, "/slow", timeoutSeconds=1, failurePolicy="Ignore")):
        place.call("POST", maps(place), body)
        place.call("DELETE", f"{maps(place)}/slow")
    with registered(place, "validating", webhook(place, "/slow", timeoutSeconds=10)):
        threading.Timer(1.2, answered.set).start()
        place.call("POST", maps(place), body)
        place.call("DELETE", f"{maps(place)}/slow")
    with registered(place, "validating", webhook(place, "/slow")) as path:
        assert place.call("GET", path)["webhooks"][0]["timeoutSeconds"] == 10
        place.call("POST", maps(place), body)


# --- mutations ------------------------------------------------------------------------------------------------------


@pytest.mark.conformance("AdmissionWebhook should mutate configmap")
def test_webhooks_change_a_config_map_one_after_the_other(place: Place) -> None:
    place.hooks.answers |= {"/first": stage(1), "/second": stage(2)}
    with registered(place, "mutating", webhook(place, "/first"), webhook(place, "/second")):
        made = place.call("POST", maps(place), config_map())
        assert set(made["data"]) == {"mutation-start", "mutation-stage-1", "mutation-stage-2"}
        assert place.call("GET", f"{maps(place)}/cm")["data"] == made["data"]


@pytest.mark.conformance("AdmissionWebhook should mutate everything except 'skip-me' configmaps")
def test_objects_that_a_selector_leaves_out_are_not_changed(place: Place) -> None:
    place.hooks.answers["/first"] = stage(1)
    selector = {"matchExpressions": [{"key": "skip-me", "operator": "NotIn", "values": ["yes"]}]}
    with registered(place, "mutating", webhook(place, "/first", objectSelector=selector)):
        assert "mutation-stage-1" in place.call("POST", maps(place), config_map("a"))["data"]
        skipped = place.call("POST", maps(place), config_map("b", labels={"skip-me": "yes"}))
        assert skipped["data"] == {"mutation-start": "yes"}


@pytest.mark.conformance("AdmissionWebhook should mutate pod and apply defaults after mutation")
def test_what_a_webhook_adds_to_a_pod_gets_its_defaults(place: Place) -> None:
    added = [{"name": "added", "image": "busybox", "resources": {}}]
    place.hooks.answers["/init"] = lambda request: patch({"op": "add", "path": "/spec/initContainers", "value": added})
    path = f"/api/v1/namespaces/{place.namespace}/pods"
    with registered(place, "mutating", webhook(place, "/init", {**CONFIG_MAPS, "resources": ["pods"]})):
        made = place.call("POST", path, {"metadata": {"name": "p"}, "spec": POD})
        (container,) = made["spec"]["initContainers"]
        assert container["terminationMessagePolicy"] == "File"
        assert container["terminationMessagePath"] == "/dev/termination-log"
        assert container["imagePullPolicy"] == "Always"
