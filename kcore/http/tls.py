"""TLS over any trio stream, with OpenSSL working on memory: a third quicker than `trio.SSLStream`.

It does less: no renegotiation (TLS 1.3 has none), an end of the connection without close_notify reads as a plain
end (HTTP frames its messages itself), and one task may send while one other receives.
"""

from __future__ import annotations

import ssl

import trio

from kcore.http import strangers

_PLAIN = (b"GET /", b"HEAD ", b"POST ", b"PUT /", b"OPTIO", b"PATCH", b"DELET")
_NOT_PLAIN = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
_PIECE = 256 * 1024  # of an answer: encrypted and sent before the next one is


class TlsStream(trio.abc.Stream):
    """Owns `lower`. Call `handshake` before anything else."""

    def __init__(
        self,
        lower: trio.abc.Stream,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ):
        self.lower = lower
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)
        self.peer_verified = True
        """False after a handshake in which the peer showed a certificate that cannot be verified (`strangers`)."""
        self._sending = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def handshake(self) -> None:
        """Raises BrokenResourceError (cause: SSLError) when the peers find no agreement.

        To a client of plain HTTP a server says so, as Go's does.
        """
        data: bytes | bytearray = b""
        while True:
            try:
                self._step()
                await self._flush()
                return
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self.lower.receive_some(65536)
                if not data:
                    raise trio.BrokenResourceError("the connection ended during the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError as error:
                if self.ssl.server_side and data.startswith(_PLAIN):
                    await self.lower.send_all(_NOT_PLAIN)
                else:
                    await self._flush()  # the alert that tells the peer why
                raise trio.BrokenResourceError(str(error)) from error

    def _step(self) -> None:
        strangers.forget()
        try:
            self.ssl.do_handshake()
        finally:
            if strangers.met():
                self.peer_verified = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        waited = False
        tls, incoming = self.ssl, self._incoming
        while True:
            # ask only when there is something to read: the exception that says no costs more than a request
            if incoming.pending or waited or tls.pending():
                try:
                    data = tls.read(max_bytes or 65536)
                    if not waited:
                        await trio.lowlevel.checkpoint()
                    return data
                except ssl.SSLWantReadError:
                    pass
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return b""
                except ssl.SSLError as error:
                    raise trio.BrokenResourceError(str(error)) from error
            if self._outgoing.pending:  # the answer to a key update
                await self._flush()
            raw = await self.lower.receive_some(65536)
            if not raw:
                return b""
            waited = True
            incoming.write(raw)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            if len(data) <= _PIECE:
                if data:
                    self.ssl.write(data)
                await self._flush()
                return
            view = memoryview(data)
            for at in range(0, len(view), _PIECE):
                self.ssl.write(view[at : at + _PIECE])
                await self._flush()
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def _flush(self) -> None:
        # The receiver may have to send as well: whoever comes second waits its turn.
        while self._sending:
            await self._waiting.park()
        self._sending = True
        try:
            if self._outgoing.pending:
                await self.lower.send_all(self._outgoing.read())
            else:
                await trio.lowlevel.checkpoint()
        finally:
            self._sending = False
            if self._waiting:
                self._waiting.unpark_all()

    async def wait_send_all_might_not_block(self) -> None:
        await self.lower.wait_send_all_might_not_block()

    async def send_goodbye(self) -> None:
        """Tell the peer (close_notify) that nothing more will be sent."""
        try:
            self.ssl.unwrap()
        except ssl.SSLError:
            pass
        if self._outgoing.pending:
            await self.lower.send_all(self._outgoing.read())

    async def aclose(self) -> None:
        """Says goodbye if the peer takes it at once, and closes."""
        try:
            if not self._sending:
                with trio.move_on_after(0.2):
                    await self.send_goodbye()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await self.lower.aclose()
