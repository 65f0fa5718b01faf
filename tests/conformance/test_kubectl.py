"""sig-cli: what the real kubectl does on a whole cluster."""

from __future__ import annotations

import http.client
import json
import re
import socket
import urllib.request
from typing import Any

import pytest

from tests.conformance.conftest import Place
from tests.conformance.objects import controller


def counter(name: str, replicas: int) -> Any:
    """A replication controller whose pods run."""
    body = controller(name, replicas)
    body["spec"]["template"]["spec"] = {"containers": [{"name": name, "image": "nautilus:1"}]}
    return {"apiVersion": "v1", "kind": "ReplicationController", **body}


def running(place: Place, name: str) -> list[str]:
    """The running pods of a controller, by the template that asks for their containers."""
    template = (
        "{{range .items}}{{$name := .metadata.name}}{{range .status.containerStatuses}}"
        "{{if .state.running}}{{$name}} {{end}}{{end}}{{end}}"
    )
    return place.kubectl("get", "pods", "-l", f"app={name}", "-o", "template", f"--template={template}").split()


def rolled_out(place: Place, name: str, replicas: int) -> list[str]:
    place.kubectl("create", "-f", "-", input=json.dumps(counter(name, replicas)))
    place.until(lambda: len(running(place, name)) == replicas)
    return running(place, name)


@pytest.mark.conformance(
    "Kubectl client Update Demo should create and stop a replication controller",
    "Kubectl client Update Demo should scale a replication controller",
)
def test_a_replication_controller_is_made_scaled_and_stopped(place: Place) -> None:
    rolled_out(place, "demo", 2)
    for replicas in (1, 2):
        said = place.kubectl("scale", "rc", "demo", f"--replicas={replicas}", "--timeout=20s")
        assert said == "replicationcontroller/demo scaled\n"
        place.until(lambda replicas=replicas: len(running(place, "demo")) == replicas)
    place.kubectl("delete", "rc", "demo", "--grace-period=0", "--force")
    assert place.kubectl("get", "rc,svc", "-l", "app=demo", "--no-headers").strip() == ""
    place.until(lambda: not running(place, "demo"))


@pytest.mark.conformance("Kubectl client Kubectl api-versions should check if v1 is in available api versions")
def test_v1_is_among_the_versions(place: Place) -> None:
    assert "v1" in place.kubectl("api-versions").split()


@pytest.mark.conformance(
    "Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info"
)
def test_cluster_info_names_the_control_plane(place: Place) -> None:
    info = re.sub(r"\x1b\[[0-9;]*m", "", place.kubectl("cluster-info"))
    assert re.search(r"^Kubernetes control plane is running at https://127\.0\.0\.1:\d+$", info, re.MULTILINE)


@pytest.mark.conformance(
    "Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and pods"
)
def test_describe_tells_of_controllers_pods_services_nodes_and_namespaces(place: Place) -> None:
    (pod,) = rolled_out(place, "primary", 1)
    place.kubectl("expose", "rc", "primary", "--port=6379")

    def told(what: str, *rows: str) -> None:
        text = place.kubectl("describe", *what.split())
        for row in rows:
            assert re.search(rf"^\s*{row}", text, re.MULTILINE), (row, text)

    namespace = rf"Namespace: +{place.namespace}\n"
    told("rc primary", r"Name: +primary\n", namespace, r"Selector: +app=primary\n", r"Labels: +app=primary\n",
         r"Replicas: +1 current / 1 desired\n", r"Pods Status: +1 Running / 0 Waiting / 0 Succeeded / 0 Failed\n",
         r"Image: +nautilus:1\n", r"Events:")  # fmt: skip
    told(f"pod {pod}", rf"Name: +{pod}\n", namespace, r"Node: +node-\d", r"Labels: +app=primary\n",
         r"Status: +Running\n", r"IP: +\d+\.", r"Controlled By: +ReplicationController/primary\n",
         r"Image: +nautilus:1\n", r"State: +Running\n", r"QoS Class: +BestEffort\n")  # fmt: skip
    told("service primary", r"Name: +primary\n", namespace, r"Selector: +app=primary\n", r"Type: +ClusterIP\n",
         r"IP: +\d+\.", r"Port: +<unset> +6379/TCP\n", r"Endpoints: +\d+\.\d+\.\d+\.\d+:6379\n")  # fmt: skip
    node = place.kubectl.get("pod", pod)["spec"]["nodeName"]
    told(f"node {node}", rf"Name: +{node}\n", "Labels:", "Annotations:", "CreationTimestamp:", "Conditions:",
         r"Type +Status", "MemoryPressure", "Ready", "Addresses:", "Capacity:", "Kubelet Version:",
         "Non-terminated Pods:")  # fmt: skip
    told(f"namespace {place.namespace}", rf"Name: +{place.namespace}\n", r"Status: +Active\n")


@pytest.mark.conformance("Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments")
def test_diff_finds_the_new_image_of_a_deployment(place: Place) -> None:
    text = place.kubectl("create", "deployment", "d", "--image=httpd:1", "--dry-run=client", "-o", "yaml")
    place.kubectl("create", "-f", "-", input=text)
    done = place.kubectl.run("diff", "-f", "-", input=text.replace("httpd:1", "busybox:1"))
    assert done.returncode == 1, done.stderr
    assert re.search(r"^-\s*- image: httpd:1$", done.stdout, re.MULTILINE)
    assert re.search(r"^\+\s*- image: busybox:1$", done.stdout, re.MULTILINE)


@pytest.mark.conformance("Kubectl client Kubectl expose should create services for rc")
def test_services_of_a_controller_and_of_a_service_are_made(place: Place) -> None:
    (pod,) = rolled_out(place, "primary", 1)
    for what, name, port in (("rc/primary", "rm2", 1234), ("service/rm2", "rm3", 2345)):
        place.kubectl("expose", what, f"--name={name}", f"--port={port}", "--target-port=6379")
        found = place.kubectl.get("service", name)
        assert [(p["port"], p["targetPort"]) for p in found["spec"]["ports"]] == [(port, 6379)]
        address = place.kubectl.get("pod", pod)["status"]["podIP"]

        def behind(name: str = name, address: str = address) -> bool:
            done = place.kubectl.run("get", "endpoints", name, "-o", "json")
            subsets = json.loads(done.stdout).get("subsets") or () if done.returncode == 0 else ()
            return [(a["ip"], p["port"]) for s in subsets for a in s["addresses"] for p in s["ports"]] == [
                (address, 6379)
            ]

        place.until(behind)


@pytest.mark.conformance("Kubectl client Kubectl label should update the label on a resource")
def test_a_label_of_a_pod_is_set_shown_and_taken_away(place: Place) -> None:
    place.kubectl.pod("pause")
    place.kubectl("label", "pods", "pause", "testing-label=testing-label-value")
    assert "testing-label-value" in place.kubectl("get", "pod", "pause", "-L", "testing-label")
    place.kubectl("label", "pods", "pause", "testing-label-")
    assert "testing-label-value" not in place.kubectl("get", "pod", "pause", "-L", "testing-label")


@pytest.mark.conformance("Kubectl client Kubectl patch should add annotations for pods in rc")
def test_pods_of_a_controller_are_annotated(place: Place) -> None:
    for pod in rolled_out(place, "primary", 2):
        place.kubectl("patch", "pod", pod, "-p", '{"metadata":{"annotations":{"x":"y"}}}')
    items = place.kubectl.get("pods", "-l", "app=primary")["items"]
    assert [item["metadata"]["annotations"]["x"] for item in items] == ["y", "y"]


@pytest.mark.conformance("Kubectl client Kubectl replace should update a single-container pod's image")
def test_the_image_of_a_pod_is_replaced(place: Place) -> None:
    place.kubectl.pod("p")
    old = place.kubectl("get", "pod", "p", "-o", "json")
    assert place.kubectl("replace", "-f", "-", input=old.replace('"image": "busybox"', '"image": "httpd:2"', 1)) == (
        "pod/p replaced\n"
    )
    assert place.kubectl.get("pod", "p")["spec"]["containers"][0]["image"] == "httpd:2"


@pytest.mark.conformance("Kubectl client Kubectl run pod should create a pod from an image when restart is Never")
def test_run_makes_a_pod_that_never_restarts(place: Place) -> None:
    assert place.kubectl("run", "once", "--restart=Never", "--image=httpd:1") == "pod/once created\n"
    spec = place.kubectl.get("pod", "once")["spec"]
    assert (spec["containers"][0]["image"], spec["restartPolicy"]) == ("httpd:1", "Never")


@pytest.mark.conformance("Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods")
def test_a_dry_run_changes_no_pod(place: Place) -> None:
    place.kubectl("run", "p", "--image=httpd:1", "-l", "run=p")
    patch = '{"spec":{"containers":[{"name":"p","image":"busybox:1"}]}}'
    shown = place.kubectl("patch", "pod", "p", "-p", patch, "--dry-run=server", "-o", "json")
    assert json.loads(shown)["spec"]["containers"][0]["image"] == "busybox:1"
    assert place.kubectl.get("pod", "p")["spec"]["containers"][0]["image"] == "httpd:1"


@pytest.mark.conformance("Kubectl client Kubectl version should check is all data is printed")
def test_version_tells_of_client_and_server(place: Place) -> None:
    said = json.loads(place.kubectl("version", "-o", "json"))
    for side in ("clientVersion", "serverVersion"):
        assert set(said[side]) >= {
            "major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler",
            "platform",
        }, side  # fmt: skip
    assert re.search(
        r"^Client Version: v1\.\d+.*\nKustomize Version: .*\nServer Version: v1\.\d+", place.kubectl("version")
    )


@pytest.mark.conformance("Kubectl client Proxy server should support proxy with --port 0")
def test_the_proxy_takes_a_port_that_is_free(place: Place) -> None:
    with place.kubectl.background("proxy", "--port=0", "--disable-filter") as proxy:
        said = proxy.until(lambda said: re.search(r"Starting to serve on 127\.0\.0\.1:\d+\n", said))
        with urllib.request.urlopen(f"http://{said.split()[-1]}/api/", timeout=10) as answer:
            assert json.load(answer)["kind"] == "APIVersions"


class _Unix(http.client.HTTPConnection):
    """HTTP over the socket at a path."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


@pytest.mark.conformance("Kubectl client Proxy server should support --unix-socket=/path")
def test_the_proxy_takes_the_path_of_a_socket(place: Place) -> None:
    path = place.kubectl.directory / "proxy"
    with place.kubectl.background("proxy", f"--unix-socket={path}") as proxy:
        proxy.until(lambda said: "Starting to serve on" in said)
        connection = _Unix(str(path), timeout=10)
        connection.request("GET", "/api/", headers={"Host": "localhost"})
        assert json.load(connection.getresponse())["kind"] == "APIVersions"
        connection.close()


@pytest.mark.conformance("Kubectl logs logs should be able to retrieve and filter logs")
def test_logs_are_fetched_and_filtered(place: Place) -> None:
    lines = "; ".join(f"echo line {i}" for i in range(1, 6))
    place.kubectl.pod("logs", "sh", "-c", f"{lines}; sleep 1000")
    whole = place.until(lambda: (said := place.kubectl("logs", "logs", "-c", "c")).count("\n") == 5 and said)
    assert place.kubectl("logs", "logs", "c", "--tail=1") == "line 5\n"
    assert place.kubectl("logs", "logs", "c", "--limit-bytes=1") == whole[:1]
    stamped = place.kubectl("logs", "logs", "c", "--tail=1", "--timestamps")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+\d\d:\d\d) line 5\n", stamped)
    assert place.kubectl("logs", "logs", "c", "--since=24h") == whole
    assert place.kubectl("logs", "logs", "c", "--since-time=2100-01-01T00:00:00Z") == ""
