"""kubectl scale, set, autoscale and rollout, for every kind of workload."""

from __future__ import annotations

from .conftest import Kubectl


def workload(kind: str, name: str, image: str = "nginx:1", **spec: object) -> dict[str, object]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def test_a_deployment_rolls_out_back_and_remembers(kubectl: Kubectl) -> None:
    kubectl.deployment("web")
    deployment = "deployment/web"
    assert kubectl("set", "image", deployment, "nginx=nginx:2") == "deployment.apps/web image updated\n"
    kubectl("annotate", deployment, "kubernetes.io/change-cause=second image")
    status = kubectl("rollout", "status", deployment)
    assert status.splitlines()[-1] == 'deployment "web" successfully rolled out'
    assert kubectl("set", "env", deployment, "B=2") == "deployment.apps/web env updated\n"
    assert kubectl("set", "env", deployment, "--list").splitlines() == ["# Deployment web, container nginx", "B=2"]
    kubectl("rollout", "status", deployment)
    history = kubectl("rollout", "history", deployment).split("\n")
    assert history[:2] == ["deployment.apps/web ", "REVISION  CHANGE-CAUSE"]
    assert [line.split()[0] for line in history[2:] if line] == ["1", "2", "3"]
    second = kubectl("rollout", "history", deployment, "--revision=2")
    assert "deployment.apps/web with revision #2" in second
    assert "nginx:2" in second
    assert "B:" not in second
    assert kubectl("rollout", "undo", deployment, "--to-revision=1") == "deployment.apps/web rolled back\n"
    kubectl("rollout", "status", deployment)
    template = kubectl.get(deployment)["spec"]["template"]["spec"]
    assert template["containers"][0]["image"] == "nginx:1"
    assert "env" not in template["containers"][0]
    numbers = [line.split()[0] for line in kubectl("rollout", "history", deployment).splitlines()[2:] if line]
    assert numbers == ["2", "3", "4"]
    kubectl("rollout", "undo", deployment)
    kubectl("rollout", "status", deployment)
    assert kubectl.get(deployment)["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "B", "value": "2"}]
    images = kubectl("get", "pods", "-o", "jsonpath={.items[?(@.status.phase=='Running')].spec.containers[0].image}")
    assert set(images.split()) == {"nginx:2"}


def test_a_paused_deployment_waits_for_resume(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    assert kubectl("rollout", "pause", "deployment/web") == "deployment.apps/web paused\n"
    kubectl("set", "image", "deployment/web", "nginx=nginx:2")
    stuck = kubectl.run("rollout", "status", "deployment/web", "--timeout=500ms")
    assert stuck.returncode == 1
    assert "0 out of 1 new replicas have been updated" in stuck.stdout
    assert "can't restart paused deployment" in kubectl.error("rollout", "restart", "deployment/web")
    assert kubectl("rollout", "resume", "deployment/web") == "deployment.apps/web resumed\n"
    kubectl("rollout", "status", "deployment/web")
    assert len(kubectl.get("replicasets")["items"]) == 2


def test_a_restart_gives_every_workload_new_pods(kubectl: Kubectl) -> None:
    kubectl.apply(
        workload("Deployment", "de", replicas=1),
        workload("StatefulSet", "st", serviceName="st", replicas=2),
        workload("DaemonSet", "da"),
    )
    all_of_them = ("deployment/de", "statefulset/st", "daemonset/da")
    for name in all_of_them:
        kubectl("rollout", "status", name, "--timeout=20s")
    before = set(kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.uid}").split())
    assert len(before) == 6  # three nodes have one of the daemon set each
    assert kubectl("rollout", "restart", *all_of_them) == (
        "deployment.apps/de restarted\nstatefulset.apps/st restarted\ndaemonset.apps/da restarted\n"
    )
    for name in all_of_them:
        kubectl("rollout", "status", name, "--timeout=20s")
    pods = kubectl.get("pods", "--field-selector=status.phase=Running")["items"]
    living = {p["metadata"]["uid"] for p in pods if "deletionTimestamp" not in p["metadata"]}
    assert len(living) == 6
    assert not living & before
    for name in all_of_them[1:]:
        assert len(kubectl("rollout", "history", name).splitlines()[2:]) >= 2
        assert kubectl("rollout", "undo", name).endswith("rolled back\n")
        kubectl("rollout", "status", name, "--timeout=20s")


def test_scale_sets_the_size_if_it_is_as_expected(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    assert kubectl("scale", "deployment/web", "--replicas=3") == "deployment.apps/web scaled\n"
    kubectl("rollout", "status", "deployment/web")
    assert kubectl.get("deployment", "web")["status"]["availableReplicas"] == 3
    wrong = kubectl.error("scale", "deployment/web", "--replicas=5", "--current-replicas=9")
    assert wrong == "error: Expected replicas to be 9, was 3"
    kubectl("scale", "deployment/web", "--replicas=0")
    kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=20s")
    kubectl.apply(workload("StatefulSet", "st", serviceName="st", replicas=1))
    kubectl("scale", "statefulset", "st", "--replicas=2")
    kubectl("rollout", "status", "statefulset/st", "--timeout=20s")
    assert kubectl("get", "pods", "-o", "name").split() == ["pod/st-0", "pod/st-1"]


def test_set_changes_resources_accounts_and_selectors(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    kubectl("expose", "deployment", "web", "--port=80")
    kubectl("create", "serviceaccount", "robot")
    kubectl("set", "resources", "deployment/web", "--limits=cpu=200m,memory=64Mi", "--requests=cpu=100m")
    kubectl("set", "serviceaccount", "deployment/web", "robot")
    assert kubectl("set", "selector", "service/web", "app=other") == "service/web selector updated\n"
    assert kubectl.get("service", "web")["spec"]["selector"] == {"app": "other"}
    spec = kubectl.get("deployment", "web")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "robot"
    assert spec["containers"][0]["resources"] == {
        "limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m"},
    }  # fmt: skip
    kubectl("rollout", "status", "deployment/web")
    kubectl("create", "role", "reader", "--verb=get", "--resource=pods")
    kubectl("create", "rolebinding", "read", "--role=reader", "--serviceaccount=x:y")
    kubectl("set", "subject", "rolebinding", "read", "--user=eve")
    assert [s["name"] for s in kubectl.get("rolebinding", "read")["subjects"]] == ["y", "eve"]


def test_autoscale_makes_an_autoscaler_that_can_be_described(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    said = kubectl("autoscale", "deployment", "web", "--min=1", "--max=3", "--cpu=50%")
    assert said == "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    assert "Deployment/web" in kubectl("get", "hpa")
    assert "Max replicas:" in kubectl("describe", "hpa", "web")
