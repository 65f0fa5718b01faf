"""kubectl explain, by both versions of the documents, for every kind that is served."""

from __future__ import annotations

import json

import pytest

_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "shelves.explain.example.com"},
    "spec": {
        "group": "explain.example.com",
        "scope": "Namespaced",
        "names": {"plural": "shelves", "singular": "shelf", "kind": "Shelf"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"books": {"type": "integer", "description": "How many there are."}},
                            }
                        },
                    }
                },
            }
        ],
    },
}


def test_every_kind_can_be_explained_to_its_depths(kubectl):
    kubectl("apply", "-f", "-", input=json.dumps(_CRD))
    kubectl("wait", "--for=condition=Established", "crd/shelves.explain.example.com")
    rows = [line.split() for line in kubectl("api-resources", "--no-headers").splitlines()]
    kinds = [(row[0], row[-3]) for row in rows]  # NAME [SHORTNAMES] APIVERSION NAMESPACED KIND
    assert ("shelves", "explain.example.com/v1") in kinds
    assert len(kinds) > 60
    for name, version in kinds:
        text = kubectl("explain", "--recursive", f"--api-version={version}", name)
        assert "FIELDS:" in text, name
        assert "kind\t<string>" in text, name
    kubectl("delete", "crd", "shelves.explain.example.com")


@pytest.mark.parametrize("output", ["plaintext", "plaintext-openapiv2"])
def test_what_is_deep_inside_can_be_explained(kubectl, output):
    lifecycle = kubectl("explain", f"--output={output}", "--recursive", "pods.spec.containers.lifecycle")
    assert "httpHeaders" in lifecycle
    scale = kubectl("explain", f"--output={output}", "--api-version=autoscaling/v1", "hpa.spec.scaleTargetRef")
    assert "apiVersion\t<string>" in scale
    assert kubectl("explain", f"--output={output}", "deployments.spec.template.spec.affinity.podAffinity")
