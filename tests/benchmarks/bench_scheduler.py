"""How fast the scheduler decides: pods a second at 100, 1,000 and 5,000 nodes, and what each policy costs.

    python tests/benchmarks/bench_scheduler.py [--pods 10000] [--nodes 100,1000,5000]

The floor, measured in the same run, is a plain Python loop that only checks whether cpu, memory and pods fit and takes
the first of the emptiest nodes: what a scheduler without vectors would at least have to do.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import kcore_policies
import kcore_scheduler
import trio
from kcore_scheduler.lists import WEIGHTS

from kcore.objects import Object
from kcore.objects.resources import NODES, PODS
from kcore.registry import Choice
from kcore.scheduler.cycle import Decision, schedule
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Policy
from kcore.scheduler.profile import Profile, Weighted
from kcore.scheduler.table import NodeTable
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient
from kcore.testing.scheduling import StillHandle, node, pod

PROVIDERS = {p.name: p for p in kcore_policies.kcore_policy()}
SERVICE = {"matchLabels": {"app": "web"}}


def cluster(n: int) -> list[Object]:
    return [
        node(f"node-{i}", cpu="32", memory="128Gi", labels={"topology.kubernetes.io/zone": f"z{i % 3}"})
        for i in range(n)
    ]


def plain(name: str) -> Object:
    return pod(name, cpu="100m", memory="500Mi", labels={"app": "web"})


def spreading(name: str) -> Object:
    zone = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    constraint = {**zone, "labelSelector": SERVICE}
    return pod(name, cpu="100m", memory="500Mi", labels={"app": "web"}, topologySpreadConstraints=[constraint])


def apart(name: str) -> Object:
    term = {"labelSelector": SERVICE, "topologyKey": "kubernetes.io/hostname"}
    preferred = [{"weight": 10, "podAffinityTerm": term}]
    affinity = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return pod(name, cpu="100m", memory="500Mi", labels={"app": "web"}, affinity=affinity)


async def default_profile(stack: AsyncExitStack, nodes: NodeTable) -> Profile:
    context = TestContext(Path(tempfile.gettempdir()))
    policies = []
    for name, weight in WEIGHTS.items():
        provider = PROVIDERS[name]
        policies.append(Weighted(await stack.enter_async_context(provider.open(context, provider.config())), weight))
    profile = Profile("default-scheduler", policies)
    profile.attach(StillHandle(nodes))
    return profile


def fit_loop(nodes: list[Object], count: int) -> float:
    """Seconds for `count` pods in plain Python, resources only."""
    free = [[32000, 128 * 2**30, 110] for _ in nodes]
    start = perf_counter()
    for _ in range(count):
        best, best_score = -1, -1.0
        for i, (cpu, memory, pods) in enumerate(free):
            if cpu >= 100 and memory >= 500 * 2**20 and pods >= 1:
                score = cpu / 32000 + memory / (128 * 2**30)
                if score > best_score:
                    best, best_score = i, score
        row = free[best]
        row[0] -= 100
        row[1] -= 500 * 2**20
        row[2] -= 1
    return perf_counter() - start


async def cycles(n: int, count: int, make: Callable[[str], Object]) -> tuple[float, dict[str, float]]:
    """Seconds for `count` decisions with the bookkeeping of the table, and seconds per policy."""
    table = NodeTable()
    for obj in cluster(n):
        table.set_node(obj)
    objects = [make(f"p{i}") for i in range(count)]
    async with AsyncExitStack() as stack:
        profile = await default_profile(stack, table)
        rng = random.Random(1)
        start = process_time()
        for obj in objects:
            info = PodInfo(obj)
            outcome = schedule(profile, info, table, {}, rng, lambda point, success, seconds: None)
            assert isinstance(outcome, Decision), outcome
            table.add_pod(info, outcome.node)
        total = process_time() - start
        info = PodInfo(make("probe"))
        each = {}
        for policy in profile.policies:
            if policy in profile.filters or policy in [s[0] for s in profile.scorers]:
                each[policy.name] = timed(partial(both, policy, info, table))
    return total, each


def both(policy: Policy, info: PodInfo, table: NodeTable) -> None:
    policy.filter(info, table)
    policy.score(info, table)


def timed(call: Callable[[], object], rounds: int = 200) -> float:
    start = perf_counter()
    for _ in range(rounds):
        call()
    return (perf_counter() - start) / rounds


async def end_to_end(n: int, count: int) -> tuple[float, float]:
    """(seconds, CPU seconds) from the scheduler's start to the last binding, on the in-memory client, whose own work
    (copies and watches) is included."""
    client = MemoryClient()
    for obj in cluster(n):
        await client.create(NODES, obj)
    for i in range(count):
        await client.create(PODS, plain(f"p{i}"), "default")
    choices = {("policy", name): Choice(p, p.config()) for name, p in PROVIDERS.items()}
    with tempfile.TemporaryDirectory() as directory:
        context = TestContext(Path(directory), api=client, choices=choices)
        provider = kcore_scheduler.kcore_scheduler()[0]
        bound = trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(watch_bindings, client, count, bound)
            start, cpu = perf_counter(), process_time()
            async with provider.open(context, provider.config()):
                await bound.wait()
                took = perf_counter() - start, process_time() - cpu
            nursery.cancel_scope.cancel()
    return took


async def watch_bindings(client: MemoryClient, count: int, done: trio.Event, task_status: Any) -> None:
    left = count
    page = await client.list(PODS)
    async with client.watch(PODS, resource_version=page.resource_version) as events:
        task_status.started()
        async for event in events:
            if event.object["spec"].get("nodeName") and event.type == "MODIFIED":
                left -= 1
                if left == 0:
                    done.set()
                    return


@contextmanager
def heading(text: str) -> Iterator[None]:
    print(f"\n{text}")
    yield


async def main(sizes: list[int], count: int) -> None:
    for n in sizes:
        with heading(f"{n} nodes"):
            few = max(5, 20_000 // n)
            floor = fit_loop(cluster(n), few) / few
            print(f"  floor: plain Python loop, resources only   {floor * 1e6:9.0f} us a pod")
            amount = min(count, 60 * n)
            for name, make in (("plain", plain), ("zone spreading", spreading), ("soft anti-affinity", apart)):
                total, each = await cycles(n, amount if make is plain else min(amount, 2000), make)
                per_pod = total / (amount if make is plain else min(amount, 2000))
                print(
                    f"  decision, {name:20} {per_pod * 1e6:9.0f} us a pod  {1 / per_pod:8.0f} pods/s"
                    f"  {floor / per_pod:6.1f} x floor"
                )
                if make is not plain or n == sizes[-1]:
                    parts = ", ".join(f"{k} {v * 1e6:.0f}" for k, v in each.items() if v > 2e-6)
                    print(f"    filter + score, us: {parts}")
            seconds, cpu = await end_to_end(n, amount)
            print(
                f"  end to end, {amount} pods, in-memory API    {amount / seconds:8.0f} pods/s"
                f"  ({cpu / amount * 1e6:.0f} us CPU a pod, the API's included)"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=10_000)
    parser.add_argument("--nodes", default="100,1000,5000")
    arguments = parser.parse_args()
    trio.run(main, [int(n) for n in arguments.nodes.split(",")], arguments.pods)
