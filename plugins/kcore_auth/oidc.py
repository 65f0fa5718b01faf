"""Tokens of other issuers: the authenticator ``authentication-config``, by a file as kube-apiserver's
--authentication-config takes it (apiserver.config.k8s.io, AuthenticationConfiguration).

The file is read again when it changes; one that is wrong is logged, and the last good one stays.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import trio

from kcore import clock, errors
from kcore.api.access import bearer
from kcore.api.auth import ANONYMOUS, User
from kcore.cel import CompileError, Environment, Program
from kcore.cel.types import BOOL, DYN, STRING, list_of, map_of
from kcore.errors import ConfigError
from kcore.http.messages import Request
from kcore.objects import Object
from kcore.registry import Context
from kcore_auth import FileConfig, claims
from kcore_auth.jwks import ALGORITHMS, IssuerUnreachable, Keys
from kcore_auth.tokens import peek

_VERSIONS = tuple(f"apiserver.config.k8s.io/{v}" for v in ("v1", "v1beta1", "v1alpha1"))
_KEPT, _FRESH = 10_000, 10.0  # verified tokens, and seconds that they count
_LEEWAY = 300.0  # seconds that a token's nbf may be ahead of our clock
_USER = {"username": STRING, "uid": STRING, "groups": list_of(STRING), "extra": map_of(STRING, list_of(STRING))}


@attrs.define
class Issuer:
    """One entry of `jwt`."""

    keys: Keys
    audiences: frozenset[str]
    mapping: claims.Mapping

    async def user(self, token: str, header: Object) -> tuple[User, float]:
        """Whom the bearer is, and until when. Raises claims.Refused, IssuerUnreachable."""
        import jwt

        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise claims.Refused(f"signed with {algorithm!r}")
        key_id = header.get("kid") or ""
        found: Object | None = None
        options: Any = {f"verify_{what}": False for what in ("aud", "exp", "nbf", "iat", "sub", "jti", "iss")}
        for key in await self.keys.get(key_id if isinstance(key_id, str) else ""):
            try:
                found = jwt.decode(token, key, [algorithm], options=options)
                break
            except (jwt.PyJWTError, TypeError, ValueError):
                continue  # another key, or one of another kind
        if found is None:
            raise claims.Refused("no key of the issuer's has signed it")
        return self.mapping.user(found), self._check(found)

    def _check(self, found: Object) -> float:
        now = clock.now()
        expires, begins = found.get("exp"), found.get("nbf", 0)
        if not isinstance(expires, int | float) or expires <= now:
            raise claims.Refused("token is expired")
        if not isinstance(begins, int | float) or begins > now + _LEEWAY:
            raise claims.Refused("token is not yet valid")
        meant = found.get("aud") or []
        meant = [meant] if isinstance(meant, str) else meant
        if not isinstance(meant, list) or not any(isinstance(a, str) and a in self.audiences for a in meant):
            raise claims.Refused("expected audience not found")
        return float(expires)


@attrs.define
class Rules:
    """What a file says."""

    issuers: dict[str, Issuer]
    anonymous: frozenset[str] | None = None
    """The paths that may be asked for anonymously, empty for all; None for none."""


class Configured:
    """The authenticator."""

    def __init__(self, rules: Rules, log: logging.Logger):
        self.rules, self._log = rules, log
        self._verified: dict[bytes, tuple[User, float]] = {}

    def replace(self, rules: Rules) -> None:
        self.rules = rules
        self._verified.clear()

    async def authenticate(self, request: Request) -> User | None:
        token = bearer(request)
        if not token:
            open_to = self.rules.anonymous
            return ANONYMOUS if open_to is not None and (not open_to or request.path in open_to) else None
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is not None and known[1] > clock.now():
            return known[0]
        shown = peek(token)
        rules = self.rules
        issuer = rules.issuers.get(str(shown[1].get("iss"))) if shown is not None else None
        if shown is None or issuer is None:
            return None
        try:
            user, expires = await issuer.user(token, shown[0])
        except claims.Refused as refused:
            self._log.info("oidc: a token of %s is refused: %s", issuer.keys.url, refused)
            raise errors.Unauthorized("Unauthorized") from refused
        except IssuerUnreachable as error:
            self._log.warning("oidc: authenticator for issuer %s is not initialized: %s", issuer.keys.url, error)
            raise errors.Unauthorized("Unauthorized") from error
        if rules is self.rules:
            if len(self._verified) >= _KEPT:
                self._verified.clear()
            self._verified[digest] = (user, min(expires, clock.now() + _FRESH))
        return user


# --- the file --------------------------------------------------------------------------------------------------------


def load(path: Path, known: dict[str, Issuer] | None = None) -> Rules:
    """Raises ConfigError. Issuers whose address and authority are the same keep their keys (`known`)."""
    import yaml

    try:
        file = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
    problems: list[str] = []
    try:
        rules = _rules(file, problems, known or {})
    except (AttributeError, TypeError, KeyError) as error:
        raise ConfigError([f"{path}: not of the form of an AuthenticationConfiguration: {error}"]) from error
    if problems:
        raise ConfigError([f"{path}: {problem}" for problem in problems])
    return rules


def _rules(file: Object, problems: list[str], known: dict[str, Issuer]) -> Rules:
    if file.get("apiVersion") not in _VERSIONS or file.get("kind") != "AuthenticationConfiguration":
        problems.append(f"apiVersion and kind must be {_VERSIONS[0]}, AuthenticationConfiguration")
    issuers: dict[str, Issuer] = {}
    for number, entry in enumerate(file.get("jwt") or ()):
        own: list[str] = []
        issuer = _issuer(entry, own, known)
        if issuer.keys.url in issuers:
            own.append(f"issuer.url: Duplicate value: {issuer.keys.url!r}")
        issuers[issuer.keys.url] = issuer
        problems += [f"jwt[{number}].{problem}" for problem in own]
    said = file.get("anonymous")
    anonymous = None
    if said is not None and said.get("enabled"):
        anonymous = frozenset(c["path"] for c in said.get("conditions") or ())
    elif said is not None and said.get("conditions"):
        problems.append("anonymous.conditions: enabled should be set to true when conditions are defined")
    return Rules(issuers, anonymous)


def _issuer(entry: Object, problems: list[str], known: dict[str, Issuer]) -> Issuer:
    said: Object = entry.get("issuer") or {}
    url, discovery = said.get("url") or "", said.get("discoveryURL") or ""
    for name, value in (("url", url), ("discoveryURL", discovery)):
        parts = urlsplit(value)
        if (value or name == "url") and (parts.scheme != "https" or not parts.hostname):
            problems.append(f"issuer.{name}: Invalid value: {value!r}: URL scheme must be https")
        if parts.username or parts.query or parts.fragment:
            problems.append(f"issuer.{name}: Invalid value: URL must not contain a username, query or fragment")
    if discovery and discovery == url:
        problems.append("issuer.discoveryURL: discoveryURL must be different from URL")
    audiences = said.get("audiences") or []
    if not audiences or not all(isinstance(a, str) and a for a in audiences):
        problems.append("issuer.audiences: Required value: at least one issuer.audiences is required")
    policy = said.get("audienceMatchPolicy") or ""
    if policy not in ("", "MatchAny") or (len(audiences) > 1 and not policy):
        problems.append("issuer.audienceMatchPolicy: must be MatchAny for multiple audiences")
    authority = (said.get("certificateAuthority") or "").encode()
    mapping = claims.map_of(entry, _compiler(problems), problems)
    keys = Keys(url, discovery, authority)
    before = known.get(url)
    if before is not None and before.keys.same(keys):
        keys = before.keys
    return Issuer(keys, frozenset(audiences), mapping)


def _compiler(problems: list[str]) -> Any:
    environments = {"claims": Environment({"claims": map_of(STRING, DYN)}), "user": _user_environment()}
    kinds = {"string": STRING, "bool": BOOL, "list": list_of(STRING)}

    def compile(expression: str, variable: str, wanted: tuple[str, ...]) -> Program:
        result = (*(kinds[k] for k in wanted), DYN) if variable == "claims" else tuple(kinds[k] for k in wanted)
        try:
            if not expression:
                problems.append("expression: Required value: an expression is required")
                expression = "true"
            return environments[variable].compile(expression, result=result)
        except CompileError as error:
            problems.append(f"expression: Invalid value: {expression!r}: compilation failed: {error}")
            return environments[variable].compile("true")

    return compile


def _user_environment() -> Environment:
    from kcore.cel.types import object_type

    return Environment({"user": object_type("kubernetes.UserInfo", _USER)})


@asynccontextmanager
async def open_config(context: Context, config: FileConfig) -> AsyncIterator[Configured]:
    path = context.file(config.file)
    found = Configured(await trio.to_thread.run_sync(load, path), context.log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_follow, path, found, context.log)
        yield found
        nursery.cancel_scope.cancel()


async def _follow(path: Path, found: Configured, log: logging.Logger) -> None:
    from kcore import filewatch

    try:
        async with filewatch.changes(path) as changes:
            async for _ in changes:
                try:
                    found.replace(await trio.to_thread.run_sync(load, path, found.rules.issuers))
                    log.info("%s: read again", path)
                except ConfigError as error:
                    log.error("the authentication configuration stays as it was: %s", error)
    except OSError as error:
        log.warning("%s: its changes cannot be noticed: %s", path, error)
