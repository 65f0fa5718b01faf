"""The official Python client (the package kubernetes), typed and dynamic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

from .conftest import Kubectl

# The client leaves the sockets of watches that are left early to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def api(kubectl: Kubectl) -> Iterator[client.ApiClient]:
    made = config.new_client_from_config(str(kubectl.cluster.kubeconfig))
    with made:
        yield made


def pod(name: str, *command: str) -> client.V1Pod:
    ports = [client.V1ContainerPort(container_port=8080)]
    container = client.V1Container(name="c", image="busybox", ports=ports, command=list(command) or None)
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, labels={"app": name}), spec=client.V1PodSpec(containers=[container])
    )


def run(core: client.CoreV1Api, namespace: str, name: str, *command: str) -> None:
    """A pod, waited for by a watch until it is ready."""
    core.create_namespaced_pod(namespace, pod(name, *command))
    for event in watch.Watch().stream(
        core.list_namespaced_pod, namespace, field_selector=f"metadata.name={name}", timeout_seconds=20
    ):
        conditions = event["object"].status.conditions or ()
        if any(c.type == "Ready" and c.status == "True" for c in conditions):
            return
    raise AssertionError(f"{name} did not become ready")


def test_objects_are_created_read_listed_patched_replaced_and_deleted(kubectl: Kubectl, api: client.ApiClient) -> None:
    core, namespace = client.CoreV1Api(api), kubectl.namespace
    made = core.create_namespaced_config_map(
        namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name="cm-"), data={"a": "1"})
    )
    name = made.metadata.name
    assert name.startswith("cm-")
    assert made.metadata.creation_timestamp.tzinfo is not None
    listed = core.list_namespaced_config_map(namespace, limit=1)
    assert len(listed.items) == 1
    assert listed.metadata._continue
    patched = core.patch_namespaced_config_map(name, namespace, {"data": {"b": "2"}})
    assert patched.data == {"a": "1", "b": "2"}
    steps = [{"op": "remove", "path": "/data/a"}]
    assert core.patch_namespaced_config_map(name, namespace, steps).data == {"b": "2"}
    patched.data = {"c": "3"}
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map(name, namespace, patched)
    assert (stale.value.status, stale.value.reason) == (409, "Conflict")
    patched.metadata.resource_version = None
    assert core.replace_namespaced_config_map(name, namespace, patched).data == {"c": "3"}
    deleted = core.delete_namespaced_config_map(name, namespace)
    assert api.sanitize_for_serialization(deleted)["status"] == "Success"
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map(name, namespace)
    assert gone.value.status == 404
    assert json.loads(gone.value.body)["reason"] == "NotFound"


def test_a_deployment_scales_and_its_pods_are_watched(kubectl: Kubectl, api: client.ApiClient) -> None:
    apps, core, namespace = client.AppsV1Api(api), client.CoreV1Api(api), kubectl.namespace
    labels = {"app": "web"}
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=pod("web").spec)
    spec = client.V1DeploymentSpec(replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template)
    apps.create_namespaced_deployment(
        namespace, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec)
    )
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    assert scale.spec.replicas == 1
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    ready: set[str] = set()
    for event in watch.Watch().stream(
        core.list_namespaced_pod, namespace, label_selector="app=web", timeout_seconds=20
    ):
        if event["object"].status.phase == "Running":
            ready.add(event["object"].metadata.name)
        if len(ready) == 3:
            break
    assert len(ready) == 3
    foreground = client.V1DeleteOptions(propagation_policy="Foreground")
    apps.delete_namespaced_deployment("web", namespace, body=foreground)
    for event in watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=20):
        if event["type"] == "DELETED":
            break
    assert core.list_namespaced_pod(namespace, label_selector="app=web").items == []


def test_exec_and_logs_reach_the_container(kubectl: Kubectl, api: client.ApiClient) -> None:
    core, namespace = client.CoreV1Api(api), kubectl.namespace
    run(core, namespace, "one", "sh", "-c", "echo started; sleep 1000")
    assert core.read_namespaced_pod_log("one", namespace) == "started\n"
    said = stream(
        core.connect_get_namespaced_pod_exec,
        "one",
        namespace,
        command=["sh", "-c", "echo out; echo err >&2"],
        stdout=True,
        stderr=True,
        stdin=False,
        tty=False,
    )
    assert sorted(said.split()) == ["err", "out"]
    session = stream(
        core.connect_get_namespaced_pod_exec,
        "one",
        namespace,
        command=["sh"],
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    session.write_stdin("echo hello\n")
    assert session.readline_stdout(timeout=10) == "hello"
    session.write_stdin("exit 5\n")
    session.run_forever(timeout=10)
    assert session.returncode == 5
    session.close()


def test_a_port_is_forwarded(kubectl: Kubectl, api: client.ApiClient) -> None:
    core, namespace = client.CoreV1Api(api), kubectl.namespace
    run(core, namespace, "web")
    forward = portforward(core.connect_get_namespaced_pod_portforward, "web", namespace, ports="8080")
    socket = forward.socket(8080)
    socket.setblocking(True)
    socket.sendall(b"GET /here HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b""
    while data := socket.recv(4096):
        answer += data
    socket.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"path": "/here"' in answer
    assert forward.error(8080) is None


def test_the_dynamic_client_discovers_applies_and_watches(kubectl: Kubectl, api: client.ApiClient) -> None:
    found = dynamic.DynamicClient(api)
    deployments = found.resources.get(api_version="apps/v1", kind="Deployment")
    assert deployments.namespaced
    assert "watch" in deployments.verbs
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    wanted: dict[str, Any] = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"a": "1"},
    }  # fmt: skip
    applied = maps.server_side_apply(wanted, namespace=kubectl.namespace, field_manager="tests")
    assert applied.data.a == "1"
    assert applied.metadata.managedFields[0].manager == "tests"
    maps.patch(
        {"data": {"b": "2"}}, name="cm", namespace=kubectl.namespace, content_type="application/merge-patch+json"
    )
    for event in maps.watch(namespace=kubectl.namespace, field_selector="metadata.name=cm", timeout=5):
        assert event["object"].data.to_dict() == {"a": "1", "b": "2"}
        break
    assert maps.delete(name="cm", namespace=kubectl.namespace).status == "Success"


def test_who_is_not_known_is_turned_away(kubectl: Kubectl, api: client.ApiClient) -> None:
    settings = client.Configuration()
    settings.host, settings.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": "Bearer nonsense"}
    settings.retries = urllib3.Retry(0)
    with client.ApiClient(settings) as stranger, pytest.raises(ApiException) as refused:
        client.CoreV1Api(stranger).list_namespaced_pod(kubectl.namespace)
    assert refused.value.status == 401
