"""The rules of admission policies and their bindings, and of the expressions in them.

The expression language is loaded when the first object with an expression is checked. An expression that an update
leaves as it was is not checked again where upstream does not: a newer server may know fewer functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, one_of, problems
from kcore_kinds.validation.webhooks import ACTIONS, rule

if TYPE_CHECKING:
    from kcore.api.admission_cel import Composition
    from kcore.cel import Environment
    from kcore.cel.types import Type

MAX_CONDITIONS = 64
MAX_ANNOTATIONS = 20
MAX_VALUE_EXPRESSION = 5 * 1024
REASONS = ["Forbidden", "Invalid", "RequestEntityTooLarge"]
_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII)
_RESERVED = frozenset(
    (
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "package", "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
_BREAKS = re.compile(r"[\n\r]")


# --- expressions -----------------------------------------------------------------------------------------------------


def _expression(path: str, source: str, env: Environment, result: tuple[Type, ...] | None) -> Iterator[Cause]:
    from kcore.api.admission_cel import Invalid, compile_expression

    try:
        compile_expression(env, source, result)
    except Invalid as error:
        yield fields.invalid(path, source, str(error))


def match_conditions(path: str, given: list[Object] | None, *, params: bool = False) -> Iterator[Cause]:
    """Of a webhook or a policy."""
    conditions = given or []
    if len(conditions) > MAX_CONDITIONS:
        yield fields.too_many(path, len(conditions), MAX_CONDITIONS)
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        here, name = f"{path}[{i}]", condition.get("name") or ""
        source = (condition.get("expression") or "").strip()
        if not source:
            yield fields.required(f"{here}.expression")
        else:
            from kcore.api.admission_cel import environment
            from kcore.cel.types import BOOL

            yield from _expression(f"{here}.expression", source, environment(params=params), (BOOL,))
        if not name:
            yield fields.required(f"{here}.name")
            continue
        yield from problems(f"{here}.name", name, names.qualified_name(name))
        if name in seen:
            yield fields.duplicate(f"{here}.name", name)
        seen.add(name)


def _variables(path: str, given: list[Object] | None, composition: Callable[[], Composition]) -> Iterator[Cause]:
    for i, variable in enumerate(given or ()):
        here, name = f"{path}[{i}]", variable.get("name") or ""
        source = variable.get("expression") or ""
        if not name.strip():
            yield fields.required(f"{here}.name", "name is not specified")
        elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
            yield fields.invalid(f"{here}.name", name, "name is not a valid CEL identifier")
        if not source.strip():
            yield fields.required(f"{here}.expression", "expression is not specified")
            continue
        made = composition().add(name, source)
        if made.error:
            yield fields.invalid(f"{here}.expression", source, made.error)


class _Compiler:
    """The environment of a policy's expressions, made when the first is met."""

    def __init__(self, *, params: bool, patches: bool = False) -> None:
        self._params, self._patches = params, patches
        self._made: Composition | None = None

    def composition(self) -> Composition:
        if self._made is None:
            from kcore.api.admission_cel import Composition, environment

            self._made = Composition(environment(params=self._params, patches=self._patches), ())
        return self._made

    def environment(self) -> Environment:
        made = self.composition()
        return made.environment if made.fields else made.base

    def silent(self) -> Environment:
        """Without ``authorizer``."""
        from kcore.api.admission_cel import environment

        base = environment(params=self._params, authorizer=False)
        made = self.composition()
        return made.over(base) if made.fields else base


# --- policies --------------------------------------------------------------------------------------------------------


def _common(spec: Object, old: Object | None, compiler: _Compiler, *, first_rule: bool) -> Iterator[Cause]:
    failure = spec.get("failurePolicy")
    if failure is None:
        yield fields.required("spec.failurePolicy")
    else:
        yield from one_of("spec.failurePolicy", failure, ["Fail", "Ignore"])
    if spec.get("paramKind") is not None:
        yield from _param_kind("spec.paramKind", spec["paramKind"])
    matches = spec.get("matchConstraints")
    if matches is None:
        yield fields.required("spec.matchConstraints")
    else:
        yield from match_resources("spec.matchConstraints", matches)
        if first_rule and not matches.get("resourceRules"):
            yield fields.required("spec.matchConstraints.resourceRules")
    was = (old or {}).get("spec") or {}
    same = old is not None and all(was.get(k) == spec.get(k) for k in ("paramKind", "matchConditions"))
    if not same:
        params = spec.get("paramKind") is not None
        yield from match_conditions("spec.matchConditions", spec.get("matchConditions"), params=params)
    yield from _variables("spec.variables", spec.get("variables"), compiler.composition)


def policy(obj: Object, old: Object | None) -> Iterator[Cause]:
    """ValidatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    compiler = _Compiler(params=spec.get("paramKind") is not None)
    yield from _common(spec, old, compiler, first_rule=True)
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        why = "validations or auditAnnotations must contain at least one item"
        yield fields.required("spec.validations", why)
        yield fields.required("spec.auditAnnotations", why)
        return
    for i, validation in enumerate(validations):
        yield from _validation(f"spec.validations[{i}]", validation, compiler)
    if len(annotations) > MAX_ANNOTATIONS:
        why = f"must not have more than {MAX_ANNOTATIONS} auditAnnotations"
        yield fields.invalid("spec.auditAnnotations", annotations, why)
    keys: set[str] = set()
    for i, annotation in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{i}]", annotation.get("key") or ""
        yield from _annotation(path, annotation, obj, compiler)
        if key in keys:
            yield fields.duplicate(f"{path}.key", key)
        keys.add(key)


def _validation(path: str, validation: Object, compiler: _Compiler) -> Iterator[Cause]:
    source, message = validation.get("expression") or "", validation.get("message") or ""
    saying = validation.get("messageExpression") or ""
    if not source.strip():
        yield fields.required(f"{path}.expression", "expression is not specified")
    else:
        from kcore.cel.types import BOOL

        yield from _expression(f"{path}.expression", source, compiler.environment(), (BOOL,))
    if saying and not saying.strip():
        yield fields.invalid(f"{path}.messageExpression", saying, "must be non-empty if specified")
    elif saying:
        from kcore.cel.types import STRING

        yield from _expression(f"{path}.messageExpression", saying, compiler.silent(), (STRING,))
    if message and not message.strip():
        yield fields.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif _BREAKS.search(message.strip()):
        yield fields.invalid(f"{path}.message", message, "message must not contain line breaks")
    yield from one_of(f"{path}.reason", validation.get("reason"), REASONS)


def _annotation(path: str, annotation: Object, obj: Object, compiler: _Compiler) -> Iterator[Cause]:
    name, key = (obj.get("metadata") or {}).get("name") or "", annotation.get("key") or ""
    if name:
        full = f"{name}/{key}"
        yield from problems(f"{path}.key", full, names.qualified_name(full))
    else:
        yield fields.invalid(f"{path}.key", key, "requires metadata.name be non-empty")
    value = annotation.get("valueExpression") or ""
    source = value.strip()
    if not source:
        yield fields.required(f"{path}.valueExpression", "valueExpression is not specified")
    elif len(source.encode()) > MAX_VALUE_EXPRESSION:
        yield fields.required(f"{path}.valueExpression", f"must not exceed {MAX_VALUE_EXPRESSION} bytes in length")
    else:
        from kcore.api.admission_cel import Invalid, compile_expression
        from kcore.cel.types import NULL, STRING

        try:
            compile_expression(compiler.environment(), source, (STRING, NULL))
        except Invalid as error:
            yield fields.invalid(f"{path}.valueExpression", value, str(error))


def mutating_policy(obj: Object, old: Object | None) -> Iterator[Cause]:
    """MutatingAdmissionPolicy."""
    spec = obj.get("spec") or {}
    compiler = _Compiler(params=spec.get("paramKind") is not None, patches=True)
    yield from _common(spec, old, compiler, first_rule=True)
    mutations = spec.get("mutations") or []
    if not mutations:
        yield fields.required("spec.mutations", "mutations must contain at least one item")
    for i, mutation in enumerate(mutations):
        yield from _mutation(f"spec.mutations[{i}]", mutation, compiler)
    reinvocation = spec.get("reinvocationPolicy")
    if not reinvocation:
        yield fields.required("spec.reinvocationPolicy")
    else:
        yield from one_of("spec.reinvocationPolicy", reinvocation, ["IfNeeded", "Never"])


def _mutation(path: str, mutation: Object, compiler: _Compiler) -> Iterator[Cause]:
    type_ = mutation.get("patchType") or ""
    known: dict[str, str] = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
    if not type_:
        yield fields.required(f"{path}.patchType")
        return
    if type_ not in known:
        yield fields.not_supported(f"{path}.patchType", type_, sorted(known))
        return
    mine = known[type_]
    for member in known.values():
        if member != mine and mutation.get(member) is not None:
            yield fields.forbidden(f"{path}.{member}", f"{member} must not be specified when patchType is {type_}")
    given = mutation.get(mine)
    if given is None:
        yield fields.required(f"{path}.{mine}", f"must be specified when patchType is {type_}")
        return
    source = given.get("expression") or ""
    if not source.strip():
        yield fields.required(f"{path}.{mine}.expression", "expression is not specified")
        return
    from kcore.api.admission_cel import JSON_PATCH, OBJECT
    from kcore.cel.types import list_of

    result = (OBJECT,) if type_ == "ApplyConfiguration" else (list_of(JSON_PATCH),)
    yield from _expression(f"{path}.{mine}.expression", source, compiler.environment(), result)


# --- where they apply ------------------------------------------------------------------------------------------------


def match_resources(path: str, matches: Object) -> Iterator[Cause]:
    policy_ = matches.get("matchPolicy")
    if policy_ is None:
        yield fields.required(f"{path}.matchPolicy")
    else:
        yield from one_of(f"{path}.matchPolicy", policy_, ["Equivalent", "Exact"])
    for name in ("namespaceSelector", "objectSelector"):
        if matches.get(name) is None:
            yield fields.required(f"{path}.{name}")
        else:
            yield from common.label_selector(f"{path}.{name}", matches[name])
    for name in ("resourceRules", "excludeResourceRules"):
        for i, each in enumerate(matches.get(name) or ()):
            yield from _named_rule(f"{path}.{name}[{i}]", each)


def _named_rule(path: str, named: Object) -> Iterator[Cause]:
    seen: set[str] = set()
    for i, name in enumerate(named.get("resourceNames") or ()):
        yield from problems(f"{path}.resourceNames[{i}]", name, names.path_segment(name))
        if name in seen:
            yield fields.duplicate(f"{path}.resourceNames[{i}]", name)
        seen.add(name)
    yield from rule(path, named)


def _param_kind(path: str, kind: Object) -> Iterator[Cause]:
    version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    if not version:
        yield fields.required(f"{path}.apiVersion")
    elif version.count("/") > 1:
        yield fields.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
    else:
        group, _, short = version.rpartition("/")
        if group and (wrong := names.dns_subdomain(group)):
            yield fields.invalid(f"{path}.apiVersion", group, ",".join(wrong))
        if not short:
            yield fields.invalid(f"{path}.apiVersion", version, "version must be specified")
        elif wrong := names.dns_1035_label(short):
            yield fields.invalid(f"{path}.apiVersion", short, ",".join(wrong))
    if not name:
        yield fields.required(f"{path}.kind")
    elif wrong := names.dns_1035_label(name.lower()):
        why = "may have mixed case, but should otherwise match: " + ",".join(wrong)
        yield fields.invalid(f"{path}.kind", name, why)


# --- bindings --------------------------------------------------------------------------------------------------------


def policy_binding(obj: Object, old: Object | None) -> Iterator[Cause]:
    """ValidatingAdmissionPolicyBinding."""
    spec = obj.get("spec") or {}
    yield from _binding(spec)
    yield from _actions("spec.validationActions", spec.get("validationActions") or [])


def mutating_binding(obj: Object, old: Object | None) -> Iterator[Cause]:
    """MutatingAdmissionPolicyBinding."""
    yield from _binding(obj.get("spec") or {})


def _binding(spec: Object) -> Iterator[Cause]:
    name = spec.get("policyName")
    if not name:
        yield fields.required("spec.policyName")
    else:
        yield from problems("spec.policyName", name, names.dns_subdomain(name))
    if spec.get("paramRef") is not None:
        yield from _param_ref("spec.paramRef", spec["paramRef"])
    if spec.get("matchResources") is not None:
        yield from match_resources("spec.matchResouces", spec["matchResources"])  # as upstream spells it


def _param_ref(path: str, ref: Object) -> Iterator[Cause]:
    name, selector, both = ref.get("name") or "", ref.get("selector"), "name and selector are mutually exclusive"
    if name:
        yield from problems(f"{path}.name", name, names.path_segment(name))
        if selector is not None:
            yield fields.forbidden(f"{path}.name", both)
    if selector is not None:
        yield from common.label_selector(f"{path}.selector", selector)
        if name:
            yield fields.forbidden(f"{path}.selector", both)
    if not name and selector is None:
        yield fields.required(path, "one of name or selector must be specified")
    action = ref.get("parameterNotFoundAction")
    if not action:
        yield fields.required(f"{path}.parameterNotFoundAction")
    elif action not in ("Deny", "Allow"):
        yield fields.not_supported(f"{path}.parameterNotFoundAction", action, ["Deny", "Allow"])


def _actions(path: str, actions: list[Any]) -> Iterator[Cause]:
    seen: set[str] = set()
    for i, action in enumerate(actions):
        yield from one_of(f"{path}[{i}]", action, ACTIONS)
        if action in seen:
            yield fields.duplicate(f"{path}[{i}]", action)
        seen.add(action)
    if {"Deny", "Warn"} <= seen:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        yield fields.invalid(path, actions, why)
    if not actions:
        yield fields.required(path, "at least one validation action is required")
