"""Priority and fairness: who waits, who goes first, who is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from kcore.api.auth import User
from kcore.api.flow import defaults, dump, schemas
from kcore.api.flow.control import FlowControl, Refused
from kcore.api.flow.keeper import Keeper
from kcore.api.flow.levels import Level, LevelSpec, Queuing, may_start, share_out
from kcore.api.flow.schemas import Matcher
from kcore.api.routing import RequestInfo, parse
from kcore.http.messages import Request
from kcore.objects.resources import CONFIGMAPS

from .conftest import Api, serving

SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"


def account(name: str, namespace: str = "default") -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups)


def asked(path: str, method: str = "GET") -> RequestInfo:
    path, _, query = path.partition("?")
    return parse(Request(method, path, query, {}))


PODS = asked("/api/v1/namespaces/default/pods/p")
ANN, BOB = account("ann"), account("bob")


def control(total: int = 600) -> FlowControl:
    made = FlowControl(total)
    made.configure(map(schemas.compile, defaults.schemas()), map(LevelSpec.of, defaults.levels()))
    return made


@asynccontextmanager
async def turning(flow: FlowControl) -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flow.run)
        await trio.testing.wait_all_tasks_blocked()
        yield nursery
        nursery.cancel_scope.cancel()


async def request(flow: FlowControl, user: User, done: list[str], seconds: float = 0, width: int = 1) -> None:
    ticket = flow.enter(user, PODS, width, 0.0)
    if not ticket.started:
        await flow.wait(ticket)
    await trio.sleep(seconds)
    done.append(user.name.rpartition(":")[2])
    flow.leave(ticket)


WHO = [
    (User("root", ("system:masters",)), "/api/v1/pods", "exempt", "exempt"),
    (User("x", ("system:authenticated",)), "/healthz", "probes", "exempt"),
    (User("system:kube-scheduler"), "/api/v1/pods", "kube-scheduler", "workload-high"),
    (
        User("system:kube-scheduler"),
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler",
        "system-leader-election",
        "leader-election",
    ),
    (User("system:node:n", ("system:nodes",)), "/api/v1/nodes/n/status", "system-node-high", "node-high"),
    (User("system:node:n", ("system:nodes",)), "/api/v1/pods", "system-nodes", "system"),
    (account("x", "kube-system"), "/api/v1/pods", "kube-system-service-accounts", "workload-high"),
    (account("x"), "/api/v1/pods", "service-accounts", "workload-low"),
    (User("jane", ("system:authenticated",)), "/api/v1/pods", "global-default", "global-default"),
    (User("nobody"), "/api/v1/pods", "catch-all", "catch-all"),
]


@pytest.mark.parametrize(("user", "path", "schema", "level"), WHO)
def test_the_first_schema_that_matches_says_the_level(user: User, path: str, schema: str, level: str) -> None:
    flow = control()
    for _ in range(2):  # found, and remembered
        ticket = flow.enter(user, asked(path), 1, 0.0)
        assert (ticket.schema.name, ticket.level.spec.name) == (schema, level)


def test_a_schema_sees_namespaces_subresources_and_paths() -> None:
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "u"}}],
        "resourceRules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "nodes/status"], "namespaces": ["a"]}
        ],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/version", "/logs/*"]}],
    }
    spec = {"priorityLevelConfiguration": {"name": "x"}, "rules": [rule]}
    matcher = Matcher([schemas.compile({"metadata": {"name": "s"}, "spec": spec})])
    found = {
        path: matcher.match(User("u"), asked(path)) is not None
        for path in (
            "/api/v1/namespaces/a/pods/p", "/api/v1/namespaces/b/pods/p", "/api/v1/namespaces/a/pods/p/status",
            "/api/v1/nodes/n/status", "/version", "/version/x", "/logs/a/b",
        )
    }  # fmt: skip
    assert list(found.values()) == [True, False, False, False, True, False, True]
    assert matcher.match(User("v"), asked("/version")) is None


async def test_where_there_is_no_crowd_nobody_waits() -> None:
    flow = control()
    ticket = flow.enter(ANN, PODS, 1, 0.0)
    assert ticket.started
    assert ticket.level.executing == 1
    flow.leave(ticket)
    assert ticket.level.executing == 0


async def test_a_flood_of_one_flow_does_not_stand_before_another(autojump_clock: trio.testing.MockClock) -> None:
    flow, done = control(), []
    async with turning(flow) as nursery:
        for _ in range(100):
            nursery.start_soon(request, flow, ANN, done)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        nursery.start_soon(request, flow, BOB, done)
        await trio.testing.wait_all_tasks_blocked()
        assert len(done) == 101
        assert done.index("bob") < 45  # behind what one round lets in, not behind them all
    assert all(level.executing == 0 and not level.waiting for level in flow.levels)


async def test_a_flow_may_not_take_all_queues(autojump_clock: trio.testing.MockClock) -> None:
    level = Level(LevelSpec("x", queuing=Queuing(64, 6, 50)))
    spec = schemas.compile({"metadata": {"name": "s"}})
    flow = FlowControl(10)
    for _ in range(100):
        ticket = flow.enter(ANN, PODS, 1, 0.0)
        ticket.schema, ticket.flow = spec, "ann"
        level.enqueue(ticket)
    assert len(level.queues) == 6
    assert {len(q.waiting) for q in level.queues.values()} == {16, 17}


async def test_full_queues_refuse(autojump_clock: trio.testing.MockClock) -> None:
    flow, done = FlowControl(10), []
    small = LevelSpec("small", shares=5, queuing=Queuing(1, 1, 3))
    everybody = {"rules": [{**defaults.schemas()[-1]["spec"]["rules"][0]}], "matchingPrecedence": 5}
    everybody |= {"priorityLevelConfiguration": {"name": "small"}, "distinguisherMethod": {"type": "ByUser"}}
    flow.configure([schemas.compile({"metadata": {"name": "s"}, "spec": everybody})], [small])
    refused = []

    async def attempt() -> None:
        try:
            await request(flow, ANN, done, 1)
        except Refused as error:
            refused.append(error)

    async with turning(flow) as nursery:
        for _ in range(20):
            nursery.start_soon(attempt)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    nominal = next(level.nominal for level in flow.levels if level.spec.name == "small")
    assert len(done) + len(refused) == 20
    assert nominal <= len(done) <= nominal + 4
    error = refused[0]
    assert (error.code, error.headers["retry-after"], error.reason) == (429, "1", "TooManyRequests")
    assert sum(n.refused.get("queue-full", 0) for n in flow.numbers.values()) == len(refused)


async def test_the_catch_all_refuses_what_it_has_no_seats_for(autojump_clock: trio.testing.MockClock) -> None:
    flow = FlowControl(3)  # the mandatory levels alone: catch-all has them all
    held = []
    async with turning(flow):
        for _ in range(3):
            ticket = flow.enter(ANN, PODS, 1, 0.0)
            if not ticket.started:
                await flow.wait(ticket)
            held.append(ticket)
        ticket = flow.enter(ANN, PODS, 1, 0.0)
        assert not ticket.started
        with pytest.raises(Refused):
            await flow.wait(ticket)
        flow.leave(held[0])
        ticket = flow.enter(ANN, PODS, 1, 0.0)
        if not ticket.started:
            await flow.wait(ticket)
        assert ticket.started


async def test_who_waits_too_long_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    flow = control(8)
    level = next(level for level in flow.levels if level.spec.name == "workload-low")
    async with turning(flow):
        hog = flow.enter(ANN, PODS, 100, 0.0)
        assert hog.started
        began = trio.current_time()
        ticket = flow.enter(BOB, PODS, 1, 0.0)
        with pytest.raises(Refused):
            await flow.wait(ticket)
        assert 15 <= trio.current_time() - began < 16
        assert (level.waiting, level.waiting_seats) == (0, 0)


async def test_a_client_that_leaves_leaves_its_queue(autojump_clock: trio.testing.MockClock) -> None:
    flow, done = control(8), []
    level = next(level for level in flow.levels if level.spec.name == "workload-low")
    async with turning(flow) as nursery:
        hog = flow.enter(ANN, PODS, 100, 0.0)
        for _ in range(50):
            with trio.move_on_after(0.1):
                await request(flow, BOB, done)
        assert (level.waiting, level.waiting_seats, len(flow.waiting)) == (0, 0, 0)
        flow.leave(hog)
        nursery.start_soon(request, flow, BOB, done)
        await trio.testing.wait_all_tasks_blocked()
    assert done == ["bob"]


def test_idle_seats_are_lent_and_what_cannot_be_lent_is_kept() -> None:
    def level(name: str, percent: int) -> Level:
        return Level(LevelSpec(name, shares=50, lendable_percent=percent, queuing=Queuing()))

    lender, keeper = level("lender", 50), level("keeper", 0)
    levels = [lender, keeper]
    share_out(levels, 100)
    assert [(each.nominal, each.minimum) for each in levels] == [(50, 25), (50, 50)]
    keeper.executing, keeper.requests = 75, 1
    assert not may_start(keeper, 1, levels, 100)  # 25 of the lender's are its own
    keeper.executing = 74
    assert may_start(keeper, 1, levels, 100)
    lender.executing, lender.requests = 26, 1
    assert not may_start(lender, 1, levels, 100)  # lent: it has to wait until they come back
    lender.executing = 0
    lender.executing, lender.requests = 50, 1
    keeper.executing = 0
    assert not may_start(lender, 1, levels, 100)  # the keeper lends nothing


async def test_the_default_objects_are_there_and_are_kept() -> None:
    async with serving() as api, trio.open_nursery() as nursery:
        flow = FlowControl(600)
        await nursery.start(Keeper(api.server, flow).run)
        assert len((await api.call("GET", SCHEMAS))["items"]) == len(defaults.schemas())
        assert len((await api.call("GET", LEVELS))["items"]) == len(defaults.levels())
        await api.call("DELETE", f"{SCHEMAS}/global-default", expect=200)
        patch = {"spec": {"matchingPrecedence": 9001}}
        headers = {"content-type": "application/merge-patch+json"}
        await api.call("PATCH", f"{SCHEMAS}/service-accounts", patch, expect=200, **headers)
        mine = {"metadata": {"annotations": {defaults.AUTO_UPDATE: "false"}}, **patch}
        await api.call("PATCH", f"{SCHEMAS}/system-nodes", mine, expect=200, **headers)

        async def precedences() -> dict[str, int]:
            items = (await api.call("GET", SCHEMAS))["items"]
            return {item["metadata"]["name"]: item["spec"]["matchingPrecedence"] for item in items}

        with trio.fail_after(10):
            while True:
                found = await precedences()
                if found.get("global-default") == 9900 and found["service-accounts"] == 9000:
                    break
                await trio.sleep(0.01)
        assert (await precedences())["system-nodes"] == 9001
        nursery.cancel_scope.cancel()


async def test_a_new_schema_counts_and_one_without_its_level_dangles() -> None:
    async with serving() as api, trio.open_nursery() as nursery:
        flow = FlowControl(600)
        await nursery.start(Keeper(api.server, flow).run)
        rules = defaults.schemas()[-1]["spec"]["rules"]
        for name, level in (("good", "workload-high"), ("bad", "nowhere")):
            spec = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": 3, "rules": rules}
            await api.call("POST", SCHEMAS, {"metadata": {"name": name}, "spec": spec}, expect=201)

        async def dangling(name: str) -> Any:
            status = (await api.call("GET", f"{SCHEMAS}/{name}")).get("status") or {}
            return [(c["status"], c["reason"]) for c in status.get("conditions", ())]

        with trio.fail_after(10):
            while True:
                if await dangling("bad") == [("True", "NotFound")] and await dangling("good") == [("False", "Found")]:
                    break
                await trio.sleep(0.01)
        user = User("jane", ("system:authenticated",))
        assert flow.enter(user, PODS, 1, 0.0).schema.name == "good"
        nursery.cancel_scope.cancel()


async def through(api: Api, flow: FlowControl, path: str, method: str = "GET", body: Any = None) -> dict[str, str]:
    response = await api.send(method, path, body)
    return {k.decode(): v.decode() for k, v in response.headers}


async def test_every_answer_names_its_schema_and_level_and_gives_its_seats_back() -> None:
    async with serving() as api, trio.open_nursery() as nursery:
        api.server.flow = flow = FlowControl(600)
        nursery.start_soon(flow.run)
        await nursery.start(Keeper(api.server, flow).run)
        schema = await api.call("GET", f"{SCHEMAS}/exempt")
        level = await api.call("GET", f"{LEVELS}/exempt")
        for path in ("/api/v1/pods", "/api/v1/nothing", "/version"):
            headers = await through(api, flow, path)
            assert headers["x-kubernetes-pf-flowschema-uid"] == schema["metadata"]["uid"]
            assert headers["x-kubernetes-pf-prioritylevel-uid"] == level["metadata"]["uid"]
        refused = await api.send("GET", "/api/v1/pods", token="weaktok")
        assert refused.status == 403
        assert b"x-kubernetes-pf-flowschema-uid" in dict(refused.headers)
        assert not any(level.running for level in flow.levels)
        measured = api.server.metrics
        measured.collect_with(flow)
        assert b"apiserver_flowcontrol_dispatched_requests_total" in measured.expose()
        api.server.routes.append(dump.routes(flow))
        for name in ("dump_priority_levels", "dump_queues", "dump_requests?includeRequestDetails=1"):
            response = await api.send("GET", f"/debug/api_priority_and_fairness/{name}")
            assert response.status == 200
            assert bytes(response.body).startswith(b"PriorityLevelName,")  # type: ignore[arg-type]
        nursery.cancel_scope.cancel()


async def test_a_list_is_as_wide_as_what_it_looks_at() -> None:
    async with serving() as api:
        api.server.flow = flow = FlowControl(600)
        widths = []
        enter = flow.enter

        def spy(user: User, info: RequestInfo, width: int, *rest: Any) -> Any:
            widths.append(width)
            return enter(user, info, width, *rest)

        flow.enter = spy  # type: ignore[method-assign]
        for number in range(250):
            await api.client.create(CONFIGMAPS, {"metadata": {"name": f"m{number}"}}, "default")
        maps = "/api/v1/namespaces/default/configmaps"
        for query in ("", "?limit=10", "?limit=10&labelSelector=a%3Db", "/m1"):
            await api.send("GET", maps + query)
        assert widths == [3, 1, 3, 1]
