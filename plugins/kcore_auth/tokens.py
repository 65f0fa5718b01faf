"""Fixed bearer tokens from a file, as kube-apiserver's --token-auth-file has them."""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from kcore.api.access import bearer
from kcore.api.auth import User
from kcore.errors import ConfigError
from kcore.http.messages import Request
from kcore.objects import Object
from kcore.registry import Context
from kcore_auth import TokensConfig


class Tokens:
    """By digest, so that the time of a look-up tells nothing about a token."""

    def __init__(self, users: dict[bytes, User]):
        self._users = users

    async def authenticate(self, request: Request) -> User | None:
        token = bearer(request)
        return self._users.get(_digest(token)) if token else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def peek(token: str) -> tuple[Object, Object] | None:
    """The header and the claims of a JWT that nobody has verified; None for what is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        header, body = (msgspec.json.decode(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4))) for p in parts[:2])
    except (ValueError, RecursionError):
        return None
    return (header, body) if isinstance(header, dict) and isinstance(body, dict) else None


def load(path: Path) -> dict[bytes, User]:
    """The users by the digest of their token. Raises ConfigError."""
    users: dict[bytes, User] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.reader(file, skipinitialspace=True), 1):
                if not row or row[0].startswith("#"):
                    continue
                if len(row) < 3 or not row[0] or not row[1]:
                    raise ConfigError([f'{path}:{number}: must be token,user,uid or token,user,uid,"group1,group2"'])
                groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
                users[_digest(row[0])] = User(row[1], groups, row[2])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([f"{path}: the token file cannot be read: {error}"]) from error
    return users


@asynccontextmanager
async def open_tokens(context: Context, config: TokensConfig) -> AsyncIterator[Tokens]:
    yield Tokens(load(context.file(config.file)))
