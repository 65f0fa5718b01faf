"""The real Helm installs, upgrades, rolls back, tests and uninstalls a chart with hooks, a CRD and objects of it."""

from __future__ import annotations

from .conftest import CHART, Helm

WAIT = ("--wait", "--timeout=30s")


def config(helm: Helm, name: str) -> dict[str, str]:
    found: dict[str, str] = helm.get("configmap", name)["data"]
    return found


def test_a_release_lives_from_install_to_uninstall(helm: Helm) -> None:
    told = helm("install", "rock", CHART, *WAIT, "--wait-for-jobs")
    assert "STATUS: deployed" in told
    assert helm.get("deployment", "rock")["status"]["readyReplicas"] == 1
    assert config(helm, "rock") == {"GREETING": "hello", "KUBERNETES": "v1.37.0+kcore", "HAS_DEPLOYMENTS": "true"}
    assert helm.get("tunes.jukebox.example.com", "rock")["spec"] == {"title": "hello", "seconds": 180}
    assert helm.get("job", "rock-pre-install")["status"]["succeeded"] == 1
    assert "Phase:          Succeeded" in helm("test", "rock", "--logs")

    told = helm("upgrade", "rock", CHART, *WAIT, "--set", "replicas=2,greeting=wrong,image=nginx:2")
    assert 'Release "rock" has been upgraded' in told
    deployment = helm.get("deployment", "rock")
    assert deployment["status"]["readyReplicas"] == 2
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"
    assert helm.get("job", "rock-post-upgrade")["status"]["succeeded"] == 1
    assert helm.get("tunes.jukebox.example.com", "rock")["spec"]["title"] == "wrong"
    assert "pod rock-answers failed" in helm.error("test", "rock")

    helm("rollback", "rock", "1", *WAIT)
    assert config(helm, "rock")["GREETING"] == "hello"
    assert helm.get("deployment", "rock")["spec"]["replicas"] == 1
    assert helm.history("rock") == [(1, "superseded"), (2, "superseded"), (3, "deployed")]
    assert "rock" in helm("list")
    assert "title: hello" in helm("get", "manifest", "rock")

    assert helm("uninstall", "rock", *WAIT) == 'release "rock" uninstalled\n'
    assert helm.get("deployments,services,tunes.jukebox.example.com")["items"] == []
    assert [s for s in helm.get("secrets")["items"] if s["type"] == "helm.sh/release.v1"] == []


def test_a_failed_upgrade_is_rolled_back(helm: Helm) -> None:
    helm("install", "folk", CHART, *WAIT)
    said = helm.error("upgrade", "folk", CHART, "--set=broken=true", "--wait", "--timeout=4s", "--rollback-on-failure")
    assert "release folk failed, and has been rolled back" in said
    assert "readinessProbe" not in helm.get("deployment", "folk")["spec"]["template"]["spec"]["containers"][0]
    assert [status for _, status in helm.history("folk")][-2:] == ["failed", "deployed"]


def test_server_side_apply_does_not_take_what_is_anothers(helm: Helm) -> None:
    helm("install", "jazz", CHART, *WAIT)
    helm.cluster.kubectl("-n", helm.namespace, "scale", "deployment/jazz", "--replicas=3")
    assert "conflict" in helm.error("upgrade", "jazz", CHART, "--set=replicas=2")
    helm("upgrade", "jazz", CHART, "--set=replicas=2", "--force-conflicts", *WAIT)
    assert helm.get("deployment", "jazz")["spec"]["replicas"] == 2


def test_charts_are_applied_by_the_client_too(helm: Helm) -> None:
    helm("install", "punk", CHART, *WAIT, "--server-side=false")
    helm.cluster.kubectl("-n", helm.namespace, "label", "deployment/punk", "kept=yes")
    helm("upgrade", "punk", CHART, *WAIT, "--server-side=false", "--set=image=nginx:2")
    deployment = helm.get("deployment", "punk")
    assert deployment["metadata"]["labels"]["kept"] == "yes"
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"


def test_what_is_there_already_is_not_taken(helm: Helm) -> None:
    helm.cluster.kubectl("-n", helm.namespace, "create", "configmap", "blues")
    assert "cannot be imported into the current release" in helm.error("install", "blues", CHART)
    assert "data" not in helm.get("configmap", "blues")


def test_values_are_checked_and_so_are_objects_of_the_charts_own_kind(helm: Helm) -> None:
    assert "replicas" in helm.error("install", "soul", CHART, "--set=replicas=many")
    assert "spec.title" in helm.error("install", "soul", CHART, "--set=greeting=")


def test_a_dry_run_by_the_server_stores_nothing(helm: Helm) -> None:
    assert "title: hello" in helm("install", "ska", CHART, "--dry-run=server")
    assert helm.get("deployments,configmaps", "--field-selector=metadata.name=ska")["items"] == []
