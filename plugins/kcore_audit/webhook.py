"""The webhook: an ``audit.k8s.io/v1`` EventList posted for every batch, tried again with growing pauses."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from kcore import kubeconfig
from kcore.errors import ConfigError, KcoreError
from kcore.http.client import HttpClient
from kcore.registry import Context

from .batches import Batches

if TYPE_CHECKING:
    from . import WebhookConfig

_ATTEMPTS = 4
_HEAD = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":['


class Poster:
    def __init__(self, client: HttpClient, path: str, headers: dict[str, str], config: WebhookConfig) -> None:
        self._client, self._path, self._headers, self._config = client, path, headers, config
        self._tokens = float(config.throttle_burst)
        self._counted = trio.current_time()

    async def write(self, batch: list[bytes]) -> None:
        """Raises OSError when nobody has taken the batch."""
        await self._throttle()
        body = _HEAD + b",".join(batch) + b"]}"
        pause = self._config.initial_backoff
        for attempt in range(_ATTEMPTS):
            try:
                answer = await self._client.request("POST", self._path, body, self._headers)
            except OSError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                if answer.status < 300:
                    return
                if (answer.status < 500 and answer.status != 429) or attempt == _ATTEMPTS - 1:
                    raise OSError(f"the audit webhook answered {answer.status}")
            await trio.sleep(pause * (1 + 0.2 * random.random()))
            pause *= 1.5

    async def _throttle(self) -> None:
        config, now = self._config, trio.current_time()
        earned = (now - self._counted) * config.throttle_qps
        self._tokens, self._counted = min(config.throttle_burst, self._tokens + earned), now
        self._tokens -= 1
        if self._tokens < 0:
            await trio.sleep(-self._tokens / config.throttle_qps)


@asynccontextmanager
async def open_webhook(context: Context, config: WebhookConfig) -> AsyncIterator[Batches]:
    """Raises ConfigError for a kubeconfig that cannot be used."""
    if not config.kubeconfig:
        raise ConfigError(["api.settings.audit-webhook.kubeconfig: a file is required: where events are posted"])
    try:
        connection = kubeconfig.load(context.data_dir / config.kubeconfig)
    except KcoreError as error:
        raise ConfigError([f"api.settings.audit-webhook.kubeconfig: {error}"]) from error
    headers = {"Content-Type": "application/json"}
    if connection.token:
        headers["Authorization"] = f"Bearer {connection.token}"
    base, slash, path = connection.server.partition("://")
    host, _at, path = path.partition("/")
    client = HttpClient(
        f"{base}{slash}{host}", _tls(connection), server_name=connection.server_name, timeout=config.timeout
    )
    poster = Poster(client, f"/{path}", headers, config)
    sink = Batches(
        "webhook",
        poster.write,
        most=config.batch_max_size,
        wait=config.batch_max_wait,
        queue_bytes=config.queue_bytes,
        blocking=config.mode == "blocking",
        complain=context.log.error,
    )
    context.metrics.collect_with(sink)
    async with sink.running():
        yield sink
    with trio.CancelScope(shield=True):
        await client.aclose()


def _tls(connection: kubeconfig.Connection) -> ssl.SSLContext | None:
    if not connection.server.startswith("https"):
        return None
    from kcore.pki import client_context

    try:
        context = client_context(connection.ca_pem, connection.certificate, connection.key)
    except ValueError as error:
        raise ConfigError([f"api.settings.audit-webhook.kubeconfig: {error}"]) from error
    if connection.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
