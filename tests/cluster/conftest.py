"""A client that keeps to no rule, and what must be true of a cluster after it has gone."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator

import attrs
import pytest

from kcore.kubeconfig import load
from kcore.testing.running import RunningCluster, running

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PATIENCE = 15.0  # seconds until what must happen has happened


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
        connection = self.connection or http.client.HTTPSConnection(
            *self.address, context=self.administrator, timeout=30
        )
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


@pytest.fixture(scope="session")
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


@pytest.fixture
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
