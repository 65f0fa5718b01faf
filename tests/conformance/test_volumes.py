"""sig-storage: what containers find in their volumes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.pods import Pods

MANY = {"data-1": "value-1", "data-2": "value-2", "data-3": "value-3"}
CAT = "cat /v/data-1"
MAPPED = {"items": [{"key": "data-2", "path": "path/to/data-2"}]}
MODE = {"items": [{"key": "data-2", "path": "path/to/data-2", "mode": 0o400}]}
CAT_MAPPED = "cat /v/path/to/data-2"
STAT = "stat -L -c %a /v/data-1; cat /v/data-1"
STAT_MAPPED = "stat -L -c %a /v/path/to/data-2; cat /v/path/to/data-2"
USER = {"runAsUser": 1000}
GROUP = {"runAsUser": 1000, "fsGroup": 1001}
TWO = "cat /v/data-1; cat /w/data-1"


def config_map(**more: Any) -> Any:
    return {"configMap": {"name": "many", **more}}


def secret(**more: Any) -> Any:
    return {"secret": {"secretName": "many", **more}}


def projected(kind: str, mode: int | None = None, **more: Any) -> Any:
    source = {"sources": [{kind: {"name": "many", **more}}]}
    return {"projected": source if mode is None else {**source, "defaultMode": mode}}


# behaviour: (volume, script, what it prints, the pod's securityContext)
FILES: dict[str, tuple[Any, str, str, Any]] = {
    "ConfigMap should be consumable from pods in volume": (config_map(), CAT, "value-1", {}),
    "ConfigMap should be consumable from pods in volume as non-root": (config_map(), CAT, "value-1", USER),
    "ConfigMap should be consumable from pods in volume with defaultMode set (LinuxOnly)": (
        config_map(defaultMode=0o400), STAT, "400\nvalue-1", {}),
    "ConfigMap should be consumable from pods in volume with mappings": (
        config_map(**MAPPED), CAT_MAPPED, "value-2", {}),
    "ConfigMap should be consumable from pods in volume with mappings and Item mode set (LinuxOnly)": (
        config_map(**MODE), STAT_MAPPED, "400\nvalue-2", {}),
    "ConfigMap should be consumable from pods in volume with mappings as non-root": (
        config_map(**MAPPED), CAT_MAPPED, "value-2", USER),
    "ConfigMap should be consumable in multiple volumes in the same pod": (config_map(), TWO, "value-1value-1", {}),
    "Projected configMap should be consumable from pods in volume": (projected("configMap"), CAT, "value-1", {}),
    "Projected configMap should be consumable from pods in volume as non-root": (
        projected("configMap"), CAT, "value-1", USER),
    "Projected configMap should be consumable from pods in volume with defaultMode set (LinuxOnly)": (
        projected("configMap", 0o400), STAT, "400\nvalue-1", {}),
    "Projected configMap should be consumable from pods in volume with mappings": (
        projected("configMap", **MAPPED), CAT_MAPPED, "value-2", {}),
    "Projected configMap should be consumable from pods in volume with mappings and Item mode set (LinuxOnly)": (
        projected("configMap", **MODE), STAT_MAPPED, "400\nvalue-2", {}),
    "Projected configMap should be consumable from pods in volume with mappings as non-root": (
        projected("configMap", **MAPPED), CAT_MAPPED, "value-2", USER),
    "Projected configMap should be consumable in multiple volumes in the same pod": (
        projected("configMap"), TWO, "value-1value-1", {}),
    "Secrets should be consumable from pods in volume": (secret(), CAT, "value-1", {}),
    "Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set (LinuxOnly)": (
        secret(defaultMode=0o440), "stat -L -c '%a %g' /v/data-1; cat /v/data-1", "440 1001\nvalue-1", GROUP),
    "Secrets should be consumable from pods in volume with defaultMode set (LinuxOnly)": (
        secret(defaultMode=0o400), STAT, "400\nvalue-1", {}),
    "Secrets should be consumable from pods in volume with mappings": (
        secret(**MAPPED), CAT_MAPPED, "value-2", {}),
    "Secrets should be consumable from pods in volume with mappings and Item Mode set (LinuxOnly)": (
        secret(**MODE), STAT_MAPPED, "400\nvalue-2", {}),
    "Secrets should be consumable in multiple volumes in a pod": (secret(), TWO, "value-1value-1", {}),
    "Projected secret should be consumable from pods in volume": (projected("secret"), CAT, "value-1", {}),
    "Projected secret should be consumable from pods in volume as non-root with defaultMode and fsGroup set"
    " (LinuxOnly)": (
        projected("secret", 0o440), "stat -L -c '%a %g' /v/data-1; cat /v/data-1", "440 1001\nvalue-1", GROUP),
    "Projected secret should be consumable from pods in volume with defaultMode set (LinuxOnly)": (
        projected("secret", 0o400), STAT, "400\nvalue-1", {}),
    "Projected secret should be consumable from pods in volume with mappings": (
        projected("secret", **MAPPED), CAT_MAPPED, "value-2", {}),
    "Projected secret should be consumable from pods in volume with mappings and Item Mode set (LinuxOnly)": (
        projected("secret", **MODE), STAT_MAPPED, "400\nvalue-2", {}),
    "Projected secret should be consumable in multiple volumes in a pod": (
        projected("secret"), TWO, "value-1value-1", {}),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def sources(pods: Pods) -> Iterator[None]:
    pods.call("POST", "configmaps", {"metadata": {"name": "many"}, "data": MANY}, 201)
    pods.call("POST", "secrets", {"metadata": {"name": "many"}, "stringData": MANY}, 201)
    yield
    for kind in ("configmaps", "secrets"):
        pods.call("DELETE", f"{kind}/many")


@pytest.mark.parametrize("behaviour", FILES)
def test_files_of_a_volume(pods: Pods, behaviour: str) -> None:
    volume, script, wanted, security = FILES[behaviour]
    volumes = [{"name": name, **volume} for name in ("v", "w")]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("v", "w")]
    assert pods.output(script, {"volumeMounts": mounts}, volumes=volumes, securityContext=security) == wanted


LIMITS = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}


def of_field(path: str, **more: Any) -> Any:
    return {"path": "f", "fieldRef": {"fieldPath": path}, **more}


def of_resource(name: str, divisor: str = "1") -> Any:
    return {"path": "f", "resourceFieldRef": {"containerName": "c", "resource": name, "divisor": divisor}}


# behaviour: (projected, item, default mode, resources, what is printed; "" the node's own)
DOWNWARD: dict[str, tuple[bool, Any, int, Any, str]] = {
    "Downward API volume should provide podname only": (False, of_field("metadata.name"), 0o644, {}, "644 POD"),
    "Downward API volume should set DefaultMode on files (LinuxOnly)": (
        False, of_field("metadata.name"), 0o400, {}, "400 POD"),
    "Downward API volume should set mode on item file (LinuxOnly)": (
        False, of_field("metadata.name", mode=0o400), 0o644, {}, "400 POD"),
    "Downward API volume should provide container's cpu limit": (
        False, of_resource("limits.cpu"), 0o644, LIMITS, "644 2"),
    "Downward API volume should provide container's cpu request": (
        False, of_resource("requests.cpu", "1m"), 0o644, LIMITS, "644 250"),
    "Downward API volume should provide container's memory limit": (
        False, of_resource("limits.memory"), 0o644, LIMITS, "644 67108864"),
    "Downward API volume should provide container's memory request": (
        False, of_resource("requests.memory", "1Mi"), 0o644, LIMITS, "644 32"),
    "Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is not set": (
        False, of_resource("limits.cpu"), 0o644, {}, ""),
    "Downward API volume should provide node allocatable (memory) as default memory limit if the limit is not set": (
        False, of_resource("limits.memory"), 0o644, {}, ""),
    "Projected downwardAPI should provide podname only": (True, of_field("metadata.name"), 0o644, {}, "644 POD"),
    "Projected downwardAPI should set DefaultMode on files (LinuxOnly)": (
        True, of_field("metadata.name"), 0o400, {}, "400 POD"),
    "Projected downwardAPI should set mode on item file (LinuxOnly)": (
        True, of_field("metadata.name", mode=0o400), 0o644, {}, "400 POD"),
    "Projected downwardAPI should provide container's cpu limit": (
        True, of_resource("limits.cpu"), 0o644, LIMITS, "644 2"),
    "Projected downwardAPI should provide container's cpu request": (
        True, of_resource("requests.cpu", "1m"), 0o644, LIMITS, "644 250"),
    "Projected downwardAPI should provide container's memory limit": (
        True, of_resource("limits.memory"), 0o644, LIMITS, "644 67108864"),
    "Projected downwardAPI should provide container's memory request": (
        True, of_resource("requests.memory", "1Mi"), 0o644, LIMITS, "644 32"),
    "Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is not set": (
        True, of_resource("limits.cpu"), 0o644, {}, ""),
    "Projected downwardAPI should provide node allocatable (memory) as default memory limit if the limit is not set": (
        True, of_resource("limits.memory"), 0o644, {}, ""),
}  # fmt: skip


@pytest.mark.parametrize("behaviour", DOWNWARD)
def test_files_about_the_pod(pods: Pods, behaviour: str) -> None:
    joined, item, mode, resources, wanted = DOWNWARD[behaviour]
    if joined:
        volume: Any = {"projected": {"defaultMode": mode, "sources": [{"downwardAPI": {"items": [item]}}]}}
    else:
        volume = {"downwardAPI": {"defaultMode": mode, "items": [item]}}
    name = pods.name("about")
    container = {"volumeMounts": [{"name": "v", "mountPath": "/v"}], "resources": resources}
    script = "echo $(stat -L -c %a /v/f) $(cat /v/f)"
    metadata = {"name": name}
    said = pods.output(script, container, volumes=[{"name": "v", **volume}], metadata=metadata).strip()
    if wanted:
        assert said == wanted.replace("POD", name)
    else:
        assert int(said.split()[1]) > 0


# behaviour: (as whom, mode, medium)
EMPTY: dict[str, tuple[int, str, str]] = {
    "EmptyDir volumes should support (non-root,0644,default) (LinuxOnly)": (1000, "644", ""),
    "EmptyDir volumes should support (non-root,0644,tmpfs) (LinuxOnly)": (1000, "644", "Memory"),
    "EmptyDir volumes should support (non-root,0666,default) (LinuxOnly)": (1000, "666", ""),
    "EmptyDir volumes should support (non-root,0666,tmpfs) (LinuxOnly)": (1000, "666", "Memory"),
    "EmptyDir volumes should support (non-root,0777,default) (LinuxOnly)": (1000, "777", ""),
    "EmptyDir volumes should support (non-root,0777,tmpfs) (LinuxOnly)": (1000, "777", "Memory"),
    "EmptyDir volumes should support (root,0644,default) (LinuxOnly)": (0, "644", ""),
    "EmptyDir volumes should support (root,0644,tmpfs) (LinuxOnly)": (0, "644", "Memory"),
    "EmptyDir volumes should support (root,0666,default) (LinuxOnly)": (0, "666", ""),
    "EmptyDir volumes should support (root,0666,tmpfs) (LinuxOnly)": (0, "666", "Memory"),
    "EmptyDir volumes should support (root,0777,default) (LinuxOnly)": (0, "777", ""),
    "EmptyDir volumes should support (root,0777,tmpfs) (LinuxOnly)": (0, "777", "Memory"),
    "EmptyDir volumes volume on default medium should have the correct mode (LinuxOnly)": (0, "", ""),
    "EmptyDir volumes volume on tmpfs should have the correct mode (LinuxOnly)": (0, "", "Memory"),
}


@pytest.mark.parametrize("behaviour", EMPTY)
def test_empty_volumes(pods: Pods, behaviour: str) -> None:
    user, mode, medium = EMPTY[behaviour]
    script = f"echo mine > /v/f; chmod {mode} /v/f; stat -c '%a %u' /v/f; cat /v/f" if mode else "stat -c %a /v"
    if medium:
        script += "; grep ' /v ' /proc/mounts"
    said = pods.output(
        script,
        {"volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        volumes=[{"name": "v", "emptyDir": {"medium": medium}}],
        securityContext={"runAsUser": user},
    )
    assert said.startswith(f"{mode} {user}\nmine\n" if mode else "777\n")
    assert ("tmpfs /v tmpfs" in said) == bool(medium)
