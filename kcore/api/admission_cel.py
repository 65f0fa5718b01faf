"""Expressions of admission: match conditions, and what policies are made of.

An `Evaluation` holds what the expressions of one request see: ``object``, ``oldObject``, ``request``, ``params``,
``namespaceObject``, ``authorizer`` and the policy's ``variables``, which are evaluated when an expression first looks
at them. Asking an authorizer may take a webhook, but expressions run without a pause: a check that is not yet known
stops the expression, is made, and the expression starts again (`Pending`). Every decision is thus made once a request.

Imported when the first expression is compiled: a cluster without any does not pay for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from kcore.api.expressions import MATCH_CONDITIONS_BUDGET, PER_CALL_LIMIT
from kcore.api.policy_authorizer import Checks, declared
from kcore.api.review import request_object
from kcore.cel import Budget, BudgetExceeded, CompileError, Environment, EvaluationError, Program
from kcore.cel.libraries.authorization import Pending
from kcore.cel.libraries.mutation import PATCH, Structs
from kcore.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Type, list_of, map_of, object_type

if TYPE_CHECKING:
    from kcore.api.admission import AdmissionRequest
    from kcore.api.kinds import Kind
    from kcore.api.server import ApiServer
    from kcore.objects import Object

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"

_GVK = object_type("kubernetes.GroupVersionKind", {"group": STRING, "version": STRING, "kind": STRING})
_GVR = object_type("kubernetes.GroupVersionResource", {"group": STRING, "version": STRING, "resource": STRING})
_USER = object_type(
    "kubernetes.UserInfo",
    {"username": STRING, "uid": STRING, "groups": list_of(STRING), "extra": map_of(STRING, list_of(STRING))},
)
REQUEST = object_type(
    "kubernetes.AdmissionRequest",
    {
        "kind": _GVK,
        "resource": _GVR,
        "subResource": STRING,
        "requestKind": _GVK,
        "requestResource": _GVR,
        "requestSubResource": STRING,
        "name": STRING,
        "namespace": STRING,
        "operation": STRING,
        "userInfo": _USER,
        "dryRun": BOOL,
        "options": DYN,
    },
)
_CONDITION = object_type(
    "kubernetes.NamespaceCondition",
    {"status": STRING, "type": STRING, "lastTransitionTime": TIMESTAMP, "message": STRING, "reason": STRING},
)
NAMESPACE = object_type(
    "kubernetes.Namespace",
    {
        "metadata": object_type(
            "kubernetes.NamespaceMetadata",
            {
                "name": STRING,
                "generateName": STRING,
                "namespace": STRING,
                "labels": map_of(STRING, STRING),
                "annotations": map_of(STRING, STRING),
                "UID": STRING,
                "creationTimestamp": TIMESTAMP,
                "deletionGracePeriodSeconds": INT,
                "deletionTimestamp": TIMESTAMP,
                "generation": INT,
                "resourceVersion": STRING,
                "finalizers": list_of(STRING),
            },
        ),
        "spec": object_type("kubernetes.NamespaceSpec", {"finalizers": list_of(STRING)}),
        "status": object_type("kubernetes.NamespaceStatus", {"conditions": list_of(_CONDITION), "phase": STRING}),
    },
)
_NAMESPACE_META = (
    "name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "finalizers",
)  # fmt: skip


class Invalid(Exception):
    """An expression that cannot be used. ``str()`` is upstream's text."""


class OutOfBudget(Exception):
    """The expressions of a request together cost more than they may."""


# --- compiling -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def environment(*, params: bool = False, authorizer: bool = True, patches: bool = False) -> Environment:
    """What the expressions of a webhook or policy can use."""
    variables: dict[str, Type] = {"object": DYN, "oldObject": DYN, "request": REQUEST, "namespaceObject": NAMESPACE}
    if params:
        variables["params"] = DYN
    if authorizer:
        variables |= declared()
    return Environment(variables, structs=_STRUCTS if patches else None)


def compile_expression(env: Environment, source: str, result: Iterable[Type] | None) -> Program:
    """Raises Invalid. `result`: the types of which it must be exactly one; None for any."""
    try:
        program = env.compile(source)
    except CompileError as error:
        raise Invalid(f"compilation failed: {error}") from None
    wanted = None if result is None else tuple(result)
    if wanted is not None and not any(_exactly(program.type, type_) for type_ in wanted):
        names = [_shown(type_) for type_ in wanted]
        expected = names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"
        raise Invalid(f"must evaluate to {expected} but got {_shown(program.type)}")
    return program


_RUNTIME_NAMES = {
    "null": "null_type",
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
}


def _shown(type_: Type) -> str:
    """A type by the name that it has at run time, which is what upstream prints here."""
    name = _RUNTIME_NAMES.get(type_.kind, type_.name)
    return f"{name}({', '.join(map(_shown, type_.params))})" if type_.params else name


def _exactly(found: Type, wanted: Type) -> bool:
    return (
        found.kind == wanted.kind
        and found.name == wanted.name
        and len(found.params) == len(wanted.params)
        and all(_exactly(a, b) for a, b in zip(found.params, wanted.params, strict=True))
    )


class Expression:
    """A compiled expression, or one that did not compile: then evaluating it is an error."""

    def __init__(self, env: Environment, source: str, result: Iterable[Type] | None) -> None:
        self.source, self.error = source, ""
        self.program: Program | None = None
        try:
            self.program = compile_expression(env, source, result)
        except Invalid as error:
            self.error = str(error)


class Composition:
    """A policy's variables: each may use those before it."""

    def __init__(self, env: Environment, variables: Iterable[Object]) -> None:
        self.base = env
        self.fields: dict[str, Type] = {}
        self.compiled: dict[str, Expression] = {}
        for variable in variables:
            self.add(variable.get("name", ""), variable.get("expression", ""))

    @property
    def environment(self) -> Environment:
        return self.over(self.base)

    def over(self, base: Environment) -> Environment:
        """An environment with the variables."""
        return base.extend({"variables": object_type("kubernetes.variables", dict(self.fields))})

    def add(self, name: str, source: str) -> Expression:
        made = self.compiled[name] = Expression(self.environment, source, None)
        type_ = made.program.type if made.program is not None else DYN
        # a field's value is read from JSON, but a variable's is a timestamp already
        self.fields[name] = DYN if type_.convertible or type_.kind in ("opaque", "type", "object") else type_
        return made


_STRUCTS = Structs()
OBJECT, JSON_PATCH = _STRUCTS["Object"], PATCH


# --- evaluating ------------------------------------------------------------------------------------------------------


class Failed(Exception):
    """One expression came to no value. ``str()`` is upstream's text."""


class _Variables(dict[str, Any]):
    """``variables``: evaluated when looked at, and kept."""

    def __init__(self, evaluation: Evaluation, composition: Composition) -> None:
        super().__init__()
        self._evaluation, self._composition = evaluation, composition
        self._failed: dict[str, str] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._composition.compiled

    def __missing__(self, name: str) -> Any:
        if name in self._failed:
            raise EvaluationError(self._failed[name])
        expression = self._composition.compiled[name]
        if expression.program is None:
            raise EvaluationError(f'composited variable "{name}" fails to compile: {expression.error}')
        budget = Budget(PER_CALL_LIMIT)
        try:
            value = expression.program.run(self._evaluation.values, budget=budget)
        except (EvaluationError, BudgetExceeded) as error:
            self._failed[name] = f'composited variable "{name}" fails to evaluate: {error}'
            raise EvaluationError(self._failed[name]) from error
        finally:
            self._evaluation.owed += budget.spent
        self[name] = value
        return value


class Evaluation:
    """What the expressions of one webhook or policy see of one request."""

    def __init__(
        self,
        server: ApiServer,
        request: AdmissionRequest,
        kind: Kind,
        obj: Object | None,
        old: Object | None,
        *,
        params: Object | None = None,
        namespace: Object | None = None,
        composition: Composition | None = None,
        budget: int,
    ) -> None:
        self.left = budget
        self.owed = 0  # what variables have cost since the last expression
        self.checks = Checks(server, request)
        self.values: dict[str, Any] = {
            "object": obj,
            "oldObject": old,
            "request": request_object(request, kind),
            "namespaceObject": None if namespace is None else namespace_object(namespace),
            "params": params,
            **self.checks.values,
        }
        if composition is not None:
            self.values["variables"] = _Variables(self, composition)

    async def run(self, expression: Expression) -> Any:
        """The value. Raises Failed, OutOfBudget."""
        if expression.program is None:
            raise Failed(f"compilation error: {expression.error}")
        while True:
            budget = Budget(PER_CALL_LIMIT)
            try:
                value = expression.program.run(self.values, budget=budget)
            except Pending as pending:
                self.owed = 0
                await pending.resolve()
                continue
            except (EvaluationError, BudgetExceeded) as error:
                self._pay(budget.spent)
                raise Failed(f"expression '{expression.source}' resulted in error: {error}") from error
            self._pay(budget.spent)
            return value

    def _pay(self, cost: int) -> None:
        self.left -= cost + self.owed
        self.owed = 0
        if self.left < 0:
            raise OutOfBudget(OUT_OF_BUDGET)


def namespace_object(namespace: Object) -> Object:
    """The parts of a Namespace that expressions may see."""
    meta = namespace.get("metadata") or {}
    return {
        "metadata": {key: meta[key] for key in _NAMESPACE_META if key in meta},
        "spec": namespace.get("spec") or {},
        "status": namespace.get("status") or {},
    }


# --- match conditions ------------------------------------------------------------------------------------------------


@attrs.frozen
class Outcome:
    """`error` is upstream's text, "" without one; `errors` says how many conditions failed."""

    matches: bool
    error: str = ""
    errors: int = 0


class Conditions:
    """The matchConditions of a webhook or policy: all must hold, and one that does not settles it."""

    def __init__(self, env: Environment, conditions: Iterable[Object], failure_policy: str) -> None:
        self._compiled = [Expression(env, c.get("expression", ""), (BOOL,)) for c in conditions]
        self._ignore = failure_policy == "Ignore"

    async def match(
        self,
        server: ApiServer,
        request: AdmissionRequest,
        kind: Kind,
        obj: Object | None,
        old: Object | None,
        params: Object | None = None,
        composition: Composition | None = None,
    ) -> Outcome:
        evaluation = Evaluation(
            server, request, kind, obj, old, params=params, composition=composition, budget=MATCH_CONDITIONS_BUDGET
        )
        failures: list[str] = []
        try:
            results = []
            for expression in self._compiled:
                try:
                    results.append(await evaluation.run(expression))
                except Failed as error:
                    failures.append(str(error))
        except OutOfBudget as error:
            return Outcome(False, "" if self._ignore else str(error))
        if any(result is not True for result in results):
            return Outcome(False, errors=len(failures))
        if not failures:
            return Outcome(True)
        if self._ignore:
            return Outcome(False, errors=len(failures))
        unique = list(dict.fromkeys(failures))
        return Outcome(False, unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]", len(failures))
