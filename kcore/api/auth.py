"""Who is asking, and may they: the contracts of authenticators and authorizers."""

from __future__ import annotations

from typing import Protocol

import attrs
import msgspec

from kcore.http.messages import Request


@attrs.frozen(slots=True)
class User:
    """Somebody, as authentication found them (authentication/v1 UserInfo)."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, list[str]] = attrs.field(factory=dict, eq=False, hash=False)


AUTHENTICATED = "system:authenticated"
"""The group of everybody who is known."""

ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Authenticator(Protocol):
    """Tried in the order of the config, before the request's body is looked at."""

    async def authenticate(self, request: Request) -> User | None:
        """The user, or None for "none of mine". Raises Unauthorized for credentials that are mine but bad.

        The machinery adds the group `AUTHENTICATED`, if it is not there yet.
        """


class Attributes(msgspec.Struct, frozen=True, gc=False):  # made for every request
    """What somebody wants to do (authorization/v1 ResourceAttributes or NonResourceAttributes)."""

    user: User
    verb: str  # get, list, watch, create, update, patch, delete, deletecollection; a path's verb is the method
    resource: str = ""  # plural; "" for a non-resource path
    subresource: str = ""
    group: str = ""
    version: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""  # for a non-resource path
    label_selector: str = ""
    field_selector: str = ""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """`allowed` is True, False for "no, and nobody else shall say yes", or None for "no opinion"."""

    allowed: bool | None
    reason: str = ""


class Authorizer(Protocol):
    """Asked in the order of the config until one has an opinion; no opinion at all is a refusal."""

    async def authorize(self, attributes: Attributes) -> Decision:
        """Must be quick: it is on the path of every request. Index, never scan."""
