"""Where nodes and pods find the API server, whatever it listens on."""

from __future__ import annotations

import json
import socket
import ssl

from kcore.kubeconfig import load
from kcore.testing.running import RunningCluster, running


def behind(cluster: RunningCluster) -> list[str]:
    """The addresses behind the Service ``kubernetes``."""
    slices = cluster.get("endpointslice", "kubernetes")
    endpoints = json.loads(cluster.kubectl("get", "--raw", "/api/v1/namespaces/default/endpoints/kubernetes"))
    found: list[str] = slices["endpoints"][0]["addresses"]
    assert [a["ip"] for a in endpoints["subsets"][0]["addresses"]] == found
    return found


def test_a_server_on_every_address_tells_the_one_it_was_given_and_has_it_in_its_certificate() -> None:
    with running("api-only", set={"api.address": "0.0.0.0", "api.advertise_address": "127.0.0.9"}) as cluster:
        assert behind(cluster) == ["127.0.0.9"]
        access = load(cluster.kubeconfig)
        port = int(access.server.rpartition(":")[2])
        context = ssl.create_default_context(cadata=access.ca_pem.decode())
        with (
            socket.create_connection(("127.0.0.9", port), 10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.9"),
        ):
            pass  # the handshake has checked the name


def test_a_server_on_every_address_never_tells_that_as_its_own() -> None:
    with running("api-only", set={"api.address": "0.0.0.0"}) as cluster:
        assert behind(cluster) != ["0.0.0.0"]
