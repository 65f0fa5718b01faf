"""An API server behind another: it believes the one in front, and asks it who may do what."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from kcore.kubeconfig import load
from kcore.pki import Pki
from kcore.testing.running import RunningCluster, running

from .conftest import Api


def _kubeconfig(api: Api, directory: Path) -> str:
    """How the server behind asks the one in front, as itself: it may review tokens and access."""
    certificate, key = api.pki.client_certificate("behind", ["system:masters"])
    encoded = {
        k: base64.b64encode(v).decode() for k, v in (("ca", api.pki.ca_pem), ("crt", certificate), ("key", key))
    }
    server = {"server": load(api.cluster.kubeconfig).server, "certificate-authority-data": encoded["ca"]}
    user = {"client-certificate-data": encoded["crt"], "client-key-data": encoded["key"]}
    config: dict[str, Any] = {
        "clusters": [{"name": "c", "cluster": server}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file = directory / "front.kubeconfig"
    file.write_text(json.dumps(config))
    return str(file)


@pytest.fixture(scope="module")
def behind(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    directory = tmp_path_factory.mktemp("front")
    authority = directory / "front-proxy.crt"
    authority.write_bytes(api.pki.front_proxy().ca_pem)
    front = _kubeconfig(api, directory)
    settings = {
        "api.hostnames": ["behind.default.svc"],
        "api.extensions": ["custom-resources"],
        "api.authentication": ["request-header", "certificate", "webhook-token"],
        "api.authorization": ["webhook"],
        "api.settings.request-header.client_ca_file": str(authority),
        "api.settings.webhook-token.kubeconfig": front,
        "api.settings.webhook.kubeconfig": front,
    }
    with running("api-only", set=settings) as cluster:
        yield cluster


PATCH = {"Content-Type": "application/merge-patch+json"}
JOB = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}


@pytest.fixture(scope="module")
def registered() -> list[bool]:
    """Whether the server behind has been made the one that answers for batch/v1."""
    return []


async def register(api: Api, behind: RunningCluster, registered: list[bool]) -> Api:
    """The server behind, which answers for batch/v1 from now on."""
    inner = Api(behind)
    if registered:
        return inner
    registered.append(True)
    port = int(load(behind.kubeconfig).server.rpartition(":")[2])
    await api.service("behind", port)
    bundle = base64.b64encode(Pki.open(behind.directory).ca_pem).decode()
    # batch is its own group in front; from now on the server behind answers for it
    spec = {
        "service": {"name": "behind", "namespace": "default"},
        "caBundle": bundle,
        "groupPriorityMinimum": 17400,
        "versionPriority": 15,
    }
    path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.batch"
    await api.available("v1.batch", "Local")
    await api.ask("PATCH", path, {"spec": spec}, headers=PATCH)
    await api.available("v1.batch", "Passed")
    return inner


async def test_requests_reach_it_in_the_users_name_and_by_the_rules_in_front(
    api: Api, behind: RunningCluster, registered: list[bool]
) -> None:
    inner = await register(api, behind, registered)
    await api.make("/apis/batch/v1/namespaces/default/jobs", {"metadata": {"name": "j"}, "spec": {"template": JOB}})
    _, jobs = await inner.ask("GET", "/apis/batch/v1/namespaces/default/jobs")
    assert [j["metadata"]["name"] for j in jobs["items"]] == ["j"]

    jane = {"Impersonate-User": "jane"}
    answer, refused = await api.ask("GET", "/apis/batch/v1/namespaces/default/jobs", headers=jane)
    assert answer.status == 403
    await api.make(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
        {
            "metadata": {"name": "jane"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
        },
    )
    answer, jobs = await api.ask("GET", "/apis/batch/v1/namespaces/default/jobs", headers=jane)
    assert answer.status == 200, refused
    assert len(jobs["items"]) == 1
    answer, _ = await api.ask("DELETE", "/apis/batch/v1/namespaces/default/jobs/j", headers=jane)
    assert answer.status == 403


async def test_a_namespace_is_emptied_behind_and_waits_for_who_is_away(
    api: Api, behind: RunningCluster, registered: list[bool]
) -> None:
    inner = await register(api, behind, registered)
    for each in (api, inner):
        await each.make("/api/v1/namespaces", {"metadata": {"name": "gone"}})
    jobs = "/apis/batch/v1/namespaces/gone/jobs"
    await api.make(jobs, {"metadata": {"name": "j"}, "spec": {"template": JOB}})
    await api.api_service("away.example.com", "nowhere", insecureSkipTLSVerify=True)
    await api.available("v1.away.example.com", "ServiceNotFound")
    await api.ask("DELETE", "/api/v1/namespaces/gone")
    await inner.until(f"{jobs}/j", 404)
    why = (
        "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
        "away.example.com/v1: stale GroupVersion discovery: away.example.com/v1"
    )
    with trio.fail_after(20):
        while True:
            _, found = await api.ask("GET", "/api/v1/namespaces/gone")
            conditions = {c["type"]: c for c in (found.get("status") or {}).get("conditions") or ()}
            if conditions.get("NamespaceDeletionDiscoveryFailure", {}).get("message") == why:
                break
            await trio.sleep(0.05)
    await api.ask("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1.away.example.com")
    await api.until("/api/v1/namespaces/gone", 404)


async def test_what_an_object_behind_owns_in_front_goes_with_it(
    api: Api, behind: RunningCluster, registered: list[bool]
) -> None:
    inner = await register(api, behind, registered)
    group = "lakes.example.com"
    schema = {"openAPIV3Schema": {"type": "object"}}
    spec = {"group": group, "names": {"plural": "boats", "kind": "Boat"}, "scope": "Namespaced"}
    spec["versions"] = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await inner.make(definitions, {"metadata": {"name": f"boats.{group}"}, "spec": spec})
    boats = f"/apis/{group}/v1/namespaces/default/boats"
    await inner.until(boats, 200)
    bundle = base64.b64encode(Pki.open(behind.directory).ca_pem).decode()
    await api.api_service(group, "behind", caBundle=bundle)
    await api.until(boats, 200)
    typed = {"apiVersion": f"{group}/v1", "kind": "Boat"}
    boat = await api.make(boats, {**typed, "metadata": {"name": "owner"}})
    ref = {**typed, "name": "owner", "uid": boat["metadata"]["uid"]}
    maps = "/api/v1/namespaces/default/configmaps"
    await api.make(maps, {"metadata": {"name": "owned", "ownerReferences": [ref]}})
    # and the other way round
    _, owned = await api.ask("GET", f"{maps}/owned")
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owned", "uid": owned["metadata"]["uid"]}
    await api.make(boats, {**typed, "metadata": {"name": "last", "ownerReferences": [ref]}})
    await api.ask("DELETE", f"{boats}/owner")
    await api.until(f"{maps}/owned", 404)
    await inner.until(f"{boats}/last", 404)
