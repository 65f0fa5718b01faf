"""Who is asking, and may they: authentication, authorization and the API's questions about both.

Authenticators ``certificate``, ``tokens``, ``serviceaccount``, ``anonymous``; authorizers ``node``, ``rbac``,
``always-allow``; routes ``reviews``; admission ``RBACEscalation``, ``NodeRestriction``. Each stands in the module
that its opener names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any

import attrs

from kcore.hookspecs import hookimpl
from kcore.registry import Context, NoConfig, Provider


@attrs.frozen
class TokensConfig:
    """``[api.settings.tokens]``."""

    file: str
    """A CSV file: token, user, uid, "group1,group2" (kube-apiserver's --token-auth-file); a relative path is relative to
    the config file."""


@attrs.frozen
class ServiceAccountConfig:
    """``[api.settings.serviceaccount]``."""

    issuer: str = "https://kubernetes.default.svc"
    """Who the tokens say made them."""
    audiences: list[str] = attrs.Factory(list)
    """For whom a token must be to be taken here; empty for the issuer."""


def _open(module: str, name: str) -> Callable[[Context, Any], AbstractAsyncContextManager[Any]]:
    """An opener that imports its module when it is used."""

    def open(context: Context, config: Any) -> AbstractAsyncContextManager[Any]:
        opened: AbstractAsyncContextManager[Any] = getattr(import_module(f"kcore_auth.{module}"), name)(
            context, config
        )
        return opened

    return open


@hookimpl
def kcore_authenticator() -> Iterable[Provider[Any]]:
    return [
        Provider("certificate", _open("certificates", "open_certificates"), help="Client certificates of our CA"),
        Provider("tokens", _open("tokens", "open_tokens"), TokensConfig, help="Fixed tokens from a CSV file"),
        Provider(
            "serviceaccount",
            _open("serviceaccounts", "open_tokens"),
            ServiceAccountConfig,
            help="Tokens of service accounts",
        ),
        Provider("anonymous", _open("anonymous", "open_anonymous"), help="Who shows nothing is system:anonymous"),
    ]


@hookimpl
def kcore_authorizer() -> Iterable[Provider[Any]]:
    return [
        Provider("node", _open("nodes", "open_nodes"), help="What nodes may do, each for itself"),
        Provider("rbac", _open("rbac", "open_rbac"), help="Roles and bindings"),
        Provider("always-allow", _open("anonymous", "open_always_allow"), help="Everybody may do everything"),
    ]


@hookimpl
def kcore_route() -> Iterable[Provider[Any]]:
    return [Provider("reviews", _open("reviews", "open_reviews"), NoConfig, help="Reviews, token requests, OIDC keys")]


@hookimpl
def kcore_admission() -> Iterable[Provider[Any]]:
    return [
        Provider("RBACEscalation", _open("escalation", "open_escalation"), help="Nobody grants what he lacks"),
        Provider(
            "NodeRestriction", _open("nodes", "open_restriction"), help="A node changes itself and its pods only"
        ),
    ]
