"""What kubectl says about the cluster itself: nodes, access, discovery, explanations, events, measurements."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import jwt
import pytest

from .conftest import Kubectl, wait_until


@contextmanager
def as_before(kubectl: Kubectl, node: str) -> Iterator[None]:
    try:
        yield
    finally:
        kubectl("uncordon", node)


def test_a_node_is_cordoned_drained_and_used_again(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=3)
    kubectl.pod("alone", "sleep", "1000", nodeName="node-3")
    with as_before(kubectl, "node-3"):
        assert kubectl("cordon", "node-3") == "node/node-3 cordoned\n"
        assert re.search(r"node-3 +Ready,SchedulingDisabled ", kubectl("get", "nodes"))
        assert "node.kubernetes.io/unschedulable:NoSchedule" in kubectl("describe", "node", "node-3")
        only = ("--ignore-daemonsets", "--pod-selector=app in (web, alone)")
        refused = kubectl.error("drain", "node-3", *only)
        assert "cannot delete Pods that declare no controller (use --force to override)" in refused
        drained = kubectl.run("drain", "node-3", *only, "--force", "--delete-emptydir-data", "--timeout=30s")
        assert drained.stdout.endswith("node/node-3 drained\n"), drained.stderr
        assert "pod/alone evicted\n" in drained.stdout
        kubectl("rollout", "status", "deployment/web", "--timeout=20s")
        nodes = kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}").split()
        assert "node-3" not in nodes
    assert kubectl("uncordon", "node-3") == "node/node-3 already uncordoned\n"


def test_an_eviction_respects_the_budget(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    kubectl("create", "pdb", "keep", "--selector=app=web", "--min-available=1")
    allowed = "jsonpath={.status.currentHealthy}=1"
    kubectl("wait", f"--for={allowed}", "pdb/keep", "--timeout=20s")
    pod = kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}/eviction"
    said = kubectl.error("create", "--raw", path, "-f", kubectl.file(eviction))
    assert "Cannot evict pod as it would violate the pod's disruption budget." in said
    kubectl("scale", "deployment/web", "--replicas=2")
    kubectl("wait", "--for=jsonpath={.status.disruptionsAllowed}=1", "pdb/keep", "--timeout=20s")
    evicted = kubectl("create", "--raw", path, "-f", kubectl.file(eviction))
    assert json.loads(evicted)["status"] == "Success"


def test_taints_keep_pods_away(kubectl: Kubectl) -> None:
    effect = f"{kubectl.namespace}=x"
    try:
        assert kubectl("taint", "nodes", "--all", f"{effect}:NoSchedule").count(" tainted\n") == 3
        kubectl("run", "waits", "--image=busybox", "--", "sleep", "1000")
        kubectl("wait", "--for=condition=PodScheduled=false", "pod/waits", "--timeout=20s")
        described = wait_until(lambda: kubectl("describe", "pod", "waits"), lambda said: "FailedScheduling" in said)
        assert "0/3 nodes are available: 3 node(s) had untolerated taint" in described
    finally:
        assert kubectl("taint", "nodes", "--all", f"{effect}:NoSchedule-").count(" untainted\n") == 3
    kubectl("wait", "--for=condition=Ready", "pod/waits", "--timeout=20s")


def test_nodes_are_described_in_full(kubectl: Kubectl) -> None:
    said = kubectl("describe", "node", "node-1")
    for line in (
        r"Name: +node-1",
        r" +kubernetes.io/hostname=node-1",
        r"  Ready +True .* KubeletReady +kubelet is posting ready status",
        r"  InternalIP: +127\.\d+\.\d+\.\d+",
        r" Container Runtime Version: +fake://.*",
        r"Allocated resources:",
        r"  cpu +\d+m? \(\d+%\) +\d+m? \(\d+%\)",
    ):
        assert re.search(line, said), line
    assert re.search(r"node-1 +Ready +<none> +\w+ +v1\.37\.\d+ ", kubectl("get", "nodes", "-o", "wide"))


def test_top_shows_nodes_and_pods(kubectl: Kubectl) -> None:
    kubectl.pod("busy", "sleep", "1000", annotations={"kcore.dev/cpu": "250m", "kcore.dev/memory": "64Mi"})
    nodes = kubectl("top", "nodes").splitlines()
    assert nodes[0].split() == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    assert len(nodes) == 4
    said = wait_until(lambda: kubectl.run("top", "pods").stdout, lambda said: "busy" in said)
    assert [line.split() for line in said.splitlines()] == [
        ["NAME", "CPU(cores)", "MEMORY(bytes)"], ["busy", "250m", "64Mi"],
    ]  # fmt: skip
    assert kubectl("top", "pod", "busy", "--containers").splitlines()[1].split() == ["busy", "c", "250m", "64Mi"]


def test_access_is_asked_about_and_granted(kubectl: Kubectl) -> None:
    account = f"system:serviceaccount:{kubectl.namespace}:default"
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    denied = kubectl.run("auth", "can-i", "list", "pods", f"--as={account}")
    assert (denied.returncode, denied.stdout) == (1, "no\n")
    said = kubectl.error("get", "pods", f"--as={account}")
    assert said == (
        f'Error from server (Forbidden): pods is forbidden: User "{account}" cannot list resource "pods" in API group '
        f'"" in the namespace "{kubectl.namespace}"'
    )
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "read", "--role=reader", f"--serviceaccount={kubectl.namespace}:default")
    wait_until(lambda: kubectl.run("auth", "can-i", "list", "pods", f"--as={account}").stdout, lambda s: s == "yes\n")
    assert kubectl("get", "pods", f"--as={account}").strip() == ""
    assert re.search(r"pods +\[\] +\[\] +\[get list\]", kubectl("auth", "can-i", "--list", f"--as={account}"))
    assert re.search(r"Username +kubernetes-admin\n", kubectl("auth", "whoami"))
    assert "system:masters" in kubectl("auth", "whoami")


def test_a_token_is_its_service_account(kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "robot")
    token = kubectl("create", "token", "robot", "--duration=20m", "--audience=https://kubernetes.default.svc").strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == f"system:serviceaccount:{kubectl.namespace}:robot"
    assert claims["exp"] - claims["iat"] == 1200
    server = kubectl("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
    by_token = (f"--token={token}", f"--server={server}", "--kubeconfig=/dev/null", "--insecure-skip-tls-verify")
    done = kubectl.run("auth", "whoami", *by_token)
    assert claims["sub"] in done.stdout, done.stderr
    assert 'serviceaccounts "none" not found' in kubectl.error("create", "token", "none")


def test_discovery_is_complete(kubectl: Kubectl) -> None:
    versions = kubectl("api-versions").split()
    assert {"v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1", "metrics.k8s.io/v1beta1"} <= set(versions)
    resources = kubectl("api-resources", "-o", "wide")
    for line in (
        r"^pods +po +v1 +true +Pod +create,delete,deletecollection,get,list,patch,update,watch +all$",
        r"^namespaces +ns +v1 +false +Namespace +create,delete,get,list,patch,update,watch *$",
        r"^deployments +deploy +apps/v1 +true +Deployment ",
        r"^horizontalpodautoscalers +hpa +autoscaling/v2 +true ",
    ):
        assert re.search(line, resources, re.MULTILINE), line
    info = kubectl("cluster-info")
    assert re.search(r"Kubernetes control plane.* is running at .*https://127\.0\.0\.1:\d+", info)
    assert "Server Version: v1.37." in kubectl("version")
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert "livez check passed" in kubectl("get", "--raw", "/livez?verbose")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("pod", "KIND:       Pod\nVERSION:    v1\n"),
        ("deploy.spec.strategy.rollingUpdate", "FIELD: rollingUpdate <RollingUpdateDeployment>"),
        ("pods.spec.containers.ports", "  containerPort\t<integer> -required-\n"),
        ("cronjob.spec.concurrencyPolicy", "GROUP:      batch\nKIND:       CronJob\nVERSION:    v1\n"),
    ],
)
def test_explain_tells_what_fields_are_for(kubectl: Kubectl, path: str, expected: str) -> None:
    said = kubectl("explain", path)
    assert expected in said
    assert "DESCRIPTION:" in said


def test_explain_knows_whole_trees_and_says_what_does_not_exist(kubectl: Kubectl) -> None:
    assert re.search(r"\n    strategy\t<DeploymentStrategy>\n", kubectl("explain", "deployment", "--recursive"))
    assert kubectl.error("explain", "pod.spec.nonsense") == 'error: field "nonsense" does not exist'
    assert "RESOURCE: spec <Object>" in kubectl("explain", "pod.spec", "--output=plaintext-openapiv2")


def test_events_tell_a_pods_story(kubectl: Kubectl) -> None:
    kubectl.pod("one", "sleep", "1000")
    said = wait_until(lambda: kubectl("events", "--for=pod/one"), lambda said: "Started" in said)
    for reason, message in (
        ("Scheduled", rf"Successfully assigned {kubectl.namespace}/one to node-\d"),
        ("Pulling", 'Pulling image "busybox"'),
        ("Pulled", 'Successfully pulled image "busybox" in '),
        ("Created", "Container created: c"),
        ("Started", "Container started: c"),
    ):
        assert re.search(rf"Normal +{reason} +Pod/one +{message}", said), reason
    listed = kubectl("get", "events", "--field-selector=involvedObject.name=one,reason=Scheduled", "-o", "name")
    assert len(listed.split()) == 1
    assert "No events found" in kubectl.run("events", "--types=Warning").stderr


def test_the_api_is_reached_through_kubectl_proxy(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    pod = kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    with kubectl.background("proxy", "--port=0") as proxy:
        said = proxy.until(lambda said: re.search(r"Starting to serve on (127.0.0.1:\d+)\n", said))
        base = f"http://{said.split()[-1]}/api/v1/namespaces/{kubectl.namespace}"
        with urllib.request.urlopen(f"{base}/pods/{pod}", timeout=10) as answer:
            assert json.load(answer)["metadata"]["name"] == pod
        with urllib.request.urlopen(f"{base}/pods/{pod}:8080/proxy/here", timeout=10) as answer:
            assert (seen := json.load(answer))["pod"] == pod
        assert seen["path"] == "/here"


def test_the_cluster_can_be_dumped(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    dump = kubectl("cluster-info", "dump", f"--namespaces={kubectl.namespace}")
    assert "==== START logs for container nginx of pod" in dump
