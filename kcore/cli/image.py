"""``kcore image load``: an archive, or an image of this machine, into the engine of the running cluster."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

from kcore import control
from kcore.cli import Command, common, output
from kcore.errors import UserError

OWN_ENGINE = "/var/run/docker.sock"
_BLOCK = 1 << 20


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("docker", blocksize=_BLOCK)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(self._path)
        except OSError as error:
            self.sock.close()
            raise UserError(f"the Docker engine at {self._path} does not answer: {error.strerror}") from error


class _Shown:
    """A file that says how much of it has been read, where a person looks on."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size, self._read = file, size, 0
        self._loud = sys.stderr.isatty()

    def read(self, most: int = -1) -> bytes:
        data = self._file.read(most)
        self._read += len(data)
        if self._loud:
            of = f" of {self._size / 1e6:,.0f}" if self._size else ""
            end = "" if data else "\n"
            print(f"\r{self._read / 1e6:,.0f}{of} MB", end=end, file=sys.stderr, flush=True)
        return data

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(_BLOCK), b"")


def _arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("action", choices=["load"])
    p.add_argument("source", metavar="FILE|NAME", help="an archive of `docker save` (-: from stdin), or an image here")
    common.add_cluster(p)


def _run(args: argparse.Namespace) -> int:
    target = control.ask(common.data_dir(args), "engine")["socket"]
    with _opened(args.source) as (file, size):
        names = load(target, file, size)
    for name in names:
        output.say(f"loaded {name}")
    return 0


@contextmanager
def _opened(source: str) -> Iterator[tuple[IO[bytes], int]]:
    """The archive, and its size if that is known. Raises UserError."""
    if source == "-":
        yield sys.stdin.buffer, 0
        return
    path = Path(source)
    if path.is_file():
        try:
            file = path.open("rb")
        except OSError as error:
            raise UserError(f"{source} cannot be read: {error.strerror}") from error
        with file:
            yield file, path.stat().st_size
        return
    own = os.environ.get("DOCKER_HOST", "")
    own = own.removeprefix("unix://") if own.startswith("unix://") else OWN_ENGINE
    connection = _Connection(own)
    try:
        connection.request("GET", f"/images/{quote(source, safe='/:@')}/get")
        answer = connection.getresponse()
        if answer.status != 200:
            raise UserError(f"{source!r} is no file, and the Docker engine at {own} says: {_message(answer.read())}")
        yield answer, 0  # it reads like a file
    except UserError as error:
        if "does not answer" in str(error):
            raise UserError(f"{source!r} is no file, and {error}") from error
        raise
    finally:
        connection.close()


def load(target: str, file: IO[bytes], size: int) -> list[str]:
    """Send an archive to the engine at the socket `target`; the names that it has then. Raises UserError."""
    connection = _Connection(target)
    headers = {"Content-Type": "application/x-tar", **({"Content-Length": str(size)} if size else {})}
    try:
        try:
            connection.request("POST", "/images/load", _Shown(file, size), headers, encode_chunked=not size)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has seen enough, and says why
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"the engine broke off: {error}") from error
    finally:
        connection.close()
    names = []
    for line in body.splitlines():
        said = _object(line)
        if answer.status >= 400 or "error" in said:
            raise UserError(f"the engine does not take it: {_message(line)}")
        _, found, name = said.get("stream", "").partition("Loaded image")
        if found:
            names.append(name.partition(": ")[2].strip())
    if not names:
        raise UserError("the archive has no image; make it with `docker save`")
    return names


def _object(line: bytes) -> dict[str, str]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _message(line: bytes) -> str:
    said = _object(line)
    return (said.get("message") or said.get("error") or line.decode(errors="replace")).strip()


IMAGE = Command(
    "image",
    "Load an image into the engine of the running cluster.",
    _arguments,
    _run,
    "  kcore image load -c docker web.tar\n  kcore image load -c docker web:1.0\n"
    "  docker save web:1.0 | kcore image load -c docker -",
)
