"""kubectl logs, exec, attach, cp, port-forward and debug: everything that reaches into a pod."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
import urllib.request

from kcore.cli.kubectl import find_kubectl

from .conftest import Kubectl


def two_containers(kubectl: Kubectl) -> None:
    chatty = "for i in 1 2 3; do echo line $i; done; sleep 1000"
    containers = [
        {"name": "c", "image": "busybox", "command": ["sh", "-c", chatty]},
        {"name": "d", "image": "busybox", "command": ["sh", "-c", "echo from d; sleep 1000"]},
    ]
    metadata = {"name": "two", "labels": {"app": "two"}}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}})
    kubectl("wait", "--for=condition=Ready", "pod/two", "--timeout=20s")


def test_logs_are_selected_and_shown_as_asked(kubectl: Kubectl) -> None:
    two_containers(kubectl)
    done = kubectl.run("logs", "two")
    assert (done.stdout, done.stderr) == ("line 1\nline 2\nline 3\n", 'Defaulted container "c" out of: c, d\n')
    assert kubectl("logs", "two", "-c", "c", "--tail=1") == "line 3\n"
    assert kubectl("logs", "two", "-c", "c", "--limit-bytes=8") == "line 1\nl"
    stamped = kubectl("logs", "two", "-c", "d", "--timestamps")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z from d\n", stamped)
    assert kubectl("logs", "two", "-c", "c", "--since-time=2100-01-01T00:00:00Z") == ""
    prefixed = kubectl("logs", "-l", "app=two", "--all-containers", "--prefix", "--tail=-1")
    assert "[pod/two/c] line 3\n" in prefixed
    assert "[pod/two/d] from d\n" in prefixed
    assert "container x is not valid for pod two" in kubectl.error("logs", "two", "-c", "x")
    assert f'pods "none" not found in namespace "{kubectl.namespace}"' in kubectl.error("logs", "none")
    previous = kubectl.error("logs", "two", "-c", "c", "--previous")
    assert 'previous terminated container "c" in pod "two" not found' in previous


def test_logs_are_followed_until_the_container_ends(kubectl: Kubectl) -> None:
    kubectl.pod("talk", "sh", "-c", "echo one; sleep 1; echo two; sleep 0.5", restartPolicy="Never")
    assert kubectl("logs", "-f", "talk") == "one\ntwo\n"


def test_logs_of_the_life_before_the_restart(kubectl: Kubectl) -> None:
    kubectl.pod("again", "sh", "-c", "echo here I am; sleep 0.3; exit 1")
    kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/again", "--timeout=20s")
    assert kubectl("logs", "again", "--previous") == "here I am\n"


def test_exec_passes_input_output_and_exit_codes(kubectl: Kubectl) -> None:
    kubectl.pod("one", "sleep", "1000")
    assert kubectl("exec", "one", "--", "echo", "a  b") == "a  b\n"
    assert kubectl("exec", "one", "--", "hostname") == "one\n"
    assert kubectl("exec", "-i", "one", "--", "cat", input="typed\n") == "typed\n"
    assert kubectl("exec", "-i", "one", "--", "cat", input="x" * 300_000) == "x" * 300_000
    done = kubectl.run("exec", "one", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr == "err\ncommand terminated with exit code 3\n"
    assert "KUBERNETES_SERVICE_HOST=127." in kubectl("exec", "one", "--", "env")
    account = "/var/run/secrets/kubernetes.io/serviceaccount/"
    assert kubectl("exec", "one", "--", "cat", f"{account}namespace") == kubectl.namespace
    assert kubectl("exec", "one", "--", "cat", f"{account}token").count(".") == 2
    missing = kubectl.run("exec", "one", "--", "no-such-program")
    assert missing.returncode != 0
    assert "no-such-program" in missing.stderr
    assert 'pods "none" not found' in kubectl.error("exec", "none", "--", "true")


def test_a_terminal_is_a_shell_to_type_in(kubectl: Kubectl) -> None:
    kubectl.pod("one", "sleep", "1000")
    program = find_kubectl()
    assert program is not None
    ours, theirs = pty.openpty()
    command = [program, "--kubeconfig", str(kubectl.cluster.kubeconfig), "-n", kubectl.namespace]
    process = subprocess.Popen(
        [*command, "exec", "-it", "one", "--", "sh"], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        _read_until(ours, b"# ")
        os.write(ours, b"echo hello $HOSTNAME\r")
        assert b"hello one\r\n" in _read_until(ours, b"# ")
        os.write(ours, b"exit 7\r")
        assert process.wait(10) == 7
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read_until(terminal: int, end: bytes, seconds: float = 20) -> bytes:
    seen = b""
    until = time.monotonic() + seconds
    while not seen.endswith(end):
        ready, _, _ = select.select([terminal], [], [], max(0, until - time.monotonic()))
        assert ready, f"not said: {end!r}; only {seen!r}"
        seen += os.read(terminal, 4096)
    return seen


def test_attach_joins_the_containers_own_streams(kubectl: Kubectl) -> None:
    kubectl.pod("tick", "sh", "-c", "while true; do echo tick; sleep 0.2; done")
    with kubectl.background("attach", "tick") as attached:
        attached.until(lambda said: said.count("tick\n") >= 2)
    metadata = {"name": "cat"}
    reader = {"name": "c", "image": "busybox", "stdin": True, "stdinOnce": True, "command": ["cat"]}
    spec = {"containers": [reader], "restartPolicy": "Never"}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    kubectl("wait", "--for=condition=Ready", "pod/cat", "--timeout=20s")
    assert "typed\n" in kubectl("attach", "-i", "cat", input="typed\n")
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/cat", "--timeout=20s")


def test_files_and_directories_are_copied_both_ways(kubectl: Kubectl) -> None:
    kubectl.pod("one", "sleep", "1000")
    here = kubectl.directory
    (here / "tree" / "sub").mkdir(parents=True)
    (here / "tree" / "a").write_bytes(bytes(range(256)) * 1000)
    (here / "tree" / "sub" / "b").write_text("b\n")
    kubectl("cp", str(here / "tree" / "sub" / "b"), "one:/tmp/b")
    assert kubectl("exec", "one", "--", "cat", "/tmp/b") == "b\n"
    kubectl("cp", str(here / "tree"), f"{kubectl.namespace}/one:/tmp/tree", "-c", "c")
    kubectl("cp", "one:/tmp/tree", str(here / "back"))
    assert (here / "back" / "a").read_bytes() == (here / "tree" / "a").read_bytes()
    assert (here / "back" / "sub" / "b").read_text() == "b\n"
    assert "/tmp/none: No such file or directory" in kubectl.run("cp", "one:/tmp/none", str(here / "none")).stdout


def test_ports_are_forwarded_to_pods_deployments_and_services(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    pod = kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    for target, port in ((f"pod/{pod}", 8080), ("deployment/web", 8080), ("service/web", 80)):
        with kubectl.background("port-forward", target, f":{port}") as forward:
            said = forward.until(lambda said: re.search(r"Forwarding from 127.0.0.1:(\d+) -> 8080\n", said))
            local = said.partition("127.0.0.1:")[2].partition(" ")[0]
            for path in ("one", "two"):
                with urllib.request.urlopen(f"http://127.0.0.1:{local}/{path}", timeout=10) as answer:
                    seen = json.load(answer)
                assert (seen["pod"], seen["path"]) == (pod, f"/{path}")
            forward.until(lambda said, port=local: f"Handling connection for {port}\n" in said)


def test_debug_adds_containers_copies_pods_and_visits_nodes(kubectl: Kubectl) -> None:
    kubectl.pod("one", "sleep", "1000")
    kubectl("debug", "one", "--image=busybox", "--container=look", "--target=c", "--", "echo", "seen")
    path = "{.status.ephemeralContainerStatuses[0].state.terminated.reason}"
    kubectl("wait", f"--for=jsonpath={path}=Completed", "pod/one", "--timeout=20s")
    assert kubectl("logs", "one", "-c", "look") == "seen\n"
    assert "Ephemeral Containers:\n  look:\n" in kubectl("describe", "pod", "one")
    kubectl("debug", "one", "--copy-to=copy", "--image=busybox", "--container=more", "--", "sleep", "1000")
    kubectl("wait", "--for=condition=Ready", "pod/copy", "--timeout=20s")
    assert [c["name"] for c in kubectl.get("pod", "copy")["spec"]["containers"]] == ["c", "more"]
    said = kubectl("debug", "node/node-1", "--image=busybox", "--", "true")
    name = re.search(r"Creating debugging pod (node-debugger-node-1-\w+) with container debugger on node node-1", said)
    assert name is not None
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name[1]}", "--timeout=20s")
    assert kubectl("get", "pod", name[1], "-o", "jsonpath={.spec.nodeName}") == "node-1"
