"""Who may read metrics: bearers of tokens that the API approves of, certificates, and nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kcore_metrics_prometheus import ExpositionConfig, open_exposition

from kcore.metrics import Metrics
from kcore.pki import Pki
from kcore.testing import TestContext

from .conftest import Kubelets, ReviewingClient, fetch

CASES: list[Any] = [
    pytest.param({}, 401, id="nobody"),
    pytest.param({"token": "made-up"}, 401, id="unknown token"),
    pytest.param({"token": "token-of-nobody"}, 403, id="token without permission"),
    pytest.param({"token": "token-of-prometheus"}, 200, id="token with permission"),
    pytest.param({"certificate": ("nobody", "dev")}, 403, id="certificate without permission"),
    pytest.param({"certificate": ("prometheus", "monitoring")}, 200, id="certificate with permission"),
    pytest.param({"certificate": ("admin", "system:masters")}, 200, id="administrator's certificate"),
]


@pytest.mark.parametrize(("who", "status"), CASES)
async def test_a_kubelet_shows_its_metrics_to(world: Kubelets, who: Any, status: int) -> None:
    answer = await world.kubelet("node-1", "/metrics", **who)
    assert answer.status == status
    assert (b"kubelet_node_name" in answer.body) == (status == 200)


async def test_a_token_for_metrics_opens_nothing_else_of_a_kubelet(world: Kubelets) -> None:
    assert (await world.kubelet("node-1", "/pods", token="token-of-prometheus")).status == 403
    asked = world.client.asked[-1]["resourceAttributes"]
    assert (asked["resource"], asked["name"], asked["verb"]) == ("nodes", "node-1", "get")


async def test_an_answer_of_the_api_is_remembered(world: Kubelets) -> None:
    for _ in range(3):
        assert (await world.kubelet("node-1", "/metrics", token="token-of-prometheus")).status == 200
    assert len(world.client.asked) == 1


def exposed(path: Path, slot: str) -> TestContext:
    """A process in which the component of that slot runs."""
    metrics = Metrics(slot)
    metrics.counter("things_total", "Of a component").inc()
    return TestContext(path, name=slot, api=ReviewingClient(), parts={slot: object()}, metrics=metrics)


SETTINGS = ExpositionConfig(scheduler_port=0, controller_manager_port=0, proxy_port=0)


@pytest.mark.parametrize(("who", "status"), CASES)
async def test_the_scheduler_shows_its_metrics_to(tmp_path: Path, who: Any, status: int) -> None:
    async with open_exposition(exposed(tmp_path, "scheduler"), SETTINGS) as part:
        answer = await fetch(part.urls["scheduler"], "/metrics", Pki.open(tmp_path), **who)
        assert answer.status == status
        assert (b"things_total" in answer.body) == (status == 200)


async def test_health_is_open_to_everybody_and_unknown_paths_are_not_found(tmp_path: Path) -> None:
    async with open_exposition(exposed(tmp_path, "scheduler"), SETTINGS) as part:
        url, pki = part.urls["scheduler"], Pki.open(tmp_path)
        for path in ("/healthz", "/livez", "/readyz"):
            assert (await fetch(url, path, pki)).body == b"ok"
        assert (await fetch(url, "/elsewhere", pki)).status == 401
        assert (await fetch(url, "/elsewhere", pki, certificate=("admin", "system:masters"))).status == 404


async def test_the_proxy_answers_in_the_open_as_upstream(tmp_path: Path) -> None:
    async with open_exposition(exposed(tmp_path, "proxy"), SETTINGS) as part:
        assert list(part.urls) == ["proxy"]
        assert part.urls["proxy"].startswith("http://")
        assert b"things_total" in (await fetch(part.urls["proxy"], "/metrics", Pki.open(tmp_path))).body
