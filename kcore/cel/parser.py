"""Tokens to a tree, with the error texts of the parser that Kubernetes uses.

Recursive descent over the grammar of the CEL specification; a chain of one operator is read in a loop. Depth is
bounded (`MAX_DEPTH`), so that neither the checker nor the evaluator can run out of stack on what was let through.
"""

from __future__ import annotations

from typing import Any, NoReturn

from kcore.cel import lexer, macros
from kcore.cel.errors import CompileError
from kcore.cel.lexer import END, IDENT, QUOTED, Token
from kcore.cel.nodes import Call, Ident, ListNode, Literal, MapNode, Node, Select, Struct
from kcore.cel.types import BOOL, BYTES, DOUBLE, INT, NULL, STRING, UINT
from kcore.cel.values import UInt

MAX_DEPTH = 250
MAX_SIZE = 100_000  # code points

RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_EXPECTED = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_EXPECTED_IN_MAP = (
    "{'[', '{', '}', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING,"
    " BYTES, IDENTIFIER}"
)
_LEVELS = {
    "==": 1,
    "!=": 1,
    "<": 1,
    "<=": 1,
    ">": 1,
    ">=": 1,
    "in": 1,
    "+": 2,
    "-": 2,
    "*": 3,
    "/": 3,
    "%": 3,
}
_FUNCTIONS = {op: "@in" if op == "in" else f"_{op}_" for op in _LEVELS}


def parse(source: str) -> Node:
    """The tree of an expression; CompileError says all that was wrong up to where reading had to stop."""
    if len(source) > MAX_SIZE:
        message = f"expression code point size exceeds limit: size: {len(source)}, limit {MAX_SIZE}"
        raise CompileError(source, [(-1, message)])
    found, problems = lexer.tokens(source)
    parser = _Parser(found, problems)
    try:
        tree = parser.start()
    except _Stop:
        tree = None
    if tree is None or parser.problems:
        raise CompileError(source, parser.problems)
    return tree


class _Stop(Exception):
    """Reading cannot go on; the reason is among the problems."""


class _Parser:
    def __init__(self, found: list[Token], problems: list[tuple[int, str]]) -> None:
        self.tokens = found
        self.index = 0
        self.token = found[0]
        self.problems = problems
        self.depth = 0

    # --- tokens ----------------------------------------------------------------------------------

    def advance(self) -> Token:
        token = self.token
        if token.kind != END:
            self.index += 1
            self.token = self.tokens[self.index]
        return token

    def accept(self, kind: str) -> Token | None:
        return self.advance() if self.token.kind == kind else None

    def ahead(self, count: int = 1) -> str:
        at = min(self.index + count, len(self.tokens) - 1)
        return self.tokens[at].kind

    def problem(self, pos: int, message: str) -> None:
        self.problems.append((pos, message))

    def stop(self, message: str) -> NoReturn:
        self.problem(self.token.pos, f"Syntax error: {message}")
        raise _Stop

    def expect(self, kind: str, expected: str) -> Token:
        """The next token must be of this kind; one superfluous token before it is reported and skipped."""
        if self.token.kind == kind:
            return self.advance()
        if self.token.kind != END and self.ahead() == kind:
            self.problem(self.token.pos, f"Syntax error: extraneous input '{self.token.text}' expecting {expected}")
            self.advance()
            return self.advance()
        if kind == ")" and self.token.kind == END:
            self.stop(f"missing ')' at '{self.token.text}'")
        self.stop(f"mismatched input '{self.token.text}' expecting {expected}")

    def made(self, node: Node) -> Node:
        if node.depth > MAX_DEPTH:
            self.too_deep()
        return node

    def too_deep(self) -> NoReturn:
        self.problem(-1, f"expression recursion limit exceeded: {MAX_DEPTH}")
        raise _Stop

    # --- grammar ---------------------------------------------------------------------------------

    def start(self) -> Node:
        if self.token.kind not in _STARTS and self.token.kind != END and self.ahead() in _STARTS:
            # one superfluous token in front of an expression is skipped
            message = f"Syntax error: extraneous input '{self.token.text}' expecting {_EXPECTED}"
            self.problem(self.token.pos, message)
            self.advance()
        tree = self.expression()
        if self.token.kind != END:
            kind = "extraneous" if self.ahead() == END else "mismatched"
            self.stop(f"{kind} input '{self.token.text}' expecting <EOF>")
        return tree

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.too_deep()
        condition = self.chain("||")
        if self.token.kind == "?":
            token = self.advance()
            first = self.chain("||")
            self.expect(":", "':'")
            second = self.expression()
            condition = self.made(Call(token.pos, "_?_:_", (condition, first, second)))
        self.depth -= 1
        return condition

    def chain(self, operator: str) -> Node:
        """``a || b || c``: one node with all the operands, because a chain may be long; places are the operators'."""
        first = self.chain("&&") if operator == "||" else self.binary(1)
        if self.token.kind != operator:
            return first
        operands = [first]
        places = []
        while token := self.accept(operator):
            places.append(token.pos)
            operands.append(self.chain("&&") if operator == "||" else self.binary(1))
        return self.made(_balanced(f"_{operator}_", operands, places, 0, len(places) - 1))

    def binary(self, level: int) -> Node:
        left = self.unary()
        return self.binary_after(left, level)

    def binary_after(self, left: Node, level: int) -> Node:
        while (found := _LEVELS.get(self.token.kind, 0)) >= level:
            token = self.advance()
            right = self.unary()
            while (tighter := _LEVELS.get(self.token.kind, 0)) > found:
                right = self.binary_after(right, tighter)
            left = self.made(Call(token.pos, _FUNCTIONS[token.kind], (left, right)))
        return left

    def unary(self) -> Node:
        kind = self.token.kind
        if kind not in ("!", "-"):
            return self.member()
        if kind == "-" and self.ahead() in (lexer.INT, lexer.FLOAT):
            return self.member()  # a signed literal
        token = self.token
        count = 0
        while self.accept(kind):
            count += 1
        if self.token.kind in ("!", "-"):
            operand = self.unary() if self.token.kind == "-" and kind == "-" else self.primary_expected()
        else:
            operand = self.member()
        if count % 2 == 0:
            return operand
        return self.made(Call(token.pos, "!_" if kind == "!" else "-_", (operand,)))

    def primary_expected(self) -> NoReturn:
        alternatives = _EXPECTED.replace("'-', '!', ", "'-', ") if self.token.kind == "!" else _EXPECTED
        self.stop(f"mismatched input '{self.token.text}' expecting {alternatives}")

    def member(self) -> Node:
        node = self.primary()
        while True:
            if token := self.accept("."):
                node = self.made(self.selection(node, token))
            elif token := self.accept("["):
                optional = self.accept("?")
                index = self.expression()
                self.expect("]", "']'")
                node = self.made(Call(token.pos, "_[?_]" if optional else "_[_]", (node, index)))
            elif self.token.kind == "{" and (name := _qualified(node)) is not None:
                node = self.made(self.struct(name))
            else:
                return node

    def selection(self, operand: Node, dot: Token) -> Node:
        optional = self.accept("?")
        if self.token.kind in (IDENT, QUOTED):
            name = self.advance()
        elif self.token.kind in lexer.KEYWORDS or self.token.kind != END:
            if self.token.kind == "in" or optional:
                self.stop(f"mismatched input '{self.token.text}' expecting IDENTIFIER")
            self.stop(f"no viable alternative at input '.{self.token.text}'")
        else:
            self.problem(self.token.pos, "Syntax error: no viable alternative at input '.'")
            raise _Stop
        text = name.text.strip("`")
        if optional:
            return Call(dot.pos, "_?._", (operand, Literal(name.pos, text, STRING)))
        if name.kind == IDENT and (bracket := self.accept("(")):
            args = self.arguments()
            return self.call(bracket.pos, text, args, operand)
        return Select(dot.pos, operand, text)

    def call(self, pos: int, name: str, args: tuple[Node, ...], target: Node | None = None) -> Node:
        """A macro's expansion, or a call."""
        try:
            expanded = macros.expand(pos, name, target, args)
        except macros.MacroError as error:
            self.problem(error.pos, str(error))
            return Literal(pos, False, BOOL)
        return expanded or Call(pos, name, args, target)

    def arguments(self) -> tuple[Node, ...]:
        if self.accept(")"):
            return ()
        args = [self.expression()]
        while self.accept(","):
            args.append(self.expression())
        self.expect(")", "')'")
        return tuple(args)

    def primary(self) -> Node:
        token = self.token
        kind = token.kind
        if kind == IDENT or (kind == "." and self.ahead() == IDENT):
            return self.name()
        if kind == "(":
            self.advance()
            inner = self.expression()
            self.expect(")", "')'")
            return inner
        if kind == "[":
            return self.list_literal()
        if kind == "{":
            return self.map_literal()
        made = _CONSTANTS.get(kind)
        if made is not None:
            self.advance()
            return Literal(token.pos, *made)
        if kind in (lexer.INT, lexer.FLOAT, lexer.UINT, lexer.STRING, lexer.BYTES):
            return self.literal(self.advance(), "")
        if kind == "-":
            self.advance()
            return self.literal(self.advance(), "-")
        if kind == ".":
            self.advance()
            self.stop(f"no viable alternative at input '.{'' if self.token.kind == END else self.token.text}'")
        self.stop(f"mismatched input '{token.text}' expecting {_EXPECTED}")

    def name(self) -> Node:
        start = self.token
        dot = "." if self.accept(".") else ""
        token = self.advance()
        if token.text in RESERVED:
            self.problem(start.pos, f"reserved identifier: {token.text}")
        if bracket := self.accept("("):
            return self.made(self.call(bracket.pos, dot + token.text, self.arguments()))
        return Ident(start.pos, dot + token.text)

    def literal(self, token: Token, sign: str) -> Node:
        pos = token.pos - len(sign)
        try:
            value, type_ = _number(token, sign) if token.kind.startswith("NUM_") else _text(token)
        except ValueError as error:
            self.problem(pos, str(error))
            return Literal(pos, False, BOOL)
        return Literal(pos, value, type_)

    def list_literal(self) -> Node:
        start = self.advance()
        elements: list[Node] = []
        optional = set()
        while self.token.kind != "]":
            if self.token.kind == "," and not elements and self.ahead() == "]":
                self.advance()
                break
            if self.accept("?"):
                optional.add(len(elements))
            elements.append(self.expression())
            if not self.accept(","):
                break
        self.expect("]", "{']', ','}" if elements else "']'")
        return self.made(ListNode(start.pos, tuple(elements), frozenset(optional)))

    def map_literal(self) -> Node:
        start = self.advance()
        entries: list[tuple[Node, Node, bool]] = []
        while self.token.kind != "}":
            if self.token.kind == "," and not entries and self.ahead() == "}":
                self.advance()
                break
            if self.token.kind == END and not entries:
                self.stop(f"mismatched input '<EOF>' expecting {_EXPECTED_IN_MAP}")
            optional = self.accept("?") is not None
            key = self.expression()
            self.expect(":", "':'")
            entries.append((key, self.expression(), optional))
            if not self.accept(","):
                break
        self.expect("}", "{'}', ','}")
        return self.made(MapNode(start.pos, tuple(entries)))

    def struct(self, name: str) -> Node:
        start = self.advance()
        entries: list[tuple[int, str, Node, bool]] = []
        while self.token.kind != "}":
            if self.token.kind == "," and not entries and self.ahead() == "}":
                self.advance()
                break
            optional = self.accept("?") is not None
            if self.token.kind not in (IDENT, QUOTED):
                self.stop(f"mismatched input '{self.token.text}' expecting {{'}}', ',', '?', IDENTIFIER}}")
            field = self.advance().text.strip("`")
            colon = self.expect(":", "':'")
            entries.append((colon.pos, field, self.expression(), optional))
            if not self.accept(","):
                break
        self.expect("}", "{'}', ','}")
        return Struct(start.pos, name, tuple(entries))


_CONSTANTS: dict[str, tuple[Any, Any]] = {"true": (True, BOOL), "false": (False, BOOL), "null": (None, NULL)}
_STARTS = frozenset(
    (*"[{(.-!", "true", "false", "null", lexer.FLOAT, lexer.INT, lexer.UINT, lexer.STRING, lexer.BYTES, IDENT)
)


def _qualified(node: Node) -> str | None:
    """``a.b.c`` as a dotted name."""
    parts: list[str] = []
    while isinstance(node, Select) and not node.test:
        parts.append(node.field)
        node = node.operand
    if not isinstance(node, Ident):
        return None
    return ".".join([node.name, *reversed(parts)])


def _balanced(function: str, operands: list[Node], places: list[int], low: int, high: int) -> Node:
    """A balanced tree, as upstream: ``&&`` and ``||`` do not mind, and a long chain does not become deep."""
    middle = (low + high + 1) // 2
    left = operands[middle] if middle == low else _balanced(function, operands, places, low, middle - 1)
    right = operands[middle + 1] if middle == high else _balanced(function, operands, places, middle + 1, high)
    return Call(places[middle], function, (left, right))


def _number(token: Token, sign: str) -> tuple[Any, Any]:
    text = token.text
    if token.kind == lexer.FLOAT:
        value = float(sign + text)
        if value in (float("inf"), float("-inf")):
            raise ValueError("invalid double literal")
        return value, DOUBLE
    digits = text.rstrip("uU") if token.kind == lexer.UINT else text
    base = 16 if digits.startswith("0x") else 10
    # a literal of thousands of digits is too big, and int() may refuse to read it
    number = int(digits, base) if len(digits) < 100 else 1 << 70
    if token.kind == lexer.UINT:
        if number >= 1 << 64:
            raise ValueError("invalid uint literal")
        return UInt(number), UINT
    number = -number if sign else number
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError("invalid int literal")
    return number, INT


def _text(token: Token) -> tuple[Any, Any]:
    try:
        value = lexer.unquote(token.text)
    except (ValueError, KeyError) as error:
        raise ValueError(str(error)) from None
    return value, BYTES if isinstance(value, bytes) else STRING
