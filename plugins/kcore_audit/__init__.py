"""Where audit events go: a log file that turns over, standard output, a webhook (kube-apiserver's audit backends).

    [api]
    audit = ["log"]
    audit_policy = "/etc/kubernetes/audit-policy.yaml"

    [api.settings.log]
    path = "/var/log/kubernetes/audit.log"

Both backends keep a bounded queue. In mode ``batch`` a request never waits for them: what does not fit is dropped and
counted (``apiserver_audit_error_total``). In mode ``blocking`` a request waits until its event has been written; the
event of a write that fails is lost and counted all the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs

from kcore.api.audit import Sink
from kcore.hookspecs import hookimpl
from kcore.registry import Context, Provider

_MODE = attrs.validators.in_(("batch", "blocking"))
_POSITIVE: Any = attrs.validators.gt(0)
_NATURAL: Any = attrs.validators.ge(0)


@attrs.frozen
class LogConfig:
    """``[api.settings.log]``"""

    path: str = "audit.log"
    """The file, relative to the data directory; ``-`` for standard output."""
    mode: str = attrs.field(default="batch", validator=_MODE)
    """``batch``: requests never wait for the disk. ``blocking``: each waits until its event is in the file."""
    max_size: int = attrs.field(default=100, validator=_NATURAL)
    """Megabytes after which a new file is begun; 0: never."""
    max_age: int = attrs.field(default=0, validator=_NATURAL)
    """Days after which old files are removed; 0: never."""
    max_backups: int = attrs.field(default=10, validator=_NATURAL)
    """How many old files are kept; 0: all."""
    compress: bool = False
    """Whether old files are compressed with gzip."""
    queue_bytes: int = attrs.field(default=16 << 20, validator=_POSITIVE)
    """What may wait to be written; beyond it events are dropped."""


@attrs.frozen
class WebhookConfig:
    """``[api.settings.audit-webhook]``; the defaults are kube-apiserver's."""

    kubeconfig: str = ""
    """The file that says where to post, whom to trust and as whom: required."""
    mode: str = attrs.field(default="batch", validator=_MODE)
    """``batch``: requests never wait. ``blocking``: each waits until its event has been taken."""
    batch_max_size: int = attrs.field(default=400, validator=_POSITIVE)
    """Events in one call."""
    batch_max_wait: float = attrs.field(default=30.0, validator=_POSITIVE)
    """Seconds after which a batch that is not full is sent."""
    queue_bytes: int = attrs.field(default=16 << 20, validator=_POSITIVE)
    """What may wait to be sent; beyond it events are dropped."""
    throttle_qps: float = attrs.field(default=10.0, validator=_POSITIVE)
    """Calls a second on average."""
    throttle_burst: int = attrs.field(default=15, validator=_POSITIVE)
    """Calls at once after a pause."""
    initial_backoff: float = attrs.field(default=10.0, validator=_POSITIVE)
    """Seconds before the second attempt of a call; every next pause is half as long again, four attempts in all."""
    timeout: float = attrs.field(default=30.0, validator=_POSITIVE)
    """Seconds that one call may take."""


@asynccontextmanager
async def _open_log(context: Context, config: LogConfig) -> AsyncIterator[Sink]:
    from .logfile import open_log

    async with open_log(context, config) as sink:
        yield sink


@asynccontextmanager
async def _open_webhook(context: Context, config: WebhookConfig) -> AsyncIterator[Sink]:
    from .webhook import open_webhook

    async with open_webhook(context, config) as sink:
        yield sink


@hookimpl
def kcore_audit() -> Iterable[Provider[Sink]]:
    return [
        Provider("log", _open_log, LogConfig, help="Audit events in a file that turns over, or on stdout"),
        Provider("audit-webhook", _open_webhook, WebhookConfig, help="Audit events posted to a server in batches"),
    ]
