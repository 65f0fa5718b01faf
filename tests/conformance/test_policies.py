"""sig-api-machinery: admission policies in CEL, on Deployments, with the official Python client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes import client

from tests.conformance.conftest import Place

MATCH = {
    "resourceRules": [
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
    ]
}


def deployment(name: str, replicas: int, **annotations: str) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {"metadata": {"name": name, "annotations": annotations}, "spec": spec}


@contextmanager
def policy(place: Place, kind: str, **spec: Any) -> Iterator[None]:
    """A policy for the namespace of the test."""
    api = client.AdmissionregistrationV1Api(place.client)
    name = f"{place.namespace}.policy.example.com"
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}}}
    binding: dict[str, Any] = {"policyName": name, "matchResources": selector}
    if kind == "validating":
        binding["validationActions"] = ["Deny"]
    body = {"metadata": {"name": name}, "spec": {"matchConstraints": MATCH, "failurePolicy": "Fail", **spec}}
    getattr(api, f"create_{kind}_admission_policy")(body)
    getattr(api, f"create_{kind}_admission_policy_binding")({"metadata": {"name": name}, "spec": binding})
    try:
        yield
    finally:
        getattr(api, f"delete_{kind}_admission_policy_binding")(name)
        getattr(api, f"delete_{kind}_admission_policy")(name)


def refused(place: Place, body: dict[str, Any]) -> str:
    """What is said of a Deployment that would be made; "" if it would be."""
    path = f"/apis/apps/v1/namespaces/{place.namespace}/deployments?dryRun=All"
    status, answer = place.answer("POST", path, body)
    return "" if status == 201 else str(answer["message"])


def made(place: Place, body: dict[str, Any]) -> Any:
    return client.AppsV1Api(place.client).create_namespaced_deployment(place.namespace, body, dry_run="All")


@pytest.mark.conformance("ValidatingAdmissionPolicy should validate against a Deployment")
def test_a_policy_refuses_deployments_that_are_not_as_it_says(place: Place) -> None:
    rules = [
        {
            "expression": "object.spec.replicas > 1",
            "messageExpression": "'wants more than ' + string(object.spec.replicas)",
        },
        {"expression": "namespaceObject.metadata.name == object.metadata.namespace"},
    ]
    with policy(place, "validating", validations=rules):
        place.until(lambda: "wants more than 1" in refused(place, deployment("few", 1)))
        assert "ValidatingAdmissionPolicy" in refused(place, deployment("few", 1))
        assert refused(place, deployment("many", 2)) == ""
        place.kubectl("create", "deployment", "many", "--image=busybox", "--replicas=2")
        assert "denied request: wants more than 1" in place.kubectl.error("create", "deployment", "few", "--image=b")


@pytest.mark.conformance("ValidatingAdmissionPolicy should allow expressions to refer variables.")
def test_a_policy_has_variables(place: Place) -> None:
    variables = [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
    ]
    rules = [
        {"expression": "variables.replicas > 1"},
        {"expression": "variables.oddReplicas", "message": "an odd number is wanted"},
    ]
    with policy(place, "validating", variables=variables, validations=rules):
        place.until(lambda: "variables.replicas > 1" in refused(place, deployment("one", 1)))
        assert "an odd number is wanted" in refused(place, deployment("two", 2))
        assert refused(place, deployment("three", 3)) == ""


@pytest.mark.conformance("MutatingAdmissionPolicy should mutate a Deployment")
def test_a_policy_changes_deployments(place: Place) -> None:
    expression = "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}"
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
    with policy(place, "mutating", reinvocationPolicy="Never", mutations=[mutation]):
        place.until(lambda: made(place, deployment("d", 1)).spec.replicas == 2)


@pytest.mark.conformance("MutatingAdmissionPolicy should mutate a Deployment with annotations")
def test_a_policy_annotates_deployments(place: Place) -> None:
    value = '{"policy": "yes"}'
    expression = f"[JSONPatch{{op: 'add', path: '/metadata/annotations/added', value: string('{value}')}}]"
    mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}
    with policy(place, "mutating", reinvocationPolicy="IfNeeded", mutations=[mutation]):
        place.until(lambda: "added" in made(place, deployment("d", 1, mine="kept")).metadata.annotations)
        assert made(place, deployment("d", 1, mine="kept")).metadata.annotations == {"mine": "kept", "added": value}
