"""What kcore's API is measured against: the same HTTP server, with the same TLS, in front of no API at all.

GET /bytes/N    N bytes, ready made
GET /watch      a stream; POST /fire sends one line of 600 bytes to all streams
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

LINE = b'{"type":"ADDED","object":{"x":"' + b"x" * 565 + b'"}}\n'


def serve(directory: str) -> None:
    import trio

    from kcore.http.listen import bound, listen
    from kcore.http.messages import AnyResponse, Request, Response, StreamResponse
    from kcore.http.server import serve
    from kcore.pki import Pki

    fire = trio.Event()
    bodies: dict[str, bytes] = {}

    async def lines() -> AsyncIterator[bytes]:
        while True:
            await fire.wait()
            yield LINE

    async def handler(request: Request) -> AnyResponse:
        nonlocal fire
        if request.path == "/watch":
            return StreamResponse(lines())
        if request.path == "/fire":
            fire.set()
            fire = trio.Event()
            return Response(201, b"{}")
        body = bodies.get(request.path)
        if body is None:
            body = bodies[request.path] = b"x" * int(request.path.rpartition("/")[2])
        return Response(200, body)

    async def main() -> None:
        listener = await listen(0)
        context = Pki.open(Path(directory)).server_context(["127.0.0.1"])
        print(bound(listener)[1], flush=True)
        await serve(handler, [listener], ssl_context=context)

    trio.run(main)


@contextmanager
def running() -> Iterator[tuple[int, int]]:
    """(port, process id)"""
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen([sys.executable, __file__, directory], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


if __name__ == "__main__":
    serve(sys.argv[1])
