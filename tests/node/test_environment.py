"""What containers find around them: variables, files, tokens."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from kcore.node.expansion import expand
from kcore.objects import Object
from kcore.objects.resources import (
    CONFIGMAPS,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    SECRETS,
    SERVICES,
)

from .conftest import World, container, pod, ready, waiting


def app(**more: Any) -> list[Object]:
    return [{"name": "app", "image": "app:1", **more}]


async def sh(cluster: World, *command: str, name: str = "web") -> str:
    """The output of a command in the pod's container."""
    worker = cluster.agent.find("default", name)
    assert worker is not None
    assert worker.runs["app"].current is not None
    result = await cluster.agent.runtime.exec_sync(worker.runs["app"].current.id, command, 10)
    return result.stdout.decode()


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("$(A)-$(B)", "1-$(B)"), ("$$(A)", "$(A)"), ("$A $( A)", "$A $( A)"), ("a$(A", "a$(A"), ("$$$(A)", "$1")],
)
def test_references_to_known_variables_are_expanded(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


async def test_variables_come_from_fields_resources_maps_and_secrets(autojump_clock: Any, cluster: World) -> None:
    await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "conf"}, "data": {"k": "v", "x": "y"}}, "default")
    await cluster.client.create(SECRETS, {"metadata": {"name": "sec"}, "data": {"p": "cGFzcw=="}}, "default")
    env = [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A)b"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "k"}}},
        {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "p"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "p", "optional": True}}},
    ]
    sources = [{"prefix": "C_", "configMapRef": {"name": "conf"}}]
    await cluster.create(pod(containers=app(env=env, envFrom=sources, resources={"limits": {"cpu": "250m"}})))
    found = await cluster.until(ready)
    lines = (await sh(cluster, "env")).splitlines()
    wanted = ["A=a", "B=ab", "NODE=node-1", f"IP={found['status']['podIP']}", "LABEL=web", "CPU=250", "KEY=v"]
    assert set(wanted) | {"PASS=pass", "C_k=v", "C_x=y"} <= set(lines)
    assert not [x for x in lines if x.startswith("NONE")]


async def test_services_of_the_namespace_are_variables(autojump_clock: Any, cluster: World) -> None:
    spec = {"clusterIP": "127.96.0.9", "ports": [{"name": "http-x", "port": 80}]}
    await cluster.client.create(SERVICES, {"metadata": {"name": "my-db"}, "spec": spec}, "default")
    await trio.sleep(1)
    await cluster.create(pod())
    await cluster.until(ready)
    lines = set((await sh(cluster, "env")).splitlines())
    assert {
        "MY_DB_SERVICE_HOST=127.96.0.9",
        "MY_DB_SERVICE_PORT=80",
        "MY_DB_SERVICE_PORT_HTTP_X=80",
        "MY_DB_PORT=tcp://127.96.0.9:80",
        "MY_DB_PORT_80_TCP_ADDR=127.96.0.9",
    } <= lines


async def test_container_waits_for_a_missing_map_and_starts_when_it_appears(
    autojump_clock: Any, cluster: World
) -> None:
    env = [{"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "k"}}}]
    await cluster.create(pod(containers=app(env=env)))
    found = await cluster.until(waiting("CreateContainerConfigError"))
    assert container(found)["state"]["waiting"]["message"] == 'configmap "conf" not found'
    before = trio.current_time()
    await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "conf"}, "data": {"k": "v"}}, "default")
    await cluster.until(ready)
    assert trio.current_time() - before < 1


async def test_mounted_map_changes_in_the_running_container(autojump_clock: Any, cluster: World) -> None:
    made = await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "conf"}, "data": {"k": "old"}}, "default")
    volumes = [{"name": "c", "configMap": {"name": "conf"}}]
    mounts = [{"name": "c", "mountPath": "/etc/conf"}]
    await cluster.create(pod(containers=app(volumeMounts=mounts), volumes=volumes))
    await cluster.until(ready)
    assert await sh(cluster, "cat", "/etc/conf/k") == "old"
    await cluster.client.update(CONFIGMAPS, {**made, "data": {"k": "new"}})
    await trio.sleep(1)
    assert await sh(cluster, "cat", "/etc/conf/k") == "new"
    assert container(await cluster.get())["restartCount"] == 0


async def test_pod_waits_for_a_missing_volume_source(autojump_clock: Any, cluster: World) -> None:
    volumes = [{"name": "s", "secret": {"secretName": "late"}}]
    await cluster.create(pod(containers=app(volumeMounts=[{"name": "s", "mountPath": "/s"}]), volumes=volumes))
    found = await cluster.until(waiting("ContainerCreating"))
    assert found["status"]["phase"] == "Pending"
    message = 'MountVolume.SetUp failed for volume "s" : secret "late" not found'
    assert ("FailedMount", message) in await cluster.events()
    await cluster.client.create(SECRETS, {"metadata": {"name": "late"}, "data": {"x": "eA=="}}, "default")
    await cluster.until(ready)
    assert await sh(cluster, "cat", "/s/x") == "x"


async def test_projected_volume_joins_token_map_and_downward_api(autojump_clock: Any, cluster: World) -> None:
    await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "ca"}, "data": {"ca.crt": "PEM"}}, "default")
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 1000}},
        {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": "certs/ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]
    volumes = [{"name": "p", "projected": {"sources": sources}}]
    await cluster.create(pod(containers=app(volumeMounts=[{"name": "p", "mountPath": "/p"}]), volumes=volumes))
    await cluster.until(ready)
    first = await sh(cluster, "cat", "/p/token")
    assert first.endswith("-of-default-default")
    assert await sh(cluster, "cat", "/p/token") == first
    await trio.sleep(801)
    assert await sh(cluster, "cat", "/p/token") != first
    assert await sh(cluster, "cat", "/p/certs/ca.crt") == "PEM"
    assert await sh(cluster, "cat", "/p/labels") == 'app="web"'


async def test_bound_claim_keeps_its_files_from_pod_to_pod(autojump_clock: Any, cluster: World) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}}
    await cluster.client.create(PERSISTENTVOLUMECLAIMS, claim, "default")
    await cluster.client.create(PERSISTENTVOLUMES, {"metadata": {"name": "pv-1"}, "spec": {}})
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    containers = app(volumeMounts=[{"name": "d", "mountPath": "/data"}])
    for name in ("one", "two"):
        await cluster.create(pod(name, containers=containers, volumes=volumes))
        await cluster.until(ready, name)
    await sh(cluster, "sh", "-c", "echo hello > /data/x", name="one")
    assert await sh(cluster, "cat", "/data/x", name="two") == "hello\n"


async def test_hosts_and_resolv_conf_say_who_the_pod_is(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(pod(hostname="db", hostAliases=[{"ip": "10.1.1.1", "hostnames": ["old"]}]))
    found = await cluster.until(ready)
    hosts = await sh(cluster, "cat", "/etc/hosts")
    assert f"{found['status']['podIP']}\tdb\n" in hosts
    assert "10.1.1.1\told\n" in hosts
    assert await sh(cluster, "hostname") == "db\n"
