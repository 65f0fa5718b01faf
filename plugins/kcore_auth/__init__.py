"""Who is asking, and may they: authentication, authorization and the API's questions about both.

Authenticators ``request-header``, ``certificate``, ``tokens``, ``serviceaccount``, ``bootstrap-token``,
``authentication-config`` (OIDC), ``webhook-token``, ``anonymous``; authorizers ``node``, ``rbac``, ``webhook``,
``authorization-config``, ``always-allow``; routes ``reviews``; admission ``RBACEscalation``, ``NodeRestriction``.
Each stands in the module that its opener names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from kcore.hookspecs import hookimpl
from kcore.registry import NoConfig, Provider, lazily


@attrs.frozen
class TokensConfig:
    """``[api.settings.tokens]``."""

    file: str
    """A CSV file: token, user, uid, "group1,group2" (kube-apiserver's --token-auth-file); a relative path is relative
    to the config file."""


@attrs.frozen
class FileConfig:
    """``[api.settings.authentication-config]``, ``[api.settings.authorization-config]``."""

    file: str
    """A YAML file as kube-apiserver's flag of that name takes it; a relative path is relative to the config file."""


@attrs.frozen
class ServiceAccountConfig:
    """``[api.settings.serviceaccount]``."""

    issuer: str = "https://kubernetes.default.svc"
    """Who the tokens say made them."""
    audiences: list[str] = attrs.Factory(list)
    """For whom a token must be to be taken here; empty for the issuer."""


@attrs.frozen
class WebhookTokenConfig:
    """``[api.settings.webhook-token]``: kube-apiserver's --authentication-token-webhook-* flags."""

    kubeconfig: str
    """Where to ask. A server without a path is another API server, which is asked for TokenReviews."""
    audiences: list[str] = attrs.Factory(list)
    """For whom a token must be; empty for whomever the webhook takes."""
    cache_seconds: float = 120.0
    """How long an answer counts."""
    timeout_seconds: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    """How long to wait for one."""


@attrs.frozen
class WebhookAuthorizerConfig:
    """``[api.settings.webhook]``: kube-apiserver's --authorization-webhook-* flags."""

    kubeconfig: str
    """Where to ask. A server without a path is another API server, which is asked for SubjectAccessReviews."""
    authorized_seconds: float = 300.0
    """How long "yes" counts."""
    unauthorized_seconds: float = 30.0
    """How long "no" counts."""
    timeout_seconds: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    """How long to wait for an answer."""
    failure_policy: str = attrs.field(default="NoOpinion", validator=attrs.validators.in_(("NoOpinion", "Deny")))
    """What no answer means."""


@attrs.frozen
class AnonymousConfig:
    """``[api.settings.anonymous]``."""

    paths: list[str] = attrs.Factory(list)
    """The paths that may be asked for anonymously; empty for all."""


def _remote(instance: object, attribute: attrs.Attribute[list[str]], value: list[str]) -> None:
    """Only of these does the HTTP server keep repetitions apart, so that no value can pose as two."""
    wrong = [name for name in value if not name.lower().startswith("x-remote-")]
    if wrong or not value:
        raise ValueError(f"{attribute.name}: must be names that begin with X-Remote-, not {wrong}")


@attrs.frozen
class RequestHeaderConfig:
    """``[api.settings.request-header]``: kube-apiserver's --requestheader-* flags."""

    client_ca_file: str = ""
    """PEM of the authorities of front proxies; empty for the cluster's own, beside its keys."""
    allowed_names: list[str] = attrs.Factory(lambda: ["front-proxy-client"])
    """Common names that a proxy's certificate may have; empty for any."""
    username_headers: list[str] = attrs.field(factory=lambda: ["X-Remote-User"], validator=_remote)
    """Where the user's name stands: the first that is not empty counts."""
    uid_headers: list[str] = attrs.field(factory=lambda: ["X-Remote-Uid"], validator=_remote)
    """Where the user's uid stands."""
    group_headers: list[str] = attrs.field(factory=lambda: ["X-Remote-Group"], validator=_remote)
    """Where the user's groups stand, one in each repetition."""
    extra_headers_prefixes: list[str] = attrs.field(factory=lambda: ["X-Remote-Extra-"], validator=_remote)
    """How the headers of other attributes begin."""


@hookimpl
def kcore_authenticator() -> Iterable[Provider[Any]]:
    return [
        Provider(
            "certificate", lazily("kcore_auth.certificates:open_certificates"), help="Client certificates of our CA"
        ),
        Provider(
            "request-header",
            lazily("kcore_auth.request_header:open_request_header"),
            RequestHeaderConfig,
            help="What front proxies say in headers",
        ),
        Provider(
            "bootstrap-token",
            lazily("kcore_auth.bootstrap_tokens:open_bootstrap_tokens"),
            help="Tokens of joining nodes, from Secrets",
        ),
        Provider(
            "authentication-config",
            lazily("kcore_auth.oidc:open_config"),
            FileConfig,
            help="OIDC tokens, and who may be anonymous, by an AuthenticationConfiguration",
        ),
        Provider(
            "webhook-token",
            lazily("kcore_auth.webhook_tokens:open_webhook_tokens"),
            WebhookTokenConfig,
            help="Tokens that a webhook, or another API server, knows",
        ),
        Provider("tokens", lazily("kcore_auth.tokens:open_tokens"), TokensConfig, help="Fixed tokens from a CSV file"),
        Provider(
            "serviceaccount",
            lazily("kcore_auth.serviceaccounts:open_tokens"),
            ServiceAccountConfig,
            help="Tokens of service accounts",
        ),
        Provider(
            "anonymous",
            lazily("kcore_auth.anonymous:open_anonymous"),
            AnonymousConfig,
            help="Who shows nothing is system:anonymous",
        ),
    ]


@hookimpl
def kcore_authorizer() -> Iterable[Provider[Any]]:
    return [
        Provider("node", lazily("kcore_auth.nodes:open_nodes"), help="What nodes may do, each for itself"),
        Provider("rbac", lazily("kcore_auth.rbac:open_rbac"), help="Roles and bindings"),
        Provider(
            "webhook",
            lazily("kcore_auth.webhook_authorizer:open_webhook"),
            WebhookAuthorizerConfig,
            help="A webhook, or another API server, decides",
        ),
        Provider(
            "authorization-config",
            lazily("kcore_auth.authorization_config:open_authorization"),
            FileConfig,
            help="Several in order, by an AuthorizationConfiguration",
        ),
        Provider("always-allow", lazily("kcore_auth.anonymous:open_always_allow"), help="Everybody may do everything"),
    ]


@hookimpl
def kcore_route() -> Iterable[Provider[Any]]:
    return [
        Provider(
            "reviews", lazily("kcore_auth.reviews:open_reviews"), NoConfig, help="Reviews, token requests, OIDC keys"
        )
    ]


@hookimpl
def kcore_admission() -> Iterable[Provider[Any]]:
    return [
        Provider(
            "RBACEscalation", lazily("kcore_auth.escalation:open_escalation"), help="Nobody grants what he lacks"
        ),
        Provider(
            "NodeRestriction",
            lazily("kcore_auth.nodes:open_restriction"),
            help="A node changes itself and its pods only",
        ),
    ]
