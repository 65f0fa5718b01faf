"""Admission by policies: rules in CEL that the cluster keeps as objects, evaluated here without leaving the process.

A ValidatingAdmissionPolicy or MutatingAdmissionPolicy says what holds, its bindings say where and with which
parameters. All are followed through the watch cache; expressions are compiled when a request first meets them, and the
language is loaded then.
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
    "MutatingAdmissionPolicy": ("mutating", "Policies that may change what is written"),
    "ValidatingAdmissionPolicy": ("validating", "Policies that may refuse what is written"),
}


@hookimpl
def kcore_admission() -> Iterable[Provider[Admission]]:
    return [Provider(name, _opener(name, module), help=help) for name, (module, help) in PLUGINS.items()]


def _opener(name: str, module: str) -> Callable[[Context, NoConfig], AbstractAsyncContextManager[Admission]]:
    @asynccontextmanager
    async def open_plugin(context: Context, config: NoConfig) -> AsyncIterator[Admission]:
        plugin: Any = getattr(import_module(f"kcore_admission_policies.{module}"), name)
        yield plugin(context.part("api").server)

    return open_plugin
