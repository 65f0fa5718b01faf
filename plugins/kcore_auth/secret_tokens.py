"""Tokens that lie in Secrets of type ``kubernetes.io/service-account-token``: no end, no audience.

Such a token is good while its Secret holds it and its service account is there. Its claims have names of their own;
here they are brought into the form of all other tokens (`normal`).
"""

from __future__ import annotations

import base64
import hmac
import math

from kcore.objects import Object, meta

ISSUER = "kubernetes/serviceaccount"
INVALID = "kubernetes.io/legacy-token-invalid-since"
"""A label: somebody has taken the token out of use (Kubernetes, "Managing Service Accounts")."""
_CLAIM = "kubernetes.io/serviceaccount"


def normal(claims: Object, audiences: list[str]) -> Object:
    """The claims as a bound token would have them. Raises KeyError for what is no such token."""
    private = {
        "namespace": claims[f"{_CLAIM}/namespace"],
        "serviceaccount": {
            "name": claims[f"{_CLAIM}/service-account.name"],
            "uid": claims[f"{_CLAIM}/service-account.uid"],
        },
        "secret": {"name": claims[f"{_CLAIM}/secret.name"]},
    }
    return {"iss": ISSUER, "sub": claims["sub"], "aud": audiences, "exp": math.inf, "kubernetes.io": private}


def holds(secret: Object, token: str) -> bool:
    """Whether the Secret stands for the token."""
    if meta.deleting(secret) or INVALID in meta.labels(secret):
        return False
    try:
        held = base64.b64decode((secret.get("data") or {}).get("token") or "")
    except ValueError:
        return False
    return hmac.compare_digest(held, token.encode())
