"""Which types fit which: assignability with type variables, by the rules of cel-go's checker."""

from __future__ import annotations

from kcore.cel.types import DYN, Type, same

Bindings = dict[str, Type]

_NULLABLE = frozenset(["opaque", "duration", "timestamp", "object"])


class Inference:
    """The type variables of one check and what they stand for."""

    def __init__(self) -> None:
        self.bindings: Bindings = {}
        self._counter = 0

    def fresh(self) -> Type:
        made = Type("param", f"_var{self._counter}")
        self._counter += 1
        return made

    def instantiate(self, types: tuple[Type, ...]) -> tuple[Type, ...]:
        """The signature with variables of its own in place of its parameters."""
        names: Bindings = {}

        def renewed(type_: Type) -> Type:
            if type_.kind == "param":
                if type_.name not in names:
                    names[type_.name] = self.fresh()
                return names[type_.name]
            return _with(type_, tuple(map(renewed, type_.params))) if type_.params else type_

        return tuple(map(renewed, types))

    def resolve(self, type_: Type, *, final: bool = False) -> Type:
        """The type with its variables replaced; ``final``: one that nothing bound becomes dyn."""
        if type_.kind == "param":
            bound = self.bindings.get(type_.name)
            if bound is not None:
                return self.resolve(bound, final=final)
            return DYN if final else type_
        if not type_.params:
            return type_
        params = tuple(self.resolve(param, final=final) for param in type_.params)
        if all(new is old for new, old in zip(params, type_.params, strict=True)):
            return type_
        return _with(type_, params)

    def assignable(self, target: Type, source: Type) -> bool:
        return self.all_assignable((target,), (source,))

    def all_assignable(self, targets: tuple[Type, ...], sources: tuple[Type, ...]) -> bool:
        """May values of the sources stand where the targets are asked for? If so, remember what that says."""
        if len(targets) != len(sources):
            return False
        trial = dict(self.bindings)
        if all(_assignable(trial, a, b) for a, b in zip(targets, sources, strict=True)):
            self.bindings = trial
            return True
        return False


def _with(type_: Type, params: tuple[Type, ...]) -> Type:
    return Type(
        type_.kind,
        type_.name,
        params,
        max_size=type_.max_size,
        list_type=type_.list_type,
        list_keys=type_.list_keys,
        min_json=type_.min_json,
    )


def _assignable(bindings: Bindings, target: Type, source: Type) -> bool:
    if target is source:
        return True
    if target.kind == "param" or source.kind == "param":
        return _assignable_variable(bindings, target, source)
    if target.kind in ("dyn", "error") or source.kind in ("dyn", "error"):
        return True
    if target.kind == "null" or source.kind == "null":
        other = source if target.kind == "null" else target
        return other.kind == "null" or other.kind in _NULLABLE
    if target.kind == "type" and source.kind == "type":
        return True
    if target.kind != source.kind or target.name != source.name or len(target.params) != len(source.params):
        return False
    return all(_assignable(bindings, a, b) for a, b in zip(target.params, source.params, strict=True))


def _assignable_variable(bindings: Bindings, target: Type, source: Type) -> bool:
    if source.kind == "param":
        if target.kind == "param" and target.name == source.name:
            return True
        return _bind(bindings, source, target)
    return _bind(bindings, target, source)


def _bind(bindings: Bindings, variable: Type, type_: Type) -> bool:
    """Let the variable stand for the type, or for the more general of it and what it stood for."""
    bound = bindings.get(variable.name)
    if bound is None:
        if not _free_of(bindings, variable.name, type_):
            return False
        bindings[variable.name] = type_
        return True
    if not _assignable(bindings, bound, type_):
        return False
    if type_.kind != "param" and bound.kind != "param":
        bindings[variable.name] = most_general(bound, type_)
    return True


def _free_of(bindings: Bindings, name: str, type_: Type) -> bool:
    """No variable may stand for a type that contains it."""
    if type_.kind == "param":
        if type_.name == name:
            return False
        bound = bindings.get(type_.name)
        return bound is None or _free_of(bindings, name, bound)
    return all(_free_of(bindings, name, param) for param in type_.params)


def most_general(left: Type, right: Type) -> Type:
    return left if _less_specific(left, right) else right


def _less_specific(left: Type, right: Type) -> bool:
    if left.kind in ("dyn", "error"):
        return True
    if right.kind in ("dyn", "error"):
        return False
    if left.kind == "param":
        return True
    if right.kind == "param":
        return False
    if left.kind == "null" and right.kind != "null":
        return False  # what may be null is the more general
    if right.kind == "null":
        return True
    if left.params:
        if left.kind != right.kind or len(left.params) != len(right.params):
            return False
        return all(_less_specific(a, b) for a, b in zip(left.params, right.params, strict=True))
    return same(left, right)
