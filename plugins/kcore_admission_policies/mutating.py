"""MutatingAdmissionPolicy: expressions that say what is to be changed in what is written."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from kcore import errors
from kcore.api import layout
from kcore.api.admission import AdmissionRequest
from kcore.api.kinds import Kind
from kcore.api.matching import Versions
from kcore.objects import Object
from kcore_admission_policies.policies import Invocation, Misconfigured, Policy, PolicyPlugin, forbidden

if TYPE_CHECKING:
    from kcore_admission_policies.compiled import Mutations

_LATER = ("uid", "creationTimestamp", "generation")  # of a new object: upstream sets them after mutation


class MutatingPolicy(Policy):
    def __init__(self, obj: Object) -> None:
        super().__init__(obj)
        self.reinvocable = self.spec.get("reinvocationPolicy") == "IfNeeded"

    @cached_property
    def compiled(self) -> Mutations:
        """Made when a request first meets the policy."""
        from kcore_admission_policies.compiled import Mutations

        return Mutations(self.spec, self.failure_policy)


Key = tuple[str, str, str]


@attrs.define
class Rounds:
    """What is remembered from the first round of mutation for the second one."""

    reinvocable: set[Key] = attrs.Factory(set)
    due: set[Key] = attrs.Factory(set)
    output: bytes = b""

    def changed(self) -> None:
        self.due |= self.reinvocable
        self.reinvocable = set()


class Unusable(Exception):
    """A mutation that cannot be carried out; `sort` is how metrics call it."""

    def __init__(self, why: str, sort: str = "invalid_error"):
        super().__init__(why)
        self.sort = sort


class MutatingAdmissionPolicy(PolicyPlugin):
    name = "MutatingAdmissionPolicy"
    policies, bindings = "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"
    policy_class = MutatingPolicy

    async def admit(self, request: AdmissionRequest) -> None:
        rounds: Rounds = request.notes.setdefault(self.name, Rounds())
        if request.again and rounds.reinvocable and layout.encode_json(request.obj) != rounds.output:
            rounds.changed()
        problems: list[tuple[str, str]] = []  # message, reason
        for found in await self.invocations(request):
            if isinstance(found, Misconfigured):
                if not found.policy.ignores:
                    binding = found.binding.name if found.binding else ""
                    problems.append((_denied(found.policy.name, binding, found.why), ""))
                continue
            for why in await self._apply(found, request, rounds):
                if not found.policy.ignores:
                    problems.append((_denied(found.policy.name, found.binding.name, why), "Invalid"))
        if rounds.reinvocable:
            rounds.output = layout.encode_json(request.obj)
        if problems:
            error = forbidden(request, "")
            error.message, reason = problems[0]
            error.args = (error.message,)
            error.reason = reason or error.reason
            assert error.details is not None
            error.details["causes"] = [{"message": message} for message, _ in problems]
            raise error

    async def _apply(self, found: Invocation, request: AdmissionRequest, rounds: Rounds) -> list[str]:
        """Carry out a policy; what went wrong."""
        policy, kind = found.policy, found.match.kind
        assert isinstance(policy, MutatingPolicy)
        compiled = policy.compiled
        versions = Versions(self.server.table, request)
        if compiled.conditions is not None:
            outcome = await compiled.conditions.match(
                self.server, request, kind, await self._shown(versions, kind), await versions.old(kind),
                found.params, compiled.composition,
            )  # fmt: skip
            labels = (policy.name, "policy", "admit", request.operation)
            for _ in range(outcome.errors):
                self._metrics.condition_errors.add(*labels)
            if outcome.error:
                return [outcome.error]
            if not outcome.matches:
                self._metrics.condition_exclusions.add(*labels)
                return []
        meta = (found.params or {}).get("metadata") or {}
        key = (policy.name, found.binding.name, f"{meta.get('namespace', '')}/{meta.get('name', '')}")
        if request.again and key not in rounds.due:
            return []
        problems, changed = [], False
        for number in range(len(compiled.mutations)):
            if request.obj is None:
                break
            began, sort = time.perf_counter(), "no_error"
            try:
                changed = await self._mutate(number, found, request, versions) or changed
            except Unusable as error:
                problems.append(str(error))
                sort = error.sort
            labels3 = (policy.name, found.binding.name, sort)
            self._metrics.mutation_checks.add(*labels3)
            self._metrics.mutation_seconds.observe(time.perf_counter() - began, *labels3)
        if changed:
            rounds.changed()
        if policy.reinvocable:
            rounds.reinvocable.add(key)
        return problems

    @staticmethod
    async def _shown(versions: Versions, kind: Kind) -> Object | None:
        """The object as mutation sees it: what is only chosen later is not there yet."""
        obj, request = await versions.new(kind), versions.request
        if obj is None or request.operation != "CREATE" or request.subresource:
            return obj
        hidden = _LATER if request.name else (*_LATER, "name")
        return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in hidden}}

    async def _mutate(self, number: int, found: Invocation, request: AdmissionRequest, versions: Versions) -> bool:
        """Whether a mutation has changed the object. Raises Unusable, ApiError."""
        from kcore.api.admission_cel import Evaluation, Failed, OutOfBudget
        from kcore.api.expressions import RUNTIME_BUDGET
        from kcore_admission_policies.patches import Unpatchable, apply_configuration, json_patched

        assert isinstance(found.policy, MutatingPolicy)
        compiled, kind = found.policy.compiled, found.match.kind
        sort, expression = compiled.mutations[number]
        if expression.error:
            raise Unusable(expression.error, "compile_error")
        shown = await self._shown(versions, kind)
        assert shown is not None
        evaluation = Evaluation(
            self.server, request, kind, shown, await versions.old(kind),
            params=found.params, namespace=self.namespace(request), composition=compiled.composition,
            budget=RUNTIME_BUDGET,
        )  # fmt: skip
        try:
            value: Any = await evaluation.run(expression)
        except Failed as error:
            raise Unusable(str(error)) from error
        except OutOfBudget as error:
            raise Unusable(str(error), "out_of_budget") from error
        doc = layout.decode_json(layout.encode_json(shown))
        try:
            made = (
                json_patched(doc, value)
                if sort == "JSONPatch"
                else apply_configuration(doc, value, versions.schema(kind))
            )
        except (Unpatchable, ValueError) as error:
            raise Unusable(str(error)) from error
        if made is None:
            return False
        try:
            new = await versions.settle(made, kind)
        except errors.ApiError as error:
            text = error.message.partition(f" cannot be handled as a {kind.kind}: ")[2] or error.message
            if sort == "ApplyConfiguration":
                raise Unusable(
                    f"error applying patch: failed to convert patch object to typed object: {text}"
                ) from error
            raise errors.InternalError(
                f"Internal error occurred: {text}", details={"causes": [{"message": text}]}
            ) from error
        assert request.obj is not None
        if request.operation == "CREATE" and not request.subresource:
            _restore(new, request.obj)
        if new == request.obj:
            return False
        request.changed(new)
        return True


def _restore(new: Object, obj: Object) -> None:
    meta, was = new.setdefault("metadata", {}), obj["metadata"]
    for field in (*_LATER, "name"):
        if field in was and (field != "name" or not meta.get("name")):
            meta[field] = was[field]


def _denied(policy: str, binding: str, why: str) -> str:
    if binding:
        return f"policy '{policy}' with binding '{binding}' denied request: {why}"
    return f'policy "{policy}" denied request: {why}'
