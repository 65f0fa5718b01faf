"""An API server behind another: it believes the one in front, and asks it who may do what."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
        "api.authentication": ["request-header", "certificate", "webhook-token"],
        "api.authorization": ["webhook"],
        "api.settings.request-header.client_ca_file": str(authority),
        "api.settings.webhook-token.kubeconfig": front,
        "api.settings.webhook.kubeconfig": front,
    }
    with running("api-only", set=settings) as cluster:
        yield cluster


async def test_requests_reach_it_in_the_users_name_and_by_the_rules_in_front(api: Api, behind: RunningCluster) -> None:
    inner = Api(behind)
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
    await api.ask("PATCH", path, {"spec": spec}, headers={"Content-Type": "application/merge-patch+json"})
    await api.available("v1.batch", "Passed")
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    await api.make(
        "/apis/batch/v1/namespaces/default/jobs", {"metadata": {"name": "j"}, "spec": {"template": template}}
    )
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
