"""The commands of the built-in shell. Each takes the session, its arguments (the name first) and what it reads and
writes, and returns its exit code."""

from __future__ import annotations

import posixpath
import re
import time
from collections.abc import Awaitable, Callable

import trio

from kcore import clock
from kcore_runtime_fake.behaviour import duration
from kcore_runtime_fake.files import FileError
from kcore_runtime_fake.shell import (
    SHELLS,
    Exit,
    Io,
    LoopControl,
    Session,
    run_script,
    shell_arguments,
)
from kcore_runtime_fake.syntax import NotShell

Function = Callable[[Session, list[str], Io], Awaitable[int]]
COMMANDS: dict[str, Function] = {}


def command(*names: str) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        COMMANDS.update(dict.fromkeys(names, function))
        return function

    return register


def _options(argv: list[str]) -> tuple[set[str], list[str]]:
    """(option letters, operands)."""
    letters: set[str] = set()
    for i, a in enumerate(argv[1:], 1):
        if a == "--":
            return letters, argv[i + 1 :]
        if not a.startswith("-") or a == "-":
            return letters, argv[i:]
        letters |= set(a.lstrip("-"))
    return letters, []


async def _all(io: Io) -> bytes:
    out = bytearray()
    while data := await io.read():
        out += data
    return bytes(out)


async def _input(sh: Session, names: list[str], io: Io, argv: list[str]) -> tuple[bytes, int]:
    """The content of the named files, or of standard input."""
    if not names:
        return await _all(io), 0
    out, code = b"", 0
    for name in names:
        try:
            out += await _all(io) if name == "-" else await sh.files.read(sh.path(name))
        except FileError as error:
            await io.err(f"{argv[0]}: {name}: {error.message}\n".encode())
            code = 1
    return out, code


@command("true", ":", "sync", "trap", "ulimit", "umask", "wait", "chown")
async def true(sh: Session, argv: list[str], io: Io) -> int:
    return 0


@command("false")
async def false(sh: Session, argv: list[str], io: Io) -> int:
    return 1


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "a": "\a", "b": "\b", "e": "\x1b", "0": "\0"}


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(0)), text)


@command("echo")
async def echo(sh: Session, argv: list[str], io: Io) -> int:
    words, newline, escapes = argv[1:], "\n", False
    while words and re.fullmatch("-[neE]+", words[0]):
        newline = "" if "n" in words[0] else newline
        escapes = "e" in words[0] or escapes
        words = words[1:]
    text = " ".join(words)
    await io.out(((_unescape(text) if escapes else text) + newline).encode())
    return 0


_FIELD = re.compile(r"%(?:(%)|[-0-9.]*([sdioux]))")


@command("printf")
async def printf(sh: Session, argv: list[str], io: Io) -> int:
    form, args = _unescape(argv[1]) if len(argv) > 1 else "", argv[2:]
    out = ""
    while True:
        given = len(args)
        out += _FIELD.sub(lambda match: _field(match, args), form)
        if not args or len(args) == given:
            break
    await io.out(out.encode())
    return 0


def _field(match: re.Match[str], args: list[str]) -> str:
    """One field of a format; takes its value from `args`."""
    if match.group(1):
        return "%"
    value = args.pop(0) if args else ""
    if match.group(2) == "s":
        return match.group(0) % value
    return (match.group(0)[:-1] + "d") % int(value or 0)


@command("env", "printenv", "export", "set")
async def env(sh: Session, argv: list[str], io: Io) -> int:
    name = posixpath.basename(argv[0])
    if name == "export":
        for word in argv[1:]:
            key, equals, value = word.partition("=")
            if equals:
                sh.env[key] = value
        return 0
    if name == "set" and len(argv) > 1:
        letters, _ = _options(argv)
        sh.strict, sh.trace = sh.strict or "e" in letters, sh.trace or "x" in letters
        return 0
    if name == "printenv" and len(argv) > 1:
        found = [sh.env[k] for k in argv[1:] if k in sh.env]
        await io.out("".join(v + "\n" for v in found).encode())
        return 0 if len(found) == len(argv) - 1 else 1
    await io.out("".join(f"{k}={v}\n" for k, v in sh.env.items()).encode())
    return 0


@command("unset")
async def unset(sh: Session, argv: list[str], io: Io) -> int:
    for name in argv[1:]:
        sh.env.pop(name, None)
    return 0


@command("hostname")
async def hostname(sh: Session, argv: list[str], io: Io) -> int:
    await io.out((sh.hostname + "\n").encode())
    return 0


@command("whoami", "id", "uname", "nproc", "arch")
async def who(sh: Session, argv: list[str], io: Io) -> int:
    who, (letters, _) = sh.files.who, _options(argv)
    answers = {"whoami": "root" if who.uid == 0 else str(who.uid), "nproc": "1", "arch": "x86_64"}
    groups = dict.fromkeys((who.gid, *who.groups))
    answers["id"] = f"uid={_name(who.uid)} gid={_name(who.gid)} groups={','.join(map(_name, groups))}"
    for letter, found in (("u", str(who.uid)), ("g", str(who.gid)), ("G", " ".join(map(str, groups)))):
        if letter in letters and argv[0].endswith("id"):
            answers["id"] = found
    answers["uname"] = f"Linux {sh.hostname} 6.1.0 #1 SMP x86_64 GNU/Linux" if "a" in letters else "Linux"
    await io.out((answers[posixpath.basename(argv[0])] + "\n").encode())
    return 0


def _name(number: int) -> str:
    return "0(root)" if number == 0 else str(number)


@command("chmod")
async def chmod(sh: Session, argv: list[str], io: Io) -> int:
    """With a number; other forms change nothing."""
    words = [a for a in argv[1:] if not a.startswith("-")]
    code = 0
    for name in words[1:] if words and re.fullmatch("[0-7]{1,5}", words[0]) else ():
        try:
            sh.files.change_mode(sh.path(name), int(words[0], 8))
        except FileError as error:
            await io.err(f"chmod: {name}: {error.message}\n".encode())
            code = 1
    return code


@command("stat")
async def stat(sh: Session, argv: list[str], io: Io) -> int:
    """``stat -c FORMAT FILE...`` with %a, %u, %g, %s, %n, %F."""
    words = argv[1:]
    form = "%n"
    for flag in ("-c", "--format"):
        if flag in words:
            at = words.index(flag)
            form = words[at + 1] if at + 1 < len(words) else form
            del words[at : at + 2]
    code = 0
    for name in (w for w in words if not w.startswith("-")):
        try:
            e = sh.files.entry(sh.path(name))
        except FileError as error:
            await io.err(f"stat: cannot stat '{name}': {error.message}\n".encode())
            code = 1
            continue
        found = {"a": f"{e.mode:o}", "u": e.uid, "g": e.gid, "s": len(e.data), "n": name}
        found["F"] = "directory" if e.directory else "regular file"
        text = re.sub("%([augsnF])", lambda m, found=found: str(found[m.group(1)]), form)  # type: ignore[misc]
        await io.out(text.encode() + b"\n")
    return code


@command("cat")
async def cat(sh: Session, argv: list[str], io: Io) -> int:
    _, names = _options(argv)
    if not names:
        while data := await io.read():
            await io.out(data)
        return 0
    data, code = await _input(sh, names, io, argv)
    await io.out(data)
    return code


@command("head", "tail")
async def head(sh: Session, argv: list[str], io: Io) -> int:
    count, names, words = 10, [], iter(argv[1:])
    for a in words:
        if a == "-n":
            count = int(next(words, "10"))
        elif re.fullmatch(r"-n?\d+", a):
            count = int(a.lstrip("-n"))
        elif a == "-f":
            await trio.sleep_forever()
        else:
            names.append(a)
    data, code = await _input(sh, names, io, argv)
    lines = data.splitlines(keepends=True)
    await io.out(b"".join(lines[:count] if argv[0].endswith("head") else lines[len(lines) - min(count, len(lines)) :]))
    return code


@command("wc")
async def wc(sh: Session, argv: list[str], io: Io) -> int:
    letters, names = _options(argv)
    data, code = await _input(sh, names, io, argv)
    counts = {"l": data.count(b"\n"), "w": len(data.split()), "c": len(data)}
    wanted = [counts[x] for x in "lwc" if x in letters] or list(counts.values())
    await io.out((" ".join(map(str, wanted)) + "".join(f" {n}" for n in names) + "\n").encode())
    return code


@command("grep")
async def grep(sh: Session, argv: list[str], io: Io) -> int:
    letters, operands = _options(argv)
    if not operands:
        return 2
    data, code = await _input(sh, operands[1:], io, argv)
    form = re.compile(re.escape(operands[0]) if "F" in letters else operands[0], re.I if "i" in letters else 0)
    lines = data.decode(errors="replace").splitlines()
    found = [x for x in lines if bool(form.search(x)) != ("v" in letters)]
    if "q" not in letters:
        text = f"{len(found)}\n" if "c" in letters else "".join(x + "\n" for x in found)
        await io.out(text.encode())
    return code or int(not found)


@command("seq")
async def seq(sh: Session, argv: list[str], io: Io) -> int:
    numbers = [int(a) for a in argv[1:4]]
    first, step, last = {1: (1, 1, *numbers), 2: (numbers[0], 1, numbers[-1])}.get(len(numbers), tuple(numbers))
    await io.out("".join(f"{i}\n" for i in range(first, last + (1 if step > 0 else -1), step)).encode())
    return 0


@command("basename", "dirname")
async def basename(sh: Session, argv: list[str], io: Io) -> int:
    name = argv[1] if len(argv) > 1 else ""
    cut = posixpath.basename(name.rstrip("/")) if argv[0].endswith("basename") else posixpath.dirname(name) or "."
    await io.out((cut + "\n").encode())
    return 0


@command("ls")
async def ls(sh: Session, argv: list[str], io: Io) -> int:
    letters, names = _options(argv)
    code = 0
    for name in names or ["."]:
        path = sh.path(name)
        try:
            entry = sh.files.entry(path)
            found = sh.files.names(path) if entry.directory and "d" not in letters else [name]
            if len(names) > 1 and entry.directory:
                await io.out(f"{name}:\n".encode())
            for n in found:
                if n.startswith(".") and not letters & {"a", "A"} and n != name:
                    continue
                await io.out((_long(sh, path, n, name) if "l" in letters else n).encode() + b"\n")
        except FileError as error:
            await io.err(f"ls: {name}: {error.message}\n".encode())
            code = 1
    return code


def _long(sh: Session, path: str, name: str, asked: str) -> str:
    entry = sh.files.entry(path if name == asked else posixpath.join(path, name))
    bits = "".join(c if entry.mode >> (8 - i) & 1 else "-" for i, c in enumerate("rwxrwxrwx"))
    when = time.strftime("%b %e %H:%M", time.gmtime(entry.changed))
    owner = f"{_user(entry.uid)} {_user(entry.gid)}"
    return f"{'d' if entry.directory else '-'}{bits}    1 {owner} {len(entry.data):9d} {when} {name}"


def _user(number: int) -> str:
    return f"{'root' if number == 0 else number:<8}"


@command("sleep")
async def sleep(sh: Session, argv: list[str], io: Io) -> int:
    try:
        for a in argv[1:]:
            if a in ("infinity", "inf"):
                await trio.sleep_forever()
            await trio.sleep(_seconds(a))
    except ValueError:
        await io.err(f"sleep: invalid number '{argv[1]}'\n".encode())
        return 1
    return 0


def _seconds(text: str) -> float:
    """As sleep takes it: a number, or with s, m, h or d."""
    return float(text[:-1]) * 86400 if text.endswith("d") else duration(text)


@command("exit", "return")
async def exit(sh: Session, argv: list[str], io: Io) -> int:
    raise Exit(int(argv[1]) & 255 if len(argv) > 1 and argv[1].isdigit() else sh.status)


@command("break", "continue")
async def leave(sh: Session, argv: list[str], io: Io) -> int:
    raise LoopControl(argv[0] == "continue")


@command("test", "[")
async def test(sh: Session, argv: list[str], io: Io) -> int:
    words = argv[1:-1] if argv[0] == "[" and argv[-1] == "]" else argv[1:]
    negated = False
    while words and words[0] == "!":
        negated, words = not negated, words[1:]
    return int(_truth(sh, words) == negated)


def _truth(sh: Session, words: list[str]) -> bool:
    if len(words) == 1:
        return bool(words[0])
    if len(words) == 2:
        op, a = words
        if op in ("-n", "-z"):
            return bool(a) == (op == "-n")
        path = sh.path(a)
        if not sh.files.exists(path):
            return False
        entry = sh.files.entry(path)
        if op == "-s":
            return bool(entry.data) or entry.source is not None
        return {"-d": entry.directory, "-f": not entry.directory}.get(op, True)
    if len(words) == 3:
        a, op, b = words
        if op in ("=", "==", "!="):
            return (a == b) == (op != "!=")
        try:
            x, y = int(a), int(b)
        except ValueError:
            return False
        results = {"-eq": x == y, "-ne": x != y, "-lt": x < y, "-le": x <= y, "-gt": x > y, "-ge": x >= y}
        return results.get(op, False)
    return False


@command("date")
async def date(sh: Session, argv: list[str], io: Io) -> int:
    form = next((a[1:] for a in argv[1:] if a.startswith("+")), "%a %b %e %H:%M:%S UTC %Y")
    now = clock.now()
    text = form.replace("%s", str(int(now))).replace("%N", f"{int(now % 1 * 1e9):09d}")
    await io.out((time.strftime(text, time.gmtime(now)) + "\n").encode())
    return 0


@command("pwd")
async def pwd(sh: Session, argv: list[str], io: Io) -> int:
    await io.out((sh.cwd + "\n").encode())
    return 0


@command("cd")
async def cd(sh: Session, argv: list[str], io: Io) -> int:
    path = sh.path(argv[1] if len(argv) > 1 else sh.env.get("HOME", "/"))
    if not sh.files.exists(path) or not sh.files.entry(path).directory:
        await io.err(f"sh: cd: can't cd to {argv[-1]}: No such file or directory\n".encode())
        return 2
    sh.cwd = path
    return 0


@command("mkdir", "rm", "touch", "tee", "cp", "mv")
async def change(sh: Session, argv: list[str], io: Io) -> int:
    letters, names = _options(argv)
    what, code = posixpath.basename(argv[0]), 0
    if what in ("cp", "mv"):
        names = [] if len(names) < 2 else names
    data = await _all(io) if what == "tee" else b""
    if what == "tee":
        await io.out(data)
    for name in names[: 1 if what in ("cp", "mv") else None]:
        path = sh.path(name)
        try:
            if what == "mkdir":
                sh.files.make_directory(path, parents="p" in letters)
            elif what == "rm":
                if sh.files.exists(path) or "f" not in letters:
                    sh.files.remove(path, recursive=bool(letters & {"r", "R"}))
            elif what == "touch":
                sh.files.write(path, b"", append=True)
            elif what == "tee":
                sh.files.write(path, data, append="a" in letters)
            else:
                await _copy(sh, path, names[1])
                if what == "mv":
                    sh.files.remove(path, recursive=True)
        except FileError as error:
            await io.err(f"{what}: {name}: {error.message}\n".encode())
            code = 1
    return code


async def _copy(sh: Session, source: str, target: str) -> None:
    to = sh.path(target)
    if sh.files.exists(to) and sh.files.entry(to).directory:
        to = posixpath.join(to, posixpath.basename(source))
    sh.files.write(to, await sh.files.read(source), mode=sh.files.entry(source).mode)


@command("exec")
async def exec_(sh: Session, argv: list[str], io: Io) -> int:
    if len(argv) < 2:
        return 0
    function = COMMANDS.get(posixpath.basename(argv[1]))
    if function is None:
        await io.err(f"sh: exec: {argv[1]}: not found\n".encode())
        raise Exit(127)
    raise Exit(await function(sh, argv[1:], io))


@command(*SHELLS)
async def shell(sh: Session, argv: list[str], io: Io) -> int:
    script, options = shell_arguments(argv)
    child = sh.child()
    child.strict, child.trace = "e" in options, "x" in options
    operands = [a for a in argv[1:] if not a.startswith("-")]
    if script is not None:
        child.arguments = (*operands[1:],) or ("sh",)
    else:
        script = (await _input(sh, operands[:1], io, argv))[0].decode(errors="replace")
        child.arguments = tuple(operands) or ("sh",)
    try:
        return await run_script(child, script, io)
    except NotShell as error:
        await io.err(f"sh: not supported by the fake runtime's shell: {error}\n".encode())
        return 2


@command("tar")
async def tar(sh: Session, argv: list[str], io: Io) -> int:
    from kcore_runtime_fake.archive import tar as run

    return await run(sh, argv, io)
