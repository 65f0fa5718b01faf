"""How many small requests a second one connection loop answers, plain and over TLS, against bare echo loops.

    python tests/benchmarks/bench_http.py [seconds]

The server runs in a process of its own and so does the client; each has one core at best. The floor is a trio loop
that answers every received block with the same bytes and parses nothing.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

BODY = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","namespace":"default"},"data":{"a":"b"}}'
REQUEST = (
    b"GET /api/v1/namespaces/default/configmaps/x HTTP/1.1\r\nHost: 127.0.0.1:6443\r\n"
    b"User-Agent: kubectl/v1.37.0 (linux/amd64)\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n"
    b"Authorization: Bearer abcdefghijklmnopqrstuvwxyz\r\n\r\n"
)
CONNECTIONS = 8


def server(mode: str, directory: str) -> None:
    import trio

    from kcore.http.listen import bound, listen
    from kcore.http.messages import AnyResponse, Request, Response
    from kcore.http.server import serve
    from kcore.pki import Pki

    async def handler(request: Request) -> AnyResponse:
        return Response(200, BODY)

    async def echo(stream: trio.SocketStream) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
        while await stream.receive_some(65536):
            await stream.send_all(answer)

    async def main() -> None:
        listener = await listen(0)
        print(bound(listener)[1], flush=True)
        if mode == "floor":
            await trio.serve_listeners(echo, [listener])
        context = Pki.open(Path(directory)).server_context(["127.0.0.1"]) if mode == "tls" else None
        if mode == "trio-tls":
            from kcore.http.server import serve_stream

            inner = Pki.open(Path(directory)).server_context(["127.0.0.1"])

            async def one(stream: trio.SocketStream) -> None:
                await serve_stream(trio.SSLStream(stream, inner, server_side=True, https_compatible=True), handler)

            await trio.serve_listeners(one, [listener])
        await serve(handler, [listener], ssl_context=context)

    trio.run(main)


def drive(port: int, tls: bool, seconds: float) -> float:
    """Requests a second over CONNECTIONS keep-alive connections, one thread each."""
    counts = [0] * CONNECTIONS
    end = time.perf_counter() + seconds
    context = ssl._create_unverified_context()

    def client(number: int) -> None:
        sock: socket.socket = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            sock = context.wrap_socket(sock)
        done = 0
        while time.perf_counter() < end:
            sock.sendall(REQUEST)
            answer = sock.recv(65536)
            while answer and not answer.endswith(BODY):
                answer += sock.recv(65536)
            if not answer:
                return
            done += 1
        counts[number] = done
        sock.close()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CONNECTIONS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used: what a request costs, however busy the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main(seconds: float) -> None:
    floor = 0.0
    with tempfile.TemporaryDirectory() as directory:
        for mode in ("floor", "plain", "tls", "trio-tls"):
            process = subprocess.Popen([sys.executable, __file__, "--server", mode, directory], stdout=subprocess.PIPE)
            assert process.stdout is not None
            port = int(process.stdout.readline())
            before = cpu_seconds(process.pid)
            rate = drive(port, "tls" in mode, seconds)
            used = (cpu_seconds(process.pid) - before) / (rate * seconds)
            process.terminate()
            process.wait()
            floor = floor or used
            print(
                f"{mode:9} {rate:8,.0f} requests/s seen by the client; the server used {used * 1e6:5.1f} us each, "
                f"so {1 / used:8,.0f}/s on one core; {used / floor:4.2f} of the floor's cost"
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--server"]:
        server(sys.argv[2], sys.argv[3])
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 3.0)
