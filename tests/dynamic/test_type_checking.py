"""Expressions of policies against the schemas of what they are about."""

from __future__ import annotations

from typing import Any

import kcore_kinds
import pytest

from kcore.api.policy_types import warnings
from tests.dynamic.conftest import RULE

DEPLOYMENTS = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}


def check(*validations: Any, rules: Any = (DEPLOYMENTS,), most: int = 10, **spec: Any) -> dict[str, str]:
    made = [{"expression": v} if isinstance(v, str) else v for v in validations]
    spec = {"matchConstraints": {"resourceRules": list(rules)}, "validations": made, **spec}
    return {w["fieldRef"]: w["warning"] for w in warnings(spec, kcore_kinds.kcore_kinds(), most)}


def test_a_field_that_is_not_there_is_told_with_its_place_and_kind():
    assert check("object.spec.replicas > 1", "object.spec.nope > 1") == {
        "spec.validations[1].expression": (
            "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nope'\n"
            " | object.spec.nope > 1\n | ...........^\n"
        )
    }


@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.replicas > 1",
        "oldObject == null || oldObject.metadata.name != object.metadata.name",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('a'))",
        "quantity(object.spec.template.spec.containers[0].resources.limits['cpu']).isLessThan(quantity('1'))",
        "authorizer.requestResource.check('get').allowed() && request.namespace == namespaceObject.metadata.name",
        "variables.n + 1 > 0",
    ],
)
def test_what_fits_is_not_warned_of(expression):
    assert not check(expression, variables=[{"name": "n", "expression": "object.spec.replicas"}])


def test_variables_and_messages_are_checked_too():
    found = check(
        {"expression": "variables.n == 'x'", "messageExpression": "'at ' + object.spec.nope"},
        variables=[{"name": "n", "expression": "object.spec.replicas"}],
    )
    assert "applied to '(int, string)'" in found["spec.validations[0].expression"]
    assert "undefined field 'nope'" in found["spec.validations[0].messageExpression"]


def test_every_kind_that_rules_name_is_checked_and_wildcards_are_not():
    both = {**DEPLOYMENTS, "resources": ["replicasets", "deployments", "deployments/scale", "*"]}
    (text,) = check("object.spec.strategy.type == 'x'", rules=[both]).values()
    assert text.startswith("apps/v1, Kind=ReplicaSet: ")
    assert not check("object.nope", rules=[{**DEPLOYMENTS, "apiVersions": ["*"]}])
    assert len(check("object.nope", rules=[both, RULE], most=1)) == 1


def test_parameters_have_the_type_of_their_kind():
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    assert not check("params.data['x'] == 'y'", paramKind=kind)
    assert "undefined field 'spec'" in str(check("params.spec.x == 1", paramKind=kind))
