"""Calls to webhooks: admission, conversion, authentication and authorization all go out by here.

A webhook is named by a ``clientConfig``: a URL, or a service of the cluster. A service is resolved to one of its ready
endpoints in the watch cache, since the API's process need not sit where service addresses lead anywhere; its
certificate is still the one of ``NAME.NAMESPACE.svc``. Connections are kept. Redirects are not followed: a webhook
must not be able to send the API's requests elsewhere.

What fails raises `WebhookError`, whose text is what the Go client of the original says in that place.
"""

from __future__ import annotations

import base64
import binascii
import math
import random
import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import msgspec
import trio

from kcore.api import goerrors
from kcore.http.client import Answer, HttpClient
from kcore.objects import Object

if TYPE_CHECKING:
    from kcore.api.served import ServedTable

MAX_ANSWER = 16 * 1024 * 1024  # bytes: several times the biggest object with the biggest patch
MAX_TARGETS = 128  # servers to which connections are kept
USER_AGENT = "kube-apiserver-admission"
_SERVICE_NAME = "kubernetes.io/service-name"


class WebhookError(Exception):
    """A webhook could not be asked, or gave no usable answer. `code` is the HTTP status it answered, 0 without one."""

    def __init__(self, message: str, code: int = 0):
        super().__init__(message)
        self.code = code


@attrs.frozen(slots=True)
class Target:
    """Where a call goes."""

    url: str  # as messages show it, with path and query but without the timeout
    scheme: str
    connect: tuple[str, int]  # (host or address, port)
    server_name: str  # what the certificate is for
    authority: str  # the Host header
    path: str
    query: str
    ca: str  # base64 of PEM, "" for the system's


class Webhooks:
    """One per API server. `call` may be used from many tasks at once; close it with `aclose`."""

    def __init__(self, table: ServedTable) -> None:
        self._table = table
        self._clients: OrderedDict[tuple[str, tuple[str, int], str, str], HttpClient] = OrderedDict()

    async def aclose(self) -> None:
        while self._clients:
            await self._clients.popitem()[1].aclose()

    async def call(self, client_config: Object, body: Object, *, timeout: float) -> Object:
        """POST `body` and return the object that is answered. Raises WebhookError."""
        ends = trio.current_time() + timeout
        text = duration(timeout)
        shown = f"{_shown_url(client_config)}?timeout={text}"
        try:
            target = self._resolve(client_config)
            shown = f"{target.url}{'&' if target.query else '?'}timeout={text}"
            answer = await self._post(target, text, msgspec.json.encode(body), ends)
        except WebhookError as error:
            raise WebhookError(f'Post "{shown}": {error}', error.code) from error
        return _decoded(answer)

    async def _post(self, target: Target, timeout: str, body: bytes, ends: float) -> Answer:
        client = await self._client(target)
        query = f"{target.query}&timeout={timeout}" if target.query else f"timeout={timeout}"
        with trio.move_on_at(ends):
            try:
                return await client.request("POST", f"{target.path}?{query}", body, _HEADERS, repeatable=True)
            except (OSError, ValueError) as error:
                host, port = target.connect
                raise WebhookError(goerrors.describe(error, host, port, target.server_name)) from error
        raise WebhookError("context deadline exceeded")

    async def _client(self, target: Target) -> HttpClient:
        key = (target.scheme, target.connect, target.server_name, target.ca)
        client = self._clients.get(key)
        if client is None:
            context = _context(target.ca) if target.scheme == "https" else None
            host, port = target.connect
            client = self._clients[key] = HttpClient(
                f"{target.scheme}://[{host}]:{port}" if ":" in host else f"{target.scheme}://{host}:{port}",
                context,
                server_name=target.server_name,
                authority=target.authority,
                timeout=math.inf,
                max_body=MAX_ANSWER,
            )
            if len(self._clients) > MAX_TARGETS:
                await self._clients.popitem(last=False)[1].aclose()
        self._clients.move_to_end(key)
        return client

    # --- where it is --------------------------------------------------------------------------------------------

    def _resolve(self, config: Object) -> Target:
        ca = config.get("caBundle") or ""
        service = config.get("service")
        if service:
            name, namespace, port = service.get("name", ""), service.get("namespace", ""), service.get("port") or 443
            path, _, query = (service.get("path") or "/").partition("?")
            host = f"{name}.{namespace}.svc"
            connect = self._endpoint(namespace, name, port)
            url = _service_url(service)
            return Target(url, "https", connect, host, f"{host}:{port}", path, query, ca)
        url = config.get("url") or ""
        try:
            parts = urlsplit(url)
            number = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise WebhookError(str(error)) from error
        if parts.scheme not in ("http", "https"):
            raise WebhookError(f'unsupported protocol scheme "{parts.scheme}"')
        if not parts.hostname:
            raise WebhookError("http: no Host in request URL")
        authority = parts.netloc.rpartition("@")[2]
        target = (parts.hostname, number)
        return Target(url, parts.scheme, target, parts.hostname, authority, parts.path or "/", parts.query, ca)

    def _endpoint(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """Where a ready endpoint of a service's port listens. Raises WebhookError."""
        services = self._table.find("", "v1", "services")
        entry = services.cache.get(namespace, name) if services else None
        if services is None or entry is None:
            raise WebhookError(f'service "{name}" not found')
        spec = services.object(entry).get("spec") or {}
        if spec.get("type") == "ExternalName":
            return spec.get("externalName", ""), port
        found = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
        if found is None:
            raise WebhookError(f'no service port {port} found for service "{name}"')
        ready = self._ready(namespace, name, found.get("name") or "")
        if not ready:
            raise WebhookError(f'no endpoints available for service "{name}"')
        return random.choice(ready)

    def _ready(self, namespace: str, service: str, port_name: str) -> list[tuple[str, int]]:
        slices = self._table.find("discovery.k8s.io", "v1", "endpointslices")
        out: list[tuple[str, int]] = []
        for entry in slices.cache.with_label(_SERVICE_NAME, service) if slices else ():
            if slices is None or entry.namespace != namespace:
                continue
            obj = slices.object(entry)
            if obj.get("addressType") == "FQDN":
                continue
            number = next((p.get("port") for p in obj.get("ports") or () if (p.get("name") or "") == port_name), None)
            if number is None:
                continue
            for endpoint in obj.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses"):
                    out.append((endpoint["addresses"][0], number))
        return out


_HEADERS = {
    "Accept": "application/json, */*",
    "Content-Type": "application/json",
    "User-Agent": USER_AGENT,
}


def duration(seconds: float) -> str:
    """Whole seconds, rounded up, as Go writes a duration: ``2s``, ``1m30s``."""
    whole = max(1, math.ceil(seconds - 1e-3))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}h{minutes}m{left}s" if hours else f"{minutes}m{left}s" if minutes else f"{left}s"


def _shown_url(config: Object) -> str:
    return _service_url(config["service"]) if config.get("service") else config.get("url") or ""


def _service_url(service: Object) -> str:
    path = service.get("path") or "/"
    if not path.startswith("/"):
        path = "/" + path
    return f"https://{service.get('name', '')}.{service.get('namespace', '')}.svc:{service.get('port') or 443}{path}"


def _context(ca: str) -> ssl.SSLContext:
    from kcore.pki import client_context

    try:
        pem = base64.b64decode(ca, validate=True) if ca else b""
        context = client_context(pem)
    except (ValueError, binascii.Error, UnicodeDecodeError) as error:
        raise WebhookError("unable to load root certificates: unable to parse bytes as PEM block") from error
    return context


def _decoded(answer: Answer) -> Object:
    """The object in an answer. Raises WebhookError."""
    if not answer.body and 200 <= answer.status <= 206:
        content = answer.headers.get("content-type", "application/json")
        why = f"0-length response with status code: {answer.status} and content type: {content}"
        raise WebhookError(why, answer.status)
    try:
        found = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, RecursionError) as error:
        if not 200 <= answer.status <= 206:
            raise WebhookError(goerrors.unexpected_status(answer), answer.status) from error
        text = goerrors.json_error(answer.body)
        raise WebhookError(f"couldn't get version/kind; json parse error: {text}", answer.status) from error
    if not 200 <= answer.status <= 206 or (isinstance(found, dict) and _is_failure(found)):
        if isinstance(found, dict) and found.get("kind") == "Status" and isinstance(found.get("message"), str):
            raise WebhookError(found["message"] or goerrors.unexpected_status(answer), answer.status)
        raise WebhookError(goerrors.unexpected_status(answer), answer.status)
    if not isinstance(found, dict):
        kind = goerrors.json_kind(found)
        raise WebhookError(
            "couldn't get version/kind; json parse error: json: cannot unmarshal "
            f'{kind} into Go value of type struct {{ APIVersion string "json:\\"apiVersion,omitempty\\""; '
            'Kind string "json:\\"kind,omitempty\\"" }',
            answer.status,
        )
    return found


def _is_failure(found: Object) -> bool:
    return found.get("kind") == "Status" and found.get("apiVersion") == "v1" and found.get("status") != "Success"
