"""Objects changed by policies, as clients of the API see it."""

from __future__ import annotations

import pytest

from tests.dynamic.conftest import REGISTRATION, create
from tests.dynamic.policies import MUTATING, mutation, policy, rule

# --- mutating --------------------------------------------------------------------------------------------------------


async def test_a_configuration_is_applied(api):
    await mutation(api, "Object{metadata: Object.metadata{labels: {'team': object.data.k}}}")
    assert (await create(api))["metadata"]["labels"] == {"app": "x", "team": "v"}


POD = {
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]}]},
}


async def test_lists_are_merged_by_their_keys(api):
    env = "env: [Object.spec.containers.env{name: 'B', value: '2'}]"
    await mutation(
        api,
        f"Object{{spec: Object.spec{{containers: [Object.spec.containers{{name: 'c', {env}}}]}}}}",
        resources="pods",
    )
    made = await api.call("POST", "/api/v1/namespaces/default/pods", POD, expect=201)
    (container,) = made["spec"]["containers"]
    assert container["image"] == "i"
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


async def test_a_json_patch_is_applied(api):
    await mutation(
        api,
        ["[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]"],
        ["[JSONPatch{op: 'test', path: '/data/k', value: 'other'}, JSONPatch{op: 'remove', path: '/data'}]"],
    )
    made = await create(api)
    assert made["metadata"]["labels"] == {"app": "x", "a/b": "c"}
    assert made["data"] == {"k": "v"}


async def test_a_scale_is_changed_as_a_scale(api):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 1}
    path = "/apis/apps/v1/namespaces/default/deployments"
    await api.call("POST", path, {"metadata": {"name": "d"}, "spec": spec}, expect=201)
    scales = rule(apiGroups=["apps"], resources=["deployments/scale"])
    await mutation(
        api,
        "Object{spec: Object.spec{replicas: object.spec.replicas > 3 ? 3 : object.spec.replicas}}",
        matchConstraints={"resourceRules": [scales]},
    )
    body = {"spec": {"replicas": 9}}
    scale = await api.call("PATCH", f"{path}/d/scale", body, content_type="application/merge-patch+json", expect=200)
    assert scale["spec"]["replicas"] == 3


BROKEN = [
    ("Object{data: Object.data{k: object.nope}}", "resulted in error: no such key: nope"),
    ("Object{metadata: Object.meta{labels: {'a': 'b'}}}", 'unexpected type name "Object.meta", expected'),
    (["[JSONPatch{op: 'remove', path: '/nope'}]"], "JSONPath: "),
    (["[JSONPatch{op: 'replace', path: '/nope/x', value: 1}]"], "replace operation does not apply"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "text"), BROKEN)
async def test_a_mutation_that_fails_refuses_the_write(api, given, text):
    await mutation(api, given)
    status = await create(api, expect=403)
    assert status["message"].startswith("policy 'm' with binding 'm' denied request: ")
    assert text in status["message"]
    assert status["reason"] == "Invalid"


@pytest.mark.parametrize("given", [given for given, _ in BROKEN])
async def test_a_mutation_that_fails_is_passed_over_if_the_policy_says_so(api, given):
    await mutation(api, given, failurePolicy="Ignore")
    await create(api)


async def test_an_atomic_list_is_not_half_replaced(api):
    await mutation(
        api,
        "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'c', command: ['sh']}]}}",
        resources="pods",
    )
    status = await api.call("POST", "/api/v1/namespaces/default/pods", POD, expect=403)
    assert "may not mutate atomic arrays, maps or structs: .spec.containers[0].command" in status["message"]


async def test_a_type_that_does_not_fit_is_refused(api):
    await mutation(api, "Object{spec: Object.spec{nodeName: 7}}", resources="pods")
    await api.call("POST", "/api/v1/namespaces/default/pods", POD, expect=403)


async def test_what_a_policy_makes_is_defaulted_and_validated(api):
    await mutation(
        api,
        "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'Not A Name', image: 'i'}]}}",
        resources="pods",
    )
    status = await api.call("POST", "/api/v1/namespaces/default/pods", POD, expect=422)
    assert status["details"]["causes"][0]["field"] == "spec.initContainers[0].name"


async def test_a_policy_runs_again_after_others_have_changed_the_object_if_it_wants_to(api):
    count = "Object{metadata: Object.metadata{labels: {'n': string(size(object.metadata.labels))}}}"
    await mutation(api, count, name="a", reinvocationPolicy="IfNeeded")
    await mutation(api, "Object{metadata: Object.metadata{labels: {'later': 'x'}}}", name="b")
    labels = (await create(api))["metadata"]["labels"]
    assert labels == {"app": "x", "n": "3", "later": "x"}


async def test_mutations_see_no_uid_and_validations_do(api):
    await mutation(api, "Object{data: Object.data{uid: string(has(object.metadata.uid))}}")
    await policy(api, "object.data.uid == 'false' && has(object.metadata.uid)")
    await create(api)


MUTATIONS = [
    ({"patchType": "Other"}, "spec.mutations[0].patchType", "Unsupported value"),
    ({"patchType": "JSONPatch"}, "spec.mutations[0].jsonPatch", "must be specified"),
    (
        {"patchType": "JSONPatch", "jsonPatch": {"expression": "1"}},
        "spec.mutations[0].jsonPatch.expression",
        "must evaluate to list(JSONPatch) but got int",
    ),
    (
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "{'a': 1}"}},
        "spec.mutations[0].applyConfiguration.expression",
        "must evaluate to Object but got map(string, int)",
    ),
]


@pytest.mark.parametrize(("given", "field", "text"), MUTATIONS)
async def test_a_mutating_policy_that_cannot_work_is_not_taken(api, given, field, text):
    spec = {
        "matchConstraints": {"resourceRules": [rule()]},
        "mutations": [given],
        "reinvocationPolicy": "Never",
    }
    body = {"metadata": {"name": "m"}, "spec": spec}
    status = await api.call("POST", f"{REGISTRATION}/{MUTATING}", body, expect=422)
    causes = {c["field"]: c["message"] for c in status["details"]["causes"]}
    assert text in causes[field]
