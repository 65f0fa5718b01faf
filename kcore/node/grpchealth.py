"""The client of ``grpc.health.v1.Health/Check``: one unary call over HTTP/2, no more.

The messages are one field each: HealthCheckRequest.service is string 1, HealthCheckResponse.status enum 1 (UNKNOWN 0,
SERVING 1, NOT_SERVING 2, SERVICE_UNKNOWN 3). A gRPC message is framed by a flag byte and a big-endian length.
"""

from __future__ import annotations

import struct

import trio

_STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


def encode_request(service: str) -> bytes:
    """A framed HealthCheckRequest."""
    name = service.encode()[:127]
    message = b"\x0a" + bytes([len(name)]) + name if name else b""
    return b"\0" + struct.pack(">I", len(message)) + message


def encode_response(status: int) -> bytes:
    """A framed HealthCheckResponse."""
    return b"\0\0\0\0\2\x08" + bytes([status])


async def check(stream: trio.abc.Stream, authority: str, service: str) -> tuple[bool, str]:
    """(serving, what else it said). Does not close the stream."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import (
        ConnectionTerminated,
        DataReceived,
        ResponseReceived,
        StreamEnded,
        StreamReset,
        TrailersReceived,
    )
    from h2.exceptions import ProtocolError

    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    headers = [(":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Check")]
    headers += [(":authority", authority), ("content-type", "application/grpc"), ("te", "trailers")]
    connection.send_headers(1, headers)
    connection.send_data(1, encode_request(service), end_stream=True)
    body = b""
    seen: dict[str, str] = {}
    while True:
        await stream.send_all(connection.data_to_send())
        data = await stream.receive_some(65536)
        if not data:
            return False, "error: health rpc failed: rpc error: code = Unavailable desc = connection closed"
        try:
            events = connection.receive_data(bytes(data))
        except ProtocolError as error:
            return False, f"error: health rpc failed: rpc error: code = Internal desc = {error}"
        for event in events:
            if isinstance(event, DataReceived):
                body += event.data or b""
            elif isinstance(event, (ResponseReceived, TrailersReceived)):
                seen |= {str(k): str(v) for k, v in event.headers or ()}
            elif isinstance(event, (StreamEnded, StreamReset, ConnectionTerminated)):
                return _verdict(body, seen.get("grpc-status", "0"), seen.get("grpc-message", ""))


def _verdict(body: bytes, code: str, message: str) -> tuple[bool, str]:
    if code == "12":
        return False, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
    if code != "0":
        return False, f"error: health rpc failed: rpc error: code = {code} desc = {message}"
    status = body[6] if len(body) >= 7 and body[5] == 8 else 0
    if status == 1:
        return True, "service healthy"
    return False, f'service unhealthy (responded with "{_STATUS.get(status, status)}")'
