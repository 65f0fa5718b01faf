"""Runs what syntax.py understands, with the commands of commands.py, on a container's files."""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from kcore_runtime_fake.files import FileError, Tree
from kcore_runtime_fake.syntax import (
    AndOr,
    Command,
    For,
    Group,
    If,
    NotShell,
    Pipe,
    Sequence,
    While,
    Word,
    parse,
)

SHELLS = frozenset(("sh", "bash", "ash", "dash"))
_DIRECTORIES = ("/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/", "/usr/local/bin/")
BREATHER = 0.01  # seconds between turns of a loop: a busy one must not take the process with it

Read = Callable[[], Awaitable[bytes]]  # b"" at the end
Write = Callable[[bytes], Awaitable[None]]


async def nothing() -> bytes:
    """Standard input that is at its end."""
    return b""


async def drop(data: bytes) -> None:
    """/dev/null."""


@attrs.frozen
class Io:
    """What a command reads and writes."""

    read: Read = nothing
    out: Write = drop
    err: Write = drop


class Exit(Exception):
    """``exit N``."""

    def __init__(self, code: int) -> None:
        self.code = code


class BrokenPipe(Exception):
    """Whoever read our output has ended."""


class LoopControl(Exception):
    """``break`` or ``continue``."""

    def __init__(self, again: bool) -> None:
        self.again = again


@attrs.define
class Session:
    """A shell: its variables, its directory, its files."""

    files: Tree
    env: dict[str, str]
    hostname: str
    cwd: str = "/"
    status: int = 0
    strict: bool = False  # set -e
    trace: bool = False  # set -x
    arguments: tuple[str, ...] = ("sh",)

    def path(self, name: str) -> str:
        return posixpath.normpath(posixpath.join(self.cwd, name))

    def resize(self, width: int, height: int) -> None:
        """Its terminal has another size, in characters; here it is the environment that tells."""
        self.env |= {"COLUMNS": str(width), "LINES": str(height)}

    def child(self) -> Session:
        return attrs.evolve(self, env=dict(self.env))

    # --- running -----------------------------------------------------------------------------------------------------

    async def run(self, node: Any, io: Io, *, tested: bool = False) -> int:
        """Runs a tree; `tested` says that its status is looked at (so that ``set -e`` does not end the script)."""
        if isinstance(node, Command):
            code = await self._command(node, io)
        elif isinstance(node, Sequence):
            code = 0
            for n in node.nodes:
                code = await self.run(n, io, tested=tested)
            return code
        elif isinstance(node, AndOr):
            code = await self.run(node.first, io, tested=True)
            for op, n in node.rest:
                if (op == "&&") == (code == 0):
                    code = await self.run(n, io, tested=True)
            return code
        elif isinstance(node, Pipe):
            code = await self._pipe(node, io)
            code = int(code == 0) if node.negated else code
            tested = tested or node.negated
        elif isinstance(node, If):
            return await self._if(node, io, tested)
        elif isinstance(node, While):
            return await self._while(node, io, tested)
        elif isinstance(node, For):
            return await self._for(node, io, tested)
        elif isinstance(node, Group):
            redirected = await self._redirect(node.redirects, io)
            return 1 if redirected is None else await self.run(node.body, redirected, tested=tested)
        else:
            raise TypeError(node)
        self.status = code
        if code and self.strict and not tested:
            raise Exit(code)
        return code

    async def _if(self, node: If, io: Io, tested: bool) -> int:
        for condition, body in node.branches:
            if await self.run(condition, io, tested=True) == 0:
                return await self.run(body, io, tested=tested)
        return await self.run(node.otherwise, io, tested=tested) if node.otherwise is not None else 0

    async def _turn(self, body: Any, io: Io, tested: bool) -> bool:
        """One turn of a loop. False: it is left."""
        before = trio.current_time()
        try:
            await self.run(body, io, tested=tested)
        except LoopControl as control:
            return control.again
        finally:
            if trio.current_time() - before < BREATHER:
                await trio.sleep(BREATHER)
        return True

    async def _while(self, node: While, io: Io, tested: bool) -> int:
        while (await self.run(node.condition, io, tested=True) == 0) != node.until:
            if not await self._turn(node.body, io, tested):
                break
        return self.status

    async def _for(self, node: For, io: Io, tested: bool) -> int:
        for value in [v for w in node.words for v in await self.expand(w, io)]:
            self.env[node.name] = value
            if not await self._turn(node.body, io, tested):
                break
        return self.status

    async def _pipe(self, node: Pipe, io: Io) -> int:
        codes: list[int] = [0] * len(node.commands)
        async with trio.open_nursery() as nursery:
            read, last = io.read, len(node.commands) - 1
            for i, command in enumerate(node.commands):
                send, receive = trio.open_memory_channel[bytes](16)
                out = io.out if i == last else _writer(send)
                ends: list[Any] = [send] if i != last else []
                nursery.start_soon(self._piped, command, Io(read, out, io.err), codes, i, ends)
                read = _reader(receive)
        return codes[last]

    async def _piped(self, command: Any, io: Io, codes: list[int], i: int, ends: list[Any]) -> None:
        try:
            codes[i] = await self.child().run(command, io, tested=True)
        except Exit as exit:
            codes[i] = exit.code
        except BrokenPipe:
            codes[i] = 141
        finally:
            for end in ends:
                end.close()
            if isinstance(io.read, _Reader):
                io.read.close()

    async def _command(self, node: Command, io: Io) -> int:
        from kcore_runtime_fake.commands import COMMANDS

        await trio.lowlevel.checkpoint()
        argv = [v for w in node.words for v in await self.expand(w, io)]
        assigned = {name: "".join(await self.expand(w, io, split=False)) for name, w in node.assignments}
        redirected = await self._redirect(node.redirects, io)
        if redirected is None:
            return 1
        if not argv:
            self.env.update(assigned)
            return 0
        if self.trace:
            await io.err(("+ " + " ".join(argv) + "\n").encode())
        name = builtin(argv[0])
        if name is None:
            if self.files.exists(self.path(argv[0])) and "/" in argv[0]:
                return await self._script(argv, redirected)
            await redirected.err(f"sh: {argv[0]}: not found\n".encode())
            return 127
        inner = self if not assigned else attrs.evolve(self, env={**self.env, **assigned})
        return await COMMANDS[name](inner, argv, redirected)

    async def _script(self, argv: list[str], io: Io) -> int:
        """A file that was mounted or written into the container, run as a script."""
        try:
            text = (await self.files.read(self.path(argv[0]))).decode(errors="replace")
            return await run_script(self.child(), text, io)
        except FileError as error:
            await io.err(f"sh: {argv[0]}: {error.message}\n".encode())
            return 126
        except NotShell as error:
            await io.err(f"{argv[0]}: not supported by the fake runtime's shell: {error}\n".encode())
            return 2

    # --- words -------------------------------------------------------------------------------------------------------

    async def expand(self, word: Word, io: Io, *, split: bool = True) -> list[str]:
        """The fields that a word becomes."""
        fields: list[str] = []
        current: str | None = None
        for kind, value, quoted in word.parts:
            if kind == "text":
                current = (current or "") + value
                continue
            text = self._variable(*value) if kind == "var" else await self._output(value, io)
            if quoted or not split:
                current = (current or "") + text
                continue
            pieces = text.split()
            if text[:1].isspace() and current is not None:
                fields.append(current)
                current = None
            for i, piece in enumerate(pieces):
                if i:
                    fields.append(current or "")
                    current = None
                current = (current or "") + piece
        if current is not None:
            fields.append(current)
        return fields

    def _variable(self, name: str, default: str) -> str:
        if name == "?":
            return str(self.status)
        if name == "$":
            return "1"
        if name == "#":
            return str(len(self.arguments) - 1)
        if name in "@*":
            return " ".join(self.arguments[1:])
        if name.isdigit():
            return self.arguments[int(name)] if int(name) < len(self.arguments) else default
        return self.env.get(name) or default

    async def _output(self, node: Any, io: Io) -> str:
        collected = bytearray()

        async def collect(data: bytes) -> None:
            collected.extend(data)

        try:
            await self.child().run(node, Io(io.read, collect, io.err), tested=True)
        except Exit:
            pass
        return collected.decode(errors="replace").rstrip("\n")

    async def _redirect(self, redirects: tuple[tuple[int, str, Word], ...], io: Io) -> Io | None:
        for descriptor, op, target in redirects:
            name = "".join(await self.expand(target, io, split=False))
            if op == ">&":
                to = io.out if name == "1" else io.err
                io = attrs.evolve(io, out=to) if descriptor == 1 else attrs.evolve(io, err=to)
                continue
            try:
                if op == "<":
                    io = attrs.evolve(io, read=_once(await self.files.read(self.path(name))))
                    continue
                write = self._file_writer(name, append=op == ">>")
            except FileError as error:
                await io.err(f"sh: can't open {name}: {error.message}\n".encode())
                return None
            if op == "&>":
                io = attrs.evolve(io, out=write, err=write)
            else:
                io = attrs.evolve(io, err=write) if descriptor == 2 else attrs.evolve(io, out=write)
        return io

    def _file_writer(self, name: str, *, append: bool) -> Write:
        if name == "/dev/null":
            return drop
        path = self.path(name)
        self.files.write(path, b"", append=append)

        async def write(data: bytes) -> None:
            self.files.write(path, data, append=True)

        return write


def _once(data: bytes) -> Read:
    left = [data]

    async def read() -> bytes:
        return left.pop() if left else b""

    return read


def _writer(send: trio.MemorySendChannel[bytes]) -> Write:
    async def write(data: bytes) -> None:
        try:
            await send.send(data)
        except trio.BrokenResourceError:
            raise BrokenPipe from None

    return write


class _Reader:
    def __init__(self, receive: trio.MemoryReceiveChannel[bytes]) -> None:
        self._receive = receive

    async def __call__(self) -> bytes:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            return b""

    def close(self) -> None:
        self._receive.close()


_reader = _Reader


# --- programs --------------------------------------------------------------------------------------------------------


def builtin(name: str) -> str | None:
    """The name of the command that this shell has for it."""
    from kcore_runtime_fake.commands import COMMANDS

    for directory in _DIRECTORIES:
        if name.startswith(directory):
            name = name[len(directory) :]
            break
    return name if name in COMMANDS or name in SHELLS else None


def literal(text: str) -> Word:
    return Word((("text", text, True),))


def program(argv: tuple[str, ...]) -> Any | None:
    """The tree of a command line, if all of it is understood; None for anything else."""
    if not argv or builtin(argv[0]) is None:
        return None
    node: Any = Command(tuple(literal(a) for a in argv))
    return node if _known(node) else None


def _known(node: Any) -> bool:
    """Every command in the tree is one of ours."""
    if isinstance(node, Command):
        if not all(_word_known(w) for w in (*node.words, *(w for _, w in node.assignments))):
            return False
        if not node.words:
            return True
        name = node.words[0].literal
        found = builtin(name) if name is not None else None
        if found is None:
            return False
        if found in SHELLS:
            return _script_known([w.literal for w in node.words])
        if found == "exec":
            return _known(Command(node.words[1:]))
        return True
    if isinstance(node, Sequence):
        return all(map(_known, node.nodes))
    if isinstance(node, AndOr):
        return _known(node.first) and all(_known(n) for _, n in node.rest)
    if isinstance(node, Pipe):
        return all(map(_known, node.commands))
    if isinstance(node, If):
        parts = [n for branch in node.branches for n in branch]
        return all(map(_known, parts)) and (node.otherwise is None or _known(node.otherwise))
    if isinstance(node, While):
        return _known(node.condition) and _known(node.body)
    return _known(node.body)


def _word_known(word: Word) -> bool:
    return all(kind != "command" or _known(value) for kind, value, _ in word.parts)


def _script_known(argv: list[str | None]) -> bool:
    script, _ = shell_arguments([a for a in argv if a is not None])
    if script is None or len([a for a in argv if a is None]):
        return False
    try:
        return _known(parse(script))
    except NotShell:
        return False


def shell_arguments(argv: list[str]) -> tuple[str | None, frozenset[str]]:
    """(script of ``-c``, option letters) of ``sh -exc SCRIPT``."""
    options: set[str] = set()
    for a in argv[1:]:
        if a in ("-o", "pipefail") or not a.startswith("-"):
            if a in ("-o", "pipefail"):
                continue
            return (a if "c" in options else None), frozenset(options)
        options |= set(a[1:])
    return None, frozenset(options)


async def run_script(session: Session, text: str, io: Io) -> int:
    """A script from its text. Raises NotShell."""
    try:
        return await session.run(parse(text), io)
    except Exit as exit:
        return exit.code
    except LoopControl:
        return 0


async def run_program(session: Session, node: Any, io: Io) -> int:
    """A program from `program`."""
    try:
        return await session.run(node, io)
    except Exit as exit:
        return exit.code
    except BrokenPipe:
        return 141
