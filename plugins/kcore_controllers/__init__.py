"""The control loops of kube-controller-manager, and the part that runs them over one shared set of informers."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import attrs

from kcore import Context, Provider, hookimpl

if TYPE_CHECKING:
    from kcore.controller import Controller
    from kcore_controllers.manager import Manager


@attrs.frozen
class ManagerConfig:
    """Settings of the controller manager."""

    controllers: list[str] = attrs.Factory(lambda: ["*"])
    """Which to run: ``*`` for all of this package, ``name``, and ``-name`` to leave one out."""
    workers: int = attrs.field(default=5, validator=attrs.validators.gt(0))
    """How many objects each controller works on at once."""
    leader_elect: bool = False
    """Compete for the Lease kube-system/kube-controller-manager and work only while holding it."""
    settings: dict[str, dict[str, Any]] = attrs.Factory(dict)
    """Settings of single controllers, by name: ``settings.nodelifecycle.grace_period = 40.0``."""


def _open(context: Context, config: ManagerConfig) -> AbstractAsyncContextManager[Manager]:
    from kcore_controllers.manager import open_manager

    return open_manager(context, config)


@hookimpl
def kcore_controller_manager() -> Iterable[Provider[Any]]:
    return [Provider("default", _open, ManagerConfig, help="All controllers, over shared informers")]


@hookimpl
def kcore_controller() -> Iterable[Provider[Controller]]:
    from kcore_controllers.catalogue import providers

    return providers()
