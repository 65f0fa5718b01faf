"""A load client that is quicker than what it measures: TLS sockets and a selector, nothing between.

A connection sends its next request when the answer to the last one is whole. Answers are understood as far as their
length: a head with Content-Length, or chunks.
"""

from __future__ import annotations

import base64
import json
import selectors
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

_READ = 256 * 1024


@attrs.frozen
class Target:
    """Where the load goes, and as whom."""

    host: str
    port: int
    context: ssl.SSLContext

    @classmethod
    def of(cls, kubeconfig: Path) -> Target:
        """The cluster of a kubeconfig that kcore has written (which is JSON)."""
        config = json.loads(kubeconfig.read_bytes())
        user = config["users"][0]["user"]
        certificate, key = (base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key"))
        return cls.with_certificate(config["clusters"][0]["cluster"], certificate, key)

    @classmethod
    def with_certificate(cls, cluster: dict[str, str], certificate: bytes, key: bytes) -> Target:
        """The cluster of a kubeconfig as whom the certificate (PEM) names."""
        host, _, port = cluster["server"].removeprefix("https://").rpartition(":")
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(certificate + b"\n" + key)
            pem.flush()
            context.load_cert_chain(pem.name)
        return cls(host, int(port), context)

    @classmethod
    def untrusted(cls, port: int) -> Target:
        """A server of this benchmark's own, whose certificate nobody knows."""
        return cls("127.0.0.1", port, ssl._create_unverified_context())

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAccept: application/json\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body


class Connection:
    """One TLS connection, blocking until `register` puts it under a selector."""

    def __init__(self, target: Target) -> None:
        plain = socket.create_connection((target.host, target.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = target.context.wrap_socket(plain, server_hostname=target.host)
        self.sent = 0.0
        self.buffer = b""
        self._room = bytearray(_READ)

    def send(self, request: bytes) -> None:
        self.sent = time.perf_counter()
        self.sock.sendall(request)

    def receive(self) -> bytes | None:
        """The whole answer, or None if there is more to come."""
        try:
            data = self.sock.recv(_READ)
        except ssl.SSLWantReadError:
            return None
        if not data:
            raise ConnectionError(f"the server has closed the connection after {self.buffer!r}")
        self.buffer = answer = self.buffer + data if self.buffer else data
        head = answer.find(b"\r\n\r\n")
        if head < 0:
            return None
        at = answer.find(b"Content-Length: ", 0, head)
        if at < 0:
            whole = answer.endswith(b"0\r\n\r\n")
        else:
            whole = len(answer) >= head + 4 + int(answer[at + 16 : answer.find(b"\r\n", at)])
        if not whole:
            return None
        self.buffer = b""
        return answer

    def ask(self, request: bytes, *, code: int = 200) -> bytes:
        """Send and wait; returns the whole answer. Raises ConnectionError for another status code."""
        return bytes(self.fetch(request, code=code))

    def fetch(self, request: bytes, *, code: int = 200) -> memoryview:
        """The same in a buffer that the next one is read into: what of a big answer is the server's time shows."""
        self.send(request)
        size = whole = 0
        while not whole or size < whole:
            got = self.sock.recv_into(memoryview(self._room)[size:])
            if not got:
                raise ConnectionError("the server has closed the connection")
            size += got
            if not whole and (head := self._room.find(b"\r\n\r\n", 0, size)) >= 0:
                check(bytes(self._room[: head + 600]), code)
                at = self._room.index(b"Content-Length: ", 0, head)
                whole = head + 4 + int(self._room[at + 16 : self._room.find(b"\r\n", at)])
                if whole > len(self._room):
                    room, self._room = self._room, bytearray(whole)
                    self._room[:size] = room[:size]
        return memoryview(self._room)[:size]


def check(answer: bytes, code: int) -> None:
    if not answer.startswith(b"HTTP/1.1 %d " % code):
        raise ConnectionError(f"expected {code}, got {answer[:600]!r}")


@attrs.define
class Measured:
    """What one load has shown."""

    count: int
    seconds: float
    latencies: list[float]

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    def quantile(self, q: float) -> float:
        """Seconds."""
        return sorted(self.latencies)[int(len(self.latencies) * q)]


@contextmanager
def connections(target: Target, count: int) -> Iterator[list[Connection]]:
    opened = []
    try:
        for _ in range(count):
            opened.append(Connection(target))
        yield opened
    finally:
        for each in opened:
            each.sock.close()


def drive(
    target: Target, count: int, requests: Callable[[int], bytes], seconds: float, *, code: int = 200, warm: int = 50
) -> Measured:
    """`count` connections that send ``requests(0), requests(1), ...`` between them, for so many seconds."""
    latencies: list[float] = []
    number = 0
    with connections(target, count) as opened, selectors.DefaultSelector() as selector:
        for each in opened:
            each.sock.setblocking(False)
            selector.register(each.sock, selectors.EVENT_READ, each)
            each.send(requests(number))
            number += 1
        began = now = time.perf_counter()
        end = began + seconds
        while now < end:
            for key, _ in selector.select():
                each = key.data
                answer = each.receive()
                if answer is None:
                    continue
                check(answer, code)
                now = time.perf_counter()
                latencies.append(now - each.sent)
                if len(latencies) == warm:
                    began, end = now, now + seconds
                each.send(requests(number))
                number += 1
    return Measured(len(latencies) - warm, now - began, latencies[warm:])
