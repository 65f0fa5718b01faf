"""What a pod's spec asks of the machine, as its processes find it: real pods through the real kubectl."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from kcore.testing.running import RunningCluster, running
from kcore.testing.waiting import poll
from tests.dockerd import IMAGE, Daemon

from .docker import machine, settings, status

FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with machine("kcore-test-pods") as found:
        yield found


@pytest.fixture(scope="module")
def cluster(daemon: Daemon) -> Iterator[RunningCluster]:
    with running("docker", set=settings(daemon)) as found:
        yield found


def create(cluster: RunningCluster, name: str, container: dict[str, Any], **spec: Any) -> None:
    """A pod of one container, `main`, that waits until it is ended if nothing else is said."""
    main = {"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": FOREVER, **container}
    metadata = {"name": name, "labels": {"app": name}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [main], **spec}}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(pod))


def started(cluster: RunningCluster, name: str, container: dict[str, Any], **spec: Any) -> None:
    create(cluster, name, container, **spec)
    try:
        cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=20s")
    except Exception as error:
        raise AssertionError(cluster.kubectl("describe", "pod", name)) from error


def sh(cluster: RunningCluster, name: str, script: str, *, check: bool = True) -> str:
    """What the script prints in the pod."""
    done = cluster.run_kubectl("exec", name, "-c", "main", "--", "sh", "-c", script, check=check)
    return (done.stdout + ("" if check else done.stderr)).strip()


def fetch(address: str, port: int) -> bytes:
    """An HTTP server's answer; nothing if it does not listen."""
    try:
        with socket.create_connection((address, port), 5) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: sock.recv(65536), b""))
    except OSError:
        return b""


def ended(cluster: RunningCluster, name: str) -> Any:
    return poll(lambda: status(cluster, name)["state"].get("terminated"))


def test_users_groups_and_capabilities_are_those_asked_for(cluster: RunningCluster) -> None:
    started(
        cluster,
        "who",
        {
            "securityContext": {
                "runAsUser": 1234,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
            },
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        },
        securityContext={"runAsGroup": 2345, "fsGroup": 3456, "supplementalGroups": [4567]},
        volumes=[{"name": "data", "emptyDir": {}}],
    )
    assert sh(cluster, "who", "id -u; id -g; id -G").split("\n") == ["1234", "2345", "2345 3456 4567"]
    bounding = sh(cluster, "who", "grep CapBnd /proc/self/status").split()[1]
    assert int(bounding, 16) == 1 << 10  # CAP_NET_BIND_SERVICE
    assert sh(cluster, "who", "grep NoNewPrivs /proc/self/status").split()[1] == "1"
    assert "Read-only file system" in sh(cluster, "who", "touch /file", check=False)
    assert sh(cluster, "who", "touch /data/file; stat -c %g /data/file") == "3456"


def test_the_sandbox_has_the_sysctls_and_names_of_the_spec(cluster: RunningCluster) -> None:
    started(
        cluster,
        "names",
        {},
        hostAliases=[{"ip": "10.1.2.3", "hostnames": ["one.example", "two.example"]}],
        hostname="host",
        subdomain="sub",
        securityContext={"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "777"}]},
    )
    assert sh(cluster, "names", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "777"
    hosts = sh(cluster, "names", "cat /etc/hosts")
    address = cluster.get("pod", "names")["status"]["podIP"]
    assert "10.1.2.3\tone.example\ttwo.example" in hosts
    assert f"{address}\thost.sub.default.svc.cluster.local\thost" in hosts
    assert sh(cluster, "names", "hostname; hostname -f") == "host\nhost.sub.default.svc.cluster.local"


def test_a_pod_of_the_hosts_network_sees_the_hosts_interfaces(cluster: RunningCluster) -> None:
    started(cluster, "host", {}, hostNetwork=True)
    links = sh(cluster, "host", "ls /sys/class/net")
    assert any(link.startswith("kcore-") for link in links.split())
    assert cluster.get("pod", "host")["status"]["podIP"] == "10.244.0.1"


def test_a_host_port_leads_to_the_pod(cluster: RunningCluster) -> None:
    page = "mkdir /www; echo port > /www/index.html; exec httpd -f -p 80 -h /www"
    started(cluster, "hostport", {"command": ["sh", "-c", page], "ports": [{"containerPort": 80, "hostPort": 8088}]})
    assert poll(lambda: fetch("10.244.0.1", 8088)).endswith(b"port\n")
    cluster.kubectl("delete", "pod", "hostport", "--grace-period=0", "--force", "--wait")

    def rules() -> str:
        return subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout

    assert poll(lambda: "8088" not in rules())


def test_volumes_of_memory_have_their_limit(cluster: RunningCluster) -> None:
    started(
        cluster,
        "memory",
        {"volumeMounts": [{"name": "fast", "mountPath": "/fast"}]},
        volumes=[{"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
    )
    assert sh(cluster, "memory", "stat -f -c %T /fast") == "tmpfs"
    assert "No space left" in sh(cluster, "memory", "dd if=/dev/zero of=/fast/file bs=1M count=2", check=False)


def test_parts_of_volumes_and_changes_of_mounted_configmaps(cluster: RunningCluster) -> None:
    cluster.kubectl("create", "configmap", "settings", "--from-literal=color=red", "--from-literal=size=big")
    started(
        cluster,
        "mounts",
        {
            "volumeMounts": [
                {"name": "settings", "mountPath": "/settings"},
                {"name": "settings", "mountPath": "/etc/color", "subPath": "color"},
                {"name": "data", "mountPath": "/part", "subPath": "a/b"},
                {"name": "data", "mountPath": "/whole"},
            ]
        },
        volumes=[{"name": "settings", "configMap": {"name": "settings"}}, {"name": "data", "emptyDir": {}}],
    )
    assert sh(cluster, "mounts", "cat /settings/color /etc/color") == "redred"
    sh(cluster, "mounts", "echo here > /part/file")
    assert sh(cluster, "mounts", "cat /whole/a/b/file") == "here"
    cluster.kubectl("patch", "configmap", "settings", "-p", '{"data":{"color":"blue"}}')
    poll(lambda: sh(cluster, "mounts", "cat /settings/color") == "blue")
    assert sh(cluster, "mounts", "cat /etc/color") == "red"  # a subPath stays as it was


def test_the_end_of_the_log_stands_in_for_last_words(cluster: RunningCluster) -> None:
    script = "echo all is lost >&2; exit 3"
    create(
        cluster,
        "words",
        {"command": ["sh", "-c", script], "terminationMessagePolicy": "FallbackToLogsOnError"},
        restartPolicy="Never",
    )
    assert (found := ended(cluster, "words"))["message"] == "all is lost\n", found
    create(
        cluster,
        "file",
        {"command": ["sh", "-c", "echo -n by file > /dev/termination-log; exit 4"]},
        restartPolicy="Never",
    )
    found = ended(cluster, "file")
    assert (found["message"], found["exitCode"]) == ("by file", 4)


@pytest.mark.parametrize(
    "probe",
    [
        {"exec": {"command": ["cat", "/tmp/healthy"]}},
        {"httpGet": {"path": "/healthy", "port": 80}},
        {"tcpSocket": {"port": 81}},
    ],
    ids=["exec", "http", "tcp"],
)
def test_probes_reach_into_real_pods(cluster: RunningCluster, probe: dict[str, Any]) -> None:
    name = f"probe-{next(iter(probe)).lower()}"
    script = "mkdir /www; httpd -p 80 -h /www; exec sh -c 'trap exit TERM; while true; do sleep 0.1; done'"
    check = {**probe, "periodSeconds": 1}
    create(cluster, name, {"command": ["sh", "-c", script], "readinessProbe": check})
    poll(lambda: status(cluster, name)["started"] or None)
    assert not status(cluster, name)["ready"]
    sh(cluster, name, "touch /tmp/healthy /www/healthy; nc -lk -p 81 -e true > /dev/null 2>&1 &")
    poll(lambda: status(cluster, name)["ready"])


def test_a_failed_liveness_probe_restarts_the_container(cluster: RunningCluster) -> None:
    liveness = {"exec": {"command": ["test", "!", "-e", "/tmp/sick"]}, "periodSeconds": 1, "failureThreshold": 1}
    started(cluster, "alive", {"livenessProbe": liveness}, terminationGracePeriodSeconds=1)
    sh(cluster, "alive", "touch /tmp/sick")
    poll(lambda: status(cluster, "alive")["restartCount"] == 1 and status(cluster, "alive")["ready"])


def test_pods_end_in_order_after_their_hooks(cluster: RunningCluster) -> None:
    """The hook runs before the signal, and a sidecar ends after the container that needs it."""
    note = "trap 'echo {0} >> /log/order; exit 0' TERM; while true; do sleep 0.05; done"
    mounts = [{"name": "log", "mountPath": "/log"}]
    sidecar = {
        "name": "side", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always",
        "command": ["sh", "-c", note.format("side")], "volumeMounts": mounts,
    }  # fmt: skip
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "sleep 0.3; echo hook >> /log/order"]}}}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(claim("order")))
    started(
        cluster,
        "order",
        {"command": ["sh", "-c", note.format("main")], "lifecycle": hook, "volumeMounts": mounts},
        initContainers=[sidecar],
        volumes=[{"name": "log", "persistentVolumeClaim": {"claimName": "order"}}],
    )
    cluster.kubectl("delete", "pod", "order", "--wait")
    started(
        cluster,
        "reader",
        {"volumeMounts": mounts},
        volumes=[{"name": "log", "persistentVolumeClaim": {"claimName": "order"}}],
    )
    assert sh(cluster, "reader", "cat /log/order").split() == ["hook", "main", "side"]


def claim(name: str) -> dict[str, Any]:
    """Of the default class, which makes what is asked for."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
