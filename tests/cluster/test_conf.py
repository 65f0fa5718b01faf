"""Every config that comes with kcore starts, and its nodes become Ready."""

from __future__ import annotations

import pytest

from kcore import config
from kcore.testing.running import running

ELSEWHERE = {"docker"}  # needs a daemon and root: see test_docker.py
NODES = {"api-only": 0, "dev": 3, "facts": 0, "memory": 3, "thousand-nodes": 1000}


def test_every_config_is_listed_here() -> None:
    alone = {name for name in config.built_in_names() if not name.startswith("processes/")}  # see test_processes.py
    assert alone - ELSEWHERE == set(NODES)


@pytest.mark.parametrize(("name", "count"), NODES.items())
def test_a_config_boots(name: str, count: int) -> None:
    with running(name) as cluster:
        nodes = cluster.get("nodes")["items"]
        assert len(nodes) == count
        ready = [c["status"] for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready"]
        assert ready == ["True"] * count
        status = cluster.status()
        assert [p["slot"] for p in status["parts"]] == [s for s in config.SLOTS if config.read(name).table(s)]
        assert {p["state"] for p in status["parts"]} == {"open"}
        assert cluster.kcore("down").returncode == 0
        assert cluster.process.wait(10) == 0
