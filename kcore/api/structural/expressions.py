"""``x-kubernetes-validations``: the CEL rules of a schema, run on objects.

Rules are compiled when an object is first judged by them, and only the branches of the schema that have rules are
walked. All rules of one object share a budget of cost.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

from typing import Any

import attrs

from kcore.api import fields
from kcore.api.expressions import MAX_MESSAGE, PER_CALL_LIMIT, RUNTIME_BUDGET, type_of
from kcore.api.patch.json_patch import same
from kcore.api.schema import Schema
from kcore.api.structural import paths
from kcore.api.structural.objects import VALIDATIONS, has_rules
from kcore.cel import Budget, BudgetExceeded, CompileError, Environment, EvaluationError, Program
from kcore.cel.types import BOOL, STRING, Type, optional_of
from kcore.cel.values import NONE, Optional
from kcore.errors import Cause

Object = dict[str, Any]
UNCHECKED = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
    "<nil>",
)
_BLOCKING = frozenset(("FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"))
_NO_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_ABSENT: Any = object()


def causes(obj: Object, schema: Schema, found: list[Cause], old: Object | None = None) -> list[Cause]:
    """What the rules say is wrong with an object of which `found` is known already."""
    if not has_rules(schema):
        return []
    if any(cause.reason in _BLOCKING for cause in found):
        return [UNCHECKED]
    return run(obj, schema, old)


def run(obj: Any, schema: Schema, old: Any = None, *, path: str = "", resource: bool = True) -> list[Cause]:
    """Every rule that a value breaks."""
    walk = _Walk([], RUNTIME_BUDGET)
    walk.into(obj, old, schema, path, _Past(obj, old, None) if old is not None else None, resource)
    return walk.found


@attrs.frozen(slots=True, eq=False)
class _Past:
    """A value beside what it was; `parent` is asked where a value has no past of its own."""

    value: Any
    old: Any
    parent: _Past | None

    def unchanged(self) -> bool:
        at: _Past | None = self
        while at is not None:
            if at.old is not _ABSENT:
                return bool(at.value == at.old and same(at.value, at.old))
            at = at.parent
        return False


@attrs.define(slots=True, eq=False)
class Rule:
    """One compiled rule. `error` says why it could not be compiled."""

    declared: Object
    program: Program | None = None
    message: Program | None = None
    field: str = ""
    error: str = ""

    @property
    def text(self) -> str:
        """How errors name it."""
        return (self.declared.get("message") or self.declared.get("rule") or "").strip()

    @property
    def transitional(self) -> bool:
        return self.program is not None and "oldSelf" in self.program.references

    @property
    def optional(self) -> bool:
        return bool(self.declared.get("optionalOldSelf"))


def environment(schema: Schema, *, resource: bool, optional: bool = False) -> Environment:
    """What a rule of this node sees."""
    type_: Type = type_of(schema, resource=resource)
    return Environment({"self": type_, "oldSelf": optional_of(type_) if optional else type_})


def compiled(schema: Schema, *, resource: bool) -> list[Rule]:
    """The rules of one node, compiled once."""
    if schema.compiled is None:
        schema.compiled = [_compile(rule, schema, resource) for rule in schema.rules.get(VALIDATIONS) or ()]
    return schema.compiled  # type: ignore[no-any-return]


def _compile(declared: Object, schema: Schema, resource: bool) -> Rule:
    rule = Rule(declared)
    surroundings = environment(schema, resource=resource, optional=rule.optional)
    try:
        rule.program = surroundings.compile(declared["rule"], result=(BOOL,))
        if declared.get("messageExpression"):
            rule.message = surroundings.compile(declared["messageExpression"], result=(STRING,))
        if declared.get("fieldPath"):
            rule.field = paths.resolve(declared["fieldPath"], schema)[0]
    except (CompileError, ValueError) as error:
        rule.error = str(error)
    return rule


@attrs.define(slots=True, eq=False)
class _Walk:
    found: list[Cause]
    left: int  # of the budget; below zero nothing more is run

    def into(self, value: Any, old: Any, schema: Schema, path: str, past: _Past | None, resource: bool) -> None:
        if value is None or self.left < 0:
            return
        if schema.rules.get(VALIDATIONS):
            self._rules(value, old, schema, path, past, resource or schema.embedded)
        if type(value) is dict:
            self._members(value, old if type(old) is dict else None, schema, path, past)
        elif type(value) is list and schema.items is not None and has_rules(schema.items):
            self._items(value, old if type(old) is list else None, schema, path, past)

    def _members(self, value: Object, old: Object | None, schema: Schema, path: str, past: _Past | None) -> None:
        for key, inner in value.items():
            child = schema.properties.get(key)
            at = f"{path}.{key}" if path else key
            if child is None:
                child, at = schema.values, f"{path}[{key}]"
            if child is None or not has_rules(child):
                continue
            before = old.get(key, _ABSENT) if old is not None else _ABSENT
            own = _Past(inner, before, past) if past is not None else None
            self.into(inner, None if before is _ABSENT else before, child, at, own, False)

    def _items(self, value: list[Any], old: list[Any] | None, schema: Schema, path: str, past: _Past | None) -> None:
        assert schema.items is not None
        keys = schema.list_map_keys if schema.list_type == "map" else ()
        known = {}
        if keys and old is not None:
            known = {tuple(repr(o.get(k)) for k in keys): o for o in old if type(o) is dict}
        for i, inner in enumerate(value):
            before = _ABSENT
            if known and type(inner) is dict:
                before = known.get(tuple(repr(inner.get(k)) for k in keys), _ABSENT)
            own = _Past(inner, before, past) if past is not None else None
            self.into(inner, None if before is _ABSENT else before, schema.items, f"{path}[{i}]", own, False)

    def _rules(self, value: Any, old: Any, schema: Schema, path: str, past: _Past | None, resource: bool) -> None:
        shown = "" if schema.type == "int-or-string" else schema.type
        where = path or "<nil>"
        if not self.left:
            self.found.append(fields.invalid(where, shown, _NO_BUDGET))
            self.left = -1
            return
        for rule in compiled(schema, resource=resource):
            if rule.error or rule.program is None:
                self.found.append(fields.invalid(where, shown, f"rule compile error: {rule.error}"))
                continue
            if rule.transitional and old is None and not rule.optional:
                continue
            before = (NONE if old is None else Optional(True, old)) if rule.optional else old
            values = {"self": value, "oldSelf": before}
            try:
                passed = self._run(rule.program, values)
            except BudgetExceeded as error:
                why = _NO_BUDGET
                if self.left >= PER_CALL_LIMIT:
                    why = (
                        f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: "
                        f"{rule.text}"
                    )
                self.found.append(fields.invalid(where, shown, why))
                self.left = -1
                return
            except EvaluationError as error:
                self.found.append(fields.invalid(where, shown, _failed(str(error), rule)))
                continue
            if passed is True:
                continue
            if not rule.transitional and past is not None and past.unchanged():
                continue
            self.found.append(self._broken(rule, value, schema, path, values))

    def _run(self, program: Program, values: Object) -> Any:
        budget = Budget(min(PER_CALL_LIMIT, self.left))
        try:
            result = program.run(values, budget=budget)
        except BudgetExceeded:
            raise
        except EvaluationError:
            self.left -= budget.spent
            raise
        self.left -= budget.spent
        return result

    def _broken(self, rule: Rule, value: Any, schema: Schema, path: str, values: Object) -> Cause:
        """The error of a rule that is not kept."""
        where = path
        if rule.field:
            where = f"{path}{'' if rule.field.startswith('[') or not path else '.'}{rule.field}"
        where = where or "<nil>"
        detail = ""
        if rule.message is not None:
            detail = self._said(rule.message, values)
        if not detail:
            own = (rule.declared.get("message") or "").strip()
            detail = own or f"failed rule: {rule.text}"
        whole = schema.type in ("object", "array")
        reason = rule.declared.get("reason") or "FieldValueInvalid"
        if reason == "FieldValueForbidden":
            return fields.forbidden(where, detail)
        if reason == "FieldValueRequired":
            return fields.required(where, detail)
        if reason == "FieldValueDuplicate":
            return Cause(reason, "Duplicate value", where) if whole else fields.duplicate(where, value)
        if whole:
            return Cause("FieldValueInvalid", f"Invalid value: {detail}", where)
        return fields.invalid(where, value, detail)

    def _said(self, program: Program, values: Object) -> str:
        """What a messageExpression says; "" where that is not usable."""
        try:
            text = self._run(program, values)
        except (BudgetExceeded, EvaluationError):
            return ""
        text = text.strip() if isinstance(text, str) else ""
        return "" if "\n" in text or len(text.encode()) > MAX_MESSAGE else text


def _failed(why: str, rule: Rule) -> str:
    if why.startswith("no such overload"):
        said = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{why}': {said}: {rule.text}"
    return f"{why} evaluating rule: {rule.text}"
