"""A webhook server in a thread, for clusters that are processes of their own."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs

from kcore.pki import Pki

Object = dict[str, Any]


def patch(*operations: Object) -> Object:
    """A response that changes the object."""
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


def deny(message: str) -> Object:
    """A response that refuses the request."""
    return {"allowed": False, "status": {"message": message, "code": 403, "reason": "Forbidden"}}


@attrs.define
class Hooks:
    """A server of webhooks: what a path answers is made from the request of the review."""

    address: str
    ca: str
    answers: dict[str, Callable[[Object], Object]] = attrs.Factory(dict)

    def client(self, path: str) -> Object:
        """The clientConfig of a webhook."""
        return {"url": f"{self.address}{path}", "caBundle": self.ca}

    def answer(self, path: str, review: Object) -> Object:
        request = review["request"]
        response = {"uid": request["uid"], **self.answers[path.partition("?")[0]](request)}
        if review["kind"] == "AdmissionReview":
            response = {"allowed": True, **response}
        return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}


@contextmanager
def serving(directory: Path) -> Iterator[Hooks]:
    """A server on loopback, over TLS, with an authority of its own in `directory`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(hooks.answer(self.path, review)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the API server has given up waiting

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    pki = Pki.open(directory)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = pki.server_context(["127.0.0.1"]).wrap_socket(server.socket, server_side=True)
    hooks = Hooks(f"https://127.0.0.1:{server.server_port}", base64.b64encode(pki.ca_pem).decode())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hooks
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
