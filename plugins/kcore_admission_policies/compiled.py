"""The expressions of a policy, compiled. Imported with the first policy that a request meets."""

from __future__ import annotations

from kcore.api.admission_cel import JSON_PATCH, OBJECT, Composition, Conditions, Expression, environment
from kcore.cel.types import BOOL, NULL, STRING, list_of
from kcore.objects import Object


class _Common:
    def __init__(self, spec: Object, failure_policy: str, *, patches: bool) -> None:
        params = spec.get("paramKind") is not None
        self.composition = Composition(environment(params=params, patches=patches), spec.get("variables") or ())
        given = spec.get("matchConditions") or ()
        self.conditions = Conditions(self.composition.environment, given, failure_policy) if given else None


class Validations(_Common):
    """Of a ValidatingAdmissionPolicy."""

    def __init__(self, spec: Object, failure_policy: str) -> None:
        super().__init__(spec, failure_policy, patches=False)
        env = self.composition.environment
        # messages cannot ask what somebody may do
        saying = self.composition.over(environment(params=spec.get("paramKind") is not None, authorizer=False))
        self.validations: list[tuple[Object, Expression, Expression | None]] = []
        for validation in spec.get("validations") or ():
            message = validation.get("messageExpression")
            made = Expression(saying, message, (STRING,)) if message else None
            self.validations.append((validation, Expression(env, validation.get("expression", ""), (BOOL,)), made))
        self.annotations = [
            (a.get("key", ""), Expression(env, a.get("valueExpression", ""), (STRING, NULL)))
            for a in spec.get("auditAnnotations") or ()
        ]


class Mutations(_Common):
    """Of a MutatingAdmissionPolicy: (type of patch, expression)."""

    def __init__(self, spec: Object, failure_policy: str) -> None:
        super().__init__(spec, failure_policy, patches=True)
        env = self.composition.environment
        self.mutations: list[tuple[str, Expression]] = []
        for mutation in spec.get("mutations") or ():
            if mutation.get("patchType") == "JSONPatch":
                source = (mutation.get("jsonPatch") or {}).get("expression", "")
                self.mutations.append(("JSONPatch", Expression(env, source, (list_of(JSON_PATCH),))))
            else:
                source = (mutation.get("applyConfiguration") or {}).get("expression", "")
                self.mutations.append(("ApplyConfiguration", Expression(env, source, (OBJECT,))))
