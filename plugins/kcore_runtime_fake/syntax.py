"""The grammar of the built-in shell: enough of POSIX sh for the scripts that people put into pods.

Lists (``;`` ``&&`` ``||`` newline), pipes, redirections, quotes, variables, ``$(command)``, ``if``, ``while``,
``until``, ``for``, ``{ }``, ``!``. What it does not know (functions, ``case``, here-documents, background jobs,
arithmetic) is a `NotShell`: such a script is not run at all, rather than half.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

Part = tuple[str, Any]  # ("text", str) | ("var", str, default) | ("command", Node)


class NotShell(ValueError):
    """The text is beyond this shell."""


@attrs.frozen
class Word:
    """Pieces to be expanded and joined; `quoted` pieces are not split at blanks."""

    parts: tuple[tuple[str, Any, bool], ...]  # (kind, value, quoted)

    @property
    def literal(self) -> str | None:
        """The text, if nothing has to be expanded."""
        if all(kind == "text" for kind, _, _ in self.parts):
            return "".join(value for _, value, _ in self.parts)
        return None


@attrs.frozen
class Command:
    """``NAME=value word word >file``."""

    words: tuple[Word, ...]
    assignments: tuple[tuple[str, Word], ...] = ()
    redirects: tuple[tuple[int, str, Word], ...] = ()  # (descriptor, operator, target)


@attrs.frozen
class Pipe:
    commands: tuple[Any, ...]
    negated: bool = False


@attrs.frozen
class AndOr:
    first: Any
    rest: tuple[tuple[str, Any], ...]  # ("&&" | "||", node)


@attrs.frozen
class Sequence:
    nodes: tuple[Any, ...]


@attrs.frozen
class If:
    branches: tuple[tuple[Any, Any], ...]
    otherwise: Any | None


@attrs.frozen
class While:
    condition: Any
    body: Any
    until: bool


@attrs.frozen
class For:
    name: str
    words: tuple[Word, ...]
    body: Any


@attrs.frozen
class Group:
    """``{ list; }`` or ``( list )`` with redirections."""

    body: Any
    redirects: tuple[tuple[int, str, Word], ...] = ()


_OPERATORS = ("&&", "||", ";;", ">>", "<<", "&>", ";", "&", "|", "(", ")", "<", ">", "\n")
_RESERVED = frozenset(("if", "then", "elif", "else", "fi", "while", "until", "do", "done", "for", "in", "{", "}", "!"))
_RESERVED |= {"case", "esac", "function"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@attrs.frozen
class _Op:
    text: str
    descriptor: int = -1


def parse(text: str) -> Any:
    """The script as a tree. Raises NotShell."""
    return _Parser(_tokens(text)).script()


# --- tokens ----------------------------------------------------------------------------------------------------------


def _tokens(text: str) -> list[_Op | Word]:
    out: list[_Op | Word] = []
    at = 0
    while at < len(text):
        c = text[at]
        if c in " \t\r":
            at += 1
        elif text.startswith("\\\n", at):
            at += 2
        elif c == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
        else:
            match = re.compile(r"([012])?(>&[012]|>>|<<|>|<)|&>").match(text, at)
            if match:
                operator = match.group(2) or "&>"
                default = 0 if operator.startswith("<") else 1
                out.append(_Op(operator, int(match.group(1)) if match.group(1) else default))
                at = match.end()
                continue
            for op in _OPERATORS:
                if text.startswith(op, at):
                    out.append(_Op(op))
                    at += len(op)
                    break
            else:
                word, at = _word(text, at)
                out.append(word)
    return out


def _word(text: str, at: int) -> tuple[Word, int]:
    parts: list[tuple[str, Any, bool]] = []
    while at < len(text):
        c = text[at]
        if c in " \t\r\n;&|<>()":
            break
        if c == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise NotShell("an unclosed quote")
            parts.append(("text", text[at + 1 : end], True))
            at = end + 1
        elif c == '"':
            at = _quoted(text, at + 1, parts)
        elif c == "\\":
            if text.startswith("\\\n", at):
                at += 2
                continue
            parts.append(("text", text[at + 1 : at + 2], True))
            at += 2
        elif c == "$":
            at = _dollar(text, at, parts, False)
        elif c == "`":
            raise NotShell("backquotes")
        else:
            end = at
            while end < len(text) and text[end] not in " \t\r\n;&|<>()'\"\\$`":
                end += 1
            parts.append(("text", text[at:end], False))
            at = end
    return Word(tuple(parts)), at


def _quoted(text: str, at: int, parts: list[tuple[str, Any, bool]]) -> int:
    plain = ""
    parts.append(("text", "", True))
    while at < len(text) and text[at] != '"':
        c = text[at]
        if c == "\\" and at + 1 < len(text) and text[at + 1] in '"\\$`\n':
            plain += "" if text[at + 1] == "\n" else text[at + 1]
            at += 2
        elif c == "$":
            parts.append(("text", plain, True))
            plain = ""
            at = _dollar(text, at, parts, True)
        elif c == "`":
            raise NotShell("backquotes")
        else:
            plain += c
            at += 1
    if at >= len(text):
        raise NotShell("an unclosed quote")
    parts.append(("text", plain, True))
    return at + 1


def _dollar(text: str, at: int, parts: list[tuple[str, Any, bool]], quoted: bool) -> int:
    if text.startswith("$((", at):
        raise NotShell("arithmetic")
    if text.startswith("$(", at):
        depth, end = 1, at + 2
        while end < len(text) and depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        if depth:
            raise NotShell("an unclosed $(")
        parts.append(("command", parse(text[at + 2 : end - 1]), quoted))
        return end
    if text.startswith("${", at):
        end = text.find("}", at)
        match = re.fullmatch(r"([A-Za-z_]\w*|[0-9?#@*$])(?::?-(.*))?", text[at + 2 : end], re.S)
        if end < 0 or not match:
            raise NotShell("an expansion")
        parts.append(("var", (match.group(1), match.group(2) or ""), quoted))
        return end + 1
    match = re.compile(r"[A-Za-z_]\w*|[0-9?#@*$!]").match(text, at + 1)
    if not match:
        parts.append(("text", "$", quoted))
        return at + 1
    parts.append(("var", (match.group(0), ""), quoted))
    return match.end()


# --- grammar ---------------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, tokens: list[_Op | Word]) -> None:
        self._tokens, self._at = tokens, 0

    def script(self) -> Any:
        node = self._list(frozenset())
        if self._at < len(self._tokens):
            raise NotShell("something unexpected")
        return node

    def _peek(self) -> _Op | Word | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _op(self, *texts: str) -> str:
        token = self._peek()
        if isinstance(token, _Op) and token.text in texts:
            self._at += 1
            return token.text
        return ""

    def _reserved(self) -> str:
        token = self._peek()
        if isinstance(token, Word) and len(token.parts) == 1 and not token.parts[0][2]:
            text = token.literal or ""
            return text if text in _RESERVED else ""
        return ""

    def _take(self, word: str) -> None:
        if self._reserved() != word:
            raise NotShell(f"{word} is missing")
        self._at += 1

    def _newlines(self) -> None:
        while self._op("\n"):
            pass

    def _list(self, ends: frozenset[str]) -> Any:
        nodes: list[Any] = []
        while True:
            while self._op(";", "\n"):
                pass
            token = self._peek()
            if token is None or (isinstance(token, _Op) and token.text == ")"):
                break
            if self._reserved() in ends and self._reserved():
                break
            nodes.append(self._and_or())
            if self._op("&"):
                raise NotShell("a background job")
        return nodes[0] if len(nodes) == 1 else Sequence(tuple(nodes))

    def _and_or(self) -> Any:
        first, rest = self._pipe(), []
        while op := self._op("&&", "||"):
            self._newlines()
            rest.append((op, self._pipe()))
        return AndOr(first, tuple(rest)) if rest else first

    def _pipe(self) -> Any:
        negated = False
        while self._reserved() == "!":
            self._at += 1
            negated = not negated
        commands = [self._command()]
        while self._op("|"):
            self._newlines()
            commands.append(self._command())
        return Pipe(tuple(commands), negated) if negated or len(commands) > 1 else commands[0]

    def _command(self) -> Any:
        word = self._reserved()
        if word == "if":
            return self._redirected(self._if())
        if word in ("while", "until"):
            self._at += 1
            condition = self._list(frozenset(("do",)))
            return self._redirected(While(condition, self._do(), word == "until"))
        if word == "for":
            return self._redirected(self._for())
        if word == "{":
            self._at += 1
            body = self._list(frozenset(("}",)))
            self._take("}")
            return self._redirected(body, always=True)
        if self._op("("):
            body = self._list(frozenset())
            if not self._op(")"):
                raise NotShell(") is missing")
            return self._redirected(body, always=True)
        if word:
            raise NotShell(word)
        return self._simple()

    def _if(self) -> If:
        branches = []
        otherwise = None
        while self._reserved() in ("if", "elif"):
            self._at += 1
            condition = self._list(frozenset(("then",)))
            self._take("then")
            branches.append((condition, self._list(frozenset(("elif", "else", "fi")))))
        if self._reserved() == "else":
            self._at += 1
            otherwise = self._list(frozenset(("fi",)))
        self._take("fi")
        return If(tuple(branches), otherwise)

    def _do(self) -> Any:
        self._take("do")
        body = self._list(frozenset(("done",)))
        self._take("done")
        return body

    def _for(self) -> For:
        self._at += 1
        token = self._peek()
        name = token.literal if isinstance(token, Word) else None
        if not name or not _NAME.fullmatch(name):
            raise NotShell("for without a name")
        self._at += 1
        self._newlines()
        self._take("in")
        words: list[Word] = []
        while isinstance(token := self._peek(), Word):
            words.append(token)
            self._at += 1
        while self._op(";", "\n"):
            pass
        return For(name, tuple(words), self._do())

    def _redirected(self, body: Any, *, always: bool = False) -> Any:
        redirects = self._redirects()
        return Group(body, tuple(redirects)) if redirects or always else body

    def _redirects(self) -> list[tuple[int, str, Word]]:
        out: list[tuple[int, str, Word]] = []
        while True:
            token = self._peek()
            if not isinstance(token, _Op) or token.text[0] not in "<>&" or token.text in ("&", "&&"):
                return out
            if token.text == "<<":
                raise NotShell("a here-document")
            self._at += 1
            if token.text.startswith(">&"):
                out.append((token.descriptor, ">&", Word((("text", token.text[2], True),))))
                continue
            target = self._peek()
            if not isinstance(target, Word):
                raise NotShell("a redirection without a target")
            self._at += 1
            out.append((token.descriptor, token.text, target))

    def _simple(self) -> Command:
        words: list[Word] = []
        assignments: list[tuple[str, Word]] = []
        redirects: list[tuple[int, str, Word]] = []
        while True:
            redirects += self._redirects()
            token = self._peek()
            if not isinstance(token, Word):
                break
            self._at += 1
            assigned = None if words else _assignment(token)
            if assigned is not None:
                assignments.append(assigned)
            else:
                words.append(token)
        if not words and not assignments and not redirects:
            raise NotShell("an empty command")
        if isinstance(token, _Op) and token.text == "(" and len(words) == 1:
            raise NotShell("a function")
        return Command(tuple(words), tuple(assignments), tuple(redirects))


def _assignment(word: Word) -> tuple[str, Word] | None:
    if not word.parts or word.parts[0][0] != "text" or word.parts[0][2]:
        return None
    name, equals, rest = word.parts[0][1].partition("=")
    if not equals or not _NAME.fullmatch(name):
        return None
    return name, Word((("text", rest, False), *word.parts[1:]))
