"""sig-storage: volumes whose content changes, parts of volumes, volumes that containers share."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.conformance.pods import Pods, restarts, shell

WATCH = "while true; do cat /v/k /v/f 2>/dev/null; echo; sleep 0.1; done"


def watching(pods: Pods, volume: Any, **metadata: Any) -> str:
    container = shell(WATCH, volumeMounts=[{"name": "v", "mountPath": "/v"}])
    name = pods.create({"containers": [container], "volumes": [{"name": "v", **volume}]}, **metadata)
    pods.ready(name)
    return name


def source(kind: str, name: str, *, joined: bool, optional: bool) -> Any:
    more = {"optional": True} if optional else {}
    if joined:
        return {"projected": {"sources": [{kind: {"name": name, **more}}]}}
    return {kind: {"name" if kind == "configMap" else "secretName": name, **more}}


# behaviour: (kind, in a projected volume, optional)
UPDATES: dict[str, tuple[str, bool, bool]] = {
    "ConfigMap updates should be reflected in volume": ("configMap", False, False),
    "ConfigMap optional updates should be reflected in volume": ("configMap", False, True),
    "Projected configMap updates should be reflected in volume": ("configMap", True, False),
    "Projected configMap optional updates should be reflected in volume": ("configMap", True, True),
    "Secrets optional updates should be reflected in volume": ("secret", False, True),
    "Projected secret optional updates should be reflected in volume": ("secret", True, True),
}


@pytest.mark.parametrize("behaviour", UPDATES)
def test_changes_are_seen(pods: Pods, behaviour: str) -> None:
    kind, joined, optional = UPDATES[behaviour]
    path, data = f"{kind.lower()}s", "data" if kind == "configMap" else "stringData"
    name = pods.name("changing")
    made = {"metadata": {"name": name}, data: {"k": "before-1"}}
    if not optional:
        pods.call("POST", path, made, 201)
    pod = watching(pods, source(kind, name, joined=joined, optional=optional))
    if optional:
        assert "before" not in pods.log(pod)
        pods.call("POST", path, made, 201)
    pods.says(pod, "before-1")
    pods.call("PATCH", f"{path}/{name}", {data: {"k": "after-2"}})
    pods.says(pod, "after-2")
    if optional:
        pods.call("DELETE", f"{path}/{name}")
        assert pods.exec(pod, "sh", "-c", "while test -e /v/k; do sleep 0.1; done; echo gone") == "gone\n"
    assert restarts(pods.get(pod)) == 0
    pods.delete(pod)


# behaviour: (in a projected volume, what changes)
OWN: dict[str, tuple[bool, str]] = {
    "Downward API volume should update annotations on modification": (False, "annotations"),
    "Downward API volume should update labels on modification": (False, "labels"),
    "Projected downwardAPI should update annotations on modification": (True, "annotations"),
    "Projected downwardAPI should update labels on modification": (True, "labels"),
}


@pytest.mark.parametrize("behaviour", OWN)
def test_changes_of_the_pod_are_seen_in_it(pods: Pods, behaviour: str) -> None:
    joined, member = OWN[behaviour]
    api = {"downwardAPI": {"items": [{"path": "f", "fieldRef": {"fieldPath": f"metadata.{member}"}}]}}
    pod = watching(pods, {"projected": {"sources": [api]}} if joined else api, **{member: {"builder": "bar"}})
    pods.says(pod, 'builder="bar"')
    pods.call("PATCH", f"pods/{pod}", {"metadata": {member: {"builder": "foo"}}})
    pods.says(pod, 'builder="foo"')
    pods.delete(pod)


@pytest.mark.conformance("ConfigMap binary data should be reflected in volume")
def test_bytes_of_a_config_map(pods: Pods) -> None:
    name, raw = pods.name("bytes"), bytes((0xDE, 0xCA, 0xFE, 0xBA, 0xD0, 0xFE, 0xFF))
    made = {"data": {"text": "value"}, "binaryData": {"raw": base64.b64encode(raw).decode()}}
    pods.call("POST", "configmaps", {"metadata": {"name": name}, **made}, 201)
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    said = pods.output("cat /v/text; wc -c < /v/raw", mounts, volumes=[{"name": "v", "configMap": {"name": name}}])
    assert said.split() == ["value7"]


@pytest.mark.conformance(
    "ConfigMap should be immutable if `immutable` field is set",
    "Secrets should be immutable if `immutable` field is set",
)
@pytest.mark.parametrize("kind", ["configmaps", "secrets"])
def test_what_is_immutable_stays(pods: Pods, kind: str) -> None:
    name = pods.name("fixed")
    pods.call("POST", kind, {"metadata": {"name": name}, "data": {"k": "YQ=="}}, 201)
    pods.call("PATCH", f"{kind}/{name}", {"data": {"k": "Yg=="}})
    pods.call("PATCH", f"{kind}/{name}", {"immutable": True})
    pods.call("PATCH", f"{kind}/{name}", {"data": {"k": "Yw=="}}, 422)
    pods.call("PATCH", f"{kind}/{name}", {"immutable": False}, 422)
    pods.call("PATCH", f"{kind}/{name}", {"metadata": {"labels": {"may": "change"}}})
    assert pods.call("GET", f"{kind}/{name}")["data"] == {"k": "Yg=="}
    pods.call("DELETE", f"{kind}/{name}")


@pytest.mark.conformance(
    "Secrets should be able to mount in a volume regardless of a different secret existing with same name in "
    "different namespace"
)
def test_a_secret_of_that_name_elsewhere_is_another(pods: Pods) -> None:
    name = pods.name("twin")
    for ns, value in (("default", "other"), (pods.namespace, "mine")):
        secret = {"metadata": {"name": name}, "stringData": {"k": value}}
        pods.call("POST", f"/api/v1/namespaces/{ns}/secrets", secret, 201)
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    assert pods.output("cat /v/k", mounts, volumes=[{"name": "v", "secret": {"secretName": name}}]) == "mine"


@pytest.mark.conformance(
    "Projected combined should project all components that make up the projection API [Projection]"
)
def test_all_sources_in_one_volume(pods: Pods) -> None:
    name = pods.name("all")
    pods.call("POST", "configmaps", {"metadata": {"name": name}, "data": {"c": "from-map"}}, 201)
    pods.call("POST", "secrets", {"metadata": {"name": name}, "stringData": {"s": "from-secret"}}, 201)
    field = {"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}
    sources = [{"configMap": {"name": name}}, {"secret": {"name": name}}, {"downwardAPI": {"items": [field]}}]
    said = pods.output(
        "cat /v/c /v/s /v/p",
        {"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        volumes=[{"name": "v", "projected": {"sources": sources}}],
        metadata={"name": name},
    )
    assert said == f"from-mapfrom-secret{name}"


@pytest.mark.conformance("EmptyDir volumes pod should support shared volumes between containers")
def test_containers_share_a_volume(pods: Pods) -> None:
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    writer = {**shell("echo shared > /v/f; sleep 600", **mounts), "name": "writer"}
    pod = pods.create(
        {"containers": [shell("sleep 600", **mounts), writer], "volumes": [{"name": "v", "emptyDir": {}}]}
    )
    pods.ready(pod)
    found = pods.cluster.kubectl("-n", pods.namespace, "exec", pod, "-c", "c", "--", "sh", "-c",
                                 "until test -e /v/f; do sleep 0.1; done; cat /v/f")  # fmt: skip
    assert found == "shared\n"
    pods.delete(pod)


@pytest.mark.conformance(
    "EmptyDir wrapper volumes should not conflict",
    "EmptyDir wrapper volumes should not cause race condition when used for configmaps (Serial)",
)
def test_many_volumes_of_several_kinds_do_not_get_in_each_others_way(pods: Pods) -> None:
    names = [pods.name("race") for _ in range(8)]
    for name in names:
        pods.call("POST", "configmaps", {"metadata": {"name": name}, "data": {"k": name}}, 201)
    pods.call("POST", "secrets", {"metadata": {"name": names[0]}, "stringData": {"k": "secret"}}, 201)
    volumes: list[Any] = [{"name": n, "configMap": {"name": n}} for n in names]
    volumes += [{"name": "s", "secret": {"secretName": names[0]}}, {"name": "e", "emptyDir": {}}]
    mounts = {"volumeMounts": [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in volumes]}
    script = f"cat {' '.join(f'/{n}/k' for n in names)} /s/k"
    spec = {"restartPolicy": "Never", "containers": [shell(script, **mounts)], "volumes": volumes}
    made = [pods.create(spec) for _ in range(5)]
    for pod in made:
        pods.phase(pod, "Succeeded")
        assert pods.log(pod) == "".join(names) + "secret"
        pods.delete(pod)


# behaviour: (volume, part of it, where it is mounted)
PARTS: dict[str, tuple[str, str]] = {
    "Subpath Atomic writer volumes should support subpaths with configmap pod": ("configMap", "/v/part"),
    "Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file": (
        "configMap", "/etc/passwd"),
    "Subpath Atomic writer volumes should support subpaths with downward pod": ("downwardAPI", "/v/part"),
    "Subpath Atomic writer volumes should support subpaths with projected pod": ("projected", "/v/part"),
    "Subpath Atomic writer volumes should support subpaths with secret pod": ("secret", "/v/part"),
}  # fmt: skip


@pytest.mark.parametrize("behaviour", PARTS)
def test_one_file_of_a_volume_is_mounted(pods: Pods, behaviour: str) -> None:
    kind, place = PARTS[behaviour]
    name = pods.name("part")
    pods.call("POST", "configmaps", {"metadata": {"name": name}, "data": {"f": name, "g": "other"}}, 201)
    pods.call("POST", "secrets", {"metadata": {"name": name}, "stringData": {"f": name, "g": "other"}}, 201)
    volume = {
        "configMap": {"name": name},
        "secret": {"secretName": name},
        "downwardAPI": {"items": [{"path": "f", "fieldRef": {"fieldPath": "metadata.name"}}]},
        "projected": {"sources": [{"configMap": {"name": name}}]},
    }[kind]
    mount = {"name": "v", "mountPath": place, "subPath": "f"}
    said = pods.output(
        f"cat {place}", {"volumeMounts": [mount]}, volumes=[{"name": "v", kind: volume}], metadata={"name": name}
    )
    assert said == name
