"""What there is without any other server: APIServices of the own groups, and what other servers need to know."""

from __future__ import annotations

import json

import trio

from .conftest import Api


async def test_every_group_version_of_its_own_is_an_available_api_service(api: Api) -> None:
    condition = await api.available("v1.apps", "Local")
    assert condition["status"] == "True"
    assert condition["message"] == "Local APIServices are always available"
    _, found = await api.ask("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v2.autoscaling")
    assert found["spec"] == {
        "group": "autoscaling",
        "groupPriorityMinimum": 17500,
        "version": "v2",
        "versionPriority": 30,
    }
    assert found["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    shown = await trio.to_thread.run_sync(lambda: api.cluster.kubectl("get", "apiservices"))
    lines = {line.split()[0]: line.split()[1:3] for line in shown.splitlines()}
    assert lines["v1."] == ["Local", "True"]
    assert "v1.apiregistration.k8s.io" not in lines


async def test_extension_servers_find_whom_to_believe(api: Api) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    _, found = await api.ask("GET", path)
    data = found["data"]
    assert data["requestheader-client-ca-file"] == api.pki.front_proxy().ca_pem.decode()
    assert data["client-ca-file"] == api.pki.ca_pem.decode()
    assert json.loads(data["requestheader-allowed-names"]) == ["front-proxy-client"]
    assert json.loads(data["requestheader-username-headers"]) == ["X-Remote-User"]
    await api.ask("DELETE", path)
    await api.until(path, 200)
