"""What the official Python client has beside its API classes: create_from_yaml, leader election, lasting watches."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, utils, watch

from .conftest import MANIFESTS, Background, Kubectl, wait_until

# The client leaves the sockets of watches that are left early to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning"
)

KINDS = (
    "configmaps,deployments,networkpolicies,poddisruptionbudgets,replicationcontrollers,roles,rolebindings,secrets,"
    "services,serviceaccounts"
)


@pytest.fixture
def api(kubectl: Kubectl) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(kubectl.cluster.kubeconfig)) as made:
        yield made


def test_create_from_yaml_makes_all_of_a_file(kubectl: Kubectl, api: client.ApiClient) -> None:
    manifest = MANIFESTS / "shop.yaml"
    utils.create_from_yaml(api, str(manifest), namespace=kubectl.namespace)
    wanted = {(o["kind"], o["metadata"]["name"]) for o in yaml.safe_load_all(manifest.read_text()) if o}
    made = {(o["kind"], o["metadata"]["name"]) for o in kubectl.get(KINDS)["items"]}
    assert made >= wanted
    with pytest.raises(utils.FailToCreateError) as failure:
        utils.create_from_yaml(api, str(manifest), namespace=kubectl.namespace)
    assert {json_reason(e) for e in failure.value.api_exceptions} == {"AlreadyExists"}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}}
    for _ in range(2):  # applied, not created: once more does no harm
        utils.create_from_yaml(api, yaml_objects=[config_map], namespace=kubectl.namespace, apply=True)
    assert kubectl.get("cm", "m")["data"] == {"a": "1"}


def json_reason(error: Any) -> str:
    found: str = yaml.safe_load(error.body)["reason"]
    return found


@contextmanager
def candidate(kubectl: Kubectl, identity: str) -> Iterator[Background]:
    """A process that wants to lead. (Threads would outlive the test: the election has no way to be left.)"""
    script = str(Path(__file__).with_name("candidate.py"))
    log = kubectl.directory / f"{identity}.log"
    command = [sys.executable, script, str(kubectl.cluster.kubeconfig), kubectl.namespace, "chair", identity]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield Background(process, log)
    finally:
        process.kill()
        process.wait()


def test_one_of_two_candidates_leads_and_the_other_follows(kubectl: Kubectl, api: client.ApiClient) -> None:
    leases = client.CoordinationV1Api(api)
    with candidate(kubectl, "second-to-come") as later, candidate(kubectl, "first") as first:
        wait_until(lambda: first.said() + later.said(), lambda said: "leads" in said)
        leader, follower = (first, later) if "leads" in first.said() else (later, first)
        renewed = leases.read_namespaced_lease("chair", kubectl.namespace).spec.renew_time
        wait_until(
            lambda: leases.read_namespaced_lease("chair", kubectl.namespace).spec.renew_time,
            lambda time: time > renewed,
        )
        assert "leads" not in follower.said()
        leader.process.kill()
        follower.until(lambda said: "leads" in said)
    assert leases.read_namespaced_lease("chair", kubectl.namespace).spec.holder_identity in follower.said()


def test_a_watch_goes_on_where_it_was_cut(kubectl: Kubectl, api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    names = []
    watching = watch.Watch()
    core.create_namespaced_config_map(kubectl.namespace, {"metadata": {"name": "m-0", "labels": {"mine": "yes"}}})
    # every connection lasts a second: the client reconnects from the last resourceVersion it has seen
    for event in watching.stream(
        core.list_namespaced_config_map, kubectl.namespace, label_selector="mine=yes", timeout_seconds=1
    ):
        names.append(event["object"].metadata.name)
        if len(names) == 1:
            version = watching.resource_version
    for number in (1, 2):
        body = {"metadata": {"name": f"m-{number}", "labels": {"mine": "yes"}}}
        core.create_namespaced_config_map(kubectl.namespace, body)
    for event in watching.stream(
        core.list_namespaced_config_map, kubectl.namespace, label_selector="mine=yes", resource_version=version
    ):
        names.append(event["object"].metadata.name)
        if len(names) == 3:
            watching.stop()
    assert names == ["m-0", "m-1", "m-2"]


def test_utils_parse_quantities_that_the_server_gives(kubectl: Kubectl, api: client.ApiClient) -> None:
    node = client.CoreV1Api(api).list_node().items[0]
    assert utils.parse_quantity(node.status.allocatable["memory"]) > 0
    assert Path(kubectl.cluster.kubeconfig).is_file()
