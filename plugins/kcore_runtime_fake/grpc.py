"""The server of ``grpc.health.v1.Health`` (Check, and Watch's first answer) over HTTP/2; other methods are
UNIMPLEMENTED."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

SERVING, NOT_SERVING = 1, 2
UNIMPLEMENTED = "12"


async def serve_health(stream: trio.abc.Stream, ready: Callable[[], bool]) -> None:
    """Until the peer ends."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded
    from h2.exceptions import ProtocolError

    connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    paths: dict[int, str] = {}
    await stream.send_all(connection.data_to_send())
    while data := await stream.receive_some(65536):
        try:
            events = connection.receive_data(bytes(data))
        except ProtocolError:
            events = [ConnectionTerminated()]
        ended = False
        for event in events:
            if isinstance(event, RequestReceived):
                headers = {str(k): str(v) for k, v in event.headers or ()}
                paths[event.stream_id] = headers.get(":path", "")
            elif isinstance(event, DataReceived):
                connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            elif isinstance(event, StreamEnded):
                _answer(connection, event.stream_id, paths.pop(event.stream_id, ""), ready())
            elif isinstance(event, ConnectionTerminated):
                ended = True
        await stream.send_all(connection.data_to_send())
        if ended:
            return


def _answer(connection: Any, stream_id: int, path: str, ready: bool) -> None:
    headers = [(":status", "200"), ("content-type", "application/grpc")]
    if path not in ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"):
        headers += [("grpc-status", UNIMPLEMENTED), ("grpc-message", f"unknown method {path}")]
        connection.send_headers(stream_id, headers, end_stream=True)
        return
    connection.send_headers(stream_id, headers)
    connection.send_data(stream_id, b"\0\0\0\0\2\x08" + bytes([SERVING if ready else NOT_SERVING]))
    connection.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)
