"""Definitions of hundreds of kilobytes, in manifests of megabytes: applied both ways, explained, used, deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from kcore.testing.running import RunningCluster

from .conftest import Kubectl
from .large_definitions import Object, Structural, definition, manifest

FLEETS, PRESSES = "fleet.example.com", "press.example.com"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_TOO_LONG = "is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"
_SECONDS = 120.0  # for many megabytes on a busy machine


@attrs.frozen
class Manifests:
    fleets: Path
    presses: Path
    too_large: Path
    names: tuple[str, ...]  # of the definitions in `fleets`


def _size(obj: Object) -> int:
    return len(json.dumps(obj, separators=(",", ":")))


def _bare(schema: Any) -> Any:
    """Without descriptions: what many operators do to stay below the limit of an annotation."""
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {k: _bare(v) for k, v in schema.items() if k != "description" or not isinstance(v, str)}


@pytest.fixture(scope="module")
def manifests(cluster: RunningCluster, tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    document = json.loads(cluster.kubectl("get", "--raw", "/openapi/v3/api/v1"))
    template = Structural(document["components"]["schemas"]).named("io.k8s.api.core.v1.PodTemplateSpec")
    bare = _bare(template)

    def family(group: str) -> list[Object]:
        return [
            definition(group, "Fleet", template, ("leader", "worker"), ("v1", "v1beta1")),
            definition(group, "Convoy", template, ("worker", "standby", "spare"), ("v1",)),
            definition(group, "Squad", bare, ("worker",), ("v1", "v1alpha1")),
            definition(group, "Crew", bare, ("worker",), ("v1",)),
        ]

    directory = tmp_path_factory.mktemp("manifests")
    fleets = family(FLEETS)
    assert [_size(d) > 700_000 for d in fleets] == [True, True, False, False]
    assert all(_size(d) < 240_000 for d in fleets[2:])
    made = Manifests(
        manifest(directory / "fleets.yaml", fleets),
        manifest(directory / "presses.yaml", family(PRESSES)),
        manifest(
            directory / "too-large.yaml",
            [definition(PRESSES, "Fleet", template, ("leader", "worker", "standby"), ("v1", "v1beta1"))],
        ),
        tuple(d["metadata"]["name"] for d in fleets),
    )
    assert made.fleets.stat().st_size > 3_000_000
    return made


@pytest.fixture(scope="module")
def fleets(cluster: RunningCluster, manifests: Manifests) -> Iterator[Manifests]:
    """Applied by the server, as manifests of this size are."""
    names = [f"crd/{name}" for name in manifests.names]
    said = cluster.kubectl("apply", "--server-side", "-f", str(manifests.fleets), timeout=_SECONDS)
    assert said.count("serverside-applied") == 4
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=20s", *names)
    yield manifests
    cluster.kubectl("delete", "-f", str(manifests.fleets), timeout=_SECONDS)
    assert cluster.kubectl("get", "crd", "-o", "name").count(FLEETS) == 0


def _fleet(name: str, image: str = "nginx:1", **spec: Any) -> Object:
    container = {"name": "c", "image": image, "ports": [{"containerPort": 80}]}
    role = {"template": {"spec": {"containers": [container]}}}
    return {
        "apiVersion": f"{FLEETS}/v1",
        "kind": "Fleet",
        "metadata": {"name": name},
        "spec": {"leader": role, **spec},
    }


def test_applied_again_nothing_changes(cluster: RunningCluster, fleets: Manifests) -> None:
    def versions() -> list[tuple[str, str, int]]:
        metadata = [item["metadata"] for item in cluster.get("crd", "-l", "size=large")["items"]]
        return [(m["name"], m["resourceVersion"], m["generation"]) for m in metadata if m["name"] in fleets.names]

    before = versions()
    assert [generation for *_, generation in before] == [1, 1, 1, 1]
    cluster.kubectl("apply", "--server-side", "-f", str(fleets.fleets), timeout=_SECONDS)
    assert versions() == before
    same = cluster.run_kubectl("diff", "--server-side", "-f", str(fleets.fleets), check=False, timeout=_SECONDS)
    assert (same.returncode, same.stdout) == (0, "")


def test_a_definition_is_explained_to_its_depths(cluster: RunningCluster, fleets: Manifests) -> None:
    secret = "fleet.spec.worker.template.spec.containers.env.valueFrom.secretKeyRef.key"
    said = cluster.kubectl("explain", secret)
    assert "FIELD: key <string>" in said
    assert "Must be a valid secret key" in said
    assert "VERSION:    v1beta1" in cluster.kubectl("explain", "--api-version", f"{FLEETS}/v1beta1", secret)
    whole = cluster.kubectl("explain", "--recursive", "fleet")
    assert whole.count("preferredDuringSchedulingIgnoredDuringExecution") == 6  # three for each role
    assert "unavailable\t<Object>" in whole or "unavailable\t<>" in whole
    assert "topologySpreadConstraints" in cluster.kubectl("explain", "--recursive", "convoy.spec.spare.template.spec")
    error = cluster.run_kubectl("explain", "fleet.spec.worker.templates", check=False).stderr
    assert 'field "templates" does not exist' in error


def test_what_a_large_definition_declares_holds(kubectl: Kubectl, fleets: Manifests) -> None:
    kubectl.apply(_fleet("one", pools=[{"name": "a"}], options={"any": [{"thing": 1}]}, **{"class": "large"}))
    made = kubectl.get("fleets", "one")
    assert made["spec"]["pools"] == [{"name": "a", "class": "standard", "weight": 1}]
    assert made["spec"]["options"] == {"any": [{"thing": 1}]}
    leader = made["spec"]["leader"]
    assert (leader["replicas"], leader["maximum"], leader["unavailable"]) == (1, 10, "25%")
    assert leader["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert "v1beta1 Fleet is deprecated" in kubectl.run("get", f"fleets.v1beta1.{FLEETS}", "one").stderr
    kubectl("scale", "fleet/one", "--replicas=3")
    assert kubectl.get("fleets", "one")["spec"]["leader"]["replicas"] == 3
    assert kubectl("get", "fleets").split()[:5] == ["NAME", "REPLICAS", "AGE", "one", "3"]
    assert "spec.leader: Invalid value" in (said := kubectl.error("scale", "fleet/one", "--replicas=11"))
    assert "at most 10" in said
    changed = json.dumps({"spec": {"class": "small"}})
    said = kubectl.error("patch", "fleet", "one", "--type=merge", "-p", changed)
    assert "spec.class: Invalid value" in said
    assert "cannot be changed" in said


def test_what_is_wrong_deep_inside_is_named_by_its_path(kubectl: Kubectl, fleets: Manifests) -> None:
    fleet = _fleet("bad")
    container = fleet["spec"]["leader"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "kee": "k"}}}]
    deep = "spec.leader.template.spec.containers[0]"
    assert f'unknown field "{deep}.env[0].valueFrom.secretKeyRef.kee"' in kubectl.error(
        "create", "-f", kubectl.file(fleet)
    )
    said = kubectl.error("create", "--validate=false", "-f", kubectl.file(fleet))
    assert f"{deep}.env[0].valueFrom.secretKeyRef.key: Required value" in said
    container["env"] = [{"name": "A"}, {"name": "A"}]
    said = kubectl.error("create", "-f", kubectl.file(fleet))
    assert f'{deep}.env[1]: Duplicate value: {{"name":"A"}}' in said
    container["env"] = []
    container["ports"] = [{"containerPort": "http"}]
    said = kubectl.error("create", "-f", kubectl.file(fleet))
    assert f'{deep}.ports[0].containerPort: Invalid value: "string"' in said
    container["ports"] = []
    container["resources"] = {"limits": {"cpu": "much"}}
    said = kubectl.error("create", "-f", kubectl.file(fleet))
    assert f'{deep}.resources.limits.cpu: Invalid value: "much"' in said


def test_applied_by_kubectl_what_its_annotation_holds_is_and_the_rest_is_refused(
    kubectl: Kubectl, manifests: Manifests
) -> None:
    done = kubectl.cluster.run_kubectl("apply", "-f", str(manifests.presses), check=False, timeout=_SECONDS)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"customresourcedefinition.apiextensions.k8s.io/{name}.{PRESSES} created" for name in ("squads", "crews")
    ]
    for name in ("fleets", "convoys"):
        assert f'CustomResourceDefinition.apiextensions.k8s.io "{name}.{PRESSES}" {_TOO_LONG}' in done.stderr
    # made without the annotation, and then applied
    done = kubectl.cluster.run_kubectl("create", "-f", str(manifests.presses), check=False, timeout=_SECONDS)
    assert done.stdout.count("created") == 2
    assert done.stderr.count("AlreadyExists") == 2
    names = [f"crd/{name}.{PRESSES}" for name in ("fleets", "convoys", "squads", "crews")]
    kubectl("wait", "--for=condition=Established", "--timeout=20s", *names)
    done = kubectl.cluster.run_kubectl("apply", "-f", str(manifests.presses), check=False, timeout=_SECONDS)
    assert done.stdout.count("unchanged") == 2
    assert done.stderr.count(_TOO_LONG) == 2
    kubectl("replace", "-f", str(manifests.presses), timeout=_SECONDS)
    kept = kubectl.get("crd", f"squads.{PRESSES}")["metadata"]
    assert _LAST_APPLIED not in kept.get("annotations", {})
    assert kept["generation"] == 1  # nothing of the spec has changed
    refused = kubectl.cluster.run_kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", str(manifests.too_large), check=False, timeout=_SECONDS
    )
    assert refused.stderr.strip() == "Error from server: etcdserver: request is too large"
    kubectl("delete", "-f", str(manifests.presses), timeout=_SECONDS)
    assert PRESSES not in kubectl("api-resources", "-o", "name")
