"""Delegated authentication and authorization: a component's own port asks the API who somebody is and what they may.

What the kubelet, the scheduler and the controller manager do upstream (``--authentication-kubeconfig``): a token goes
to the API as a TokenReview, the request as a SubjectAccessReview. Answers are remembered for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import trio

from kcore.client import Client
from kcore.objects.resources import GVR

TOKEN_REVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
ACCESS_REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False)
ALLOWED_SECONDS, REFUSED_SECONDS = 120.0, 30.0
"""How long an answer is remembered."""
REMEMBERED = 1000


class Delegation:
    """Reviews of one component, remembered."""

    def __init__(self, client: Client):
        self._client = client
        self._known: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    async def review(self, token: str, attributes: dict[str, Any], key: str) -> int:
        """200, 401 or 403 for the bearer of `token`.

        `attributes` holds a SubjectAccessReviewSpec's ``resourceAttributes`` or ``nonResourceAttributes``; `key` tells
        apart what is asked for.
        """
        known = self._recall(token, key)
        if known is not None:
            return known
        review = (await self._client.create(TOKEN_REVIEWS, {"spec": {"token": token}})).get("status") or {}
        code = 401
        if review.get("authenticated"):
            user = review.get("user") or {}
            spec = {"user": user.get("username", ""), "groups": user.get("groups") or []}
            code = await self._ask(
                {**spec, "uid": user.get("uid", ""), "extra": user.get("extra") or {}, **attributes}
            )
        return self._remember(token, key, code)

    async def access(self, user: str, groups: Sequence[str], attributes: dict[str, Any], key: str) -> int:
        """200 or 403 for somebody who is known already: by a certificate that has been verified."""
        who = "\0".join((user, *groups))  # no token has such a byte
        known = self._recall(who, key)
        if known is not None:
            return known
        return self._remember(who, key, await self._ask({"user": user, "groups": list(groups), **attributes}))

    def _recall(self, who: str, key: str) -> int | None:
        known = self._known.get((who, key))
        return known[1] if known is not None and known[0] > trio.current_time() else None

    def _remember(self, who: str, key: str, code: int) -> int:
        kept = ALLOWED_SECONDS if code == 200 else REFUSED_SECONDS
        self._known[who, key] = (trio.current_time() + kept, code)
        self._known.move_to_end((who, key))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return code

    async def _ask(self, spec: dict[str, Any]) -> int:
        decision = (await self._client.create(ACCESS_REVIEWS, {"spec": spec})).get("status") or {}
        return 200 if decision.get("allowed") else 403


def bearer(authorization: str) -> str:
    """The token of an Authorization header, "" if it has none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
