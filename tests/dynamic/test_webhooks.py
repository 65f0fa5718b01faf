"""Admission by webhooks, as clients of the API see it."""

from __future__ import annotations

import msgspec
import pytest
import trio

from kcore.http.messages import Response
from tests.api.conftest import Masters
from tests.api.test_audit import listen
from tests.dynamic.conftest import (
    REGISTRATION,
    RULE,
    config_map,
    create,
    label,
    patch,
    register,
    webhook,
)


async def test_a_mutating_webhook_changes_what_is_stored(api, hooks):
    hooks.answers["/m"] = {**label("seen"), "warnings": ["mind the label"]}
    await register(api, "Mutating", webhook(hooks.client("/m")))
    response = await api.send("POST", "/api/v1/namespaces/default/configmaps", config_map())
    made = msgspec.json.decode(b"".join(response.body) if isinstance(response.body, list) else response.body)
    assert made["metadata"]["labels"] == {"app": "x", "seen": "yes"}
    assert (b"warning", b'299 - "mind the label"') in response.headers
    assert (await api.call("GET", "/api/v1/namespaces/default/configmaps/a"))["metadata"] == made["metadata"]


async def test_the_review_says_all_that_there_is_to_know(api, hooks):
    await register(api, "Mutating", webhook(hooks.client("/m")))
    await register(api, "Validating", webhook(hooks.client("/v")))
    await create(api, query="?fieldManager=me&dryRun=All")
    early, late = hooks.of("/m")[0], hooks.of("/v")[0]
    config_maps = {"group": "", "version": "v1", "resource": "configmaps"}
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    for asked in (early, late):
        assert asked["kind"] == asked["requestKind"] == kind
        assert asked["resource"] == asked["requestResource"] == config_maps
        assert (asked["operation"], asked["name"], asked["namespace"]) == ("CREATE", "a", "default")
        assert asked["userInfo"] == {"username": "admin", "uid": "admin-uid", "groups": asked["userInfo"]["groups"]}
        assert asked["dryRun"] is True
        assert asked["oldObject"] is None
        assert asked["options"] == {
            "kind": "CreateOptions",
            "apiVersion": "meta.k8s.io/v1",
            "dryRun": ["All"],
            "fieldManager": "me",
        }
        assert asked["object"]["data"] == {"k": "v"}
    assert "uid" not in early["object"]["metadata"]
    assert late["object"]["metadata"]["uid"]
    assert early["uid"] != late["uid"]


async def test_names_are_generated_after_mutation(api, hooks):
    await register(api, "Mutating", webhook(hooks.client("/m")))
    await register(api, "Validating", webhook(hooks.client("/v")))
    made = await create(api, {"metadata": {"generateName": "x-"}})
    assert "name" not in hooks.of("/m")[0]
    assert "name" not in hooks.of("/m")[0]["object"]["metadata"]
    assert hooks.of("/v")[0]["name"] == made["metadata"]["name"]


async def test_updates_and_deletes_show_what_was_there(api, hooks):
    await create(api)
    await register(api, "Validating", webhook(hooks.client("/v")))
    path = "/api/v1/namespaces/default/configmaps/a"
    await api.call("PATCH", path, {"data": {"k": "w"}}, content_type="application/merge-patch+json", expect=200)
    await api.call("DELETE", path, {"propagationPolicy": "Background"}, expect=200)
    update, delete = hooks.asked
    assert (update["object"]["data"], update["oldObject"]["data"]) == ({"k": "w"}, {"k": "v"})
    assert update["options"]["kind"] == "UpdateOptions"
    assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == ("DELETE", None, {"k": "w"})
    assert delete["options"] == {
        "kind": "DeleteOptions",
        "apiVersion": "meta.k8s.io/v1",
        "propagationPolicy": "Background",
    }


async def test_a_refusal_is_passed_on_with_its_status(api, hooks):
    hooks.answers["/v"] = {"allowed": False, "status": {"message": "no", "code": 418, "reason": "Teapot"}}
    await register(api, "Validating", webhook(hooks.client("/v")))
    status = await create(api, expect=418)
    assert status["message"] == 'admission webhook "a.example.com" denied the request: no'
    assert status["reason"] == "Teapot"


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        ({}, 400, " without explanation"),
        ({"reason": "Because"}, 400, ": Because"),
        ({"code": 200, "message": "no"}, 400, ": no"),
    ],
)
async def test_a_refusal_always_has_a_code_and_a_reason(api, hooks, status, code, text):
    hooks.answers["/v"] = {"allowed": False, "status": status}
    await register(api, "Validating", webhook(hooks.client("/v")))
    assert (await create(api, expect=code))["message"] == (
        f'admission webhook "a.example.com" denied the request{text}'
    )


async def test_a_refusal_brings_its_warnings(api, hooks):
    hooks.answers["/v"] = {"allowed": False, "warnings": ["careful"]}
    await register(api, "Validating", webhook(hooks.client("/v")))
    response = await api.send("POST", "/api/v1/namespaces/default/configmaps", config_map())
    assert response.status == 400
    assert (b"warning", b'299 - "careful"') in response.headers


def raw(response: object, **more: object) -> Response:
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response, **more}
    return Response(200, msgspec.json.encode(review))


def with_uid(**more: object):
    return lambda asked: raw({"uid": asked["uid"], "allowed": True, **more})


BAD = {
    "no response": (lambda asked: raw(None), "received invalid webhook response: webhook response was absent"),
    "other uid": (lambda asked: raw({"uid": "x"}), 'received invalid webhook response: expected response.uid="'),
    "other kind": (
        lambda asked: raw({"uid": asked["uid"], "allowed": True}, kind="Pod"),
        "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1, Kind=Pod",
    ),
    "no kind": (
        lambda asked: Response(200, msgspec.json.encode({"response": {"uid": asked["uid"], "allowed": True}})),
        "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind=",
    ),
    "no type of patch": (with_uid(patch="W10="), "webhook returned response.patch but not response.patchType"),
    "no patch": (with_uid(patchType="JSONPatch"), "webhook returned response.patchType but not response.patch"),
    "type of nothing": (with_uid(patch="W10=", patchType=""), 'webhook returned invalid response.patchType of ""'),
    "other patch": (with_uid(patch="e30=", patchType="MergePatch"), 'unsupported patch type "MergePatch"'),
    "no base64": (with_uid(patch="!!!", patchType="JSONPatch"), "illegal base64 data at input byte 0"),
    "no json": (with_uid(patch="e3s=", patchType="JSONPatch"), "received undecodable patch in webhook response: "),
    "no list": (with_uid(patch="e30=", patchType="JSONPatch"), "cannot unmarshal object into Go value of type jsonp"),
    "wrong type": (with_uid(allowed="yes"), "cannot unmarshal string into Go struct field Admission"),
    "warnings that are none": (with_uid(warnings=[1]), "json: cannot unmarshal number into Go struct field"),
    "a list": (lambda asked: raw([]), "cannot unmarshal array into Go struct field AdmissionReview.response"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
async def test_an_answer_that_makes_no_sense_is_a_failed_call(api, hooks, what):
    answer, text = BAD[what]
    hooks.answers["/m"] = answer
    await register(api, "Mutating", webhook(hooks.client("/m")))
    status = await create(api, expect=500)
    assert status["message"].startswith('Internal error occurred: failed calling webhook "a.example.com": ')
    assert text in status["message"]
    assert status["details"]["causes"] == [{"message": status["message"].removeprefix("Internal error occurred: ")}]


async def test_a_validating_webhook_may_not_change_anything(api, hooks):
    hooks.answers["/v"] = label("seen")
    await register(api, "Validating", webhook(hooks.client("/v")))
    assert "validating webhook may not return response.patch" in (await create(api, expect=500))["message"]


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ({"op": "remove", "path": "/metadata/nope"}, "Unable to remove nonexistent key: nope: missing value"),
        ({"op": "add", "path": "/a/b/c", "value": 1}, 'add operation does not apply: doc is missing path: "/a/b/c"'),
        ({"op": "test", "path": "/data/k", "value": "z"}, "testing value /data/k failed: test failed"),
        ({"op": "dance", "path": "/data"}, "Unexpected kind: dance"),
        ({"op": "replace", "path": "/data", "value": 7}, "json: cannot unmarshal number into Go struct field"),
        ({"op": "replace", "path": "", "value": 7}, "the patched object is no object"),
    ],
)
async def test_a_patch_that_does_not_fit_is_an_error_even_if_failures_are_ignored(api, hooks, operation, text):
    hooks.answers["/m"] = patch(operation)
    await register(api, "Mutating", webhook(hooks.client("/m"), failurePolicy="Ignore"))
    assert text in (await create(api, expect=500))["message"]


async def test_a_patched_object_gets_its_defaults_and_loses_what_it_does_not_know(api, hooks):
    port = {"port": 80, "what": "ever"}
    hooks.answers["/m"] = patch({"op": "add", "path": "/spec/ports", "value": [port]})
    rule = {**RULE, "resources": ["services"]}
    await register(api, "Mutating", webhook(hooks.client("/m"), rules=[rule]))
    body = {"metadata": {"name": "s"}, "spec": {"selector": {"a": "b"}}}
    made = await api.call("POST", "/api/v1/namespaces/default/services", body, expect=201)
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]


async def test_a_patched_object_is_validated(api, hooks):
    hooks.answers["/m"] = patch({"op": "add", "path": "/metadata/labels/a b", "value": "c"})
    await register(api, "Mutating", webhook(hooks.client("/m")))
    assert (await create(api, expect=422))["reason"] == "Invalid"


async def test_what_only_the_server_chooses_stays(api, hooks):
    hooks.answers["/m"] = patch(
        {"op": "add", "path": "/metadata/uid", "value": "mine"},
        {"op": "add", "path": "/metadata/creationTimestamp", "value": "2001-01-01T00:00:00Z"},
        {"op": "add", "path": "/metadata/resourceVersion", "value": "7"},
    )
    await register(api, "Mutating", webhook(hooks.client("/m")))
    meta = (await create(api))["metadata"]
    assert meta["uid"] != "mine"
    assert not meta["creationTimestamp"].startswith("2001")


async def test_a_spec_that_a_webhook_changes_is_a_new_generation(api, hooks):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 1}
    path = "/apis/apps/v1/namespaces/default/deployments"
    await api.call("POST", path, {"metadata": {"name": "d", "labels": {"x": "y"}}, "spec": spec}, expect=201)
    hooks.answers["/m"] = patch({"op": "replace", "path": "/spec/replicas", "value": 5})
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"]}
    await register(api, "Mutating", webhook(hooks.client("/m"), rules=[rule]))
    changed = await api.call(
        "PATCH", f"{path}/d", {"metadata": {"labels": {"x": "z"}}}, content_type="application/merge-patch+json"
    )
    assert (changed["spec"]["replicas"], changed["metadata"]["generation"]) == (5, 2)


async def test_a_failure_may_be_passed_over(api, hooks):
    hooks.answers["/m"] = Response(500, b"oops")
    await register(api, "Mutating", webhook(hooks.client("/m"), failurePolicy="Ignore"))
    await register(api, "Validating", webhook({"url": "https://127.0.0.1:1/"}, failurePolicy="Ignore"))
    await create(api)
    text = api.server.metrics.expose().decode()
    assert 'apiserver_admission_webhook_fail_open_count{name="a.example.com",type="admit"} 1.0' in text
    assert 'apiserver_admission_webhook_fail_open_count{name="a.example.com",type="validating"} 1.0' in text


async def test_a_refusal_is_no_failure(api, hooks):
    hooks.answers["/v"] = {"allowed": False}
    await register(api, "Validating", webhook(hooks.client("/v"), failurePolicy="Ignore"))
    await create(api, expect=400)


async def test_a_webhook_that_hangs_takes_no_longer_than_it_may(api, hooks):
    async def hang(asked):
        await trio.sleep_forever()

    hooks.answers["/v"] = hang
    await register(api, "Validating", webhook(hooks.client("/v"), timeoutSeconds=1))
    message = (await create(api, expect=500))["message"]
    assert message.endswith(f'Post "{hooks.url("/v")}?timeout=1s": context deadline exceeded')


async def test_dry_runs_are_not_sent_to_webhooks_that_do_something(api, hooks):
    await register(api, "Validating", webhook(hooks.client("/v")))
    configuration = await api.call("GET", f"{REGISTRATION}/validatingwebhookconfigurations/test")
    configuration["webhooks"][0]["sideEffects"] = "Unknown"  # of a configuration that is older than this rule
    plugin = api.server.admission[-1]
    from kcore_webhooks.hooks import compile_configuration

    plugin._selection.use(compile_configuration(configuration))
    plugin._followed._seen = plugin._followed._served.cache.changed
    status = await create(api, expect=400, query="?dryRun=All")
    assert status["message"] == 'admission webhook "a.example.com" does not support dry run'
    assert not hooks.asked


async def test_each_mutating_webhook_sees_what_those_before_it_made(api, hooks):
    hooks.answers["/1"], hooks.answers["/2"] = label("one"), label("two")
    await register(api, "Mutating", webhook(hooks.client("/1"), "z.example.com"), name="a")
    await register(api, "Mutating", webhook(hooks.client("/2"), "a.example.com"), name="b")
    made = await create(api)
    assert made["metadata"]["labels"] == {"app": "x", "one": "yes", "two": "yes"}
    assert hooks.of("/2")[0]["object"]["metadata"]["labels"] == {"app": "x", "one": "yes"}


async def test_a_webhook_is_asked_again_when_a_later_one_changes_the_object_and_it_wants_that(api, hooks):
    hooks.answers["/2"] = label("two")
    await register(
        api,
        "Mutating",
        webhook(hooks.client("/1"), "one.example.com", reinvocationPolicy="IfNeeded"),
        webhook(hooks.client("/2"), "two.example.com", reinvocationPolicy="Never"),
        webhook(hooks.client("/3"), "three.example.com", reinvocationPolicy="IfNeeded"),
    )
    await create(api)
    assert [request.path for request in hooks.requests] == ["/1", "/2", "/3", "/1"]
    assert hooks.of("/1")[1]["object"]["metadata"]["labels"]["two"] == "yes"


async def test_built_in_plugins_see_what_a_webhook_has_made(api, hooks):
    from kcore.api.admission import Admission

    class Counting(Admission):
        name = "Counting"
        seen: list[dict] = []  # noqa: RUF012

        async def admit(self, request):
            if request.kind.plural == "configmaps":
                self.seen.append(dict(request.obj["metadata"]["labels"]))

    counting = Counting()
    api.server.admission.insert(0, counting)
    hooks.answers["/m"] = label("seen")
    await register(api, "Mutating", webhook(hooks.client("/m")))
    await create(api)
    assert counting.seen == [{"app": "x"}, {"app": "x", "seen": "yes"}]


async def test_validating_webhooks_are_asked_at_once(api, hooks):
    together = trio.Event()

    async def wait(asked):
        if len(hooks.asked) == 3:
            together.set()
        await together.wait()
        return {}

    for path in ("/1", "/2", "/3"):
        hooks.answers[path] = wait
    await register(api, "Validating", *[webhook(hooks.client(f"/{i}"), f"w{i}.example.com") for i in (1, 2, 3)])
    await create(api)
    assert len(hooks.asked) == 3


async def test_configurations_of_admission_are_never_subject_to_it(api, hooks):
    hooks.answers["/v"] = {"allowed": False}
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    await register(api, "Validating", webhook(hooks.client("/v"), rules=[rule]))
    await create(api, expect=400)
    hooks.asked.clear()
    await api.call("DELETE", f"{REGISTRATION}/validatingwebhookconfigurations/test", expect=200)
    await api.server.feed.caught_up()
    assert not hooks.asked
    await create(api)


async def test_an_older_webhook_need_not_name_what_it_answers(api, hooks):
    operations = "W3sib3AiOiJhZGQiLCJwYXRoIjoiL2RhdGEvbmV3IiwidmFsdWUiOiJ4In1d"
    hooks.answers["/m"] = Response(200, msgspec.json.encode({"response": {"allowed": True, "patch": operations}}))
    await register(api, "Mutating", webhook(hooks.client("/m"), admissionReviewVersions=["v1beta1"]))
    assert (await create(api))["data"] == {"k": "v", "new": "x"}
    assert msgspec.json.decode(hooks.requests[0].body)["apiVersion"] == "admission.k8s.io/v1beta1"


@pytest.mark.parametrize("level", ["Metadata", "Request"])
async def test_the_audit_log_learns_what_webhooks_did(api, hooks, level):
    hooks.answers["/m"] = {**label("seen"), "auditAnnotations": {"why": "because"}}
    await register(api, "Mutating", webhook(hooks.client("/m")))
    sink = listen(api, {"level": level})
    await create(api)
    said = next(event["annotations"] for event in sink.events if event["stage"] == "ResponseComplete")
    assert said["a.example.com/why"] == "because"
    mutation = msgspec.json.decode(said["mutation.webhook.admission.k8s.io/round_0_index_0"])
    assert mutation == {"configuration": "test", "webhook": "a.example.com", "mutated": True}
    assert ("patch.webhook.admission.k8s.io/round_0_index_0" in said) is (level == "Request")


async def test_calls_are_counted(api, hooks):
    hooks.answers["/v"] = {"allowed": False, "status": {"code": 403}}
    await register(api, "Validating", webhook(hooks.client("/v")))
    await create(api, expect=403)
    text = api.server.metrics.expose().decode()
    for line in (
        'apiserver_admission_webhook_request_total{code="403",name="a.example.com",operation="CREATE",rejected="true"'
        ',type="validating"} 1.0',
        'apiserver_admission_webhook_rejection_count{error_type="no_error",name="a.example.com",operation="CREATE"'
        ',rejection_code="403",type="validating"} 1.0',
        'apiserver_admission_webhook_admission_duration_seconds_count{name="a.example.com",operation="CREATE"'
        ',rejected="true",type="validating"} 1.0',
        'apiserver_admission_controller_admission_duration_seconds_count{name="ValidatingAdmissionWebhook"'
        ',operation="CREATE",rejected="true",type="validate"} 1.0',
        'apiserver_admission_step_admission_duration_seconds_count{operation="CREATE",rejected="true"'
        ',type="validate"} 1.0',
    ):
        assert line in text


async def test_a_flood_of_writes_passes_through_a_webhook(api, hooks):
    hooks.answers["/m"] = label("seen")
    await register(api, "Mutating", webhook(hooks.client("/m"), timeoutSeconds=30))
    made = []

    async def one(i):
        made.append(await create(api, config_map(f"c{i}")))

    async with trio.open_nursery() as nursery:
        for i in range(200):
            nursery.start_soon(one, i)
    assert len(made) == 200
    assert all(m["metadata"]["labels"]["seen"] == "yes" for m in made)


async def test_without_rules_nobody_is_asked_and_nothing_is_compiled(api, hooks):
    assert isinstance(api.server.authorizers[0], Masters)
    await create(api)
    for plugin in api.server.admission:
        followed = getattr(plugin, "_followed", None)
        assert followed is None or not followed.items
