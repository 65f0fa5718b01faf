"""The settings of admission plugins: ``[api.settings.NAME]``."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen
class NodeSelectorConfig:
    """``[api.settings.PodNodeSelector]`` (upstream's podNodeSelectorPluginConfig)."""

    cluster_default: str = ""
    """The selector of namespaces without an annotation: ``env=prod,disk=ssd``."""
    namespaces: dict[str, str] = attrs.Factory(dict)
    """By namespace, the labels that its pods may select at all."""


@attrs.frozen
class TolerationsConfig:
    """``[api.settings.PodTolerationRestriction]``."""

    default: list[dict[str, Any]] = attrs.Factory(list)
    """Tolerations for pods of namespaces without an annotation."""
    allowed: list[dict[str, Any]] = attrs.Factory(list)
    """What pods of namespaces without an annotation may tolerate; empty for everything."""


@attrs.frozen
class EventLimit:
    """One limit."""

    type: str = attrs.field(validator=attrs.validators.in_(("Server", "Namespace", "User", "SourceAndObject")))
    """What is counted together: ``Server``, ``Namespace``, ``User`` or ``SourceAndObject``."""
    qps: float = 0.0
    """Events a second in the long run."""
    burst: int = 0
    """Events at once."""
    cache_size: int = 4096
    """How many namespaces, users or objects are told apart."""


@attrs.frozen
class EventLimitConfig:
    """``[api.settings.EventRateLimit]`` (upstream's eventratelimit Configuration)."""

    limits: list[EventLimit] = attrs.Factory(list)
    """The limits; an event must keep to all of them."""


@attrs.frozen
class Levels:
    """Levels where a namespace's labels say nothing."""

    enforce: str = "privileged"
    """The level that pods must keep to."""
    enforce_version: str = "latest"
    """Its version: ``latest`` or ``v1.34``."""
    audit: str = "privileged"
    """The level whose violations the audit log tells."""
    audit_version: str = "latest"
    """Its version."""
    warn: str = "privileged"
    """The level whose violations clients are warned of."""
    warn_version: str = "latest"
    """Its version."""


@attrs.frozen
class Exemptions:
    """To whom no standard applies."""

    usernames: list[str] = attrs.Factory(list)
    """Users."""
    namespaces: list[str] = attrs.Factory(list)
    """Namespaces."""
    runtime_classes: list[str] = attrs.Factory(list)
    """Pods' runtime classes."""


@attrs.frozen
class PodSecurityConfig:
    """``[api.settings.PodSecurity]`` (upstream's PodSecurityConfiguration)."""

    defaults: Levels = attrs.Factory(Levels)
    """Levels where a namespace's labels say nothing."""
    exemptions: Exemptions = attrs.Factory(Exemptions)
    """To whom no standard applies."""


@attrs.frozen
class LimitedResource:
    """Resources that may only be used where a quota covers them."""

    resource: str
    """The resource whose requests are looked at: ``pods``, ``persistentvolumeclaims``."""
    api_group: str = ""
    """Its group."""
    match_contains: list[str] = attrs.Factory(list)
    """Parts of names of what is counted: ``.storageclass.storage.k8s.io/requests.storage``."""
    match_scopes: list[dict[str, Any]] = attrs.Factory(list)
    """Scopes, as in a scopeSelector: ``{scopeName, operator, values}``."""


@attrs.frozen
class QuotaConfig:
    """``[api.settings.ResourceQuota]``."""

    limited: list[LimitedResource] = attrs.Factory(list)
    """Resources that may only be used where a quota covers them (upstream's limitedResources)."""
