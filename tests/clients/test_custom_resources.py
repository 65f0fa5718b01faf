"""A kind of one's own, with kubectl and with the official Python client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.rest import ApiException

from .conftest import Kubectl

TEXT = {"type": "string", "description": "What is in it."}
SPEC = {
    "type": "object",
    "description": "What the shelf is to be like.",
    "required": ["width"],
    "properties": {
        "width": {"type": "integer", "minimum": 1, "description": "In centimetres."},
        "replicas": {"type": "integer", "default": 1},
        "books": {
            "type": "array",
            "items": {"type": "object", "properties": {"title": TEXT, "pages": {"type": "integer"}}},
        },
    },
    "x-kubernetes-validations": [{"rule": "self.width < 1000", "message": "no room is that wide"}],
}
STATUS = {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}


def definition(plural: str = "shelves", kind: str = "Shelf") -> dict[str, Any]:
    columns = [
        {"name": "Width", "type": "integer", "jsonPath": ".spec.width"},
        {"name": "First", "type": "string", "jsonPath": ".spec.books[0].title", "priority": 1},
    ]
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}},
        "subresources": {"status": {}, "scale": scale},
        "additionalPrinterColumns": columns,
    }
    names = {"plural": plural, "kind": kind, "shortNames": [plural[:2] + "x"], "categories": ["furniture"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.lib.example.com"},
        "spec": {"group": "lib.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def shelf(name: str = "one", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "lib.example.com/v1", "kind": "Shelf", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def shelves(kubectl: Kubectl) -> Iterator[Kubectl]:
    kubectl.apply(definition())
    kubectl("wait", "--for=condition=established", "--timeout=20s", "crd/shelves.lib.example.com")
    yield kubectl
    kubectl("delete", "crd", "shelves.lib.example.com")


def test_kubectl_works_with_a_kind_that_was_just_made(shelves: Kubectl) -> None:
    assert shelves.apply(shelf(width=80, books=[{"title": "Emma"}])) == "shelf.lib.example.com/one created\n"
    assert shelves("get", "shelves").split()[:4] == ["NAME", "WIDTH", "one", "80"]
    assert "Emma" in shelves("get", "shx", "-o", "wide")
    assert "one" in shelves("get", "furniture")
    assert shelves("patch", "shelf", "one", "--type=merge", "-p", '{"spec":{"width":90}}').endswith("patched\n")
    assert shelves("scale", "shelf/one", "--replicas=3") == "shelf.lib.example.com/one scaled\n"
    found = shelves.get("shelf", "one")
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 3)
    status = '{"status":{"replicas":3,"selector":"a=b"}}'
    shelves("patch", "shelf", "one", "--subresource=status", "--type=merge", "-p", status)
    assert shelves.get("shelf", "one")["status"]["replicas"] == 3
    again = shelves("apply", "--server-side", "-f", shelves.file(shelf("two", width=5)))
    assert again == "shelf.lib.example.com/two serverside-applied\n"
    assert 'shelf.lib.example.com "one" deleted' in shelves("delete", "shelf", "one")


def test_kubectl_explains_a_custom_kind_to_its_leaves(shelves: Kubectl) -> None:
    assert "What the shelf is to be like." in shelves("explain", "shelf.spec")
    deep = shelves("explain", "shelf.spec.books.title")
    assert "What is in it." in deep
    assert "<string>" in deep
    assert "books" in shelves("explain", "shelf", "--recursive")


def test_kubectl_says_what_is_wrong_with_an_object(shelves: Kubectl) -> None:
    for spec, why in (
        ({"width": 0}, "spec.width in body should be greater than or equal to 1"),
        ({}, "spec.width: Required value"),
        ({"width": 2000}, "no room is that wide"),
        ({"width": 1, "colour": "red"}, 'unknown field "spec.colour"'),
    ):
        assert why in shelves.error("apply", "-f", shelves.file(shelf(**spec)))


def test_the_python_client_writes_and_reads_custom_objects(shelves: Kubectl) -> None:
    with config.new_client_from_config(str(shelves.cluster.kubeconfig)) as api:
        objects = client.CustomObjectsApi(api)
        where = ("lib.example.com", "v1", shelves.namespace, "shelves")
        made = objects.create_namespaced_custom_object(*where, shelf("py", width=7))
        assert made["spec"] == {"width": 7, "replicas": 1}
        objects.patch_namespaced_custom_object(*where, "py", {"spec": {"width": 8}})
        listed = objects.list_namespaced_custom_object(*where)
        assert [item["spec"]["width"] for item in listed["items"]] == [8]
        with pytest.raises(ApiException) as refused:
            objects.patch_namespaced_custom_object(*where, "py", {"spec": {"width": -8}})
        assert json.loads(refused.value.body)["details"]["causes"][0]["field"] == "spec.width"
        definitions = client.ApiextensionsV1Api(api)
        kind = definitions.read_custom_resource_definition("shelves.lib.example.com")
        assert kind.status.accepted_names.kind == "Shelf"
