"""The real Helm 4 installs, upgrades, rolls back, tests and uninstalls a chart with hooks, a CRD and objects of it."""

from __future__ import annotations

import pytest

from .conftest import Helm


def config(helm: Helm, name: str) -> dict[str, str]:
    found: dict[str, str] = helm.get("configmap", name)["data"]
    return found


def history(helm: Helm, name: str) -> list[tuple[int, str]]:
    return [(r["version"], r["info"]["status"]) for r in helm("History", name)]


def test_a_release_lives_from_install_to_uninstall(helm: Helm) -> None:
    helm.install("rock", wait=True, wait_for_jobs=True)
    assert helm.get("deployment", "rock")["status"]["readyReplicas"] == 1
    assert config(helm, "rock")["GREETING"] == "hello"
    assert config(helm, "rock")["HAS_DEPLOYMENTS"] == "true"
    assert helm.get("tunes.jukebox.example.com", "rock")["spec"] == {"title": "hello", "seconds": 180}
    assert helm.get("job", "rock-pre-install")["status"]["succeeded"] == 1
    helm("ReleaseTest", "rock")
    assert helm.get("pod", "rock-answers")["status"]["phase"] == "Succeeded"

    helm.upgrade("rock", {"replicas": 2, "greeting": "wrong", "image": "nginx:2"})
    deployment = helm.get("deployment", "rock")
    assert deployment["status"]["readyReplicas"] == 2
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"
    assert helm.get("job", "rock-post-upgrade")["status"]["succeeded"] == 1
    assert helm.get("tunes.jukebox.example.com", "rock")["spec"]["title"] == "wrong"
    with pytest.raises(Exception, match="rock-answers"):
        helm("ReleaseTest", "rock")

    helm("Rollback", "rock", 1)
    assert config(helm, "rock")["GREETING"] == "hello"
    assert helm.get("deployment", "rock")["spec"]["replicas"] == 1
    assert history(helm, "rock") == [(1, "superseded"), (2, "superseded"), (3, "deployed")]

    helm("Uninstall", "rock", timeout=30)
    kinds = "deployments,services,tunes.jukebox.example.com"
    assert helm.get(kinds)["items"] == []
    left = helm.get("secrets")["items"]
    assert [s for s in left if s["type"] == "helm.sh/release.v1"] == []


def test_a_failed_upgrade_is_rolled_back(helm: Helm) -> None:
    helm.install("folk")
    with pytest.raises(Exception, match=r"(?i)ready|deadline|timed out|progress"):
        helm.upgrade("folk", {"broken": True}, timeout=4, rollback_on_failure=True)
    assert "readinessProbe" not in helm.get("deployment", "folk")["spec"]["template"]["spec"]["containers"][0]
    assert [status for _, status in history(helm, "folk")][-2:] == ["failed", "deployed"]


def test_server_side_apply_takes_over(helm: Helm) -> None:
    helm.install("jazz", server_side_apply=True)
    helm.cluster.kubectl("-n", helm.namespace, "scale", "deployment/jazz", "--replicas=3")
    with pytest.raises(Exception, match="conflict"):
        helm.upgrade("jazz", {"replicas": 2}, server_side_apply=True)
    helm.upgrade("jazz", {"replicas": 2}, server_side_apply=True, force_conflicts=True)
    assert helm.get("deployment", "jazz")["spec"]["replicas"] == 2


def test_what_is_there_already_is_not_taken(helm: Helm) -> None:
    helm.cluster.kubectl("-n", helm.namespace, "create", "configmap", "blues")
    with pytest.raises(Exception, match="cannot be imported into the current release"):
        helm.install("blues")
    assert "data" not in helm.get("configmap", "blues")


def test_values_are_checked_and_the_schema_of_the_cluster_is_too(helm: Helm) -> None:
    with pytest.raises(Exception, match="replicas"):
        helm.install("soul", {"replicas": "many"})
    with pytest.raises(Exception, match=r"spec\.title"):
        helm.install("soul", {"greeting": ""})
