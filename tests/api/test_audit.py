"""The audit log: what is told of a request, and by which rule."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest
import trio

from kcore.api import audit
from kcore.api.admission import Admission, AdmissionRequest
from kcore.api.audit.policy import parse
from kcore.api.audit.records import Auditor
from kcore.errors import ConfigError
from kcore.http.messages import Request, StreamResponse

from .conftest import Api, serving

MAPS = "/api/v1/namespaces/default/configmaps"


class Memory:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def submit(self, event: bytes) -> Awaitable[None] | None:
        assert b"\n" not in event
        self.events.append(msgspec.json.decode(event))
        return None


def policy(*rules: dict[str, Any], **more: Any) -> Any:
    return parse({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more})


def listen(api: Api, *rules: dict[str, Any], **more: Any) -> Memory:
    sink = Memory()
    api.server.auditor = Auditor(policy(*rules, **more), [sink])
    return sink


async def test_a_request_is_told_of_when_it_comes_and_when_it_is_over() -> None:
    async with serving() as api:
        sink = listen(api, {"level": "Metadata"})
        await api.call("POST", MAPS + "?fieldManager=me", {"metadata": {"name": "a"}}, expect=201)
        received, complete = sink.events
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    assert complete["kind"] == "Event"
    assert complete["apiVersion"] == "audit.k8s.io/v1"
    assert complete["level"] == "Metadata"
    assert complete["verb"] == "create"
    assert complete["requestURI"] == MAPS + "?fieldManager=me"
    assert complete["user"]["username"] == "admin"
    assert "system:masters" in complete["user"]["groups"]
    assert complete["objectRef"] == {
        "resource": "configmaps",
        "namespace": "default",
        "name": "a",
        "apiVersion": "v1",
    }
    assert complete["responseStatus"] == {"metadata": {}, "code": 201}
    assert complete["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert "requestObject" not in complete
    assert "responseObject" not in complete
    assert len(complete["stageTimestamp"]) == len("2026-01-01T00:00:00.000000Z")
    assert received["auditID"] == complete["auditID"]


async def test_the_audit_id_is_in_every_answer_and_may_be_the_clients_own() -> None:
    async with serving() as api:
        first = dict((await api.send("GET", "/version")).headers)
        assert len(first[b"audit-id"]) == 36
        assert first[b"cache-control"] == b"no-cache, private"
        named = await api.send("GET", "/api/v1/namespaces/none", **{"audit-id": "mine"})
        assert dict(named.headers)[b"audit-id"] == b"mine"
        refused = await api.send("GET", "/api/v1/pods", token="nonsense")
        assert refused.status == 401
        assert b"audit-id" in dict(refused.headers)


async def test_bodies_are_shown_as_far_as_the_level_says() -> None:
    async with serving() as api:
        sink = listen(
            api,
            {"level": "Metadata", "resources": [{"resources": ["secrets"]}]},
            {"level": "Request", "verbs": ["create"]},
            {"level": "RequestResponse", "omitManagedFields": True},
            omitStages=["RequestReceived"],
        )
        secret = {"metadata": {"name": "s"}, "stringData": {"a": "hush"}}
        await api.call("POST", "/api/v1/namespaces/default/secrets", secret, expect=201)
        await api.call("POST", MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}}, expect=201)
        await api.call("GET", MAPS + "/a", expect=200)
        await api.call("GET", MAPS, expect=200)
    hidden, request, both, listed = sink.events
    assert "requestObject" not in hidden
    assert b"hush" not in msgspec.json.encode(hidden)
    assert request["requestObject"] == {"metadata": {"name": "a"}, "data": {"k": "v"}}
    assert "responseObject" not in request
    assert both["responseObject"]["data"] == {"k": "v"}
    assert "managedFields" not in both["responseObject"]["metadata"]
    assert "managedFields" not in listed["responseObject"]["items"][0]["metadata"]


async def test_a_refusal_is_told_with_its_status_and_the_decision() -> None:
    async with serving() as api:
        sink = listen(api, {"level": "Metadata"}, omitStages=["RequestReceived"])
        await api.call("GET", MAPS + "/a", token="weaktok", expect=403)
        await api.call("GET", MAPS + "/a", token="nonsense", expect=401)
        await api.call("DELETE", MAPS + "/a", expect=404)
    forbidden, unknown, missing = sink.events
    assert forbidden["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert forbidden["responseStatus"]["reason"] == "Forbidden"
    assert forbidden["responseStatus"]["status"] == "Failure"
    assert forbidden["responseStatus"]["code"] == 403
    assert unknown["responseStatus"]["code"] == 401
    assert unknown["user"]["username"] == ""
    assert missing["responseStatus"]["details"] == {"name": "a", "kind": "configmaps"}


async def test_who_acts_for_somebody_and_from_where_is_told() -> None:
    async with serving() as api:
        sink = listen(api, {"level": "Metadata", "users": ["admin"]}, omitStages=["RequestReceived"])
        headers = {
            "authorization": "Bearer admintok",
            "impersonate-user": "jane",
            "x-forwarded-for": "192.0.2.7, nonsense, 198.51.100.1",
            "user-agent": "test/1",
        }
        await api.server.handle(Request("GET", MAPS, "", headers, peer="127.0.0.1:5000"))
    (event,) = sink.events
    assert event["user"]["username"] == "admin"
    assert event["impersonatedUser"]["username"] == "jane"
    assert event["sourceIPs"] == ["192.0.2.7", "198.51.100.1", "127.0.0.1"]
    assert event["userAgent"] == "test/1"


async def test_a_watch_is_told_when_it_starts_and_when_it_ends() -> None:
    async with serving() as api:
        sink = listen(api, {"level": "RequestResponse"})
        request = Request("GET", MAPS, "watch=1", {"authorization": "Bearer admintok"})
        response = await api.server.handle(request)
        assert isinstance(response, StreamResponse)
        assert [event["stage"] for event in sink.events] == ["RequestReceived", "ResponseStarted"]
        await response.body.aclose()  # type: ignore[attr-defined]
    assert [event["stage"] for event in sink.events][2:] == ["ResponseComplete"]
    assert sink.events[2]["responseStatus"]["code"] == 200
    assert sink.events[2]["verb"] == "watch"


async def test_a_fault_of_the_server_is_a_panic() -> None:
    class Broken(Admission):
        async def admit(self, request: AdmissionRequest) -> None:
            if request.kind.plural == "configmaps":
                raise RuntimeError("broken")

    async with serving(admission=[Broken()]) as api:
        sink = listen(api, {"level": "Metadata"}, omitStages=["RequestReceived"])
        await api.call("POST", MAPS, {"metadata": {"name": "a"}}, expect=500)
    assert [event["stage"] for event in sink.events] == ["Panic"]


async def test_plugins_may_annotate() -> None:
    class Noting(Admission):
        async def validate(self, request: AdmissionRequest) -> None:
            audit.annotate("example.com/why", "because")
            audit.annotate("example.com/why", "the first one counts")

    async with serving(admission=[Noting()]) as api:
        await api.call("POST", MAPS, {"metadata": {"name": "unheard"}}, expect=201)
        sink = listen(api, {"level": "Metadata"}, omitStages=["RequestReceived"])
        await api.call("POST", MAPS, {"metadata": {"name": "a"}}, expect=201)
    assert sink.events[0]["annotations"]["example.com/why"] == "because"


async def test_a_cancelled_request_is_told_of_too() -> None:
    class Slow(Admission):
        async def admit(self, request: AdmissionRequest) -> None:
            if request.kind.plural == "configmaps":
                await trio.sleep_forever()

    async with serving(admission=[Slow()]) as api:
        sink = listen(api, {"level": "Metadata"}, omitStages=["RequestReceived"])
        with trio.move_on_after(0.01):
            await api.call("POST", MAPS, {"metadata": {"name": "a"}})
    assert [event["responseStatus"]["code"] for event in sink.events] == [0]


RULES: list[tuple[dict[str, Any], str, str, bool]] = [
    ({"verbs": ["get"]}, "GET", MAPS + "/a", True),
    ({"verbs": ["list"]}, "GET", MAPS + "/a", False),
    ({"users": ["admin"]}, "GET", "/version", True),
    ({"userGroups": ["system:nodes"]}, "GET", "/version", False),
    ({"namespaces": ["default"]}, "GET", MAPS, True),
    ({"namespaces": [""]}, "GET", "/api/v1/nodes", True),
    ({"namespaces": [""]}, "GET", MAPS, False),
    ({"namespaces": [""]}, "GET", "/version", False),
    ({"resources": [{"resources": ["pods/log"]}]}, "GET", "/api/v1/namespaces/default/pods/p/log", True),
    ({"resources": [{"resources": ["pods"]}]}, "GET", "/api/v1/namespaces/default/pods/p/log", False),
    ({"resources": [{"resources": ["pods/*"]}]}, "GET", "/api/v1/namespaces/default/pods/p/log", True),
    ({"resources": [{"resources": ["*/log"]}]}, "GET", "/api/v1/namespaces/default/pods/p/log", True),
    ({"resources": [{"resources": ["*"]}]}, "GET", "/api/v1/namespaces/default/pods/p/log", True),
    ({"resources": [{"group": "apps"}]}, "GET", "/apis/apps/v1/deployments", True),
    ({"resources": [{"group": ""}]}, "GET", "/apis/apps/v1/deployments", False),
    ({"resources": [{"resources": ["configmaps"], "resourceNames": ["a"]}]}, "GET", MAPS + "/a", True),
    ({"resources": [{"resources": ["configmaps"], "resourceNames": ["a"]}]}, "GET", MAPS + "/b", False),
    ({"nonResourceURLs": ["/healthz*"]}, "GET", "/healthz/ping", True),
    ({"nonResourceURLs": ["/healthz"]}, "GET", "/healthz/ping", False),
    ({"nonResourceURLs": ["*"]}, "GET", "/version", True),
    ({"nonResourceURLs": ["*"]}, "GET", MAPS, False),
]


@pytest.mark.parametrize(("rule", "method", "path", "told"), RULES)
async def test_a_rule_matches_what_upstreams_would(rule: dict[str, Any], method: str, path: str, told: bool) -> None:
    async with serving() as api:
        sink = listen(api, {"level": "Metadata", **rule}, omitStages=["RequestReceived"])
        await api.send(method, path)
        await api.send(method, path)  # from memory
    assert len(sink.events) == (2 if told else 0)


async def test_the_first_rule_that_matches_decides() -> None:
    async with serving() as api:
        sink = listen(api, {"level": "None", "verbs": ["get"]}, {"level": "Metadata"}, omitStages=["RequestReceived"])
        await api.call("GET", MAPS)
        await api.call("GET", MAPS + "/a")
    assert [event["verb"] for event in sink.events] == ["list"]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"level": "Everything"}, "rules[0].level: Unsupported value"),
        ({"level": "Metadata", "verb": ["get"]}, "rules[0].verb: unknown field"),
        ({"level": "Metadata", "users": "ann"}, "rules[0].users: a list of strings"),
        ({"level": "Metadata", "nonResourceURLs": ["healthz"]}, "must begin with a '/'"),
        ({"level": "Metadata", "nonResourceURLs": ["/a*b"]}, "must be the final character"),
        ({"level": "Metadata", "nonResourceURLs": ["/a"], "namespaces": ["x"]}, "cannot apply to both"),
        ({"level": "Metadata", "resources": [{"resourceNames": ["x"]}]}, "requires at least one resource"),
        ({"level": "Metadata", "resources": [{"group": "apps/v1"}]}, "the group of a resource has no version"),
        ({"level": "Metadata", "omitStages": ["Never"]}, "rules[0].omitStages"),
        ("Metadata", "rules[0]: an object"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(rule: Any, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(rule)
    assert told in str(caught.value)
