"""What an expression costs at least and at most, from its text and the sizes that its types allow.

Kubernetes refuses rules whose estimate is too high, so the estimate is upstream's to the unit: the costs are those of
the expansions of macros, and sizes are known where they are known upstream: along a path of fields, items, keys and
values that starts at a declared variable, for literals, and for the results of a few functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kcore.cel import estimate_calls
from kcore.cel.nodes import Call, Ident, ListNode, Literal, Macro, MapNode, Node, Select, Struct
from kcore.cel.sizes import MOST, ONE, UNKNOWN, ZERO, Range, fixed
from kcore.cel.types import STRING, Type

LIST, MAP, STRUCT = fixed(10), fixed(30), fixed(40)


class Entry(NamedTuple):
    """What is known of the items of a list or the entries of a map that the expression makes."""

    kind: str
    key: Range
    value: Range


class Local(NamedTuple):
    """A variable of a macro: where its value stands in the schema, and its size if the expression says it."""

    declared: Type | None
    size: Range | None


KEY = Type("string", "string", max_size=0)  # of a map: upstream takes no size for it
INDEX = Type("int", "int", max_size=0)
_SCALARS = frozenset(["bool", "double", "duration", "int", "timestamp", "uint"])


class Estimator:
    def __init__(self, variables: dict[str, Type]) -> None:
        self.variables = variables
        # every path starts at the schema that the rule belongs to, whatever the variable is called
        self.root = variables.get("self")
        self.scopes: list[dict[str, Local]] = []
        self.declared: dict[int, Type | None] = {}
        self.sizes: dict[int, Range] = {}
        self.entries: dict[int, Entry] = {}

    def cost(self, node: Node) -> Range:
        return _COSTS[type(node)](self, node)

    # --- sizes -----------------------------------------------------------------------------------

    def size(self, node: Node) -> Range | None:
        """The size of a node's value; None if nothing is known. After its cost, which may find it out."""
        if id(node) in self.sizes:
            return self.sizes[id(node)]
        if (own := _own_size(node)) is not None:
            return own
        declared = self.declared.get(id(node))
        if declared is not None and (found := declared_size(declared)) is not None:
            return found
        if _scalar(node.type):
            return ONE
        if isinstance(node, Ident) and (local := self.local(node.name)) is not None:
            return local.size
        return None

    def size_or_unknown(self, node: Node) -> Range:
        found = self.size(node)
        return UNKNOWN if found is None else found

    def item_size(self, node: Node) -> tuple[str, Range] | None:
        """Kind and size of the items of a list that stands somewhere in the schema, or of any list's item type."""
        if not node.type.params:
            return None
        item = node.type.params[0]
        declared = self.declared.get(id(node))
        size = None
        if declared is not None and declared.kind == "list":
            size = declared_size(declared.params[0])
        return item.kind, UNKNOWN if size is None else size

    def local(self, name: str) -> Local | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    # --- nodes -----------------------------------------------------------------------------------

    def literal(self, node: Literal) -> Range:
        return ZERO

    def ident(self, node: Ident) -> Range:
        local = self.local(node.name)
        if local is not None:
            self.declared[id(node)] = local.declared
        elif node.constant is None:
            self.declared[id(node)] = self.root or self.variables.get(node.name.lstrip("."))
        return ONE

    def select(self, node: Select) -> Range:
        if node.resolved is not None:
            return self.ident(node.resolved)
        total = self.cost(node.operand)
        if node.test:
            return total
        declared = self.declared.get(id(node.operand))
        if declared is not None and declared.kind == "object":
            field = declared.fields.get(node.field)
            self.declared[id(node)] = None if field is None else field.type
        return total.plus(ONE) if node.operand.type.kind in ("map", "object") else total

    def call(self, node: Call) -> Range:
        if node.function == "dyn":
            (argument,) = node.args
            total = self.cost(argument).plus(ONE)
            self.copy(node, argument)
            return total
        costs = [self.cost(arg) for arg in node.args]
        target = ZERO if node.target is None else self.cost(node.target)
        if not node.overloads:
            return target.plus(ONE).plus(costs[0])  # a.?b
        total = Range(MOST, 0)
        size: Range | None = None
        for overload in node.overloads:
            cost, made = self.overload(node, overload.id, costs)
            total = total.union(cost)
            if made is not None:
                size = made if size is None else size.union(made)
            if overload.id in ("index_list", "index_map"):
                size = self.index(node, overload.id)
            if size is None:
                size = self.size(node)
        if size is not None:
            self.sizes[id(node)] = size
        return target.plus(total)

    def index(self, node: Call, id_: str) -> Range | None:
        container = node.args[0]
        declared = self.declared.get(id(container))
        if declared is not None and declared.kind in ("list", "map"):
            self.declared[id(node)] = declared.params[-1]
        entry = self.entries.get(id(container))
        return None if entry is None else entry.value

    def overload(self, node: Call, id_: str, costs: list[Range]) -> tuple[Range, Range | None]:
        """The cost of the call with its arguments, and the size of the result."""
        arguments = ZERO
        for cost in costs:
            arguments = arguments.plus(cost)
        estimated = estimate_calls.library(self, node, id_)
        if estimated is None:
            special = _SPECIAL.get(id_)
            if special is not None:
                return special(self, node, costs)
            estimated = estimate_calls.standard(self, node, id_)
        if estimated is None:
            return arguments.plus(ONE), None
        cost, size = estimated
        return arguments.plus(cost), size

    def logical(self, node: Call, costs: list[Range]) -> tuple[Range, Range | None]:
        return Range(costs[0].min, costs[0].plus(costs[1]).max), None

    def conditional(self, node: Call, costs: list[Range]) -> tuple[Range, Range | None]:
        yes, no = node.args[1:]
        size = self.size_or_unknown(yes).union(self.size_or_unknown(no))
        self.join_entries(node, yes, no)
        return costs[0].plus(costs[1].union(costs[2])), size

    def addition(self, node: Call, costs: list[Range]) -> tuple[Range, Range | None]:
        left, right = node.args
        size = self.size_or_unknown(left).plus(self.size_or_unknown(right))
        self.join_entries(node, left, right)
        own = size.scaled(0.1) if any(overload.id != "add_list" for overload in node.overloads) else ONE
        return costs[0].plus(costs[1]).plus(own), size

    def list_addition(self, node: Call, costs: list[Range]) -> tuple[Range, Range | None]:
        _, size = self.addition(node, costs)
        return costs[0].plus(costs[1]).plus(ONE), size

    def join_entries(self, node: Node, left: Node, right: Node) -> None:
        one, other = self.entries.get(id(left)), self.entries.get(id(right))
        if one is not None and other is not None:
            self.entries[id(node)] = Entry(one.kind, one.key.union(other.key), one.value.union(other.value))

    def copy(self, node: Node, source: Node) -> None:
        if (size := self.size(source)) is not None:
            self.sizes[id(node)] = size
        if (entry := self.entries.get(id(source))) is not None:
            self.entries[id(node)] = entry

    def list_literal(self, node: ListNode) -> Range:
        total = LIST
        size = Range(MOST, 0) if node.elements else ZERO
        for element in node.elements:
            total = total.plus(self.cost(element))
            size = size.union(self.size_or_unknown(element))
        self.entries[id(node)] = Entry("list", ONE, size)
        return total

    def map_literal(self, node: MapNode) -> Range:
        total = MAP
        keys = values = Range(MOST, 0) if node.entries else ZERO
        for key, value, _ in node.entries:
            total = total.plus(self.cost(key)).plus(self.cost(value))
            keys = keys.union(self.size_or_unknown(key))
            values = values.union(self.size_or_unknown(value))
        self.entries[id(node)] = Entry("map", keys, values)
        return total

    def struct(self, node: Struct) -> Range:
        total = STRUCT
        for _, _, value, _ in node.entries:
            total = total.plus(self.cost(value))
        return total

    # --- macros ----------------------------------------------------------------------------------

    def macro(self, node: Macro) -> Range:
        if node.kind in ("optMap", "optFlatMap"):
            return self.optional(node)
        total = self.cost(node.range)
        entry = self.entries.get(id(node.range))
        kind = entry.kind if entry else node.range.type.kind
        declared = self.declared.get(id(node.range))
        self.scopes.append(self.turn_variables(node, entry, kind, declared))
        condition = ZERO if node.condition is None else self.cost(node.condition)
        body = ZERO if node.body is None else self.cost(node.body)
        made = None if node.body is None else self.size_or_unknown(node.body)
        if node.kind == "filter":
            made = self.item_in_filter(node)
        self.scopes.pop()
        turns = self.size_or_unknown(node.range)
        turn, around = _turn(node, condition, body)
        if node.kind in ("all", "exists", "exists_one"):
            self.sizes[id(node)] = ONE
        else:
            self.sizes[id(node)] = turns
            if made is not None and node.kind in ("map", "filter", "transformList"):
                self.entries[id(node)] = Entry("list", ONE, made.union(ZERO))
            elif node.kind in ("transformMap", "transformMapEntry"):
                pass  # nothing is known of what they insert
        return total.plus(around).plus(turns.times(turn))

    def turn_variables(self, node: Macro, entry: Entry | None, kind: str, declared: Type | None) -> dict[str, Local]:
        item, key = self.range_types(declared, kind)
        if len(node.variables) == 2:
            first, second = node.variables
            return {
                first: Local(key, entry.key if entry else None),
                second: Local(item, entry.value if entry else None),
            }
        (name,) = node.variables
        if kind == "list":
            return {name: Local(item, entry.value if entry else None)}
        return {name: Local(key, entry.key if entry else None)}

    def range_types(self, declared: Type | None, kind: str) -> tuple[Type | None, Type | None]:
        """The types of an item (or value) and of an index (or key) where the range stands in the schema.

        A range that stands nowhere in it is taken for the root, upstream: the path of its items has one part, and the
        first part is the root whatever it says.
        """
        if declared is None:
            return self.root, self.root
        if declared.kind in ("list", "map"):
            return declared.params[-1], KEY if declared.kind == "map" else None
        return None, None

    def item_in_filter(self, node: Macro) -> Range:
        made = Ident(node.pos, node.variables[-1])
        made.type = node.type.params[0] if node.type.params else STRING
        self.ident(made)
        return self.size_or_unknown(made)

    def optional(self, node: Macro) -> Range:
        total = self.cost(node.range)
        self.scopes.append({node.variables[0]: Local(None, None)})
        assert node.body is not None
        body = self.cost(node.body)
        self.scopes.pop()
        # hasValue() of the target, and where it has one the target again, bound, and what is made of it
        taken = total.plus(fixed(12)).plus(body) if node.kind == "optMap" else total.plus(fixed(11)).plus(body)
        return total.plus(ONE).plus(taken.union(ONE))


def _own_size(node: Node) -> Range | None:
    if isinstance(node, Literal):
        return fixed(len(node.value) if isinstance(node.value, str | bytes) else 1)
    if isinstance(node, ListNode):
        return fixed(len(node.elements))
    if isinstance(node, MapNode):
        return fixed(len(node.entries))
    return None


def declared_size(type_: Type) -> Range | None:
    """What a schema says of the size of a value: its limit, and 0 for what has none (upstream's way to say scalar)."""
    if type_.kind in ("string", "bytes", "list", "map", "dyn") and type_.max_size is None:
        return None
    return Range(0, min(type_.max_size or 0, MOST))


def _scalar(type_: Type) -> bool:
    if type_.kind == "optional":
        return _scalar(type_.params[0])
    return type_.kind in _SCALARS


def _turn(node: Macro, condition: Range, body: Range) -> tuple[Range, Range]:
    """What a turn costs, and what comes once: the accumulator's initial value and the result."""
    if node.kind in ("all", "exists"):
        test = 2 if node.kind == "all" else 3
        return Range(test + 1, min(test + 1 + condition.max, MOST)), ONE
    if node.kind == "exists_one":
        return condition.plus(Range(1, 2)), fixed(2)
    if node.kind == "filter":
        return condition.plus(Range(1, 13)), fixed(11)
    if node.kind in ("map", "transformList"):
        step, around = body.plus(fixed(12)), fixed(11)
    elif node.kind == "transformMap":
        step, around = body.plus(fixed(3)), fixed(31)
    else:
        step, around = body.plus(fixed(2)), fixed(31)
    return (step if node.condition is None else condition.plus(step.union(ONE))), around


_COSTS: dict[type[Node], Callable[[Estimator, Any], Range]] = {
    Literal: Estimator.literal,
    Ident: Estimator.ident,
    Select: Estimator.select,
    Call: Estimator.call,
    ListNode: Estimator.list_literal,
    MapNode: Estimator.map_literal,
    Struct: Estimator.struct,
    Macro: Estimator.macro,
}
_SPECIAL: dict[str, Callable[[Estimator, Call, list[Range]], tuple[Range, Range | None]]] = {
    "logical_and": Estimator.logical,
    "logical_or": Estimator.logical,
    "conditional": Estimator.conditional,
    "add_string": Estimator.addition,
    "add_bytes": Estimator.addition,
    "add_list": Estimator.list_addition,
}
