"""Type checking of a ValidatingAdmissionPolicy: its expressions against the schemas of the kinds it is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kcore.api.admission_cel import NAMESPACE, REQUEST, Composition
from kcore.api.expressions import type_of
from kcore.api.kinds import Kind
from kcore.api.matching import Gvk
from kcore.api.policy_authorizer import declared
from kcore.cel import CompileError, Environment
from kcore.cel.types import Type

Object = dict[str, Any]


def warnings(spec: Object, kinds: Iterable[Kind], most: int) -> list[Object]:
    """The expressionWarnings of a policy's status. At most so many kinds are looked at."""
    served = {(k.group, k.version, k.plural): k for k in kinds}
    environments = [(gvk, _environment(spec, kind, served.values())) for gvk, kind in _kinds(spec, served, most)]
    out: list[Object] = []
    for i, validation in enumerate(spec.get("validations") or ()):
        for member in ("expression", "messageExpression"):
            source = validation.get(member)
            text = "\n".join(_problems(source, environments)) if source else ""
            if text:
                out.append({"fieldRef": f"spec.validations[{i}].{member}", "warning": text})
    return out


def _problems(source: str, environments: list[tuple[Gvk, Environment]]) -> Iterable[str]:
    for gvk, environment in environments:
        try:
            environment.compile(source)
        except CompileError as error:
            yield f"{gvk}: {error}\n"


def _kinds(spec: Object, served: dict[tuple[str, str, str], Kind], most: int) -> list[tuple[Gvk, Kind]]:
    """The kinds that rules name without wildcards, in order."""
    found: dict[Gvk, Kind] = {}
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = sorted(rule.get("apiGroups") or ()), sorted(rule.get("apiVersions") or ())
        if any("*" in word for word in (*groups, *versions)):
            continue
        resources = sorted(r for r in rule.get("resources") or () if "*" not in r and "/" not in r)
        for key in ((g, v, r) for g in groups for v in versions for r in resources):
            kind = served.get(key)
            if kind is not None and len(found) < most:
                found[Gvk(kind.group, kind.version, kind.kind)] = kind
    return sorted(found.items(), key=lambda item: (item[0].group, item[0].version, item[0].kind))


def _environment(spec: Object, kind: Kind, served: Iterable[Kind]) -> Environment:
    own = type_of(kind.schema, resource=True, name=kind.kind)
    variables: dict[str, Type] = {
        "object": own,
        "oldObject": own,
        "request": REQUEST,
        "namespaceObject": NAMESPACE,
        **declared(),
    }
    given = spec.get("paramKind")
    if given:
        wanted = (given.get("apiVersion"), given.get("kind"))
        params = next((k for k in served if (k.api_version, k.kind) == wanted), None)
        if params is not None:
            variables["params"] = type_of(params.schema, resource=True, name=f"{params.kind}Params")
    return Composition(Environment(variables), spec.get("variables") or ()).environment
