"""Secrets of type ``kubernetes.io/service-account-token``: filled with a token that does not expire, and deleted with
their ServiceAccount (Kubernetes, "Managing Service Accounts", token controller).

Nobody makes such a Secret but a user who wants one; TokenRequest is for everything else.
"""

from __future__ import annotations

import base64

import trio

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.errors import Conflict, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import SECRETS, SERVICEACCOUNTS
from kcore.pki import Pki

TYPE = "kubernetes.io/service-account-token"
ACCOUNT = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
ISSUER = "kubernetes/serviceaccount"
_CLAIM = "kubernetes.io/serviceaccount"


class TokenController(Reconciler):
    name = "serviceaccount-token"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self._key = ""
        self.accounts = self.watch(SERVICEACCOUNTS, self._account_changed, outline=True)
        self.secrets = self.watch(SECRETS, self.enqueue, field_selector=f"type={TYPE}")
        self.secrets.add_index("account", lambda s: [_account(s)])

    def _account_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or meta.uid(old) != meta.uid(new):
            for secret in self.secrets.indexed("account", meta.key(new or old or {})):
                self.enqueue(None, secret)

    async def reconcile(self, key: str) -> float | None:
        secret = self.secrets.get(key)
        if secret is None or meta.deleting(secret):
            return None
        account = await self._account_of(secret)
        notes = meta.annotations(secret)
        try:
            if account is None or notes.get(ACCOUNT_UID) not in (None, "", meta.uid(account)):
                await self.client.delete(SECRETS, meta.name(secret), meta.namespace(secret), uid=meta.uid(secret))
                return None
            return await self._fill(secret, account)
        except (NotFound, Conflict):
            return None  # it has changed: that change brings it here again

    async def _account_of(self, secret: Object) -> Object | None:
        """Asked of the API if it is not in the cache: a Secret is not deleted because its account is news."""
        name = meta.annotations(secret).get(ACCOUNT, "")
        found = self.accounts.get(_account(secret))
        if found is not None or not name:
            return found
        try:
            return await self.client.get(SERVICEACCOUNTS, name, meta.namespace(secret))
        except NotFound:
            return None

    async def _fill(self, secret: Object, account: Object) -> float | None:
        if not (self.context.keys / "pki" / "ca.key").exists():  # one stat call on a local disk
            self.log.warning("no keys at %s: Secrets of service accounts get no token", self.context.keys)
            return None
        pki = Pki.open(self.context.keys)
        data = dict(secret.get("data") or {})
        wanted = {"ca.crt": pki.ca_pem, "namespace": meta.namespace(secret).encode()}
        for name, value in wanted.items():
            data[name] = base64.b64encode(value).decode()
        if not data.get("token"):
            data["token"] = base64.b64encode((await self._sign(pki, secret, account)).encode()).decode()
        notes = {**meta.annotations(secret), ACCOUNT_UID: meta.uid(account)}
        filled = {**secret, "data": data, "metadata": {**secret["metadata"], "annotations": notes}}
        if filled != secret:
            await self.client.update(SECRETS, filled)
        return None

    async def _sign(self, pki: Pki, secret: Object, account: Object) -> str:
        import jwt

        if not self._key:
            self._key = (await trio.to_thread.run_sync(pki.service_account_key)).decode()
        namespace, name = meta.namespace(account), meta.name(account)
        claims = {
            "iss": ISSUER,
            f"{_CLAIM}/namespace": namespace,
            f"{_CLAIM}/secret.name": meta.name(secret),
            f"{_CLAIM}/service-account.name": name,
            f"{_CLAIM}/service-account.uid": meta.uid(account),
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        return jwt.encode(claims, self._key, "RS256", {"typ": None})


def _account(secret: Object) -> str:
    return f"{meta.namespace(secret)}/{meta.annotations(secret).get(ACCOUNT, '')}"
