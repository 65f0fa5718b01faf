"""The built-in shell of fake containers."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from kcore_runtime_fake import shell
from kcore_runtime_fake.files import Directory, Tree
from kcore_runtime_fake.syntax import NotShell, parse


def session(files: dict[str, bytes] | None = None) -> shell.Session:
    root = Directory()
    for name in ("tmp", "etc"):
        Tree(root, []).make_directory("/" + name)
    for path, data in (files or {}).items():
        Tree(root, []).write(path, data)
    return shell.Session(Tree(root, []), {"NAME": "kcore", "EMPTY": ""}, "web-0")


async def run(script: str, sh: shell.Session | None = None, stdin: bytes = b"") -> tuple[int, str, str]:
    out, err, left = bytearray(), bytearray(), [stdin] if stdin else []

    async def read() -> bytes:
        return left.pop() if left else b""

    async def write(data: bytes) -> None:
        out.extend(data)

    async def complain(data: bytes) -> None:
        err.extend(data)

    code = await shell.run_script(sh or session(), script, shell.Io(read, write, complain))
    return code, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("echo hello   world", "hello world\n"),
        ("echo 'a  b' \"c  $NAME\"", "a  b c  kcore\n"),
        ("echo ${NAME} ${MISSING:-default} [$EMPTY]", "kcore default []\n"),
        ("false || echo no; true && echo yes", "no\nyes\n"),
        ("echo -n a; echo b", "ab\n"),
        ("X=1; X=2 env | grep ^X", "X=2\n"),
        ("if [ -f /etc/x ]; then echo there; else echo missing; fi", "missing\n"),
        ("for i in 1 2 3; do echo $i; done | tail -n 1", "3\n"),
        ("i=0; while [ $i != xx ]; do i=$i\\x; if [ $i = 0x ]; then break; fi; done; echo $i", "0x\n"),
        ("echo hi > /tmp/f; echo ho >> /tmp/f; cat /tmp/f", "hi\nho\n"),
        ("echo $(hostname)-$(echo x)", "web-0-x\n"),
        ("{ echo a; echo b; } > /tmp/g; cat < /tmp/g | wc -l", "2\n"),
        ("cd /tmp && pwd", "/tmp\n"),
        ("printf '%s=%d\\n' a 1 b 2", "a=1\nb=2\n"),
        ("! false && echo ok", "ok\n"),
        ("sh -c 'echo inner; exit 3'; echo $?", "inner\n3\n"),
        ("echo out 2>/dev/null; nonsense 2>&1", "out\nsh: nonsense: not found\n"),
        ("mkdir -p /tmp/a/b; touch /tmp/a/b/c; ls /tmp/a", "b\n"),
        ("test 3 -gt 2 && seq 2 4", "2\n3\n4\n"),
        ("# a comment\necho x # another", "x\n"),
    ],
)
async def test_scripts(autojump_clock: Any, script: str, output: str) -> None:
    assert (await run(script))[1] == output


async def test_exit_code_is_that_of_the_last_command(autojump_clock: Any) -> None:
    assert (await run("true; false"))[0] == 1
    assert (await run("exit 7; echo never")) == (7, "", "")
    assert (await run("nonsense"))[0] == 127


async def test_strict_shell_ends_at_the_first_failure(autojump_clock: Any) -> None:
    code, out, err = await run("sh -exc 'echo a; false; echo b'")
    assert (code, out) == (1, "a\n")
    assert "+ echo a" in err


async def test_sleep_waits_by_the_clock(autojump_clock: Any) -> None:
    before = trio.current_time()
    await run("sleep 90; sleep 1m")
    assert trio.current_time() - before == 150


async def test_missing_file_is_reported(autojump_clock: Any) -> None:
    assert await run("cat /nope") == (1, "", "cat: /nope: No such file or directory\n")


async def test_endless_loop_lets_others_live(autojump_clock: Any) -> None:
    with trio.move_on_after(5) as scope:
        await run("while true; do :; done")
    assert scope.cancelled_caught


async def test_tar_packs_and_unpacks_as_kubectl_cp_does(autojump_clock: Any) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("dir/file.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"hello"))
    sh = session()
    assert (await run("tar -xmf - -C /tmp", sh, buffer.getvalue()))[0] == 0
    assert (await run("cat /tmp/dir/file.txt", sh))[1] == "hello"
    out = bytearray()

    async def write(data: bytes) -> None:
        out.extend(data)

    assert await shell.run_script(sh, "tar cf - /tmp/dir", shell.Io(out=write)) == 0
    with tarfile.open(fileobj=io.BytesIO(bytes(out))) as archive:
        assert archive.extractfile("tmp/dir/file.txt").read() == b"hello"  # type: ignore[union-attr]  # it is a file


async def test_archive_may_not_leave_its_directory(autojump_clock: Any) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../etc/passwd"), io.BytesIO(b""))
    assert (await run("tar xf - -C /tmp", stdin=buffer.getvalue()))[0] == 1


@pytest.mark.parametrize(
    ("argv", "known"),
    [
        (("sh", "-c", "echo hi; sleep 5; exit 3"), True),
        (("/bin/sh", "-exc", "for i in 1 2; do echo $i; done"), True),
        (("echo", "hello"), True),
        (("sh", "-c", "exec nginx -g 'daemon off;'"), False),
        (("nginx",), False),
        (("sh", "-c", "f() { echo x; }; f"), False),
        (("sh", "-c", "cat <<EOF\nx\nEOF"), False),
        (("sh", "-c", "wget -q http://x/ || exit 1"), False),
        ((), False),
    ],
)
def test_program_is_run_only_if_all_of_it_is_understood(argv: tuple[str, ...], known: bool) -> None:
    assert (shell.program(argv) is not None) == known


@given(st.text(alphabet="ab $'\"\\(){}<>|&;\n#!=if then fi do done while", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse(text)
    except NotShell:
        pass
