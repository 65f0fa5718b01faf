"""Finding and dialling what stands behind a request: a node's kubelet, a pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore.client import Client, kubelet
from kcore.errors import InternalError, ServiceUnavailable
from kcore.http.tls import TlsStream
from kcore.loopback import MOVE, PRIVILEGED
from kcore.objects.resources import NODES

if TYPE_CHECKING:
    import ssl

    from kcore.registry import Context
    from kcore_routes_nodes import NodesRoutesConfig


@attrs.define(eq=False)
class Kubelets:
    """Connections to kubelets and pods."""

    _context: Context
    _config: NodesRoutesConfig
    _tls: ssl.SSLContext | None = None

    async def kubelet(self, client: Client, node_name: str) -> tuple[trio.abc.Stream, str]:
        """A connection to the node's kubelet, and the host that it is at. Raises NotFound, InternalError."""
        node = await client.get(NODES, node_name)
        host, port = kubelet.address(node, tuple(self._config.address_types))
        if self._tls is None:
            self._tls = await trio.to_thread.run_sync(kubelet.client_context, self._context.keys)
        stream = await self._connect(host, port)
        return await self._secure(stream, self._tls, host, port), f"{host}:{port}"

    async def pod(self, address: str, port: int, *, https: bool) -> trio.abc.Stream:
        """A connection to a port of a pod. Raises ServiceUnavailable."""
        try:
            try:
                stream = await self._connect(address, port)
            except InternalError:
                if port >= PRIVILEGED:
                    raise
                stream = await self._connect(address, port + MOVE)  # where a fake pod may have had to move
            return await self._secure(stream, _unverified(), address, port) if https else stream
        except InternalError as error:
            raise ServiceUnavailable(f"error trying to reach service: {error.message}") from error

    async def _connect(self, host: str, port: int) -> trio.abc.Stream:
        try:
            with trio.fail_after(self._config.connect_seconds):
                return await trio.open_tcp_stream(host, port)
        except trio.TooSlowError:
            raise InternalError(f"dial tcp {host}:{port}: i/o timeout") from None
        except OSError:
            raise InternalError(f"dial tcp {host}:{port}: connect: connection refused") from None

    async def _secure(self, stream: trio.abc.Stream, context: Any, host: str, port: int) -> trio.abc.Stream:
        secure = TlsStream(stream, context)
        try:
            with trio.fail_after(self._config.connect_seconds):
                await secure.handshake()
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            await trio.aclose_forcefully(stream)
            raise InternalError(f"dial tcp {host}:{port}: TLS handshake failed: {error}") from error
        return secure


def _unverified() -> Any:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
