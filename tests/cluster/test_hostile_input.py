"""Input that no honest client sends, against a real process: what it answers, and what is left afterwards.

Every answer is one that Kubernetes gives, or a closed connection. After each test the cluster still answers, has
written nothing to its standard error, and has the tasks and file descriptors that it had before.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from kcore.kubeconfig import load
from kcore.testing.running import RunningCluster, running

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PATIENCE = 15.0  # seconds until what must happen has happened
BIG_NUMBER = "9" * 5000  # more digits than int() takes
JSON_PATCH, MERGE_PATCH, APPLY = "application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@attrs.define
class Api:
    """The API server, as somebody sees it who opens connections to it himself."""

    cluster: RunningCluster
    address: tuple[str, int]
    administrator: ssl.SSLContext
    stranger: ssl.SSLContext
    connection: http.client.HTTPSConnection | None = None

    def call(
        self, method: str, path: str, body: bytes | None = None, type: str = "application/json", **headers: str
    ) -> tuple[int, str]:
        """(code, message of the Status or the text) of the answer to a whole request."""
        connection = self.connection or http.client.HTTPSConnection(*self.address, context=self.administrator, timeout=30)
        self.connection = None
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body is not None:
            connection.putheader("content-type", type)
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.will_close:
            connection.close()
        else:
            self.connection = connection
        status = json.loads(text) if text.startswith('{"kind":"Status"') else {"message": text}
        return answer.status, status.get("message", "")

    def open(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        return (context or self.administrator).wrap_socket(socket.create_connection(self.address, 30))

    def say(self, data: bytes, *, context: ssl.SSLContext | None = None) -> bytes:
        """All that is answered to these bytes, until the server closes or has nothing more to say."""
        with self.open(context) as sock:
            sock.sendall(data)
            return everything(sock)

    def tasks_and_files(self) -> tuple[int, int]:
        """Without the connection of `call`."""
        code, text = self.call("GET", "/api/v1/nodes/node-1/proxy/metrics")
        assert code == 200
        tasks = int(float(text.split("\ngo_goroutines ")[1].split()[0]))
        return tasks, len(os.listdir(f"/proc/{self.cluster.process.pid}/fd"))


def everything(sock: socket.socket, enough: float = 5.0) -> bytes:
    data = b""
    sock.settimeout(enough)
    try:
        while piece := sock.recv(65536):
            data += piece
    except (OSError, TimeoutError):
        pass
    return data


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running("memory") as cluster:
        access = load(cluster.kubeconfig)
        host, _, port = access.server.rpartition("/")[2].partition(":")
        stranger = ssl.create_default_context(cadata=access.ca_pem.decode())
        stranger.check_hostname = False
        administrator = ssl.create_default_context(cadata=access.ca_pem.decode())
        administrator.check_hostname = False
        pair = cluster.directory / "administrator.pem"
        pair.write_bytes(access.certificate + access.key)
        administrator.load_cert_chain(pair)
        api = Api(cluster, (host, int(port)), administrator, stranger)
        assert api.call("POST", CONFIGMAPS, b'{"metadata":{"name":"kept"},"data":{"a":"x"}}')[0] == 201
        cluster.kubectl("run", "web", "--image=nginx", "--port=8080")
        cluster.kubectl("run", "shell", "--image=busybox", "--", "sleep", "1000")
        cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "pod/shell", "--timeout=20s")
        yield api
        if api.connection is not None:
            api.connection.close()


@pytest.fixture(autouse=True)
def unharmed(api: Api) -> Iterator[None]:
    """What is true after every test."""
    tasks, files = api.tasks_and_files()
    yield
    eventually(lambda: close_to(api.tasks_and_files(), (tasks, files)), f"{tasks} tasks, {files} files before")
    assert api.call("GET", "/readyz") == (200, "ok")
    assert json.loads(api.call("GET", f"{CONFIGMAPS}/kept")[1])["data"] == {"a": "x"}
    assert api.cluster.said == ""


def close_to(now: tuple[int, int], before: tuple[int, int]) -> bool:
    """A cluster at rest has a few tasks and connections more or less: a status is written, an event is sent."""
    return all(n <= b + 5 for n, b in zip(now, before, strict=True))


def eventually(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)  # another process's doing can only be asked for


def refused(code: int, text: str) -> bool:
    """Whether this is a refusal with a reason, rather than a fault of the server's.

    Upstream, too, answers some nonsense with a 500 that names the mistake; a fault of ours reads as here.
    """
    return 400 <= code <= 500 and bool(text) and "Internal error occurred" not in text and "Traceback" not in text


# --- HTTP -------------------------------------------------------------------------------------------------------------

MALFORMED = {
    "no HTTP at all": (b"\x00\x01\x02\x03" * 100 + b"\r\n\r\n", b"400"),
    "no method": (b" / HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "a method of its own": (b"BREW /api HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "HTTP/2 without asking": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
    "HTTP/9": (b"GET /api HTTP/9.9\r\nHost: a\r\n\r\n", b"505"),
    "no host": (b"GET /api HTTP/1.1\r\n\r\n", b"400"),
    "two hosts": (b"GET /api HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
    "a long URL": (b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 100_000), b"414"),
    "a selector of a megabyte": (
        b"GET /api/v1/pods?labelSelector=%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a," * 500_000),
        b"414",
    ),
    "a long header": (b"GET /api HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"a" * 200_000), b"431"),
    "many headers": (b"GET /api HTTP/1.1\r\nHost: a\r\n%s\r\n" % b"".join(b"X%d: a\r\n" % i for i in range(1000)), b"431"),
    "headers without end": (b"GET /api HTTP/1.1\r\nHost: a\r\n" + b"X-A: a\r\n" * 100_000, b"431"),
    "a NUL in a header": (b"GET /api HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", b"400"),
    "a folded header": (b"GET /api HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", b"400"),
    "a space before the colon": (b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nGET /", b"400"),
    "bare line feeds": (b"GET /api HTTP/1.1\nHost: a\n\n", b"400"),
    "two lengths": (b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nGET /", b"400"),
    "a negative length": (b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", b"400"),
    "a length beyond numbers": (b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000), b"400"),
    "a length of a gigabyte": (b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n", b"413"),
    "length and chunks": (
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled",
        b"400",
    ),
    "chunks twice": (b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", b"400"),
    "chunks, or not": (b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", b"400"),
    "a chunk of a wrong size": (b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    "a chunk beyond numbers": (
        b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n" % (b"f" * 100),
        b"400",
    ),
    "a chunk extension without end": (
        b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;%s" % (b"a" * 4_000_000),
        b"413",
    ),
    "a path that is no UTF-8": (b"GET /api/%FF HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "another server's URL": (b"GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", b"400"),
    "an upgrade with a body": (
        b"GET /api HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc",
        b"400",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http_is_refused_and_the_connection_closed(api: Api, name: str) -> None:
    data, code = MALFORMED[name]
    with api.open() as sock:
        try:
            sock.sendall(data)
        except OSError:
            pass  # the server need not listen to the end
        answer = everything(sock)
    assert answer[:12] == b"HTTP/1.1 " + code
    assert answer.count(b"\r\nContent-Length: ") == 1
    assert b"Connection: close" in answer


def test_a_body_that_is_too_long_is_refused_and_the_client_can_read_that(api: Api) -> None:
    limit = 3 * 1024 * 1024
    assert api.call("POST", CONFIGMAPS, b"x" * (limit + 1)) == (413, f"limit is {limit} bytes")
    assert api.call("POST", CONFIGMAPS, b" " * limit)[0] == 400


def test_a_request_that_stops_half_way_is_nobodys(api: Api) -> None:
    head = f"POST {CONFIGMAPS} HTTP/1.1\r\nHost: a\r\n"
    body = '{"metadata":{"name":"half"}}'
    whole = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    for end in (1, 10, len(head), len(whole) - 20, len(whole) - 1):
        with api.open() as sock:
            sock.sendall(whole[:end].encode())
        with socket.create_connection(api.address) as plain:  # and without a goodbye of TLS
            sock = api.administrator.wrap_socket(plain, do_handshake_on_connect=True)
            sock.sendall(whole[:end].encode())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
    assert api.call("GET", f"{CONFIGMAPS}/half")[0] == 404


def test_what_is_no_tls_is_not_talked_to(api: Api) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00" * 1000, hello, hello + b"\xff" * 5000, b"SSH-2.0-x\r\n"):
        with socket.create_connection(api.address) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert not everything(sock).startswith(b"HTTP/1.1 200")


def test_a_thousand_clients_that_say_nothing_more_hold_nobody_up(api: Api) -> None:
    slow = [socket.create_connection(api.address) for _ in range(1000)]
    try:
        for sock in slow[::2]:
            sock.send(b"\x16\x03\x01")  # the first bytes of a handshake
        talking = [api.open() for _ in range(20)]
        for number, one in enumerate(talking):
            one.send(b"GET /api HTTP/1.1\r\nHo"[: number + 1])
        for _ in range(20):
            assert api.call("GET", "/api")[0] == 200
        for one in talking:
            one.close()
    finally:
        for sock in slow:
            sock.close()


# --- who is asking ----------------------------------------------------------------------------------------------------


def token(**claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    header = claims.pop("header", {"alg": "none"})
    return f"{part(header)}.{part(claims)}.{claims.get('signature', '')}"


@pytest.mark.parametrize(
    "credentials",
    [
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer " + "." * 5000,
        "Bearer \xff\xfe",
        "Bearer " + token(iss="https://kubernetes.default.svc", sub="system:admin"),
        "Bearer " + token(header={"alg": "HS256"}, iss="https://kubernetes.default.svc", signature="AAAA"),
        "Bearer " + token(header=[], iss=[]),
        "Bearer " + token(header={"alg": "RS256", "kid": ["x"]}, exp="never"),
        "Basic !!!",
        "Basic " + base64.b64encode(b"admin:admin").decode(),
        "Digest " + "x" * 1000,
        ",",
    ],
)
def test_credentials_that_mean_nothing_are_unauthorized(api: Api, credentials: str) -> None:
    request = f"GET {CONFIGMAPS} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {credentials}\r\n\r\n"
    answer = api.say(request.encode("latin-1"), context=api.stranger)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'"reason":"Unauthorized"' in answer


def test_a_token_that_was_changed_or_is_for_somebody_else_is_unauthorized(api: Api) -> None:
    def ask(token: str) -> bytes:
        request = f"GET /api/v1/pods HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        return api.say(request.encode(), context=api.stranger)[9:12]

    good = api.cluster.kubectl("create", "token", "default").strip()
    foreign = api.cluster.kubectl("create", "token", "default", "--audience=somebody-else").strip()
    head, claims, signature = good.split(".")
    assert ask(good) == b"403"  # known, but not allowed
    other = base64.urlsafe_b64encode(base64.urlsafe_b64decode(claims + "==").replace(b"default", b"admin12"))
    for bad in (foreign, f"{head}.{other.rstrip(b'=').decode()}.{signature}", f"{head}.{claims}.", good[:-10], good * 2):
        assert ask(bad) == b"401"


def test_a_certificate_of_another_authority_is_not_let_in(api: Api) -> None:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "system:masters"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "admin"),
        ]
    )
    now = datetime.now(UTC)
    forged = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
    forged = forged.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    pair = api.cluster.directory / "forged.pem"
    pair.write_bytes(
        forged.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(cadata=load(api.cluster.kubeconfig).ca_pem.decode())
    context.check_hostname = False
    context.load_cert_chain(pair)
    answer = b""
    try:
        answer = api.say(b"GET /api/v1/secrets HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", context=context)
    except ssl.SSLError:
        pass
    assert answer[9:12] in (b"", b"401", b"403")
