"""Tokens that somebody else knows: the authenticator ``webhook-token`` (Kubernetes, "Webhook Token
Authentication")."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from kcore import errors
from kcore.api.access import bearer
from kcore.api.auth import User
from kcore.http.messages import Request
from kcore.objects import Object
from kcore.registry import Context
from kcore_auth import WebhookTokenConfig
from kcore_auth.ask import Memory, Reviewer, Unanswered, reviewer

_Found = tuple[User, list[str]]


class WebhookTokens:
    def __init__(self, reviews: Reviewer, config: WebhookTokenConfig, log: logging.Logger):
        self._reviews, self._seconds, self._log = reviews, config.cache_seconds, log
        self._audiences = list(config.audiences)
        self._known: Memory[tuple[_Found | None]] = Memory()

    async def authenticate(self, request: Request) -> User | None:
        token = bearer(request)
        found = await self.check(token, self._audiences) if token else None
        return None if found is None else found[0]

    async def check(self, token: str, audiences: Sequence[str]) -> _Found | None:
        """The user and the audiences that fit; None for a token that nobody knows. Raises Unauthorized."""
        key = hashlib.sha256("\0".join((token, *audiences)).encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(key)
        if known is not None:
            return known[0]
        spec: Object = {"token": token}
        if audiences:
            spec["audiences"] = list(audiences)
        try:
            status = await self._reviews.ask(spec)
        except Unanswered as error:
            self._log.warning("a token cannot be reviewed: %s", error)
            raise errors.Unauthorized("Unauthorized") from error
        found = _found(status, audiences)
        self._known.put(key, (found,), self._seconds)
        return found


def _found(status: Object, audiences: Sequence[str]) -> _Found | None:
    if status.get("authenticated") is not True:
        return None
    said: Any = status.get("user") or {}
    # one that does not know of audiences speaks for those that were asked for
    fitting = [a for a in status.get("audiences") or audiences if a in audiences]
    if audiences and not fitting:
        return None
    groups = tuple(str(g) for g in said.get("groups") or ())
    extra = {str(k): [str(v) for v in vs] for k, vs in (said.get("extra") or {}).items()}
    return User(str(said.get("username") or ""), groups, str(said.get("uid") or ""), extra), fitting


@asynccontextmanager
async def open_webhook_tokens(context: Context, config: WebhookTokenConfig) -> AsyncIterator[WebhookTokens]:
    async with reviewer(context.file(config.kubeconfig), "TokenReview", config.timeout_seconds) as reviews:
        yield WebhookTokens(reviews, config, context.log)
