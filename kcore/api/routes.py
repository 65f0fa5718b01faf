"""Routes: requests that are answered by something else than the store.

``pods/log`` and ``exec`` are answered by a node, ``tokenreviews`` by the authenticators, ``metrics.k8s.io`` by whoever
gathers metrics. A provider of the seam `route` opens to `Routes`; the API server sends it the calls that it
names, authenticated and authorized.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs

from kcore.http.messages import AnyResponse, Request

if TYPE_CHECKING:
    from kcore.api.auth import User
    from kcore.api.kinds import Kind
    from kcore.client import Client


@attrs.define
class Call:
    """A request that may be answered: who asks for what."""

    request: Request
    user: User
    verb: str
    kind: Kind | None  # None for a path of its own
    namespace: str
    name: str
    subresource: str
    rest: str  # the path after the subresource, for proxying: "/metrics"; "" if there is none
    client: Client  # this API, as the API server itself
    body: dict[str, Any] | None = None  # the decoded, defaulted object of a create, None otherwise
    dry_run: bool = False


# An object is encoded as the client wants it (status 201 for POST, 200 otherwise).
Handler = Callable[[Call], Awaitable[AnyResponse | dict[str, Any]]]


@attrs.define
class Routes:
    """What a provider of routes answers."""

    resources: dict[tuple[str, str, str], Handler] = attrs.Factory(dict)
    """By (group, plural, subresource); subresource "" for the create of a virtual kind, or all of its verbs."""
    paths: dict[str, Handler] = attrs.Factory(dict)
    """By path prefix: ``/openid/v1/jwks``, ``/.well-known/openid-configuration``."""
