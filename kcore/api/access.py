"""Who is asking, in whose name, and may they: authentication, impersonation, authorization."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from urllib.parse import unquote

import msgspec

from kcore import errors
from kcore.api.auth import ANONYMOUS, AUTHENTICATED, Attributes, Authenticator, Authorizer, Decision, User
from kcore.api.routing import RequestInfo
from kcore.http.messages import Request, values

_UNAUTHENTICATED = "system:unauthenticated"
_PROTOCOL = "base64url.bearer.authorization.k8s.io."
_EXTRA = "impersonate-extra-"


async def authenticate(authenticators: Sequence[Authenticator], request: Request) -> User:
    """The user, with the group that says whether they are known. Raises Unauthorized for bad credentials.

    One good credential is enough, whatever else is shown; but who shows bad ones is not anonymous.
    """
    refused: errors.Unauthorized | None = None
    for authenticator in authenticators:
        try:
            user = await authenticator.authenticate(request)
        except errors.Unauthorized as error:
            refused = error
            continue
        if user is not None and (refused is None or user.name != ANONYMOUS.name):
            if "sec-websocket-protocol" in request.headers:
                _hide_token(request)
            return with_standard_group(user)
    if refused is not None or authenticators or bearer(request):
        raise refused or errors.Unauthorized("Unauthorized")  # what nobody knows is bad, not absent
    return ANONYMOUS


def bearer(request: Request) -> str:
    """The bearer token of a request; "" if it shows none. Browsers, which cannot send the header with a WebSocket,
    name the token as a subprotocol."""
    shown = request.headers.get("authorization")
    if shown is not None:
        words = shown.strip().split(" ", 2)
        return words[1] if len(words) > 1 and words[0].lower() == "bearer" else ""
    if _PROTOCOL in request.headers.get("sec-websocket-protocol", ""):
        return _protocol_token(request)
    return ""


def _protocols(request: Request) -> list[str]:
    return [p.strip() for p in request.headers["sec-websocket-protocol"].split(",")]


def _protocol_token(request: Request) -> str:
    """Raises Unauthorized where the token is not the only one, not text, or no other protocol is offered."""
    if request.headers.get("upgrade", "").lower() != "websocket":
        return ""
    offered = _protocols(request)
    tokens = [p[len(_PROTOCOL) :] for p in offered if p.startswith(_PROTOCOL)]
    try:
        if len(tokens) != 1 or len(offered) < 2:
            raise ValueError("one token, and another protocol to speak")
        return base64.b64decode(tokens[0] + "=" * (-len(tokens[0]) % 4), b"-_", validate=True).decode("utf-8")
    except ValueError as error:
        raise errors.Unauthorized("Unauthorized") from error


def _hide_token(request: Request) -> None:
    """Whoever answers the request does not see the token among the protocols."""
    if _PROTOCOL in request.headers["sec-websocket-protocol"]:
        rest = [p for p in _protocols(request) if not p.startswith(_PROTOCOL)]
        request.headers["sec-websocket-protocol"] = ", ".join(rest)


def with_standard_group(user: User) -> User:
    if AUTHENTICATED in user.groups or _UNAUTHENTICATED in user.groups or user.name == ANONYMOUS.name:
        return user
    return User(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)  # evolve() would take 8 us


def attributes(user: User, info: RequestInfo, request: Request | None = None) -> Attributes:
    if not info.resource:
        return Attributes(user, info.verb, path=info.path)
    labels = fields = ""
    if request is not None and request.query and info.verb in ("list", "watch", "deletecollection"):
        labels, fields = request.param("labelSelector"), request.param("fieldSelector")
    return Attributes(
        user,
        info.verb,
        info.resource,
        info.subresource,
        info.group,
        info.version,
        info.namespace,
        info.name,
        info.path,
        labels,
        fields,
    )


async def decide(authorizers: Sequence[Authorizer], wanted: Attributes) -> Decision:
    """What the authorizers say, in their order; that nobody has an opinion is a refusal with the last reason given."""
    reason = ""
    for authorizer in authorizers:
        decision = await authorizer.authorize(wanted)
        if decision.allowed:
            return decision
        reason = decision.reason or reason
        if decision.allowed is False:
            break
    return Decision(False, reason)


async def authorize(authorizers: Sequence[Authorizer], wanted: Attributes) -> None:
    """Raises Forbidden unless somebody allows it before somebody denies it."""
    decision = await decide(authorizers, wanted)
    if not decision.allowed:
        raise forbidden(wanted, decision.reason)


def forbidden(wanted: Attributes, reason: str = "") -> errors.Forbidden:
    """The refusal, in upstream's words."""
    who = f'User "{wanted.user.name}" cannot'
    if not wanted.resource:
        text = f'forbidden: {who} {wanted.verb} path "{wanted.path}"'
        return errors.Forbidden(text + (f": {reason}" if reason else ""), details={})
    full = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
    what = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    where = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    named = f' "{wanted.name}"' if wanted.name else ""
    text = f'{full}{named} is forbidden: {who} {wanted.verb} resource "{what}" in API group "{wanted.group}" {where}'
    details = {"name": wanted.name} if wanted.name else {}
    if wanted.group:
        details["group"] = wanted.group
    details["kind"] = wanted.resource
    return errors.Forbidden(text + (f": {reason}" if reason else ""), details=details)


# --- impersonation ---------------------------------------------------------------------------------------------------


def impersonates(request: Request) -> bool:
    """Whether there is any Impersonate-* header. (A loop: the generator of ``any`` would cost twice as much.)"""
    for name in request.headers:
        if name.startswith("impersonate-"):
            return True
    return False


async def impersonated(authorizers: Sequence[Authorizer], request: Request, user: User, info: RequestInfo) -> User:
    """The user that the Impersonate-* headers name, when `user` may act for them; else `user`.

    Raises Forbidden, BadRequest (other headers without a user name).
    """
    headers = request.headers
    name = next(iter(values(headers, "impersonate-user")), "")
    groups = tuple(g for g in values(headers, "impersonate-group") if g)
    uid = next(iter(values(headers, "impersonate-uid")), "")
    extra = {unquote(key[len(_EXTRA) :]): values(headers, key) for key in headers if key.startswith(_EXTRA)}
    if not name:
        if groups or uid or extra:
            raise errors.BadRequest(f"requested {_show(name, uid, groups, extra)} without impersonating a user name")
        return user
    try:
        for wanted in _checks(user, name, uid, groups, extra):
            await authorize(authorizers, wanted)
    except errors.Forbidden:
        await _constrained(authorizers, request, user, info, name)
    if not groups and name.startswith("system:serviceaccount:"):
        namespace = name.split(":")[2]
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    if name == ANONYMOUS.name:
        return User(name, groups if _UNAUTHENTICATED in groups else (*groups, _UNAUTHENTICATED), uid, extra)
    return with_standard_group(User(name, groups, uid, extra))


def _checks(user: User, name: str, uid: str, groups: tuple[str, ...], extra: dict[str, list[str]]) -> list[Attributes]:
    """Everything that `user` must be allowed to impersonate."""
    verb = "impersonate"
    checks = []
    parts = name.split(":")
    if name.startswith("system:serviceaccount:") and len(parts) == 4:
        checks.append(Attributes(user, verb, "serviceaccounts", version="v1", namespace=parts[2], name=parts[3]))
    else:
        checks.append(Attributes(user, verb, "users", version="v1", name=name))
    checks += [Attributes(user, verb, "groups", version="v1", name=g) for g in groups]
    auth = "authentication.k8s.io"
    checks += [
        Attributes(user, verb, "userextras", key, auth, "v1", name=value)
        for key, values in extra.items()
        for value in values
    ]
    if uid:
        checks.append(Attributes(user, verb, "uids", "", auth, "v1", name=uid))
    return checks


async def _constrained(
    authorizers: Sequence[Authorizer], request: Request, user: User, info: RequestInfo, name: str
) -> None:
    """Constrained impersonation: acting for a plain user, in this one kind of request. Raises Forbidden."""
    wanted = attributes(user, info, request)
    await authorize(authorizers, msgspec.structs.replace(wanted, verb=f"impersonate-on:user-info:{info.verb}"))
    auth = "authentication.k8s.io"
    await authorize(authorizers, Attributes(user, "impersonate:user-info", "users", "", auth, "v1", name=name))


def _show(name: str, uid: str, groups: tuple[str, ...], extra: dict[str, list[str]]) -> str:
    """Go's print of the user that was asked for."""
    shown_groups = "[]string{" + ", ".join(f'"{g}"' for g in groups) + "}" if groups else "[]string(nil)"
    pairs = [f'"{k}":[]string{{' + ", ".join(f'"{v}"' for v in vs) + "}" for k, vs in sorted(extra.items())]
    shown_extra = "map[string][]string{" + ", ".join(pairs) + "}" if pairs else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"{name}", UID:"{uid}", Groups:{shown_groups}, Extra:{shown_extra}}}'
