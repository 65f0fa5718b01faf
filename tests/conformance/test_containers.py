"""sig-node: what containers are given -- environment, commands, identity -- and what they leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.pods import IMAGE, Pods, shell, status_of

LIMITS = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}


def field(name: str, path: str) -> Any:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def resource(name: str, what: str) -> Any:
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": what}}}


def key(kind: str) -> Any:
    return {"name": "X", "valueFrom": {kind: {"name": "around", "key": "data-1"}}}


SCRIPT = "echo $X $Y $Z"
PREFIXED = "echo $p_data_1 $data_1 $q_data_1"
WRITTEN = {"emptyDir": {}}

# behaviour: (members of the container, script, what it prints)
AROUND: dict[str, tuple[Any, str, str]] = {
    "ConfigMap should be consumable via environment variable": ({"env": [key("configMapKeyRef")]}, SCRIPT, "value-1"),
    "ConfigMap should be consumable via the environment": (
        {"envFrom": [{"configMapRef": {"name": "around"}}]}, "echo $data_1", "value-1"),
    "ConfigMap should be consumable as environment variable names with various prefixes": (
        {"envFrom": [{"configMapRef": {"name": "around"}}, {"prefix": "p_", "configMapRef": {"name": "around"}}]},
        PREFIXED, "value-1 value-1"),
    "Secrets should be consumable from pods in env vars": ({"env": [key("secretKeyRef")]}, SCRIPT, "value-1"),
    "Secrets should be consumable via the environment": (
        {"envFrom": [{"secretRef": {"name": "around"}}]}, "echo $data_1", "value-1"),
    "Secrets should be consumable as environment variable names variable names with various prefixes": (
        {"envFrom": [{"secretRef": {"name": "around"}}, {"prefix": "p_", "secretRef": {"name": "around"}}]},
        PREFIXED, "value-1 value-1"),
    "Downward API should provide pod name, namespace and IP address as env vars": (
        {"env": [field("X", "metadata.name"), field("Y", "metadata.namespace"), field("Z", "status.podIP")]},
        SCRIPT, "NAME pods IP"),
    "Downward API should provide pod UID as env vars": ({"env": [field("X", "metadata.uid")]}, SCRIPT, "UID"),
    "Downward API should provide host IP as an env var": ({"env": [field("X", "status.hostIP")]}, SCRIPT, "HOST"),
    "Downward API should provide hostIPs as an env var": ({"env": [field("X", "status.hostIPs")]}, SCRIPT, "HOST"),
    "Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars": (
        {"resources": LIMITS, "env": [resource("X", "limits.cpu"), resource("Y", "limits.memory"),
                                      resource("Z", "requests.memory")]}, SCRIPT, "2 67108864 33554432"),
    "Downward API should provide default limits.cpu/memory from node allocatable": (
        {"env": [resource("X", "limits.cpu"), resource("Y", "limits.memory")]},
        'test "$X" -gt 0 && test "$Y" -gt 0 && echo set', "set"),
    "Variable Expansion should allow composing env vars into new env vars": (
        {"env": [{"name": "X", "value": "x"}, {"name": "Y", "value": "[$(X)]"}, {"name": "Z", "value": "$$(X)$(No)"}]},
        SCRIPT, "x [x] $(X)$(No)"),
    "Variable Expansion should allow substituting values in a container's command": (
        {"env": [{"name": "X", "value": "sub"}]}, "echo $(X)-stituted", "sub-stituted"),
    "Variable Expansion should allow substituting values in a container's args": (
        {"env": [{"name": "X", "value": "sub"}], "command": ["sh", "-c"], "args": ["echo $(X)-stituted"]},
        "", "sub-stituted"),
    "Containers should be able to override the image's default command (container entrypoint)": (
        {"command": ["echo", "mine"]}, "", "mine"),
    "Containers should be able to override the image's default command and arguments": (
        {"command": ["echo"], "args": ["mine", "too"]}, "", "mine too"),
    "Containers should be able to override the image's default arguments (container cmd)": (
        {"command": None, "args": ["echo", "mine"]}, "", "mine"),
    "Security Context When creating a container with runAsUser should run the container with uid 65534 (LinuxOnly)": (
        {"securityContext": {"runAsUser": 65534}}, "id -u", "65534"),
    "Security Context should support container.SecurityContext.RunAsUser And container.SecurityContext.RunAsGroup"
    " (LinuxOnly)": ({"securityContext": {"runAsUser": 1001, "runAsGroup": 2002}}, "id -u; id -g", "1001\n2002"),
    "Security Context When creating a pod with readOnlyRootFilesystem should run the container with writable rootfs "
    "when readOnlyRootFilesystem=false": (
        {"securityContext": {"readOnlyRootFilesystem": False}}, "echo x > /f && cat /f", "x"),
    "Kubelet when scheduling a read only busybox container should not write to root filesystem (LinuxOnly)": (
        {"securityContext": {"readOnlyRootFilesystem": True}}, "echo x > /f || echo refused", "refused"),
    "Kubelet when scheduling a busybox command in a pod should print the output to logs": ({}, "echo said", "said"),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def sources(pods: Pods) -> Iterator[None]:
    data = {"data-1": "value-1", "data_1": "value-1"}
    pods.call("POST", "configmaps", {"metadata": {"name": "around"}, "data": data}, 201)
    pods.call("POST", "secrets", {"metadata": {"name": "around"}, "stringData": data}, 201)
    yield
    for kind in ("configmaps", "secrets"):
        pods.call("DELETE", f"{kind}/around")


@pytest.mark.parametrize("behaviour", AROUND)
def test_what_a_container_is_given(pods: Pods, behaviour: str) -> None:
    members, script, wanted = AROUND[behaviour]
    container = {k: v for k, v in {**shell(script), **members}.items() if v is not None}
    name = pods.create({"restartPolicy": "Never", "containers": [container]})
    pod = pods.phase(name, "Succeeded")
    found = {
        "NAME": name,
        "UID": pod["metadata"]["uid"],
        "HOST": pod["status"]["hostIP"],
        "IP": pod["status"]["podIP"],
    }
    for word, value in found.items():
        wanted = wanted.replace(word, value) if word in wanted.split() else wanted
    assert pods.log(name).strip().splitlines()[-wanted.count("\n") - 1 :] == wanted.splitlines()


@pytest.mark.conformance("Containers should use the image defaults if command and args are blank")
def test_an_image_runs_by_itself(pods: Pods) -> None:
    name = pods.create({"containers": [{"name": "c", "image": IMAGE, "stdin": True, "tty": True}]})
    pods.ready(name)
    pods.delete(name)


@pytest.mark.conformance(
    "Security Context should support pod.Spec.SecurityContext.RunAsUser And pod.Spec.SecurityContext.RunAsGroup "
    "(LinuxOnly)"
)
def test_all_containers_run_as_the_pod_says(pods: Pods) -> None:
    said = pods.output("id -u; id -g", securityContext={"runAsUser": 1001, "runAsGroup": 2002})
    assert said.split() == ["1001", "2002"]


@pytest.mark.conformance("Sysctls should support sysctls [Environment:NotInUserNS] (LinuxOnly)")
def test_a_safe_sysctl_is_set(pods: Pods) -> None:
    security = {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}
    assert pods.output("cat /proc/sys/kernel/shm_rmid_forced", securityContext=security).strip() == "1"


@pytest.mark.conformance("Sysctls should reject invalid sysctls (LinuxOnly)")
def test_a_malformed_sysctl_is_refused(pods: Pods) -> None:
    names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."]
    security = {"sysctls": [{"name": n, "value": "1"} for n in names]}
    pod = {"metadata": {"name": "bad"}, "spec": {"containers": [shell("true")], "securityContext": security}}
    text = pods.call("POST", "pods", pod, 422)["message"]
    assert all(f"sysctls[{i}].name" in text for i in (0, 3))
    assert "sysctls[1].name" not in text


@pytest.mark.conformance("Pods should contain environment variables for services")
def test_services_are_variables(pods: Pods) -> None:
    spec = {"ports": [{"port": 8765, "targetPort": 8080}], "selector": {"app": "none"}}
    pods.call("POST", "services", {"metadata": {"name": "foo-service"}, "spec": spec}, 201)
    found = ""
    for _ in range(40):  # a node learns of a service when it does
        found = pods.output("env")
        if "FOO_SERVICE_SERVICE_PORT=" in found:
            break
    for name in ("HOST=", "PORT=8765"):
        assert f"FOO_SERVICE_SERVICE_{name}" in found
    for name in ("FOO_SERVICE_PORT=tcp://", "FOO_SERVICE_PORT_8765_TCP_PROTO=tcp", "FOO_SERVICE_PORT_8765_TCP_ADDR="):
        assert name in found
    pods.call("DELETE", "services/foo-service")


@pytest.mark.conformance(
    "Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts",
    "KubeletManagedEtcHosts should test kubelet managed /etc/hosts file",
)
def test_hosts_are_the_nodes_to_write(pods: Pods) -> None:
    aliases = [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]
    said = pods.output("cat /etc/hosts", hostAliases=aliases)
    assert said.startswith("# Kubernetes-managed hosts file.")
    assert "123.45.67.89\tfoo\tbar" in said
    assert "# Kubernetes-managed hosts file" in pods.output("cat /etc/hosts", hostNetwork=True)
    own = {"volumeMounts": [{"name": "v", "mountPath": "/etc/hosts", "subPath": "data-1"}]}
    volumes = [{"name": "v", "configMap": {"name": "around"}}]
    assert pods.output("cat /etc/hosts", own, volumes=volumes) == "value-1"


def part(expression: str, **env: str) -> Any:
    variables = [{"name": k, "value": v} for k, v in env.items()]
    mount = {"name": "v", "mountPath": "/part", "subPathExpr": expression}
    return {"env": variables, "volumeMounts": [mount, {"name": "v", "mountPath": "/whole"}]}


@pytest.mark.conformance(
    "Variable Expansion should allow substituting values in a volume subpath",
    "Variable Expansion should succeed in writing subpaths in container",
)
def test_part_of_a_volume_by_expression(pods: Pods) -> None:
    said = pods.output(
        "echo in > /part/f; cat /whole/mine/f", part("$(X)", X="mine"), volumes=[{"name": "v", **WRITTEN}]
    )
    assert said == "in\n"


@pytest.mark.conformance(
    "Variable Expansion should fail substituting values in a volume subpath with absolute path",
    "Variable Expansion should fail substituting values in a volume subpath with backticks",
)
@pytest.mark.parametrize("value", ["/tmp", "../x"])
def test_part_of_a_volume_is_in_it(pods: Pods, value: str) -> None:
    spec = {"containers": [shell("sleep 600", **part("$(X)", X=value))], "volumes": [{"name": "v", **WRITTEN}]}
    name = pods.create(spec)
    pod = pods.until(name, lambda p: status_of(p).get("state", {}).get("waiting", {}).get("message"))
    assert status_of(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    pods.delete(name)


@pytest.mark.conformance(
    "Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle of a "
    "container"
)
def test_part_of_a_volume_that_fails_may_be_put_right(pods: Pods) -> None:
    container = shell("sleep 600", **part("$(X)"))
    container["env"] = [field("X", "metadata.annotations['part']")]
    spec = {"containers": [container], "volumes": [{"name": "v", **WRITTEN}]}
    name = pods.create(spec, annotations={"part": "/absolute"})
    pods.until(name, lambda p: "CreateContainerConfigError" in str(status_of(p)))
    pods.call("PATCH", f"pods/{name}", {"metadata": {"annotations": {"part": "mine"}}})
    pods.ready(name)
    pods.delete(name)


PATH = "/dev/termination-log"
# behaviour: (script, members of the container, exit code, message)
LAST_WORDS: dict[str, tuple[str, Any, int, str]] = {
    "Container Runtime blackbox test on terminated container should report termination message as empty when pod "
    "succeeds and TerminationMessagePolicy FallbackToLogsOnError is set": (
        "echo DONE", {"terminationMessagePolicy": "FallbackToLogsOnError"}, 0, ""),
    "Container Runtime blackbox test on terminated container should report termination message from file when pod "
    "succeeds and TerminationMessagePolicy FallbackToLogsOnError is set": (
        f"echo -n OK > {PATH}; echo DONE", {"terminationMessagePolicy": "FallbackToLogsOnError"}, 0, "OK"),
    "Container Runtime blackbox test on terminated container should report termination message from log output if "
    "TerminationMessagePolicy FallbackToLogsOnError is set": (
        "echo -n DONE; exit 1", {"terminationMessagePolicy": "FallbackToLogsOnError"}, 1, "DONE"),
    "Container Runtime blackbox test on terminated container should report termination message if "
    "TerminationMessagePath is set as non-root user and at a non-default path": (
        "echo -n DONE > /dev/own-log", {"terminationMessagePath": "/dev/own-log",
                                        "securityContext": {"runAsUser": 1000}}, 0, "DONE"),
}  # fmt: skip


@pytest.mark.parametrize("behaviour", LAST_WORDS)
def test_last_words_of_a_container(pods: Pods, behaviour: str) -> None:
    script, members, code, message = LAST_WORDS[behaviour]
    name = pods.create({"restartPolicy": "Never", "containers": [shell(script, **members)]})
    ended = status_of(pods.phase(name, "Failed" if code else "Succeeded"))["state"]["terminated"]
    assert (ended["exitCode"], ended.get("message", "")) == (code, message)


@pytest.mark.conformance("Container Runtime blackbox test when starting a container that exits should run with the expected status")  # fmt: skip  # noqa: E501
@pytest.mark.parametrize(
    ("policy", "phase", "count"), [("Always", "Running", 2), ("OnFailure", "Succeeded", 1), ("Never", "Failed", 0)]
)
def test_a_container_that_ends_runs_again_as_the_policy_says(pods: Pods, policy: str, phase: str, count: int) -> None:
    script = "if test -e /v/f; then exit 0; fi; echo x > /v/f; exit 1"
    container = shell(script, volumeMounts=[{"name": "v", "mountPath": "/v"}])
    name = pods.create({"restartPolicy": policy, "containers": [container], "volumes": [{"name": "v", **WRITTEN}]})
    pod = pods.until(
        name, lambda p: p["status"].get("phase") == phase and status_of(p)["restartCount"] >= min(count, 1)
    )
    assert status_of(pod)["restartCount"] >= min(count, 1)
    pods.delete(name)
