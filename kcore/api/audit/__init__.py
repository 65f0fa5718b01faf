"""The audit log: who did what to which object, when, and what came of it (audit.k8s.io/v1).

    policy (a file) -> how much of which requests is told     kcore.api.audit.policy
    request         -> events, one for each stage             kcore.api.audit.records
    events          -> sinks: a file, stdout, a webhook       plugins of the seam ``audit``

A request that the policy does not name costs one look-up. A sink takes an encoded event and returns at once; what
becomes of it then is the sink's own affair, so that neither a full disk nor a dead webhook holds a request up, unless
the sink was told to block.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Protocol

ANNOTATIONS: ContextVar[dict[str, str] | None] = ContextVar("kcore.api.audit", default=None)
"""The annotations of the request that this task answers; None where nobody will read them."""


def annotate(key: str, value: str) -> None:
    """Say something in the audit event of the request at hand (``pod-security.kubernetes.io/audit-violations``).

    The first to use a key keeps it, as upstream. Outside of an audited request it does nothing, at the cost of a
    look-up.
    """
    found = ANNOTATIONS.get()
    if found is not None:
        found.setdefault(key, value)


class Sink(Protocol):
    """Where audit events go."""

    def submit(self, event: bytes) -> Awaitable[None] | None:
        """Take one event: an ``audit.k8s.io/v1`` Event in JSON, without a line end. Never raises, never waits.

        A sink that shall hold the request up until the event is safe returns something to await; a full or failing
        sink that does not block drops the event and counts it.
        """
