"""ValidatingAdmissionPolicy: expressions that must be true of what is written."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from kcore.api import layout
from kcore.api.admission import AdmissionRequest
from kcore.api.matching import Versions
from kcore.objects import Object
from kcore_admission_policies.policies import Invocation, Misconfigured, Policy, PolicyPlugin, forbidden

if TYPE_CHECKING:
    from kcore.api.admission_cel import Evaluation, Expression
    from kcore_admission_policies.compiled import Validations

_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}
_FAILURE = "validation.policy.admission.k8s.io/validation_failure"
_MAX_ANNOTATION = 10 * 1024


class ValidatingPolicy(Policy):
    @cached_property
    def compiled(self) -> Validations:
        """Made when a request first meets the policy."""
        from kcore_admission_policies.compiled import Validations

        return Validations(self.spec, self.failure_policy)


@attrs.frozen
class Decision:
    """What one expression came to. `error` is how metrics call what went wrong, "" if nothing did."""

    denies: bool
    message: str = ""
    reason: str = ""
    error: str = ""
    index: int = 0


@attrs.define
class Findings:
    """What the policies say of one request."""

    refusals: list[tuple[str, str]] = attrs.Factory(list)  # message, reason
    annotations: dict[str, list[str]] = attrs.Factory(dict)

    def refuse(self, policy: str, binding: str, decision: Decision) -> None:
        bound = f" with binding '{binding}'" if binding else ""
        self.refusals.append(
            (f"ValidatingAdmissionPolicy '{policy}'{bound} denied request: {decision.message}", decision.reason)
        )

    def annotate(self, key: str, value: str) -> None:
        found = self.annotations.setdefault(key, [])
        if value not in found:
            found.append(value)


class ValidatingAdmissionPolicy(PolicyPlugin):
    name = "ValidatingAdmissionPolicy"
    policies, bindings = "validatingadmissionpolicies", "validatingadmissionpolicybindings"
    policy_class = ValidatingPolicy

    async def validate(self, request: AdmissionRequest) -> None:
        findings = Findings()
        versions = Versions(self.server.table, request)
        for found in await self.invocations(request):
            if isinstance(found, Misconfigured):
                if not found.policy.ignores:
                    binding = found.binding.name if found.binding else ""
                    findings.refuse(found.policy.name, binding, Decision(True, found.why))
                continue
            await self._judge(found, request, versions, findings)
        for key, values in findings.annotations.items():
            request.annotate(key, ", ".join(values))
        if findings.refusals:
            message, reason = findings.refusals[0]
            error = forbidden(request, message)
            error.reason = reason or "Invalid"
            error.code = _CODES.get(error.reason, 422)
            assert error.details is not None
            error.details["causes"] = [{"message": message}]
            raise error

    async def _judge(
        self, found: Invocation, request: AdmissionRequest, versions: Versions, findings: Findings
    ) -> None:
        policy, binding = found.policy, found.binding
        assert isinstance(policy, ValidatingPolicy)
        kind = found.match.kind
        obj, old = await versions.new(kind), await versions.old(kind)
        began = time.perf_counter()
        judged = await self._evaluated(policy, found, request, obj, old)
        if judged is None:
            return
        decisions, notes = judged
        elapsed = time.perf_counter() - began
        for decision in decisions:
            if not decision.denies:
                if decision.error:
                    self._count(policy.name, binding.name, decision, "allow", elapsed)
                continue
            for action in binding.actions:
                self._act(action, found, decision, request, findings)
                self._count(policy.name, binding.name, decision, action.lower(), elapsed)
        for key, value in notes:
            if isinstance(value, Decision):
                findings.refuse(policy.name, binding.name, value)
                self._count(policy.name, binding.name, value, "deny", elapsed)
            else:
                findings.annotate(f"{policy.name}/{key}", value[:_MAX_ANNOTATION])

    def _count(self, policy: str, binding: str, decision: Decision, action: str, elapsed: float) -> None:
        labels = (policy, binding, decision.error or "no_error", action)
        self._metrics.validation_checks.add(*labels)
        self._metrics.validation_seconds.observe(elapsed, *labels)

    @staticmethod
    def _act(
        action: str, found: Invocation, decision: Decision, request: AdmissionRequest, findings: Findings
    ) -> None:
        policy, binding = found.policy.name, found.binding.name
        if action == "Deny":
            findings.refuse(policy, binding, decision)
        elif action == "Warn":
            request.warn(
                f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': "
                f"{decision.message}"
            )
        elif action == "Audit":
            failure = {
                "message": decision.message,
                "policy": policy,
                "binding": binding,
                "expressionIndex": decision.index,
                "validationActions": found.binding.actions,
            }
            request.annotate(_FAILURE, layout.encode_json([failure]).decode())

    async def _evaluated(
        self,
        policy: ValidatingPolicy,
        found: Invocation,
        request: AdmissionRequest,
        obj: Object | None,
        old: Object | None,
    ) -> tuple[list[Decision], list[tuple[str, str | Decision]]] | None:
        """The decisions and the audit annotations of a policy; None where its conditions keep it away."""
        from kcore.api.admission_cel import Evaluation, OutOfBudget
        from kcore.api.expressions import RUNTIME_BUDGET

        compiled, kind = policy.compiled, found.match.kind
        outcome = None
        if compiled.conditions is not None:
            outcome = await compiled.conditions.match(
                self.server, request, kind, obj, old, found.params, compiled.composition
            )
            labels = (policy.name, "policy", "validate", request.operation)
            for _ in range(outcome.errors):
                self._metrics.condition_errors.add(*labels)
            if outcome.error:
                return [Decision(not policy.ignores, outcome.error, error="invalid_error")], []
            if not outcome.matches:
                self._metrics.condition_exclusions.add(*labels)
                return None
        namespace = self.namespace(request)
        evaluation = Evaluation(
            self.server, request, kind, obj, old,
            params=found.params, namespace=namespace, composition=compiled.composition, budget=RUNTIME_BUDGET,
        )  # fmt: skip
        try:
            decisions = await self._decisions(compiled, evaluation, policy)
        except OutOfBudget as error:
            return [Decision(not policy.ignores, str(error), error="out_of_budget")], []
        evaluation.left = RUNTIME_BUDGET
        try:
            return decisions, await self._notes(compiled, evaluation, policy)
        except OutOfBudget as error:
            return [Decision(not policy.ignores, str(error), error="out_of_budget")], []

    async def _decisions(
        self, compiled: Validations, evaluation: Evaluation, policy: ValidatingPolicy
    ) -> list[Decision]:
        from kcore.api.admission_cel import Failed

        decisions = []
        failing: list[int] = []
        for index, (_, expression, _) in enumerate(compiled.validations):
            try:
                value = await evaluation.run(expression)
            except Failed as error:
                sort = "compile_error" if expression.error else "invalid_error"
                decisions.append(Decision(not policy.ignores, str(error), error=sort, index=index))
                continue
            decisions.append(Decision(value is not True, index=index))
            if value is not True:
                failing.append(index)
        for index in failing:
            validation, expression, message = compiled.validations[index]
            text = await _message(evaluation, validation, expression, message)
            decisions[index] = Decision(True, text, validation.get("reason") or "Invalid", index=index)
        return decisions

    async def _notes(
        self, compiled: Validations, evaluation: Evaluation, policy: ValidatingPolicy
    ) -> list[tuple[str, str | Decision]]:
        from kcore.api.admission_cel import Failed

        out: list[tuple[str, str | Decision]] = []
        for key, expression in compiled.annotations:
            try:
                value = await evaluation.run(expression)
            except Failed as error:
                if not policy.ignores:
                    out.append((key, Decision(True, str(error), error="invalid_error")))
                continue
            if isinstance(value, str) and value.strip():
                out.append((key, value.strip()))
            elif value is not None and not isinstance(value, str):
                why = (
                    f"valueExpression '{expression.source}' resulted in unsupported return type: "
                    f"{type(value).__name__}. Return type must be either string or null."
                )
                out.append((key, Decision(True, why, error="invalid_error")))
        return out


async def _message(
    evaluation: Evaluation, validation: Object, expression: Expression, message: Expression | None
) -> str:
    """What a failed validation is told: its messageExpression, else its message, else the expression itself."""
    from kcore.api.admission_cel import Failed
    from kcore.api.expressions import MAX_MESSAGE

    text = ""
    if message is not None:
        try:
            value = await evaluation.run(message)
        except Failed:
            value = None
        if isinstance(value, str):
            text = value.strip()
            if len(text.encode()) > MAX_MESSAGE or "\n" in text:
                text = ""
    return text or (validation.get("message") or "").strip() or f"failed expression: {expression.source.strip()}"
