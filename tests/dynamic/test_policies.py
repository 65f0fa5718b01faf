"""Admission by policies, as clients of the API see it."""

from __future__ import annotations

import msgspec
import pytest
import trio

from kcore.api import options
from tests.api.conftest import ADMIN
from tests.dynamic.conftest import REGISTRATION, config_map, create
from tests.dynamic.policies import VALIDATING, policy, rule

POLICY = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "


# --- validating ------------------------------------------------------------------------------------------------------


async def test_a_validation_that_is_false_refuses_the_write(api):
    await policy(api, "object.data.k == 'w'")
    status = await create(api, expect=422)
    why = POLICY + "failed expression: object.data.k == 'w'"
    assert status["message"] == f'configmaps "a" is forbidden: {why}'
    assert status["reason"] == "Invalid"
    assert status["details"] == {"name": "a", "kind": "configmaps", "causes": [{"message": why}]}


async def test_a_validation_that_is_true_lets_it_pass(api):
    await policy(api, "object.data.k == 'v'", "has(object.metadata.uid)", "oldObject == null")
    await create(api)


async def test_a_policy_without_binding_does_nothing(api):
    await policy(api, "false", binding={"policyName": "other"})
    await create(api)


@pytest.mark.parametrize(
    ("validation", "code", "reason", "message"),
    [
        ({"message": " no "}, 422, "Invalid", "no"),
        ({"message": "no", "reason": "Forbidden"}, 403, "Forbidden", "no"),
        ({"reason": "RequestEntityTooLarge"}, 413, "RequestEntityTooLarge", "failed expression: false"),
        ({"message": "no", "messageExpression": "'not ' + object.data.k"}, 422, "Invalid", "not v"),
        ({"message": "no", "messageExpression": "'not ' + object.data.nope"}, 422, "Invalid", "no"),
        ({"message": "no", "messageExpression": "'two\\nlines'"}, 422, "Invalid", "no"),
        ({"message": "no", "messageExpression": "'  '"}, 422, "Invalid", "no"),
    ],
)
async def test_what_a_refusal_says(api, validation, code, reason, message):
    await policy(api, {"expression": "false", **validation})
    status = await create(api, expect=code)
    assert (status["reason"], status["details"]["causes"]) == (reason, [{"message": POLICY + message}])


async def test_an_expression_that_fails_refuses_the_write_if_the_policy_says_so(api):
    await policy(api, "object.nope == 1")
    status = await create(api, expect=422)
    assert status["message"].endswith("expression 'object.nope == 1' resulted in error: no such key: nope")


async def test_an_expression_that_fails_is_passed_over_if_the_policy_says_so(api):
    await policy(api, "object.nope == 1", failurePolicy="Ignore")
    await create(api)


async def test_a_false_validation_refuses_whatever_the_failure_policy(api):
    await policy(api, "false", failurePolicy="Ignore")
    await create(api, expect=422)


async def test_a_refusal_may_be_a_warning_and_an_audit_annotation(api):
    await policy(api, "true", "false", binding={"validationActions": ["Warn", "Audit"]})
    served = api.server.table.find("", "v1", "configmaps")
    caller = options.Caller(ADMIN)
    obj = {"apiVersion": "v1", "kind": "ConfigMap", **config_map()}
    await api.server.storage.create(served, "default", obj, caller)
    assert caller.warnings == [
        "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: false"
    ]
    failures = msgspec.json.decode(caller.annotations["validation.policy.admission.k8s.io/validation_failure"])
    assert failures == [
        {
            "message": "failed expression: false",
            "policy": "p",
            "binding": "b",
            "expressionIndex": 1,
            "validationActions": ["Warn", "Audit"],
        }
    ]


async def test_audit_annotations_are_written_for_what_passes(api):
    annotations = [
        {"key": "n", "valueExpression": "'name ' + object.metadata.name"},
        {"key": "none", "valueExpression": "'  '"},
    ]
    await policy(api, "true", auditAnnotations=annotations)
    served = api.server.table.find("", "v1", "configmaps")
    caller = options.Caller(ADMIN)
    obj = {"apiVersion": "v1", "kind": "ConfigMap", **config_map()}
    await api.server.storage.create(served, "default", obj, caller)
    assert caller.annotations == {"p/n": "name a"}


async def test_variables_build_on_each_other_and_are_evaluated_when_needed(api):
    variables = [
        {"name": "broken", "expression": "object.nope.nope"},
        {"name": "k", "expression": "object.data.k"},
        {"name": "kk", "expression": "variables.k + variables.k"},
        {"name": "made", "expression": "timestamp(object.metadata.creationTimestamp)"},
    ]
    await policy(
        api,
        "variables.kk == 'vv' || variables.broken == 1",
        "variables.made + duration('1h') > variables.made",
        variables=variables,
    )
    await create(api)


async def test_a_variable_that_fails_is_named(api):
    await policy(api, "variables.x == 1", variables=[{"name": "x", "expression": "object.nope"}])
    message = (await create(api, expect=422))["message"]
    assert 'composited variable "x" fails to evaluate: no such key: nope' in message


async def test_expressions_see_the_request_and_the_namespace(api):
    await policy(
        api,
        "request.operation == 'CREATE' && request.kind.kind == 'ConfigMap'",
        "request.resource.resource == 'configmaps'",
        "request.userInfo.username == 'admin' && 'system:masters' in request.userInfo.groups && !request.dryRun",
        "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'",
    )
    await create(api)


async def test_a_namespace_has_no_namespace_object(api):
    constraints = {"resourceRules": [rule(resources=["namespaces"])]}
    await policy(api, "namespaceObject == null", matchConstraints=constraints)
    await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}}, expect=201)


async def test_an_authorizer_is_asked_for_the_requester_and_for_service_accounts(api):
    await policy(
        api,
        "authorizer.group('apps').resource('deployments').namespace('default').check('create').allowed()",
        "authorizer.requestResource.check('delete').allowed()",
        "!authorizer.serviceAccount('default', 'sa').path('/healthz').check('get').allowed()",
    )
    await create(api)


async def test_an_expression_that_costs_too_much_is_stopped(api):
    numbers = "[0,1,2,3,4,5,6,7,8,9]"
    deep = f"{numbers}.all(a, {numbers}.all(b, {numbers}.all(c, {numbers}.all(d, {numbers}.all(e, a+b+c+d+e >= 0)))))"
    await policy(api, deep)
    assert "actual cost limit exceeded" in (await create(api, expect=422))["message"]


MATCHES = [
    ({"resourceRules": [rule(operations=["DELETE"])]}, {}, False),
    ({"resourceRules": [rule(resourceNames=["a"])]}, {}, True),
    ({"resourceRules": [rule(resourceNames=["b"])]}, {}, False),
    ({"resourceRules": [rule()], "excludeResourceRules": [rule(operations=["*"])]}, {}, False),
    ({"resourceRules": [rule()], "excludeResourceRules": [rule(resourceNames=["a"])]}, {}, False),
    ({"resourceRules": [rule()], "excludeResourceRules": [rule(resourceNames=["b"])]}, {}, True),
    ({"resourceRules": [rule()], "objectSelector": {"matchLabels": {"app": "y"}}}, {}, False),
    ({"resourceRules": [rule()]}, {"matchResources": {}}, True),
    ({"resourceRules": [rule()]}, {"matchResources": {"resourceRules": [rule(resources=["secrets"])]}}, False),
    ({"resourceRules": [rule()]}, {"matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}, False),
    ({"resourceRules": [rule()]}, {"matchResources": {"excludeResourceRules": [rule()]}}, False),
]


@pytest.mark.parametrize(("constraints", "binding", "applies"), MATCHES)
async def test_where_a_policy_applies(api, constraints, binding, applies):
    await policy(api, "false", matchConstraints=constraints, binding=binding)
    await create(api, expect=422 if applies else 201)


async def test_match_conditions_keep_a_policy_away(api):
    conditions = [{"name": "c", "expression": "request.userInfo.username != 'admin'"}]
    await policy(api, "false", matchConditions=conditions)
    await create(api)


async def test_a_match_condition_that_fails_refuses_the_write(api):
    await policy(api, "true", matchConditions=[{"name": "c", "expression": "object.nope == 1"}])
    assert "no such key: nope" in (await create(api, expect=422))["message"]


PARAM_KIND = {"apiVersion": "v1", "kind": "ConfigMap"}


async def params(api, name: str, namespace: str = "default", **labels: str) -> None:
    body = {"metadata": {"name": name, "labels": labels}, "data": {"only": name}}
    await api.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", body, expect=201)


async def test_a_policy_takes_parameters_from_an_object(api):
    await params(api, "one")
    ref = {"name": "one", "parameterNotFoundAction": "Deny"}
    await policy(api, "params.data.only == 'two'", paramKind=PARAM_KIND, binding={"paramRef": ref})
    await create(api, expect=422)


@pytest.mark.parametrize(("action", "code"), [("Deny", 422), ("Allow", 201)])
async def test_parameters_that_are_not_there(api, action, code):
    ref = {"name": "one", "parameterNotFoundAction": action}
    await policy(api, "false", paramKind=PARAM_KIND, binding={"paramRef": ref})
    status = await create(api, expect=code)
    if action == "Deny":
        assert status["message"].endswith(
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        )


async def test_every_selected_parameter_object_must_agree(api):
    for name in ("one", "two"):
        await params(api, name, use="it")
    await params(api, "three")
    ref = {"selector": {"matchLabels": {"use": "it"}}, "parameterNotFoundAction": "Deny"}
    message = {"expression": "params.data.only != 'two'", "messageExpression": "string(params.data.only)"}
    await policy(api, message, paramKind=PARAM_KIND, binding={"paramRef": ref})
    assert (await create(api, expect=422))["message"].endswith("denied request: two")


async def test_parameters_are_sought_in_the_namespace_of_the_request(api):
    await api.call("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}}, expect=201)
    await params(api, "one", "other")
    ref = {"name": "one", "parameterNotFoundAction": "Allow"}
    await policy(api, "false", paramKind=PARAM_KIND, binding={"paramRef": ref})
    await create(api)
    await api.call("POST", "/api/v1/namespaces/other/configmaps", config_map(), expect=422)


async def test_a_kind_of_parameters_that_is_not_served(api):
    kind = {"apiVersion": "example.com/v1", "kind": "Limit"}
    ref = {"name": "one", "parameterNotFoundAction": "Deny"}
    await policy(api, "true", paramKind=kind, binding={"paramRef": ref})
    assert (await create(api, expect=422))["message"].endswith(
        "denied request: failed to configure policy: failed to find resource referenced by paramKind: "
        "'example.com/v1, Kind=Limit'"
    )


async def test_changes_of_policies_take_effect(api):
    await policy(api, "false")
    await create(api, expect=422)
    path = f"{REGISTRATION}/{VALIDATING}/p"
    change = {"spec": {"validations": [{"expression": "true"}]}}
    await api.call("PATCH", path, change, content_type="application/merge-patch+json", expect=200)
    await api.server.feed.caught_up()
    await create(api)
    await api.call("DELETE", path, expect=200)
    await api.server.feed.caught_up()
    await create(api, config_map("b"))


async def test_policies_never_decide_about_policies(api):
    every = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    await policy(api, "false", matchConstraints={"resourceRules": [every]})
    await create(api, expect=422)
    await api.call("DELETE", f"{REGISTRATION}/{VALIDATING}/p", expect=200)


async def test_checks_are_counted(api):
    await policy(api, "false")
    await create(api, expect=422)
    text = api.server.metrics.expose().decode()
    labels = '{enforcement_action="deny",error_type="no_error",policy="p",policy_binding="b"}'
    assert f"apiserver_validating_admission_policy_check_total{labels} 1.0" in text


async def test_many_writes_at_once_are_all_judged(api):
    await policy(api, "int(object.data.n) % 2 == 0")
    codes = []

    async def one(n: int) -> None:
        body = {"metadata": {"name": f"c{n}"}, "data": {"n": str(n)}}
        codes.append((n % 2, (await api.send("POST", "/api/v1/namespaces/default/configmaps", body)).status))

    async with trio.open_nursery() as nursery:
        for n in range(200):
            nursery.start_soon(one, n)
    assert set(codes) == {(0, 201), (1, 422)}


# --- the kinds themselves --------------------------------------------------------------------------------------------

COMPILED = [
    ({"validations": [{"expression": "object."}]}, "spec.validations[0].expression", "Syntax error"),
    ({"validations": [{"expression": "1"}]}, "spec.validations[0].expression", "must evaluate to bool but got int"),
    ({"validations": [{"expression": ""}]}, "spec.validations[0].expression", "expression is not specified"),
    (
        {"validations": [{"expression": "true", "messageExpression": "1"}]},
        "spec.validations[0].messageExpression",
        "must evaluate to string but got int",
    ),
    (
        {"validations": [{"expression": "true", "messageExpression": "authorizer"}]},
        "spec.validations[0].messageExpression",
        "undeclared reference to 'authorizer'",
    ),
    ({"validations": [{"expression": "params.x"}]}, "spec.validations[0].expression", "reference to 'params'"),
    ({"validations": [{"expression": "true", "reason": "Why"}]}, "spec.validations[0].reason", "Unsupported value"),
    ({"validations": [{"expression": "true", "message": "a\nb"}]}, "spec.validations[0].message", "line breaks"),
    ({"validations": []}, "spec.validations", "must contain at least one item"),
    ({"variables": [{"name": "in", "expression": "1"}]}, "spec.variables[0].name", "not a valid CEL identifier"),
    ({"variables": [{"name": "x", "expression": "y"}]}, "spec.variables[0].expression", "undeclared reference to 'y'"),
    (
        {"variables": [{"name": "x", "expression": "variables.y"}, {"name": "y", "expression": "1"}]},
        "spec.variables[0].expression",
        "undefined field 'y'",
    ),
    ({"matchConditions": [{"name": "c", "expression": "1"}]}, "spec.matchConditions[0].expression", "to bool but"),
    ({"matchConstraints": {"resourceRules": []}}, "spec.matchConstraints.resourceRules", "Required value"),
    (
        {"auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
        "spec.auditAnnotations[0].valueExpression",
        "must evaluate to one of [string null_type] but got int",
    ),
    ({"auditAnnotations": [{"key": "a b", "valueExpression": "''"}]}, "spec.auditAnnotations[0].key", "Invalid value"),
    ({"paramKind": {"apiVersion": "a/b/c", "kind": "X"}}, "spec.paramKind.apiVersion", "unexpected GroupVersion"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "text"), COMPILED)
async def test_a_policy_that_cannot_work_is_not_taken(api, spec, field, text):
    spec = {"matchConstraints": {"resourceRules": [rule()]}, "validations": [{"expression": "true"}], **spec}
    body = {"metadata": {"name": "p"}, "spec": spec}
    status = await api.call("POST", f"{REGISTRATION}/{VALIDATING}", body, expect=422)
    causes = {c["field"]: c["message"] for c in status["details"]["causes"]}
    assert text in causes[field]


BOUND = [
    ({"paramRef": {"parameterNotFoundAction": "Deny"}}, "spec.paramRef", "one of name or selector must be specified"),
    ({"paramRef": {"name": "x"}}, "spec.paramRef.parameterNotFoundAction", "Required value"),
    (
        {"paramRef": {"name": "x", "selector": {}, "parameterNotFoundAction": "Deny"}},
        "spec.paramRef.name",
        "exclusive",
    ),
    ({"validationActions": []}, "spec.validationActions", "at least one validation action is required"),
    ({"validationActions": ["Deny", "Deny"]}, "spec.validationActions[1]", "Duplicate value"),
    ({"matchResources": {"matchPolicy": "Some"}}, "spec.matchResouces.matchPolicy", "Unsupported value"),
]


@pytest.mark.parametrize(("spec", "field", "text"), BOUND)
async def test_a_binding_that_cannot_work_is_not_taken(api, spec, field, text):
    body = {"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"], **spec}}
    status = await api.call("POST", f"{REGISTRATION}/validatingadmissionpolicybindings", body, expect=422)
    causes = {c["field"]: c["message"] for c in status["details"]["causes"]}
    assert text in causes[field]
