"""Watches, upgrades and proxies whose clients are broken or vanish."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import struct

import pytest

from .conftest import CONFIGMAPS, Api

pytestmark = pytest.mark.usefixtures("unharmed")

BIG_NUMBER = "9" * 5000  # more digits than int() takes
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def vanish(sock: socket.socket) -> None:
    """Close as a client that was killed: a reset, no goodbye of TLS."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def frame(data: bytes, opcode: int = 2) -> bytes:
    """A client's WebSocket frame (RFC 6455, 5.2), masked with zeros."""
    length = struct.pack(">B", 128 | len(data)) if len(data) < 126 else struct.pack(">BH", 254, len(data))
    return bytes((128 | opcode,)) + length + bytes(4) + data


def upgrade(api: Api, path: str, protocol: str = "") -> ssl.SSLSocket:
    sock = api.open()
    wanted = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{UPGRADE}{wanted}\r\n".encode())
    assert sock.recv(65536).startswith(b"HTTP/1.1 101 ")
    return sock


def test_watches_whose_clients_vanish_leave_nothing(api: Api) -> None:
    for number in range(40):
        sock = api.open()
        query = ("watch=1", "watch=1&resourceVersion=0&allowWatchBookmarks=1", "watch=1&labelSelector=a%3Db")[
            number % 3
        ]
        sock.sendall(f"GET {CONFIGMAPS}?{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        if number % 2:
            vanish(sock)
        else:
            sock.close()


def test_a_client_that_asks_and_reads_nothing_hurts_itself_only(api: Api) -> None:
    with api.open() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(1)
        try:
            for _ in range(20):
                deaf.sendall(b"GET /openapi/v2 HTTP/1.1\r\nHost: a\r\n\r\n" * 10)
        except OSError:
            pass  # it is not listened to any more
        assert api.call("GET", "/api")[0] == 200
        vanish(deaf)


EXEC = "/api/v1/namespaces/default/pods/shell/exec?stdin=1&stdout=1&stderr=1&command="
FORWARD = "/api/v1/namespaces/default/pods/web/portforward"


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff" * 1000, b"\x00" * 1000, frame(b""), frame(b"\x09x"), frame(b"\xff" * 9)]
)
@pytest.mark.parametrize(
    ("path", "protocol"),
    [
        (f"{EXEC}sleep&command=1000", "v5.channel.k8s.io"),
        (f"{EXEC}cat", "v4.base64.channel.k8s.io"),
        (f"{EXEC}cat&tty=1", "channel.k8s.io"),
        (EXEC.replace("/exec", "/attach"), "v4.channel.k8s.io"),
        (f"{FORWARD}?ports=8080", "v4.channel.k8s.io"),
        (FORWARD, "SPDY/3.1+portforward.k8s.io"),
    ],
)
def test_sockets_dropped_half_way_leave_nothing(api: Api, path: str, protocol: str, garbage: bytes) -> None:
    polite, rude = upgrade(api, path, protocol), upgrade(api, path, protocol)
    for sock in (polite, rude):
        sock.sendall(garbage)
    polite.close()
    vanish(rude)


def test_a_client_that_vanishes_while_much_is_sent_to_it(api: Api) -> None:
    for protocol in ("v5.channel.k8s.io", "v4.base64.channel.k8s.io"):
        sock = upgrade(api, f"{EXEC}cat", protocol)
        data = b"\x00" + b"x" * 60_000 if "base64" not in protocol else b"0" + base64.b64encode(b"x" * 40_000)
        for _ in range(20):
            sock.sendall(frame(data, 1 if "base64" in protocol else 2))
        vanish(sock)


def spdy(kind: int, payload: bytes) -> bytes:
    return struct.pack(">II", 0x80030000 | kind, len(payload)) + payload


@pytest.mark.parametrize(
    "data",
    [
        spdy(1, b""),
        spdy(1, struct.pack(">IIH", 1, 0, 0) + b"not compressed"),
        spdy(3, b"\x01"),
        spdy(6, b""),
        spdy(8, b""),
        spdy(99, b"x" * 100),
        b"\x80\x02\x00\x01\x00\x00\x00\x00",
        b"\x00\x00\x00\x01\x00\xff\xff\xff" + b"x" * 60_000,
        b"".join(spdy(6, struct.pack(">I", 2 * n + 1)) for n in range(1000)),
    ],
)
@pytest.mark.parametrize("tunnelled", [True, False])
def test_garbage_for_port_forwarding_ends_it(api: Api, data: bytes, tunnelled: bool) -> None:
    if tunnelled:
        sock = upgrade(api, FORWARD, "SPDY/3.1+portforward.k8s.io")
        sock.sendall(frame(data[:60_000]))
    else:
        sock = api.open()
        head = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n"
        sock.sendall(f"POST {FORWARD} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 101 ")
        with contextlib.suppress(OSError):  # the server may end the connection before all of it is sent
            sock.sendall(data)
    vanish(sock)


@pytest.mark.parametrize(
    "headers",
    [
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        UPGRADE.replace("13", "7"),
        UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        UPGRADE + "Sec-WebSocket-Protocol: v99.channel.k8s.io\r\n",
        UPGRADE + "Sec-WebSocket-Protocol: " + ",".join("abc" for _ in range(2000)) + "\r\n",
        "Upgrade: SPDY/3.1\r\nConnection: Upgrade\r\nX-Stream-Protocol-Version: v99\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade\r\n",
        "",
    ],
)
def test_an_upgrade_that_cannot_be_is_refused(api: Api, headers: str) -> None:
    for path in (f"{EXEC}cat", f"{FORWARD}?ports=8080", f"{FORWARD}?ports=x", f"{FORWARD}?ports=99999"):
        answer = api.say(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n".encode())
        assert answer[9:12] in (b"400", b"403"), answer


@pytest.mark.parametrize("path", ["pods/web:8080", "pods/http:web:8080", "nodes/node-1"])
def test_a_proxy_whose_client_vanishes_leaves_nothing(api: Api, path: str) -> None:
    kind = "" if path.startswith("nodes") else "namespaces/default/"
    for number in range(10):
        sock = api.open()
        head = f"POST /api/v1/{kind}{path}/proxy/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
        sock.sendall(head.encode() + b"x" * (100_000 if number % 2 else 5))
        vanish(sock)


@pytest.mark.parametrize(
    "path",
    [
        "nodes/node-1/proxy/containerLogs/default/web/web?tailLines=%C2%B2",
        f"namespaces/default/pods/web/log?tailLines={BIG_NUMBER}",
        "namespaces/default/pods/web/log?tailLines=%C2%B2",
        "namespaces/default/pods/web/log?sinceTime=yesterday",
        f"namespaces/default/pods/web/log?sinceSeconds={BIG_NUMBER}",
        "namespaces/default/pods/web/log?limitBytes=-1&container=%00",
        "namespaces/default/pods/web:99999999/proxy/",
        "namespaces/default/pods/web:%00/proxy/",
        "namespaces/default/pods/web:x:y:z/proxy/",
        "namespaces/default/pods/web:1/proxy/",
        "nodes/node-1:99999/proxy/",
        "nodes/https:node-1:-5/proxy/",
        "namespaces/default/services/kubernetes:%C2%B2/proxy/",
    ],
)
def test_a_place_that_cannot_be_reached_is_told_as_such(api: Api, path: str) -> None:
    code, text = api.call("GET", f"/api/v1/{path}")
    assert 400 <= code <= 503
    assert text
    assert "Traceback" not in text
    assert "Internal error occurred" not in text
