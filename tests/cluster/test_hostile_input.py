"""Input that no honest client sends, against a real process: what it answers, and what is left afterwards.

Every answer is one that Kubernetes gives, or a closed connection. After each test the cluster still answers, has
written nothing to its standard error, and has the tasks and file descriptors that it had before.
"""

from __future__ import annotations

import base64
import json
import socket
import ssl
import struct
from typing import Any

import pytest

from kcore import control
from kcore.kubeconfig import load

from .conftest import CONFIGMAPS, Api, everything

pytestmark = pytest.mark.usefixtures("unharmed")

# --- HTTP ----------

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
    "many headers": (
        b"GET /api HTTP/1.1\r\nHost: a\r\n%s\r\n" % b"".join(b"X%d: a\r\n" % i for i in range(1000)),
        b"431",
    ),
    "headers without end": (b"GET /api HTTP/1.1\r\nHost: a\r\n" + b"X-A: a\r\n" * 100_000, b"431"),
    "a NUL in a header": (b"GET /api HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", b"400"),
    "a folded header": (b"GET /api HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", b"400"),
    "a space before the colon": (b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nGET /", b"400"),
    "bare line feeds": (b"GET /api HTTP/1.1\nHost: a\n\n", b"400"),
    "two lengths": (b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nGET /", b"400"),
    "a negative length": (b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", b"400"),
    "a length beyond numbers": (
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000),
        b"400",
    ),
    "a length of a gigabyte": (b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n", b"413"),
    "length and chunks": (
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smug",
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
    assert api.call("POST", CONFIGMAPS, b"x" * (limit + 1)) == (
        413,
        f"Request entity too large: limit is {limit}",
    )
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


def test_plain_http_is_told_that_it_is_not_what_is_spoken_here(api: Api) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        with socket.create_connection(api.address) as sock:
            sock.sendall(f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            head, _, text = everything(sock).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.0 400 Bad Request")
            assert text == b"Client sent an HTTP request to an HTTPS server.\n"
    for name in ("kubernetes", "kubernetes:https"):
        status, said = api.call("PUT", f"/api/v1/namespaces/default/services/{name}/proxy/a%22?path=b")
        assert (status, said) == (400, "Client sent an HTTP request to an HTTPS server.\n")


def test_what_is_no_tls_is_not_talked_to(api: Api) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    for data in (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x00" * 1000,
        hello,
        hello + b"\xff" * 5000,
        b"SSH-2.0-x\r\n",
    ):
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


# --- who is asking ----------


def token(**claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    header = claims.pop("header", {"alg": "none"})
    return f"{part(header)}.{part(claims)}.{claims.get('signature', '')}"


@pytest.mark.parametrize(
    "credentials",
    [
        "Bearer x",
        "Bearer a.b.c",
        "Bearer " + "." * 5000,
        "Bearer \xff\xfe",
        "Bearer " + token(iss="https://kubernetes.default.svc", sub="system:admin"),
        "Bearer " + token(header={"alg": "HS256"}, iss="https://kubernetes.default.svc", signature="AAAA"),
        "Bearer " + token(header=[], iss=[]),
        "Bearer " + token(header={"alg": "RS256", "kid": ["x"]}, exp="never"),
    ],
)
def test_credentials_that_mean_nothing_are_unauthorized(api: Api, credentials: str) -> None:
    request = f"GET {CONFIGMAPS} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {credentials}\r\n\r\n"
    answer = api.say(request.encode("latin-1"), context=api.stranger)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'"reason":"Unauthorized"' in answer


@pytest.mark.parametrize(
    "credentials",
    ["Bearer", "Basic !!!", "Basic " + base64.b64encode(b"admin:admin").decode(), "Digest " + "x" * 1000, ","],
)
def test_what_no_authenticator_looks_at_is_anonymous_as_upstream(api: Api, credentials: str) -> None:
    request = f"GET {CONFIGMAPS} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {credentials}\r\n\r\n"
    answer = api.say(request.encode("latin-1"), context=api.stranger)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b'User \\"system:anonymous\\" cannot list' in answer


def test_a_token_that_was_changed_or_is_for_somebody_else_is_unauthorized(api: Api) -> None:
    def ask(token: str) -> bytes:
        request = f"GET /api/v1/pods HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        return api.say(request.encode(), context=api.stranger)[9:12]

    good = api.cluster.kubectl("create", "token", "default").strip()
    foreign = api.cluster.kubectl("create", "token", "default", "--audience=somebody-else").strip()
    head, claims, signature = good.split(".")
    assert ask(good) == b"403"  # known, but not allowed
    other = base64.urlsafe_b64encode(base64.urlsafe_b64decode(claims + "==").replace(b"default", b"admin12"))
    for bad in (
        foreign,
        f"{head}.{other.rstrip(b'=').decode()}.{signature}",
        f"{head}.{claims}.",
        good[:-10],
        good * 2,
    ):
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


# --- watches, upgrades, proxies ----------


# --- the node's own port, and the control socket ----------


def test_a_node_takes_no_garbage_and_no_strangers(api: Api) -> None:
    node = api.cluster.get("node", "node-1")
    address = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    for data in (b"\x00" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\xff" * 1000):
        with socket.create_connection((address, port)) as plain:
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
            assert b" 200 " not in everything(plain)
    for path in (
        "pods",
        "exec/default/shell/shell?command=sh&output=1",
        "run/default/shell/shell?cmd=id",
        "../pods",
        "%00",
    ):
        for method in ("GET", "POST", "BREW"):
            with anybody.wrap_socket(socket.create_connection((address, port), 10)) as sock:
                sock.sendall(f"{method} /{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                assert everything(sock)[9:12] in (b"400", b"401", b"403", b"404")


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"\xff\xfe\n",
        b"\x00" * 1000 + b"\n",
        b"[" * 500_000 + b"\n",
        b'{"command":{"a":1}}\n',
        b'{"command":["status"]}\n',
        b'{"command":null}\n',
        b'{"command":"' + b"x" * 100_000 + b'"}\n',
        b'{"command":"swap"}\n',
        b'{"command":"swap","slot":[],"table":5}\n',
        b'{"command":"swap","slot":"api","table":5}\n',
        b'{"command":"swap","slot":"proxy","table":{"use":[]}}\n',
        b'{"command":"swap","slot":"proxy","table":{"use":"../../x"}}\n',
        b'{"command":"node","action":"stop","name":{}}\n',
        b'{"command":"node","action":[],"name":"../x"}\n',
        b'{"command":"node"}\n',
    ],
)
def test_garbage_on_the_control_socket_is_one_line_of_an_error(api: Api, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(api.cluster.directory / control.NAME))
        sock.sendall(line)
        answer = json.loads(everything(sock))
    assert list(answer) == ["error"]
    assert "\n" not in answer["error"]
    assert api.cluster.status()["parts"]


def test_the_control_socket_bears_clients_that_go_or_never_end(api: Api) -> None:
    path = str(api.cluster.directory / control.NAME)
    for data in (b"", b'{"command"', b'{"command":"status"}\n', b"x" * (control.LIMIT + 10)):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(data)
    assert api.cluster.status()["parts"]
