"""What the node says of init containers that fail, and what containers leave."""

from __future__ import annotations

from typing import Any

from tests.node.conftest import World, container, phase, pod


async def test_failed_init_container_has_not_initialized_the_pod(autojump_clock: Any, cluster: World) -> None:
    init = [{"name": "i", "image": "busybox", "command": ["false"]}]
    await cluster.create(pod(initContainers=init, restartPolicy="Never"))
    found = await cluster.until(phase("Failed"))
    told = next(c for c in found["status"]["conditions"] if c["type"] == "Initialized")
    assert (told["status"], told["reason"]) == ("False", "ContainersNotInitialized")


async def test_last_lines_of_the_log_are_in_order(autojump_clock: Any, cluster: World) -> None:
    app = {"name": "app", "image": "busybox", "command": ["sh", "-c", "echo one; echo two; echo -n three; exit 1"]}
    app["terminationMessagePolicy"] = "FallbackToLogsOnError"  # type: ignore[assignment]
    await cluster.create(pod(containers=[app], restartPolicy="Never"))
    ended = container(await cluster.until(phase("Failed")))["state"]["terminated"]
    assert ended["message"] == "one\ntwo\nthree"


async def test_user_without_rights_may_leave_a_message(autojump_clock: Any, cluster: World) -> None:
    app: Any = {"name": "app", "image": "busybox", "command": ["sh", "-c", "echo -n bye > /dev/own"]}
    app |= {"terminationMessagePath": "/dev/own", "securityContext": {"runAsUser": 1000}}
    await cluster.create(pod(containers=[app], restartPolicy="Never"))
    ended = container(await cluster.until(phase("Succeeded"), within=30))["state"]["terminated"]
    assert ended["message"] == "bye"
