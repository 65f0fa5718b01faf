"""Bootstrap tokens: those that have expired are deleted, and ``kube-public/cluster-info`` is signed with the others.

A joining node knows a token and nothing else; the signature lets it believe the cluster's address and authority that
it reads there without being known (Kubernetes, "Authenticating with Bootstrap Tokens", ConfigMap signing).
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from kcore import clock
from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import Conflict, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import CONFIGMAPS, SECRETS

TYPE, NAMESPACE, PREFIX = "bootstrap.kubernetes.io/token", "kube-system", "bootstrap-token-"
INFO, INFO_NAMESPACE, SIGNATURE = "cluster-info", "kube-public", "jws-kubeconfig-"
_SELECTOR = f"type={TYPE}"


def _value(secret: Object, key: str) -> str:
    return base64.b64decode((secret.get("data") or {}).get(key) or "").decode("utf-8", "replace")


def left(secret: Object) -> float | None:
    """Seconds until a token expires, 0 if it has (or nobody can tell when); None for never."""
    text = _value(secret, "expiration")
    if not text:
        return None
    try:
        return max(clock.parse(text) - clock.now(), 0.0)
    except ValueError:
        return 0.0


class TokenCleaner(Reconciler):
    name = "token-cleaner"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.secrets = self.watch(SECRETS, self.enqueue, namespace=NAMESPACE, field_selector=_SELECTOR)

    async def reconcile(self, key: str) -> float | None:
        secret = self.secrets.get(key)
        if secret is None or meta.deleting(secret):
            return None
        rest = left(secret)
        if rest != 0:
            return rest
        try:
            await self.client.delete(SECRETS, meta.name(secret), NAMESPACE, uid=meta.uid(secret))
        except (NotFound, Conflict):
            pass
        return None


def signature(content: str, token_id: str, secret: str) -> str:
    """A detached JSON Web Signature (RFC 7515, appendix F): the content itself is left out."""

    def text(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

    header = text(b'{"alg":"HS256","kid":"%s"}' % token_id.encode())
    signed = f"{header}.{text(content.encode())}".encode()
    return f"{header}..{text(hmac.new(secret.encode(), signed, hashlib.sha256).digest())}"


class BootstrapSigner(Reconciler):
    name = "bootstrap-signer"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        only = f"metadata.name={INFO}"
        self.info = self.watch(CONFIGMAPS, self._changed, namespace=INFO_NAMESPACE, field_selector=only)
        self.secrets = self.watch(SECRETS, self._changed, namespace=NAMESPACE, field_selector=_SELECTOR)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        self.queue.add(INFO)

    async def reconcile(self, key: str) -> float | None:
        info = self.info.get(f"{INFO_NAMESPACE}/{INFO}")
        if info is None:
            return None
        data = info.get("data") or {}
        content = data.get("kubeconfig", "")
        wanted = {k: v for k, v in data.items() if not k.startswith(SIGNATURE)}
        if content:
            for token_id, secret in self._tokens().items():
                wanted[SIGNATURE + token_id] = signature(content, token_id, secret)
        if wanted != data:
            await self.client.update(CONFIGMAPS, {**info, "data": wanted})
        times = [rest for secret in self.secrets.items() if (rest := left(secret))]
        return min(times) if times else None

    def _tokens(self) -> dict[str, str]:
        """The secrets of the tokens that sign, by id."""
        out = {}
        for secret in self.secrets.items():
            token_id, value = _value(secret, "token-id"), _value(secret, "token-secret")
            if meta.name(secret) != PREFIX + token_id or not value or meta.deleting(secret):
                continue
            if _value(secret, "usage-bootstrap-signing") == "true" and left(secret) != 0:
                out[token_id] = value
        return out
