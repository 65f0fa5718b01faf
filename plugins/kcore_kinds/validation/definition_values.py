"""What can only be judged with the compiled schema: defaults, CEL rules and their cost, selectable fields."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import attrs

from kcore.api import fields, rules, typed
from kcore.api.schema import Schema
from kcore.api.structural import compile as structural
from kcore.api.structural import paths
from kcore.api.structural.objects import VALIDATIONS, has_rules
from kcore.errors import Cause
from kcore_kinds.validation.common import Object

if TYPE_CHECKING:
    from kcore_kinds.validation.definition_costs import Costs

_SELECTABLE = ("boolean", "integer", "string")
_MAX_SELECTABLE = 8


def schema(path: str, doc: Object) -> Iterator[Cause]:
    """Mistakes in the defaults and the rules of a structural schema."""
    compiled = structural.compile(doc)
    yield from _defaults(path, compiled)
    if has_rules(compiled):
        from kcore_kinds.validation.definition_costs import Costs

        costs = Costs()
        yield from _rules(path, compiled, _Place(True, "", 1), costs)
        yield from costs.total(path)


# --- defaults ------------------------------------------------------------------------------------


def _defaults(path: str, node: Schema) -> Iterator[Cause]:
    if "default" in node.rules:
        yield from _default(f"{path}.default", node.rules["default"], node)
    for name, child in node.properties.items():
        yield from _defaults(f"{path}.properties[{name}]", child)
    if node.values is not None:
        yield from _defaults(f"{path}.additionalProperties", node.values)
    if node.items is not None:
        yield from _defaults(f"{path}.items", node.items)


def _default(path: str, value: Any, node: Schema) -> Iterator[Cause]:
    """A default is valid, and has nothing in it that would be pruned."""
    if isinstance(value, (dict, list)) and _pruned(value, node) != value:
        yield fields.invalid(path, value, "must be pruned")
        return
    wrong = rules.check(value, node)
    if not wrong and has_rules(node):
        from kcore.api.structural import expressions

        wrong = [c for c in expressions.run(value, node, resource=False) if "rule compile error" not in c.message]
        wrong = [Cause(c.reason, c.message, "" if c.field == "<nil>" else c.field) for c in wrong]
    for cause in wrong:
        joint = "" if not cause.field or cause.field.startswith("[") else "."
        yield Cause(cause.reason, cause.message, f"{path}{joint}{cause.field}")


def _pruned(value: Any, node: Schema) -> Any:
    whole = {"value": deepcopy(value)}
    typed.read(whole, Schema(type="object", properties={"value": node}))
    return whole["value"]


# --- rules ---------------------------------------------------------------------------------------


@attrs.frozen
class _Place:
    """Where a node stands."""

    resource: bool  # it is a whole object
    uncorrelated: str  # the path of a list around it whose items have no past to be compared with
    times: int | None  # how many of it there can be in one object; None: nobody has said


def _rules(path: str, node: Schema, place: _Place, costs: Costs) -> Iterator[Cause]:
    from kcore.api.structural import expressions

    for i, rule in enumerate(expressions.compiled(node, resource=place.resource or node.embedded)):
        yield from _rule(f"{path}.{VALIDATIONS}[{i}]", rule, node, place, costs)
    inside = attrs.evolve(place, resource=False)
    for name, child in sorted(node.properties.items()):
        if has_rules(child):
            yield from _rules(f"{path}.properties[{name}]", child, inside, costs)
    if node.values is not None and has_rules(node.values):
        many = attrs.evolve(inside, times=_times(place.times, node.rules.get("maxProperties")))
        yield from _rules(f"{path}.additionalProperties", node.values, many, costs)
    if node.items is not None and has_rules(node.items):
        lost = place.uncorrelated or (path if node.list_type != "map" else "")
        many = attrs.evolve(inside, uncorrelated=lost, times=_times(place.times, node.rules.get("maxItems")))
        yield from _rules(f"{path}.items", node.items, many, costs)


def _times(times: int | None, more: Any) -> int | None:
    return None if times is None or more is None else times * int(more)


def _rule(path: str, rule: Any, node: Schema, place: _Place, costs: Costs) -> Iterator[Cause]:
    from kcore.api.structural import expressions
    from kcore.cel import CompileError
    from kcore.cel.types import BOOL, STRING

    declared = rule.declared
    surroundings = expressions.environment(node, resource=place.resource or node.embedded, optional=rule.optional)
    program = None
    try:
        program = surroundings.compile(declared["rule"], result=(BOOL,))
        yield from costs.rule(f"{path}.rule", program, surroundings, place.times)
    except CompileError as error:
        why = f"compilation failed: {error}"
        if str(error).startswith("must evaluate to"):
            why = "cel expression must evaluate to a bool"
        yield fields.invalid(f"{path}.rule", declared, why)
    if declared.get("messageExpression"):
        where = f"{path}.messageExpression"
        try:
            message = surroundings.compile(declared["messageExpression"], result=(STRING,))
            yield from costs.message(where, message, surroundings, place.times)
        except CompileError as error:
            why = f"messageExpression compilation failed: {error}"
            if str(error).startswith("must evaluate to"):
                why = "messageExpression must evaluate to a string"
            yield fields.invalid(where, declared, why)
    if declared.get("fieldPath"):
        try:
            paths.resolve(declared["fieldPath"], node)
        except ValueError as error:
            why = f"fieldPath must be a valid path: {error}"
            yield fields.invalid(f"{path}.fieldPath", declared["fieldPath"], why)
    if program is None:
        return
    transitional = "oldSelf" in program.references
    if declared.get("optionalOldSelf") is not None and not transitional:
        why = "may not be set if oldSelf is not used in rule"
        yield fields.invalid(f"{path}.optionalOldSelf", declared["optionalOldSelf"], why)
    if transitional and place.uncorrelated:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelated}"
        yield fields.invalid(f"{path}.rule", declared["rule"], why)


# --- selectable fields ---------------------------------------------------------------------------


def selectable(path: str, given: list[Object], doc: Object) -> Iterator[Cause]:
    if not given:
        return
    if len(given) > _MAX_SELECTABLE:
        yield fields.too_many(path, len(given), _MAX_SELECTABLE)
        return
    root = structural.compile(doc)
    seen: set[str] = set()
    for i, field in enumerate(given):
        where, text = f"{path}[{i}].jsonPath", field.get("jsonPath") or ""
        if not text:
            yield fields.required(where)
            continue
        try:
            named, node = paths.resolve(text, root, arrays=False)
        except ValueError as error:
            yield fields.invalid(where, text, f"is an invalid path: {error}")
            continue
        if named == "metadata" or named.startswith("metadata."):
            yield fields.invalid(where, text, "must not point to fields in metadata")
        elif node.type not in _SELECTABLE:
            why = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with "
                "formats are allowed."
            )
            yield fields.invalid(where, text, why)
        if named in seen:
            yield fields.duplicate(where, text)
        seen.add(named)
