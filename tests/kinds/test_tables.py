"""What kubectl get shows."""

from __future__ import annotations

import pytest
from kcore_kinds.tables import TABLES
from kcore_kinds.tables.cells import human_duration

from kcore import clock


def cells(resource: str, obj: dict) -> dict:
    obj.setdefault("metadata", {"name": "x", "creationTimestamp": clock.timestamp()})
    return {c.name: c.cell(obj) for c in TABLES[resource]}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (3600, "60m"),
        (4 * 3600 + 60, "4h1m"),
        (9 * 3600 + 60, "9h"),
        (3 * 86400 + 3600, "3d1h"),
        (30 * 86400, "30d"),
        (800 * 86400, "2y70d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_durations_say_as_much_as_fits(seconds, text):
    assert human_duration(seconds) == text


def pod(containers=1, inits=(), **status):
    spec = {"containers": [{"name": f"c{i}"} for i in range(containers)], "initContainers": list(inits)}
    return {"spec": spec, "status": {"phase": "Pending", **status}}


def running(name="c0", **more):
    return {"name": name, "ready": True, "restartCount": 0, "state": {"running": {}}, **more}


def test_a_running_pod():
    found = cells("pods", pod(phase="Running", containerStatuses=[running(restartCount=2)], podIP="10.0.0.1"))
    assert (found["Ready"], found["Status"], found["Restarts"], found["IP"]) == ("1/1", "Running", "2", "10.0.0.1")
    assert found["Node"] == "<none>"


async def test_a_restart_says_when_it_was(autojump_clock):
    clock.use_virtual()
    ended = {"terminated": {"exitCode": 1, "finishedAt": clock.timestamp(clock.now() - 300)}}
    found = cells("pods", pod(phase="Running", containerStatuses=[running(restartCount=3, lastState=ended)]))
    assert found["Restarts"] == "3 (5m ago)"


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ({"waiting": {"reason": "CrashLoopBackOff"}}, "CrashLoopBackOff"),
        ({"terminated": {"exitCode": 3}}, "ExitCode:3"),
        ({"terminated": {"exitCode": 137, "signal": 9}}, "Signal:9"),
        ({"terminated": {"exitCode": 0, "reason": "Completed"}}, "Completed"),
    ],
)
def test_the_state_of_a_container_says_more_than_the_phase(state, shown):
    status = {"name": "c0", "ready": False, "restartCount": 0, "state": state}
    assert cells("pods", pod(phase="Running", containerStatuses=[status]))["Status"] == shown


def test_a_pod_that_initializes_counts_its_init_containers():
    waiting = {"name": "i0", "restartCount": 0, "state": {"running": {}}}
    found = cells("pods", pod(inits=[{"name": "i0"}, {"name": "i1"}], initContainerStatuses=[waiting]))
    assert (found["Status"], found["Ready"]) == ("Init:0/2", "0/1")


def test_sidecars_count_as_containers():
    sidecar = {"name": "s", "restartPolicy": "Always"}
    found = cells(
        "pods",
        pod(
            inits=[sidecar],
            phase="Running",
            initContainerStatuses=[running("s", started=True)],
            containerStatuses=[running()],
        ),
    )
    assert found["Ready"] == "2/2"


def test_a_pod_that_is_deleted_is_terminating_unless_it_has_ended():
    going = pod(phase="Running")
    going["metadata"] = {
        "name": "x",
        "creationTimestamp": "2024-01-01T00:00:00Z",
        "deletionTimestamp": "2024-01-01T00:00:00Z",
    }
    assert cells("pods", going)["Status"] == "Terminating"
    going["status"]["phase"] = "Succeeded"
    assert cells("pods", going)["Status"] == "Succeeded"


def test_a_node():
    found = cells(
        "nodes",
        {
            "metadata": {
                "name": "n",
                "creationTimestamp": clock.timestamp(),
                "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"},
            },
            "spec": {"unschedulable": True},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "127.0.0.9"}],
                "nodeInfo": {"kubeletVersion": "v1.37.0"},
            },
        },
    )
    assert (found["Status"], found["Roles"]) == ("Ready,SchedulingDisabled", "control-plane,edge")
    assert (found["Version"], found["Internal-IP"], found["External-IP"]) == ("v1.37.0", "127.0.0.9", "<none>")


@pytest.mark.parametrize(
    ("spec", "external", "ports"),
    [
        ({"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}]}, "<none>", "80/TCP"),
        (
            {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 30001, "protocol": "TCP"}]},
            "<pending>",
            "80:30001/TCP",
        ),
        ({"type": "ExternalName", "externalName": "e.x"}, "e.x", "<none>"),
        ({"type": "ClusterIP", "externalIPs": ["1.2.3.4", "1.2.3.5"]}, "1.2.3.4,1.2.3.5", "<none>"),
    ],
)
def test_services(spec, external, ports):
    found = cells("services", {"spec": spec})
    assert (found["External-IP"], found["Port(s)"]) == (external, ports)


def test_an_autoscaler_shows_what_is_measured_against_what_is_wanted():
    metrics = [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
        {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"averageValue": "1k"}}},
        {"type": "Pods", "pods": {"metric": {"name": "n"}, "target": {"averageValue": "2k"}}},
    ]
    current = [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 42}}}]
    found = cells(
        "horizontalpodautoscalers.autoscaling",
        {"spec": {"maxReplicas": 3, "metrics": metrics}, "status": {"currentMetrics": current}},
    )
    assert found["Targets"] == "cpu: 42%/80%, <unknown>/1k + 1 more..."


def test_jobs():
    done = {
        "spec": {"completions": 3},
        "status": {
            "succeeded": 3,
            "startTime": "2024-01-01T00:00:00Z",
            "completionTime": "2024-01-01T00:01:00Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        },
    }
    found = cells("jobs.batch", done)
    assert (found["Status"], found["Completions"], found["Duration"]) == ("Complete", "3/3", "60s")
    assert cells("jobs.batch", {"spec": {"parallelism": 2}, "status": {}})["Completions"] == "0/1 of 2"


def test_a_quota_shows_limits_apart():
    status = {"hard": {"pods": "3", "limits.cpu": "2"}, "used": {"pods": "1"}}
    found = cells("resourcequotas", {"status": status})
    assert (found["Request"], found["Limit"]) == ("pods: 1/3", "limits.cpu: 0/2")


def test_long_lists_of_addresses_are_cut():
    addresses = [{"ip": f"10.0.0.{i}"} for i in range(5)]
    found = cells("endpoints", {"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]})
    assert found["Endpoints"] == "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more..."
