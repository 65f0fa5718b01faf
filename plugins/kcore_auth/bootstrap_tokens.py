"""Bootstrap tokens: short-lived secrets by which a new node gets in (Kubernetes, "Authenticating with Bootstrap
Tokens").

``abcdef.0123456789abcdef`` is the Secret ``kube-system/bootstrap-token-abcdef``. It is read for every request: the
API's own copy is at hand, and a token that was deleted is gone at once.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kcore import clock, errors
from kcore.api.access import bearer
from kcore.api.auth import User
from kcore.client import Client
from kcore.http.messages import Request
from kcore.objects import Object
from kcore.objects.resources import SECRETS
from kcore.registry import Context, NoConfig

TYPE = "bootstrap.kubernetes.io/token"
NAMESPACE, PREFIX = "kube-system", "bootstrap-token-"
GROUP = "system:bootstrappers"
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})").fullmatch
_EXTRA = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]").fullmatch


class BootstrapTokens:
    """The authenticator. A token that is not good is "none of mine", as upstream."""

    def __init__(self, client: Client):
        self._client = client

    async def authenticate(self, request: Request) -> User | None:
        token = bearer(request)
        if len(token) != 23:
            return None
        shape = _TOKEN(token)
        if shape is None:
            return None
        try:
            secret = await self._client.get(SECRETS, PREFIX + shape[1], NAMESPACE)
        except errors.NotFound:
            return None
        return user_of(secret, shape[1], shape[2])


def user_of(secret: Object, token_id: str, token_secret: str) -> User | None:
    """Whom a Secret makes of the bearer of a token; None if the token is not good (any more)."""
    if secret.get("type") != TYPE or secret["metadata"].get("deletionTimestamp"):
        return None
    said = {k: base64.b64decode(v or "").decode("utf-8", "replace") for k, v in (secret.get("data") or {}).items()}
    if not hmac.compare_digest(said.get("token-secret", "").encode(), token_secret.encode()):
        return None
    if said.get("token-id") != token_id or expired(said.get("expiration", "")):
        return None
    if said.get("usage-bootstrap-authentication") != "true":
        return None
    groups = {g for g in said.get("auth-extra-groups", "").split(",") if g}
    if not all(_EXTRA(g) for g in groups):
        return None
    return User(f"system:bootstrap:{token_id}", (GROUP, *sorted(groups - {GROUP})))


def expired(expiration: str) -> bool:
    """Whether a token's time is over; one that cannot be read is. "" is for ever."""
    if not expiration:
        return False
    try:
        return clock.parse(expiration) <= clock.now()
    except ValueError:
        return True


@asynccontextmanager
async def open_bootstrap_tokens(context: Context, config: NoConfig) -> AsyncIterator[BootstrapTokens]:
    yield BootstrapTokens(context.client())
