"""Admission by webhooks: servers outside of the cluster that may change or refuse a write.

MutatingWebhookConfigurations and ValidatingWebhookConfigurations say who is asked about what; both are followed
through the watch cache and compiled when they change. Without any, a request pays one comparison.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any

from kcore.api.admission import Admission
from kcore.hookspecs import hookimpl
from kcore.registry import Context, NoConfig, Provider

PLUGINS = {
    "MutatingAdmissionWebhook": ("mutating", "Webhooks that may change what is written"),
    "ValidatingAdmissionWebhook": ("validating", "Webhooks that may refuse what is written"),
}


@hookimpl
def kcore_admission() -> Iterable[Provider[Admission]]:
    return [Provider(name, _opener(name, module), help=help) for name, (module, help) in PLUGINS.items()]


def _opener(name: str, module: str) -> Callable[[Context, NoConfig], AbstractAsyncContextManager[Admission]]:
    @asynccontextmanager
    async def open_plugin(context: Context, config: NoConfig) -> AsyncIterator[Admission]:
        plugin: Any = getattr(import_module(f"kcore_webhooks.{module}"), name)
        yield plugin(context.part("api").server)

    return open_plugin
