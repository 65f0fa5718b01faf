"""sig-node: pods as they start, are asked how they are, change and end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.conformance.pods import IMAGE, STRATEGIC, Pods, is_ready, restarts, server, shell, status_of

SLEEP = "sleep 600"


def named(name: str, container: Any) -> Any:
    return {**container, "name": name}


# --- init containers -------------------------------------------------------------------------------------------------

# behaviour: (restart policy, whether the second init container fails)
INIT: dict[str, tuple[str, bool]] = {
    "InitContainer should invoke init containers on a RestartAlways pod": ("Always", False),
    "InitContainer should invoke init containers on a RestartNever pod": ("Never", False),
    "InitContainer should not start app containers and fail the pod if init containers fail on a RestartNever pod": (
        "Never", True),
    "InitContainer should not start app containers if init containers fail on a RestartAlways pod": ("Always", True),
}  # fmt: skip


@pytest.mark.parametrize("behaviour", INIT)
def test_init_containers_come_first(pods: Pods, behaviour: str) -> None:
    policy, fails = INIT[behaviour]
    init = [named("i1", shell("true")), named("i2", shell("false" if fails else "true"))]
    app = shell(SLEEP if policy == "Always" else "true")
    name = pods.create({"restartPolicy": policy, "initContainers": init, "containers": [app]})
    if not fails:
        pod = pods.ready(name) if policy == "Always" else pods.phase(name, "Succeeded")
        assert [s["state"]["terminated"]["exitCode"] for s in pod["status"]["initContainerStatuses"]] == [0, 0]
    elif policy == "Never":
        assert "waiting" in status_of(pods.phase(name, "Failed"))["state"]
    else:
        pod = pods.until(name, lambda p: restarts(p, "i2") >= 1)
        assert pod["status"]["phase"] == "Pending"
        assert status_of(pod)["state"]["waiting"]["reason"] == "PodInitializing"
    conditions = {c["type"]: c["status"] for c in pods.get(name)["status"]["conditions"]}
    assert conditions["Initialized"] == ("False" if fails else "True")
    pods.delete(name)


# --- probes ----------------------------------------------------------------------------------------------------------

FAST = {"periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 2}
GET = {"httpGet": {"path": "/", "port": 8080}}
FILE = {"exec": {"command": ["cat", "/tmp/health"]}}
TCP = {"tcpSocket": {"port": 8080}}

# behaviour: (container, probe, whether it is restarted)
ALIVE: dict[str, tuple[Any, Any, bool]] = {
    "Probing container should *not* be restarted with a /healthz http liveness probe": (server(), GET, False),
    "Probing container should be restarted with a /healthz http liveness probe": (
        server(), {"httpGet": {"path": "/missing", "port": 8081}}, True),
    "Probing container should *not* be restarted with a exec \"cat /tmp/health\" liveness probe": (
        shell(f"echo ok > /tmp/health; {SLEEP}"), FILE, False),
    "Probing container should be restarted with a exec \"cat /tmp/health\" liveness probe": (
        shell(f"echo ok > /tmp/health; sleep 3; rm /tmp/health; {SLEEP}"), FILE, True),
    "Probing container should *not* be restarted with a tcp:8080 liveness probe": (server(), TCP, False),
}  # fmt: skip


@pytest.mark.parametrize("behaviour", ALIVE)
def test_containers_that_are_not_alive_are_restarted(pods: Pods, behaviour: str, runtime: str) -> None:
    container, probe, again = ALIVE[behaviour]
    annotations = {}
    if again and "httpGet" in probe and runtime == "fake":
        probe, annotations = GET, {"kcore.dev/ready-for": "1s"}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [{**container, "livenessProbe": {**FAST, **probe}}]}
    name = pods.create(spec, annotations=annotations)
    if again:
        pods.until(name, lambda p: restarts(p) >= 1)
    else:
        pods.ready(name)
        time.sleep(4)  # two probes and more
        assert restarts(pods.get(name)) == 0
    pods.delete(name)


@pytest.mark.conformance("Probing container should have monotonically increasing restart count")
def test_restarts_only_become_more(pods: Pods) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    name = pods.create({"terminationGracePeriodSeconds": 0, "containers": [shell(SLEEP, livenessProbe=probe)]})
    seen: list[int] = []
    pods.until(name, lambda p: seen.append(restarts(p)) or restarts(p) >= 2)
    assert seen == sorted(seen)
    pods.delete(name)


@pytest.mark.conformance(
    "Probing container with readiness probe should not be ready before initial delay and never restart",
    "Probing container with readiness probe that fails should never be ready and never restart",
)
def test_readiness_decides_nothing_but_readiness(pods: Pods) -> None:
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1, "initialDelaySeconds": 3}
    good = pods.create({"containers": [shell(SLEEP, readinessProbe=probe)]})
    bad = pods.create({"containers": [shell(SLEEP, readinessProbe={**probe, "exec": {"command": ["false"]}})]})
    pod = pods.ready(good)
    began = status_of(pod)["state"]["running"]["startedAt"]
    ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")["lastTransitionTime"]
    assert int(ready[17:19]) - int(began[17:19]) in (3, 4, 5, -57, -56, -55)
    assert not is_ready(pods.get(bad))
    for name in (good, bad):
        assert restarts(pods.get(name)) == 0
        pods.delete(name)


# --- hooks -----------------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook properly",
    "Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart http hook properly",
)
def test_post_start_hooks_run(pods: Pods) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo ran > /tmp/hook"]}}}
    name = pods.create({"containers": [shell(SLEEP, lifecycle=hook)]})
    pods.ready(name)
    assert pods.exec(name, "cat", "/tmp/hook") == "ran\n"
    pods.delete(name)
    target = pods.create({"containers": [server()]})
    address = pods.ready(target)["status"]["podIP"]
    get = {"path": "/hooked", "port": 8080, "host": address}
    name = pods.create({"containers": [shell(SLEEP, lifecycle={"postStart": {"httpGet": get}})]})
    pods.until(name, lambda p: status_of(p).get("state", {}).get("running") or restarts(p))
    for made in (name, target):
        pods.delete(made)


@pytest.mark.conformance(
    "Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly",
    "Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop http hook properly",
    "PreStop should call prestop when killing a pod",
)
@pytest.mark.parametrize("kind", ["exec", "httpGet"])
def test_pre_stop_hooks_run(pods: Pods, kind: str) -> None:
    hook = {"exec": {"command": ["sleep", "2"]}} if kind == "exec" else {"httpGet": {"path": "/", "port": 8080}}
    container = server(lifecycle={"preStop": hook})
    name = pods.create({"terminationGracePeriodSeconds": 10, "containers": [container]})
    pods.ready(name)
    began = time.monotonic()
    pods.delete(name, grace=10)
    pods.gone(name)
    took = time.monotonic() - began
    assert 2 <= took < 12 if kind == "exec" else took < 12
    events = pods.call("GET", f"events?fieldSelector=involvedObject.name%3D{name}")["items"]
    reasons = {e["reason"] for e in events}
    assert "Killing" in reasons
    assert "FailedPreStopHook" not in reasons


# --- changes ---------------------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Pods should be submitted and removed",
    "Pods should be updated",
    "Pods should get a host IP",
    "Pods should patch a pod status",
    "Pods should run through the lifecycle of Pods and PodStatus",
)
def test_a_pod_is_made_changed_and_removed(pods: Pods) -> None:
    name = pods.create({"containers": [shell(SLEEP)]}, labels={"time": "one"})
    pod = pods.ready(name)
    assert pod["status"]["hostIP"]
    assert pods.call("GET", "pods?labelSelector=time%3Done")["items"][0]["metadata"]["name"] == name
    for _ in range(20):  # the node may write its status in between
        pod = pods.get(name)
        pod["metadata"]["labels"]["time"] = "two"
        try:
            pods.call("PUT", f"pods/{name}", pod)
            break
        except AssertionError:
            continue
    assert pods.get(name)["metadata"]["labels"] == {"time": "two"}
    condition = {"type": "example.com/own", "status": "True", "reason": "Tested"}
    found = pods.call("PATCH", f"pods/{name}/status", {"status": {"conditions": [condition]}}, type=STRATEGIC)
    assert any(c["type"] == "example.com/own" for c in found["status"]["conditions"])
    pods.delete(name, grace=1)
    pods.gone(name)


@pytest.mark.conformance("Pods should delete a collection of pods")
def test_many_pods_are_deleted_at_once(pods: Pods) -> None:
    names = [pods.create({"containers": [shell(SLEEP)]}, labels={"many": "yes"}) for _ in range(3)]
    pods.call("DELETE", "pods?labelSelector=many%3Dyes&gracePeriodSeconds=0")
    for name in names:
        pods.gone(name)


@pytest.mark.conformance("Pods should allow activeDeadlineSeconds to be updated")
def test_a_deadline_may_come_later(pods: Pods) -> None:
    name = pods.create({"containers": [shell(SLEEP)], "terminationGracePeriodSeconds": 1})
    pods.ready(name)
    pods.call("PATCH", f"pods/{name}", {"spec": {"activeDeadlineSeconds": 1}})
    assert pods.phase(name, "Failed")["status"]["reason"] == "DeadlineExceeded"


@pytest.mark.conformance(
    "Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update",
    "Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful delete",
    "Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and "
    "observedGeneration eventually converge",
)
def test_generations_of_a_pod(pods: Pods) -> None:
    name = pods.create({"containers": [shell(SLEEP)], "terminationGracePeriodSeconds": 5}, generation=100)
    assert pods.ready(name)["metadata"]["generation"] == 1
    pods.call("PATCH", f"pods/{name}", {"metadata": {"labels": {"no": "change"}}})
    assert pods.get(name)["metadata"]["generation"] == 1
    for n in range(2, 502):
        got = pods.call("PATCH", f"pods/{name}", {"spec": {"activeDeadlineSeconds": 10000 - n}})
        assert got["metadata"]["generation"] == n
    pods.until(name, lambda p: p["status"].get("observedGeneration") == 501)
    pods.delete(name, grace=5)


@pytest.mark.conformance(
    "Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and "
    "cpu"
)
def test_quality_of_service(pods: Pods) -> None:
    amounts = {"cpu": "100m", "memory": "32Mi"}
    name = pods.create({"containers": [shell(SLEEP, resources={"requests": amounts, "limits": amounts})]})
    assert pods.get(name)["status"]["qosClass"] == "Guaranteed"
    pods.delete(name)


@pytest.mark.conformance(
    "Ephemeral Containers will start an ephemeral container in an existing pod",
    "Ephemeral Containers should update the ephemeral containers in an existing pod",
)
def test_ephemeral_containers_join(pods: Pods) -> None:
    name = pods.create({"containers": [shell(SLEEP)]})
    pods.ready(name)
    for n in (1, 2):
        debug = {"name": f"debug-{n}", "image": IMAGE, "command": ["sh", "-c", f"echo polo-{n}; sleep 600"]}
        patch = {"spec": {"ephemeralContainers": [debug]}}
        pods.call("PATCH", f"pods/{name}/ephemeralcontainers", patch, type=STRATEGIC)
        pods.until(name, lambda p, n=n: status_of(p, f"debug-{n}").get("state", {}).get("running"))
        assert pods.log(name, f"debug-{n}") == f"polo-{n}\n"
    pods.delete(name)


@pytest.mark.conformance("ImageVolume should succeed with pod and pull policy of Always (LinuxOnly)")
def test_an_image_is_a_volume(pods: Pods) -> None:
    container = shell("test -d /image && sleep 600", volumeMounts=[{"name": "v", "mountPath": "/image"}])
    volumes = [{"name": "v", "image": {"reference": IMAGE, "pullPolicy": "Always"}}]
    name = pods.create({"containers": [container], "volumes": volumes})
    pods.ready(name)
    pods.delete(name)


@pytest.mark.conformance(
    "Kubelet when scheduling a busybox command that always fails in a pod should be possible to delete",
    "Kubelet when scheduling a busybox command that always fails in a pod should have an terminated reason",
)
def test_a_pod_that_always_fails(pods: Pods) -> None:
    name = pods.create({"containers": [shell("false")]})
    pods.until(name, lambda p: (status_of(p).get("lastState") or {}).get("terminated", {}).get("reason") == "Error")
    pods.delete(name)
    pods.gone(name)


# --- resizes ---------------------------------------------------------------------------------------------------------


def sized(name: str, cpu: int, memory: int, *, limits: bool = True) -> Any:
    amounts = {"cpu": f"{cpu}m", "memory": f"{memory}Mi"}
    found = {"requests": amounts, "limits": amounts} if limits else {"requests": amounts}
    return named(name, shell(SLEEP, resources=found))


GUARANTEED = [("c1", 100, 100), ("c2", 200, 200), ("c3", 300, 300)]
# behaviour: (sizes before, sizes after: millicores and MiB; whether they are limits too)
RESIZES: dict[str, tuple[Any, Any, bool]] = {
    "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, c2"
    ", decrease cpu & mem on c3 - net increase": (
        GUARANTEED, [("c1", 140, 150), ("c2", 240, 250), ("c3", 250, 250)], True),
    "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, "
    "decrease cpu & mem on c2, c3 - net decrease": (
        GUARANTEED, [("c1", 120, 120), ("c2", 150, 150), ("c3", 250, 250)], True),
    "Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU (c1,c3), "
    "memory (c2, c3) ; decrease: CPU (c2)": (
        GUARANTEED, [("c1", 120, 100), ("c2", 150, 250), ("c3", 350, 350)], True),
    "Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed (including "
    "adding limits and requests)": (
        [(f"c{n}", 100, 100) for n in range(1, 7)], [(f"c{n}", 50 + 30 * n, 60 + 30 * n) for n in range(1, 7)], False),
    "Pod InPlace Resize Container burstable pods - extended resize with equivalents": (
        [("c1", 100, 1000)], [("c1", 200, 1000)], False),
    "Pod InPlace Resize Container resize pod via the replace endpoint": (
        [("c1", 100, 100)], [("c1", 150, 150)], True),
}  # fmt: skip


@pytest.mark.parametrize("behaviour", RESIZES)
def test_containers_are_resized(pods: Pods, behaviour: str) -> None:
    before, after, limits = RESIZES[behaviour]
    name = pods.create({"containers": [sized(*row, limits=limits) for row in before]})
    pods.ready(name)
    wanted = {n: sized(n, cpu, memory, limits=limits)["resources"] for n, cpu, memory in after}
    patch = {"spec": {"containers": [{"name": n, "resources": r} for n, r in wanted.items()]}}
    if "replace" in behaviour:
        pod = pods.get(name)
        pod["spec"]["containers"][0]["resources"] = wanted["c1"]
        pods.call("PUT", f"pods/{name}/resize", pod)
    else:
        pods.call("PATCH", f"pods/{name}/resize", patch, type=STRATEGIC)
    pod = pods.until(name, lambda p: all(status_of(p, n).get("resources") == r for n, r in wanted.items()))
    assert all(restarts(pod, n) == 0 for n in wanted)
    assert not any(c["type"].startswith("PodResize") for c in pods.get(name)["status"]["conditions"])
    pods.delete(name)
