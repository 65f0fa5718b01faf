"""Jobs in a fake cluster."""

from typing import Any

import pytest
from kcore_controllers import job_indexes
from trio.testing import MockClock

from kcore import clock, errors
from kcore.objects import Object, meta
from kcore.objects.resources import JOBS, PODS
from kcore.testing.cluster import FakeCluster

from .conftest import Start


def job(**spec: Any) -> Object:
    labels = {"batch.kubernetes.io/job-name": "j", "job-name": "j"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "img:1"}]}
    return {
        "metadata": {"name": "j", "namespace": "default"},
        "spec": {
            "parallelism": 1,
            "backoffLimit": 6,
            "selector": {"matchLabels": {"batch.kubernetes.io/job-name": "j"}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
    }


async def running(c: FakeCluster) -> list[Object]:
    return [p for p in await c.all(PODS) if meta.pod_active(p)]


async def read(c: FakeCluster) -> tuple[Object, dict[str, tuple[str, str]]]:
    found = await c.client.get(JOBS, "j", "default")
    conditions = {x["type"]: (x["status"], x["reason"]) for x in found["status"].get("conditions", ())}
    return found["status"], conditions


async def test_a_job_completes_when_enough_pods_have_succeeded(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        await c.client.create(JOBS, job(completions=2))
        await c.settle()
        (first,) = await running(c)
        assert first["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
        status, _ = await read(c)
        assert (status["active"], status["ready"], status["terminating"]) == (1, 1, 0)
        await c.finish(first)
        await c.settle()
        status, _ = await read(c)
        assert (status["active"], status["succeeded"]) == (1, 1)
        await c.finish((await running(c))[0])
        await c.settle()
        status, conditions = await read(c)
        assert conditions == {
            "SuccessCriteriaMet": ("True", "CompletionsReached"),
            "Complete": ("True", "CompletionsReached"),
        }
        assert status["succeeded"] == 2
        assert status["uncountedTerminatedPods"] == {}
        assert status["completionTime"]
        assert "active" not in status
        assert [p["metadata"].get("finalizers") for p in await c.all(PODS)] == [None, None]


async def test_failed_pods_are_replaced_with_growing_delay_up_to_the_limit(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("job") as c:
        await c.client.create(JOBS, job(completions=1, backoffLimit=2))
        starts = []
        for _ in range(3):
            while not await running(c):
                await c.settle(1)
            (pod,) = await running(c)
            starts.append(clock.now())
            await c.finish(pod, exit_code=1)
            await c.settle(1)
        await c.settle(100)
        status, conditions = await read(c)
        assert conditions == {
            "FailureTarget": ("True", "BackoffLimitExceeded"),
            "Failed": ("True", "BackoffLimitExceeded"),
        }
        assert status["failed"] == 3
        assert 9 <= starts[1] - starts[0] <= 13
        assert 19 <= starts[2] - starts[1] <= 23


async def test_indexed_jobs_run_each_index(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        await c.client.create(JOBS, job(completionMode="Indexed", completions=4, parallelism=3))
        await c.settle()
        pods = {meta.annotations(p)["batch.kubernetes.io/job-completion-index"]: p for p in await running(c)}
        assert sorted(pods) == ["0", "1", "2"]
        assert pods["1"]["metadata"]["name"].startswith("j-1-")
        assert pods["1"]["spec"]["hostname"] == "j-1"
        assert pods["1"]["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
        await c.finish(pods["0"])
        await c.finish(pods["2"], exit_code=1)
        await c.settle()
        indexes = sorted(meta.labels(p)["batch.kubernetes.io/job-completion-index"] for p in await running(c))
        assert indexes == ["1", "2", "3"]
        for _ in range(3):
            await c.finish((await running(c))[0])
        await c.settle()
        status, conditions = await read(c)
        assert status["completedIndexes"] == "0-3"
        assert (status["succeeded"], status["failed"]) == (4, 1)
        assert conditions["Complete"][0] == "True"


async def test_a_suspended_job_has_no_pods(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        await c.client.create(JOBS, job(completions=1, suspend=True))
        await c.settle()
        status, conditions = await read(c)
        assert conditions == {"Suspended": ("True", "JobSuspended")}
        assert "startTime" not in status
        assert await c.all(PODS) == []
        await c.client.patch(JOBS, "j", {"spec": {"suspend": False}}, "default")
        await c.settle()
        status, conditions = await read(c)
        assert conditions["Suspended"] == ("False", "JobResumed")
        assert status["active"] == 1
        await c.client.patch(JOBS, "j", {"spec": {"suspend": True}}, "default")
        await c.settle(60)
        assert await running(c) == []
        status, conditions = await read(c)
        assert conditions["Suspended"] == ("True", "JobSuspended")


async def test_the_deadline_ends_a_job(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        await c.client.create(JOBS, job(completions=1, activeDeadlineSeconds=60))
        await c.settle(50)
        assert len(await running(c)) == 1
        await c.settle(60)
        status, conditions = await read(c)
        assert conditions["Failed"] == ("True", "DeadlineExceeded")
        assert await running(c) == []
        assert "active" not in status


async def test_the_failure_policy_fails_at_once_or_ignores(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        rules = [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        ]
        await c.client.create(JOBS, job(completions=1, backoffLimit=0, podFailurePolicy={"rules": rules}))
        await c.settle()
        (pod,) = await running(c)
        await c.set_status(pod, phase="Failed", conditions=[{"type": "DisruptionTarget", "status": "True"}])
        await c.settle()
        status, _ = await read(c)
        assert "failed" not in status
        (pod,) = await running(c)
        await c.finish(pod, exit_code=42)
        await c.settle()
        found = await c.client.get(JOBS, "j", "default")
        failed = meta.condition(found, "Failed") or {}
        assert failed["reason"] == "PodFailurePolicy"
        assert failed["message"] == (
            f"Container c for pod {meta.key(pod)} failed with exit code 42 matching FailJob rule at index 1"
        )


async def test_failures_can_be_limited_per_index(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        spec = job(completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=1)
        await c.client.create(JOBS, spec)
        for _ in range(2):
            await c.settle()
            bad = [p for p in await running(c) if meta.labels(p)["batch.kubernetes.io/job-completion-index"] == "0"]
            await c.finish(bad[0], exit_code=1)
        await c.settle()
        status, _ = await read(c)
        assert status["failedIndexes"] == "0"
        await c.finish((await running(c))[0])
        await c.settle()
        status, conditions = await read(c)
        assert status["completedIndexes"] == "1"
        assert conditions["Failed"] == ("True", "FailedIndexes")


async def test_a_finished_job_goes_after_its_time(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job", "ttl-after-finished", "garbagecollector") as c:
        await c.client.create(JOBS, job(completions=1, ttlSecondsAfterFinished=100))
        await c.settle()
        await c.finish((await running(c))[0])
        await c.settle(60)
        await read(c)
        await c.settle(60)
        with pytest.raises(errors.NotFound):
            await read(c)
        assert await c.all(PODS) == []


@pytest.mark.parametrize(
    ("numbers", "text"),
    [(set(), ""), ({3}, "3"), ({1, 2}, "1,2"), ({0, 1, 2, 5, 7, 8, 9}, "0-2,5,7-9")],
)
def test_indexes_are_written_as_ranges(numbers: set[int], text: str) -> None:
    assert job_indexes.format(numbers) == text
    assert job_indexes.parse(text) == numbers
