"""``services/NAME/proxy``: the API server's way to what stands behind a service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kcore.errors import NotFound, ServiceUnavailable
from kcore.objects import Object
from kcore.objects.resources import ENDPOINTSLICES, SERVICES

from .test_embedded import Real, opened, web


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[Real]:
    async with opened(tmp_path, port=21470) as made:
        yield made


async def behind(real: Real, addresses: list[tuple[str, bool]], **port: Any) -> None:
    """A service with one named port, and a slice of (address, ready)."""
    ports = [{"name": "http", "port": 80, "targetPort": 18080, "protocol": "TCP", **port}]
    service = {"metadata": {"name": "web"}, "spec": {"ports": ports, "selector": {"app": "web"}}}
    await real.client.create(SERVICES, service, "default")
    slice_: Object = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 18080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": r}} for a, r in addresses],
    }
    await real.client.create(ENDPOINTSLICES, slice_, "default")


@pytest.mark.parametrize("name", ["web", "web:http", "web:80", "http:web:http"])
async def test_a_service_is_reached_by_the_name_or_number_of_its_port(real: Real, name: str) -> None:
    found = await real.run(web())
    await behind(real, [("127.99.99.99", False), (found["status"]["podIP"], True)])
    told = json.loads(await real.ask("services", name, "proxy", rest="/hello"))
    assert (told["pod"], told["path"]) == ("web", "/hello")


async def test_a_service_without_ready_endpoints_is_unavailable(real: Real) -> None:
    await behind(real, [("127.99.99.99", False)])
    with pytest.raises(ServiceUnavailable, match='no endpoints available for service "web"'):
        await real.ask("services", "web", "proxy")
    with pytest.raises(ServiceUnavailable, match='no service port "nope" found for service "web"'):
        await real.ask("services", "web:nope", "proxy")
    with pytest.raises(NotFound):
        await real.ask("services", "other", "proxy")
