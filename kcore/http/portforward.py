"""Port forwarding: connections to a pod's ports over one upgraded HTTP connection, in every form that clients speak.

kubectl tunnels SPDY/3.1 through a WebSocket (``SPDY/3.1+portforward.k8s.io``), older clients upgrade to SPDY/3.1
itself: for each connection they open a stream of type ``error`` and one of type ``data``, which belong together by
their request id. The Python client speaks ``v4.channel.k8s.io``: two channels for each port named in the request,
data and error, which begin with the port's number. (Kubernetes, "portforward.k8s.io"; KEP-4006.)
"""

from __future__ import annotations

import struct

import trio

from kcore import errors
from kcore.errors import ApiError
from kcore.http import websocket
from kcore.http.messages import Request, UpgradeResponse
from kcore.http.spdy import MAX_STREAMS, PIECE, Connect, Link, ProtocolError, Session, Stream, Tunnel
from kcore.http.websocket import WebSocket

SUBPROTOCOL = "portforward.k8s.io"
TUNNELLED = f"SPDY/3.1+{SUBPROTOCOL}"
_CHANNELS = ("v4.channel.k8s.io", SUBPROTOCOL, "")
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


def accept(request: Request, connect: Connect) -> UpgradeResponse:
    """The answer to a port-forward request. Raises BadRequest or Forbidden for one that cannot be served."""
    if websocket.wanted(request):
        if TUNNELLED in websocket.offered(request):
            return websocket.accept(request, [TUNNELLED], lambda ws: forward(Tunnel(ws), connect))
        ports = _ports(request)
        return websocket.accept(request, _CHANNELS, lambda ws: _Channels(ws, ports, connect).run())
    if request.headers.get("upgrade", "").upper() != "SPDY/3.1":
        raise errors.BadRequest("unable to upgrade: port forwarding needs a WebSocket or SPDY/3.1")
    offered = request.headers.get("x-stream-protocol-version", SUBPROTOCOL)
    if SUBPROTOCOL not in (p.strip() for p in offered.split(",")):
        raise errors.Forbidden(
            f"unable to upgrade: unable to negotiate protocol: client supports [{offered}], "
            f"server accepts [{SUBPROTOCOL}]"
        )

    async def run(stream: trio.abc.Stream, leftover: bytes) -> None:
        await forward(_Replayed(stream, leftover) if leftover else stream, connect)

    fields = [
        (b"Connection", b"Upgrade"),
        (b"Upgrade", b"SPDY/3.1"),
        (b"X-Stream-Protocol-Version", SUBPROTOCOL.encode("ascii")),
    ]
    return UpgradeResponse(run, fields)


def _ports(request: Request) -> list[int]:
    named = [p for value in request.params.get("ports", ()) for p in value.split(",")]
    try:
        ports = [int(p) for p in named]
    except ValueError:
        ports = [0]
    if not ports or len(ports) > 100 or any(not 0 < p < 65536 for p in ports):
        raise errors.BadRequest('query parameter "ports" must name the ports to forward')
    return ports


class _Replayed:
    """A stream whose first bytes have been read already."""

    def __init__(self, stream: trio.abc.Stream, first: bytes):
        self._stream, self._first = stream, first
        self.send_all = stream.send_all

    async def receive_some(self) -> bytes | bytearray:
        first, self._first = self._first, b""
        return first or await self._stream.receive_some()


async def forward(link: Link, connect: Connect) -> None:
    """Forward connections until the client closes. Does not close `link`."""
    waiting: dict[str, Stream] = {}  # error streams whose data stream has yet to come
    async with trio.open_nursery() as nursery:

        def opened(stream: Stream) -> None:
            kind, request = stream.headers.get("streamtype", ""), stream.headers.get("requestid", "")
            if kind == "error" and request not in waiting and len(waiting) < MAX_STREAMS:
                waiting[request] = stream
            elif kind == "data" and request in waiting:
                nursery.start_soon(_forward, session, stream, waiting.pop(request), connect)
            else:
                nursery.start_soon(session.abandon, stream)

        session = Session(link, opened)
        try:
            await session.run()
        except (ProtocolError, *_BROKEN):
            pass  # whoever speaks like this is not owed an answer
        nursery.cancel_scope.cancel()


async def _forward(session: Session, data: Stream, error: Stream, connect: Connect) -> None:
    """One connection: between the pod's port and the data stream; what goes wrong is told on the error stream."""
    try:
        try:
            port = int(data.headers.get("port", ""))
            if not 0 < port < 65536:
                raise ValueError(f"{port} is no port")
            target = await connect(port)
        except (OSError, ValueError, ApiError, *_BROKEN) as why:
            shown = data.headers.get("port", "")
            await error.send(f"error forwarding port {shown} to pod: {why}".encode())
        else:
            async with target:
                await _copy_both(data, target)
        await data.finish()
        await error.finish()
    except _BROKEN:
        pass  # the client has gone
    finally:
        with trio.move_on_after(1, shield=True):
            try:
                await session.abandon(data)
                await session.abandon(error)
            except _BROKEN:
                pass


async def _copy_both(data: Stream, target: trio.abc.Stream) -> None:
    """Until the pod has closed its side, or the client has given up."""

    async def to_target() -> None:
        try:
            while piece := await data.receive():
                await target.send_all(piece)
            if isinstance(target, trio.abc.HalfCloseableStream) and not data.reset.is_set():
                await target.send_eof()
        except _BROKEN:
            pass

    async def stop_on_reset(scope: trio.CancelScope) -> None:
        await data.reset.wait()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(to_target)
        nursery.start_soon(stop_on_reset, nursery.cancel_scope)
        try:
            while piece := await target.receive_some(PIECE):
                await data.send(piece)
        except _BROKEN:
            pass
        nursery.cancel_scope.cancel()


class _Channels:
    """The Python client's form: channel 2n carries the data of the n-th port, channel 2n + 1 its error."""

    def __init__(self, ws: WebSocket, ports: list[int], connect: Connect):
        self._ws, self._ports, self._connect = ws, ports, connect
        self._inputs: dict[int, trio.MemorySendChannel[bytes]] = {}

    async def run(self) -> None:
        """Until the client has gone, or the connections to all ports are over."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, nursery.cancel_scope)
            async with trio.open_nursery() as ports:
                for number, port in enumerate(self._ports):
                    put, get = trio.open_memory_channel[bytes](64)
                    self._inputs[2 * number] = put
                    for channel in (2 * number, 2 * number + 1):
                        await self._send(channel, struct.pack("<H", port))
                    ports.start_soon(self._port, 2 * number, port, get)
            nursery.cancel_scope.cancel()

    async def _read(self, session: trio.CancelScope) -> None:
        while (message := await self._ws.receive()) is not None:
            data = message if isinstance(message, bytes) else message.encode()
            put = self._inputs.get(data[0]) if data else None
            if put is not None and len(data) > 1:
                try:
                    await put.send(data[1:])
                except _BROKEN:
                    pass  # that port's connection is over
        session.cancel()

    async def _send(self, channel: int, data: bytes | bytearray) -> None:
        await self._ws.send(bytes((channel,)) + data)

    async def _port(self, channel: int, port: int, get: trio.MemoryReceiveChannel[bytes]) -> None:
        with get:
            try:
                target = await self._connect(port)
            except (OSError, ApiError, *_BROKEN) as why:
                await self._send(channel + 1, f"error forwarding port {port} to pod: {why}".encode())
                return
            async with target, trio.open_nursery() as nursery:
                nursery.start_soon(self._to_target, get, target)
                try:
                    while piece := await target.receive_some(PIECE):
                        await self._send(channel, piece)
                except _BROKEN:
                    pass
                nursery.cancel_scope.cancel()

    @staticmethod
    async def _to_target(get: trio.MemoryReceiveChannel[bytes], target: trio.abc.Stream) -> None:
        try:
            async for piece in get:
                await target.send_all(piece)
        except _BROKEN:
            pass
