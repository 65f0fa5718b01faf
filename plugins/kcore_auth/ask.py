"""Asking somebody else: reviews posted to the server of a kubeconfig, with answers that are remembered for a while.

The server may be a webhook (its URL has a path) or another API server (it has none): then the review goes where the
API takes it, which is how an API server behind an aggregator delegates both questions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import msgspec
import trio

from kcore import clock
from kcore.client.remote import RemoteClient, connect
from kcore.errors import ConfigError, UserError
from kcore.kubeconfig import load
from kcore.objects import Object

T = TypeVar("T")
_REMEMBERED = 8192
_PAUSE, _FACTOR = 0.5, 1.5  # seconds before another attempt, and how they grow


class Unanswered(Exception):
    """No usable answer in time."""


class Reviewer:
    """Made by `reviewer`."""

    def __init__(self, client: RemoteClient, path: str, kind: str, timeout: float):
        self._client, self._path, self._kind, self._timeout = client, path, kind, timeout

    async def ask(self, spec: Object) -> Object:
        """The status of a review. Asks again while there is time. Raises Unanswered."""
        group = "authentication" if self._kind == "TokenReview" else "authorization"
        body = {"apiVersion": f"{group}.k8s.io/v1", "kind": self._kind, "spec": spec}
        data = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        why = "the review took too long"
        pause = _PAUSE
        with trio.move_on_after(self._timeout):
            while True:
                try:
                    answer = await self._client.http.request("POST", self._path, data, headers)
                    if 200 <= answer.status < 300:
                        return _status(answer.body, self._kind)
                    why = f"the server answered {answer.status}"
                    if answer.status < 500 and answer.status != 429:
                        raise Unanswered(why)
                except OSError as error:
                    why = str(error)
                await trio.sleep(pause)
                pause *= _FACTOR
        raise Unanswered(why)


def _status(body: bytes, kind: str) -> Object:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unanswered(f"the answer is no JSON: {error}") from error
    status = found.get("status") if isinstance(found, dict) and found.get("kind") == kind else None
    if not isinstance(status, dict):
        raise Unanswered(f"the answer is no {kind}")
    return status


@asynccontextmanager
async def reviewer(path: Path, kind: str, timeout: float) -> AsyncIterator[Reviewer]:
    """Reviews of one kind at the server that a kubeconfig names. Raises ConfigError."""
    try:
        connection = load(path)
        group = "authentication" if kind == "TokenReview" else "authorization"
        bare = not urlsplit(connection.server).path
        where = f"/apis/{group}.k8s.io/v1/{kind.lower()}s" if bare else ""
        async with connect(connection) as client:
            yield Reviewer(client, where, kind, timeout)
    except UserError as error:
        raise ConfigError([str(error)]) from error


class Memory(Generic[T]):
    """Answers by what was asked, each for a while; those not wanted longest go first."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[float, T]] = OrderedDict()

    def get(self, key: bytes) -> T | None:
        found = self._known.get(key)
        if found is None:
            return None
        if found[0] <= clock.now():
            del self._known[key]
            return None
        self._known.move_to_end(key)
        return found[1]

    def put(self, key: bytes, value: T, seconds: float) -> None:
        if seconds <= 0:
            return
        self._known[key] = (clock.now() + seconds, value)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
