"""Everything about a connection that is bounded, in one place."""

from __future__ import annotations

import attrs

KIB = 1024


@attrs.frozen(slots=True)
class Limits:
    """Bounds of an HTTP server. Sizes in bytes, times in seconds of trio's clock."""

    header_bytes: int = 64 * KIB
    """Request line and header fields together (431)."""
    header_count: int = 200
    """Header fields of one request (431)."""
    url_bytes: int = 16 * KIB
    """The request target alone (414)."""
    body_bytes: int = 3 * KIB * KIB
    """A request's body (413); the default is kube-apiserver's."""
    header_seconds: float = 30.0
    """From a request's first byte to the end of its header (408); also for the TLS handshake."""
    body_seconds: float = 60.0
    """From the end of the header to the end of the body (408)."""
    request_seconds: float = float("inf")
    """From a whole request to its answer (504), where the handler has not said that it takes long."""
    idle_seconds: float = 180.0
    """How long a connection may wait for its next request before it is closed."""
    write_seconds: float = 60.0
    """How long a peer may take to make room for the next piece of an answer before it is cut off."""
    grace_seconds: float = 1.0
    """When the server stops: how long requests in flight may take to finish."""
    connections: int = 10_000
    """Open connections; beyond it the longest idle one gives way, or the new one is closed."""
    streams: int = 20_000
    """Watches and upgraded connections at a time (429)."""
    gzip_bytes: int = 128 * KIB
    """Complete answers of at least this size are compressed where the client accepts it; 0 for never."""
