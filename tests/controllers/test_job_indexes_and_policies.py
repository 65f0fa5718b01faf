"""Jobs: indexed ones, failure and success policies, and what does not count as a failure."""

from kcore_controllers import job_indexes
from trio.testing import MockClock

from kcore import clock
from kcore.objects import Object, meta
from kcore.objects.resources import JOBS
from kcore.testing.cluster import FakeCluster

from .conftest import Start
from .test_job import job, read, running

INDEX = "batch.kubernetes.io/job-completion-index"


async def of_index(c: FakeCluster, index: int) -> Object:
    """The running pod of an index."""
    return next(p for p in await running(c) if meta.labels(p)[INDEX] == str(index))


async def test_pods_that_a_suspension_ends_do_not_count_as_failed(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        await c.client.create(JOBS, job(completions=1, backoffLimit=0))
        await c.settle()
        assert len(await running(c)) == 1
        await c.client.patch(JOBS, "j", {"spec": {"suspend": True}}, "default")
        await c.settle()
        await c.client.patch(JOBS, "j", {"spec": {"suspend": False}}, "default")
        await c.settle()
        status, conditions = await read(c)
        assert "failed" not in status
        assert "Failed" not in conditions
        assert len(await running(c)) == 1


async def test_pods_that_less_parallelism_ends_do_not_count_as_failed(
    cluster: Start, autojump_clock: MockClock
) -> None:
    async with cluster("job") as c:
        await c.client.create(JOBS, job(completions=5, parallelism=3, backoffLimit=0))
        await c.settle()
        await c.client.patch(JOBS, "j", {"spec": {"parallelism": 1}}, "default")
        await c.settle()
        status, conditions = await read(c)
        assert (status["active"], status.get("failed", 0)) == (1, 0)
        assert conditions == {}


async def test_an_ignored_failure_of_an_index_is_not_counted(cluster: Start, autojump_clock: MockClock) -> None:
    rules = [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}}]
    async with cluster("job") as c:
        spec = job(completionMode="Indexed", completions=1, backoffLimit=0, podFailurePolicy={"rules": rules})
        await c.client.create(JOBS, spec)
        await c.settle()
        await c.finish(await of_index(c, 0), exit_code=7)
        await c.settle()
        status, conditions = await read(c)
        assert (status.get("failed", 0), conditions) == (0, {})
        assert len(await running(c)) == 1


async def test_a_failed_index_waits_its_own_growing_time(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        spec = job(completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=3)
        await c.client.create(JOBS, spec)
        await c.settle()
        for delay in (10, 20, 40):
            failed = clock.now()
            await c.finish(await of_index(c, 0), exit_code=1)
            await c.settle(delay - 2)
            assert [meta.labels(p)[INDEX] for p in await running(c)] == ["1"]
            await c.settle(5)
            again = await of_index(c, 0)
            assert delay <= clock.parse(again["metadata"]["creationTimestamp"]) - failed <= delay + 2
        assert meta.annotations(again)["batch.kubernetes.io/job-index-failure-count"] == "3"


async def test_fail_index_gives_up_an_index_at_once_and_the_rest_decides(
    cluster: Start, autojump_clock: MockClock
) -> None:
    rules = [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]
    policy = {"rules": [{"succeededIndexes": "1-2", "succeededCount": 1}]}
    async with cluster("job") as c:
        spec = job(
            completionMode="Indexed",
            completions=3,
            parallelism=3,
            backoffLimitPerIndex=5,
            podFailurePolicy={"rules": rules},
            successPolicy=policy,
        )
        await c.client.create(JOBS, spec)
        await c.settle()
        await c.finish(await of_index(c, 0), exit_code=42)
        await c.settle(60)
        status, conditions = await read(c)
        assert (status["failedIndexes"], status["failed"], conditions) == ("0", 1, {})
        assert sorted(meta.labels(p)[INDEX] for p in await running(c)) == ["1", "2"]
        await c.finish(await of_index(c, 2))
        await c.settle()
        status, conditions = await read(c)
        assert status["completedIndexes"] == "2"
        assert conditions == {
            "SuccessCriteriaMet": ("True", "SuccessPolicy"),
            "Complete": ("True", "SuccessPolicy"),
        }
        assert await running(c) == []  # what still ran is not needed any more


async def test_too_many_failed_indexes_end_the_job(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        spec = job(completionMode="Indexed", completions=4, parallelism=4, backoffLimitPerIndex=0, maxFailedIndexes=1)
        await c.client.create(JOBS, spec)
        await c.settle()
        await c.finish(await of_index(c, 0), exit_code=1)
        await c.settle()
        assert (await read(c))[1] == {}
        await c.finish(await of_index(c, 3), exit_code=1)
        await c.settle()
        status, conditions = await read(c)
        assert conditions["Failed"] == ("True", "MaxFailedIndexesExceeded")
        assert {0, 3} <= job_indexes.parse(status["failedIndexes"])
        assert await running(c) == []


async def test_an_elastic_job_forgets_indexes_beyond_its_new_size(cluster: Start, autojump_clock: MockClock) -> None:
    async with cluster("job") as c:
        await c.client.create(JOBS, job(completionMode="Indexed", completions=4, parallelism=4))
        await c.settle()
        await c.finish(await of_index(c, 3))
        await c.finish(await of_index(c, 0))
        await c.settle()
        assert (await read(c))[0]["completedIndexes"] == "0,3"
        await c.client.patch(JOBS, "j", {"spec": {"completions": 2, "parallelism": 2}}, "default")
        await c.settle()
        status, conditions = await read(c)
        assert (status["completedIndexes"], status["succeeded"], conditions) == ("0", 1, {})
        await c.finish(await of_index(c, 1))
        await c.settle()
        status, conditions = await read(c)
        assert (status["completedIndexes"], status["succeeded"]) == ("0,1", 2)
        assert conditions["Complete"] == ("True", "CompletionsReached")
