"""What a fake pod says on its ports: the first bytes of a connection tell what the peer speaks.

A TLS hello is answered with a certificate made for the occasion and then as below; an HTTP/1.1 request with a JSON
object about the pod and the request, or on /metrics with Prometheus' exposition format; an HTTP/2 preface as a gRPC
health service; anything else is echoed. A container that is not ready (see behaviour.py) answers 503 and NOT_SERVING.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from kcore.http.messages import Request, Response
from kcore.runtime import Port
from kcore_runtime_fake import exposition

if TYPE_CHECKING:
    from kcore_runtime_fake.container import FakeContainer
    from kcore_runtime_fake.sandbox import FakeSandbox

_METHOD = re.compile(rb"[A-Z]{3,10} ")
PREFACE = b"PRI * HTTP/2.0"
_TLS_HELLO = 0x16
SNIFF_SECONDS = 60.0  # a peer that says nothing at all is echoed nothing, and cut


class Answerer:
    """One port of one container."""

    def __init__(self, sandbox: FakeSandbox, container: FakeContainer, port: Port) -> None:
        self._sandbox, self._container, self._port = sandbox, container, port

    def datagram(self, data: bytes, answer: Callable[[bytes], None]) -> None:
        self._sandbox.received += len(data)
        self._sandbox.sent += len(data)
        answer(data)

    async def serve_closing(self, stream: trio.abc.Stream) -> None:
        """`serve`, for streams that nobody else closes."""
        try:
            await self.serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def serve(self, stream: trio.abc.Stream) -> None:
        self._container.asked_at = trio.current_time()
        first = b""
        with trio.move_on_after(SNIFF_SECONDS):
            first = bytes(await stream.receive_some(65536))
            while first and len(first) < len(PREFACE) and PREFACE.startswith(first):
                more = bytes(await stream.receive_some(65536))
                if not more:
                    break
                first += more
        if first:
            await self._speak(Peeked(stream, first))

    async def _speak(self, stream: Peeked) -> None:
        """The protocol that the first bytes ask for."""
        first = stream.first
        if first[0] == _TLS_HELLO:
            secure = trio.SSLStream(stream, _tls(), server_side=True, https_compatible=True)
            await secure.do_handshake()
            await self.serve(secure)
        elif first.startswith(PREFACE):
            from kcore_runtime_fake.grpc import serve_health

            await serve_health(stream, lambda: self._container.ready)
        elif _METHOD.match(first):
            from kcore.http.server import serve_stream

            await serve_stream(stream, self._handle)
        else:
            await self._echo(stream)

    async def _echo(self, stream: trio.abc.Stream) -> None:
        while data := await stream.receive_some(65536):
            self._sandbox.received += len(data)
            await stream.send_all(data)
            self._sandbox.sent += len(data)

    async def _handle(self, request: Request) -> Response:
        container = self._container
        container.asked_at = trio.current_time()
        container.answering += 1
        try:
            response = await self._answer(request)
        finally:
            container.answering -= 1
        if container.stopping:  # the next request of this client shall go to somebody else
            response.close = True
        return response

    async def _answer(self, request: Request) -> Response:
        container, config = self._container, self._sandbox.config
        behaviour = container.behaviour
        if behaviour.delay:
            await trio.sleep(behaviour.delay)
        status = behaviour.http_status if container.ready else 503
        if request.path == "/metrics" and request.method == "GET" and status == 200:
            return Response(200, exposition.expose(container), exposition.CONTENT_TYPE)
        exposition.count(container.requests, request.method, request.path, status)
        answer: dict[str, Any] = {
            "pod": config.name,
            "namespace": config.namespace,
            "node": self._sandbox.node.setup.name,
            "container": container.config.name,
            "image": container.config.image,
            "address": self._sandbox.address,
            "port": self._port.port,
            "hostname": self._sandbox.hostname,
            "ready": container.ready,
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": request.headers,
            "client": request.peer,
        }
        if request.body:
            answer["body"] = request.body.decode(errors="replace")
        body = json.dumps(answer).encode() + b"\n"
        self._sandbox.received += 200 + len(request.body)
        self._sandbox.sent += 150 + len(body)
        return Response(status, body)


class Peeked(trio.abc.Stream):
    """A stream whose first bytes have been looked at."""

    def __init__(self, stream: trio.abc.Stream, first: bytes) -> None:
        self._stream, self.first = stream, first
        self._left = first

    @property
    def socket(self) -> Any:
        """The socket below, for servers that want to know who is there. Raises AttributeError."""
        return self._stream.socket  # type: ignore[attr-defined]  # absent on streams in memory

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._left:
            await trio.lowlevel.checkpoint()
            size = len(self._left) if max_bytes is None else max_bytes
            out, self._left = self._left[:size], self._left[size:]
            return out
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


_context: Any = None


def _tls() -> Any:
    """A server context with a certificate of its own, made once per process."""
    global _context
    if _context is None:
        _context = _make_context()
    return _context


def _make_context() -> Any:
    import ssl
    import tempfile
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake-pod")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
    certificate = builder.not_valid_after(now + timedelta(days=3650)).sign(key, hashes.SHA256())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = serialization.Encoding.PEM
    with tempfile.NamedTemporaryFile() as file:  # load_cert_chain reads files only; this one is ours alone (0600)
        form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        file.write(key.private_bytes(pem, form, plain) + certificate.public_bytes(pem))
        file.flush()
        context.load_cert_chain(file.name)
    return context
