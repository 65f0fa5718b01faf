"""The two plugins without a memory: everybody is somebody, and everybody may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kcore.api.access import bearer
from kcore.api.auth import ANONYMOUS, Attributes, Decision, User
from kcore.http.messages import Request
from kcore.registry import Context, NoConfig
from kcore_auth import AnonymousConfig

_ALLOWED = Decision(True)


class Anonymous:
    """Comes last: a request that shows no credentials is nobody's. One that shows bad ones is not its business."""

    def __init__(self, paths: frozenset[str] = frozenset()):
        self._paths = paths

    async def authenticate(self, request: Request) -> User | None:
        if bearer(request) or (self._paths and request.path not in self._paths):
            return None
        return ANONYMOUS


class AlwaysAllow:
    async def authorize(self, attributes: Attributes) -> Decision:
        return _ALLOWED


@asynccontextmanager
async def open_anonymous(context: Context, config: AnonymousConfig) -> AsyncIterator[Anonymous]:
    yield Anonymous(frozenset(config.paths))


@asynccontextmanager
async def open_always_allow(context: Context, config: NoConfig) -> AsyncIterator[AlwaysAllow]:
    yield AlwaysAllow()
