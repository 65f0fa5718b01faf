"""Admission: plugins that see every write after decoding and before the store.

First every plugin's `admit` runs, in the order of the config, and may change the object; then the object is
validated; then every plugin's `validate` runs and may only refuse. A refusal is an `ApiError`
(as a rule Forbidden) and nothing is written.

When a plugin whose rules are the cluster's own (a webhook, a policy) has changed the object it calls `changed`: then
every plugin's `admit` runs a second time, so that the built-in ones see what has become of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

from kcore.api import audit
from kcore.api.auth import User
from kcore.api.kinds import Kind
from kcore.registry import Context

if TYPE_CHECKING:
    from kcore.api.server import ApiServer

Object = dict[str, Any]


@attrs.define
class AdmissionRequest:
    """One write. For CREATE `old` is None, for DELETE `obj` is None; `options` is the *Options object."""

    operation: str  # CREATE, UPDATE, DELETE, CONNECT
    kind: Kind
    subresource: str
    namespace: str
    name: str  # "" while a generated name is not known yet
    user: User
    obj: Object | None
    old: Object | None = None
    options: Object = attrs.Factory(dict)
    dry_run: bool = False
    warnings: list[str] = attrs.Factory(list)  # what the client shall be told in Warning headers
    annotations: dict[str, str] = attrs.Factory(dict)  # for the audit log: "policy.example.com/reason" -> text
    again: bool = False  # this is the second round of `admit`
    mutated: bool = False  # `obj` is no longer what the built-in rules have prepared: they must have another look
    notes: dict[str, Any] = attrs.Factory(dict)  # what plugins remember from one call to the next, by plugin name
    _wanted_again: bool = False

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def annotate(self, key: str, value: str) -> None:
        """For the audit log; what was said first stands, as upstream has it."""
        self.annotations.setdefault(key, value)
        audit.annotate(key, value)

    def changed(self, obj: Object, *, again: bool = True) -> None:
        """`obj` takes the object's place; with `again` every plugin has another look at it."""
        self.obj, self.mutated = obj, True
        self._wanted_again = self._wanted_again or again

    def next_round(self) -> bool:
        """Whether `admit` is to run once more: at most one time."""
        if self.again or not self._wanted_again:
            return False
        self.again = True
        return True


class Admission:
    """Base class: lets everything pass. `handles` is asked once per request, if it is not `steady`: keep it cheap."""

    name: str = ""
    steady: bool = False
    """What `handles` says depends on the request's operation, kind and subresource alone: it is asked once for each
    combination of them, and not for every request."""

    def handles(self, request: AdmissionRequest) -> bool:
        return True

    async def admit(self, request: AdmissionRequest) -> None:
        """May change `request.obj` in place. Runs again when a later plugin changed the object: be idempotent."""

    async def validate(self, request: AdmissionRequest) -> None:
        """May raise, may not change anything."""


class ServerAdmission(Admission):
    """Base class of those that follow objects through the API server's own watch cache."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server

    @classmethod
    @asynccontextmanager
    async def open(cls, context: Context, config: Any) -> AsyncIterator[Admission]:
        """See `kcore.registry.lazily`."""
        yield cls(context.part("api").server)
