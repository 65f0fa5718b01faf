"""Connections to the servers behind this one, and requests passed on to them in a user's name.

This server shows the certificate of a front proxy and says in headers for whom it asks; whatever a client said in such
headers is dropped first. The service is resolved to a ready endpoint, since this process need not sit where service
addresses lead anywhere; the certificate must still be that of ``NAME.NAMESPACE.svc``.
"""

from __future__ import annotations

import base64
import random
import ssl
from typing import Any
from urllib.parse import quote

import attrs
import trio

from kcore import errors
from kcore.api import goerrors
from kcore.api.auth import User
from kcore.api.served import ServedTable
from kcore.http.forward import forward
from kcore.http.messages import AnyResponse, Request, Response
from kcore.http.sockets import SocketStream
from kcore.http.tls import TlsStream
from kcore.loopback import MOVE, PRIVILEGED
from kcore.objects import Object
from kcore.pki import Pki, client_context
from kcore_aggregation.trust import PROXY

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
"""How long a server may take to begin an answer (kube-apiserver's --request-timeout)."""
_TOKEN = "!#$&'*+-.^_`|~"  # what a header's name may hold beside letters and digits; % is for the rest
_CONTROL = frozenset("\r\n\0")
_SLICE = "kubernetes.io/service-name"


class Unreachable(Exception):
    """The server could not be reached; the text is what a client is told."""


@attrs.frozen
class Refusal:
    """Why a service leads nowhere: the reason and message of the condition Available."""

    reason: str
    message: str


def resolve(table: ServedTable, service: Object) -> list[tuple[str, int]] | Refusal:
    """The ready endpoints of an APIService's ``spec.service``, or why there are none."""
    namespace, name, port = service.get("namespace", ""), service.get("name", ""), service.get("port") or 443
    services = table.find("", "v1", "services")
    entry = services.cache.get(namespace, name) if services else None
    if services is None or entry is None:
        return Refusal("ServiceNotFound", f'service/{name} in "{namespace}" is not present')
    spec = services.object(entry).get("spec") or {}
    if spec.get("type") == "ExternalName":
        return [(spec.get("externalName", ""), port)]
    found = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
    if found is None:
        return Refusal("ServicePortError", f'service/{name} in "{namespace}" is not listening on port {port}')
    slices = table.find("discovery.k8s.io", "v1", "endpointslices")
    known = [e for e in slices.cache.with_label(_SLICE, name) if e.namespace == namespace] if slices else []
    if slices is None or not known:
        return Refusal("EndpointsNotFound", f'cannot find endpointslices for service/{name} in "{namespace}"')
    port_name = found.get("name") or ""
    ends = []
    for one in known:
        obj = slices.object(one)
        number = next((p.get("port") for p in obj.get("ports") or () if (p.get("name") or "") == port_name), None)
        for endpoint in obj.get("endpoints") or () if number else ():
            if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses"):
                ends.append((endpoint["addresses"][0], int(number or 0)))
    if not ends:
        what = f'endpointslices for service/{name} in "{namespace}"'
        return Refusal("MissingEndpoints", f'{what} have no addresses with port name "{port_name}"')
    return ends


class Backends:
    """Dials. One TLS context for each kind of trust."""

    def __init__(self, table: ServedTable, pki: Pki):
        self._table, self._pki = table, pki
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}

    async def ask(
        self, spec: Object, request: Request, target: str, user: User, seconds: float = ANSWER_SECONDS
    ) -> AnyResponse:
        """Pass a request on to the server of an APIService's `spec`. Raises Unreachable."""
        extra = _said(user)
        with trio.move_on_after(seconds):
            stream, host = await self._connect(spec)
            try:
                return await forward(stream, request, target, host, extra, drop=("x-remote-",))
            except errors.InternalError as error:
                raise Unreachable(error.message) from error
        raise Unreachable("context deadline exceeded")

    async def _connect(self, spec: Object) -> tuple[trio.abc.Stream, str]:
        service = spec["service"]
        found = resolve(self._table, service)
        if isinstance(found, Refusal):
            raise Unreachable("service unavailable")
        host, port = random.choice(found)
        name = f"{service['name']}.{service['namespace']}.svc"
        try:
            with trio.fail_after(CONNECT_SECONDS):
                raw = await _dial(host, port)
                tls = TlsStream(raw, await self._context(spec), server_hostname=name)
                try:
                    await tls.handshake()
                except BaseException:
                    await trio.aclose_forcefully(raw)
                    raise
        except trio.TooSlowError:
            raise Unreachable(f"dial tcp {host}:{port}: i/o timeout") from None
        except (trio.BrokenResourceError, OSError) as error:
            raise Unreachable(goerrors.describe(error, host, port, name)) from error
        return tls, name

    async def _context(self, spec: Object) -> ssl.SSLContext:
        key = (spec.get("caBundle") or "", bool(spec.get("insecureSkipTLSVerify")))
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) > 100:
                self._contexts.clear()
            try:
                context = await trio.to_thread.run_sync(self._make, *key)
            except ValueError as error:
                raise Unreachable("unable to load root certificates: unable to parse bytes as PEM block") from error
            self._contexts[key] = context
        return context

    def _make(self, bundle: str, insecure: bool) -> ssl.SSLContext:
        ca = base64.b64decode(bundle, validate=True) if bundle else b""
        context = client_context(ca, *self._pki.front_proxy().client_certificate(PROXY))
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


async def _dial(host: str, port: int) -> SocketStream:
    try:
        return SocketStream.adopt(await trio.open_tcp_stream(host, port))
    except OSError:
        if port >= PRIVILEGED:
            raise
        return SocketStream.adopt(await trio.open_tcp_stream(host, port + MOVE))  # where a fake pod had to move


def _said(user: User) -> list[tuple[str, str]]:
    """The headers that say for whom a request is. Raises Unreachable for what no header can say."""
    said = [("x-remote-user", user.name)]
    if user.uid:
        said.append(("x-remote-uid", user.uid))
    said += [("x-remote-group", group) for group in user.groups]
    said += [(f"x-remote-extra-{quote(key, safe=_TOKEN)}", value) for key, vs in user.extra.items() for value in vs]
    for name, value in said:
        if not _CONTROL.isdisjoint(value):
            raise Unreachable(f'net/http: invalid header field value for "{name.title()}"')
    return [(name, value.encode("utf-8", "replace").decode("latin-1")) for name, value in said]


def target_of(request: Request) -> str:
    """Path and query as the client wrote them."""
    raw: Any = request.raw_path
    return raw if raw.startswith("/") else quote(request.path) + (f"?{request.query}" if request.query else "")


def plain(text: str) -> Response:
    """503 as upstream's aggregator says it: in plain text."""
    headers = [(b"x-content-type-options", b"nosniff")]
    return Response(503, text.encode() + b"\n", "text/plain; charset=utf-8", headers)
