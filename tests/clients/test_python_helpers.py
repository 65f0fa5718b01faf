"""What the official Python client has beside its API classes: create_from_yaml, leader election, lasting watches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, utils, watch
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from .conftest import MANIFESTS, Kubectl, wait_until

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


class Candidate:
    """A candidate in a thread of its own, which ends when it has led."""

    def __init__(self, lock: LeaseLock) -> None:
        self.leads, self.may_stop = threading.Event(), threading.Event()
        self.seen: list[str] = []
        settings = electionconfig.Config(
            lock,
            lease_duration=4,
            renew_deadline=3,
            retry_period=1,
            onstarted_leading=self.lead,
            onstopped_leading=lambda: None,
        )
        self.thread = threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True)
        self.thread.start()

    def lead(self) -> None:
        self.leads.set()
        self.may_stop.wait()


def test_one_of_two_candidates_leads(kubectl: Kubectl, api: client.ApiClient) -> None:
    config.load_kube_config(str(kubectl.cluster.kubeconfig))
    first = Candidate(LeaseLock("chair", kubectl.namespace, "first"))
    assert first.leads.wait(20)
    second = Candidate(LeaseLock("chair", kubectl.namespace, "second"))
    renewed = client.CoordinationV1Api(api).read_namespaced_lease("chair", kubectl.namespace).spec.renew_time
    lease = wait_until(
        lambda: client.CoordinationV1Api(api).read_namespaced_lease("chair", kubectl.namespace),
        lambda lease: lease.spec.renew_time > renewed,
    )
    assert lease.spec.holder_identity == "first"
    assert not second.leads.is_set()
    first.may_stop.set()
    second.may_stop.set()


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
