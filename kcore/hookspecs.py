"""Every seam of kcore, on one page.

A plugin is a module that implements some of these hooks and has an entry point in the group ``kcore`` named
``<seam>-<name>`` (``store-sqlite = "kcore_store_sqlite"``). Only plugins that the config names are imported. Each hook
returns what the plugin offers; the config chooses among the offers by name.

    from kcore import Provider, hookimpl

    @hookimpl
    def kcore_store():
        return [Provider("redis", open_redis, RedisConfig, help="State in a Redis server")]

Slots hold one part at a time and can be swapped while the cluster runs; lists hold as many as the config names.
Hot paths call the opened parts, never a hook. `docs/plugins.md` has an example of every hook.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from kcore.api.admission import Admission
    from kcore.api.audit import Sink
    from kcore.api.auth import Authenticator, Authorizer
    from kcore.api.kinds import Definitions, Kind
    from kcore.api.routes import Routes
    from kcore.controller import Controller
    from kcore.dns import Dns
    from kcore.metrics import MetricsPart
    from kcore.proxy import Proxy
    from kcore.registry import Provider
    from kcore.runtime import Runtime
    from kcore.scheduler.policy import Policy
    from kcore.store import Store

hookspec = pluggy.HookspecMarker("kcore")
hookimpl = pluggy.HookimplMarker("kcore")

# --- slots: one part at a time, swappable in a running cluster ------------------------------------------------------


@hookspec
def kcore_store() -> Iterable[Provider[Store]]:
    """Where the state lives (etcd). Contract: `kcore.store.Store`; suite: `kcore.testing.store`."""
    return ()


@hookspec
def kcore_api() -> Iterable[Provider[Any]]:
    """A front end of the API machinery, and the way to it in this process (kube-apiserver)."""
    return ()


@hookspec
def kcore_scheduler() -> Iterable[Provider[Any]]:
    """What gives pods their nodes (kube-scheduler). The default one runs the policies of the config."""
    return ()


@hookspec
def kcore_controller_manager() -> Iterable[Provider[Any]]:
    """What runs the controllers (kube-controller-manager)."""
    return ()


@hookspec
def kcore_nodes() -> Iterable[Provider[Any]]:
    """The nodes of this process (kubelet), each with a runtime of its own."""
    return ()


@hookspec
def kcore_runtime() -> Iterable[Provider[Runtime]]:
    """What runs containers on a node (CRI). Contract: `kcore.runtime.Runtime`; suite: `kcore.testing.runtime`."""
    return ()


@hookspec
def kcore_proxy() -> Iterable[Provider[Proxy]]:
    """What makes service addresses answer (kube-proxy). Contract: `kcore.proxy.Proxy`."""
    return ()


@hookspec
def kcore_dns() -> Iterable[Provider[Dns]]:
    """What answers the cluster's names (CoreDNS). Contract: `kcore.dns.Dns`; suite: `kcore.testing.dns`."""
    return ()


@hookspec
def kcore_metrics() -> Iterable[Provider[MetricsPart]]:
    """How measurements leave the process (Prometheus exposition, resource metrics)."""
    return ()


# --- lists: as many as the config names ------------------------------------------------------------------------------


@hookspec
def kcore_kinds() -> Iterable[Kind]:
    """Kinds that the API serves. Called once when the API opens; a kind is a `kcore.api.kinds.Kind`."""
    return ()


@hookspec
def kcore_definitions() -> Iterable[Definitions]:
    """JSON Schemas of built-in kinds for the OpenAPI documents, by a plugin that offers kinds; the first is asked."""
    return ()


@hookspec
def kcore_authenticator() -> Iterable[Provider[Authenticator]]:
    """Ways to find out who is asking."""
    return ()


@hookspec
def kcore_authorizer() -> Iterable[Provider[Authorizer]]:
    """Ways to decide whether they may."""
    return ()


@hookspec
def kcore_admission() -> Iterable[Provider[Admission]]:
    """What may change or refuse a write between decoding and the store."""
    return ()


@hookspec
def kcore_audit() -> Iterable[Provider[Sink]]:
    """Where audit events go: a file, a webhook. Contract: `kcore.api.audit.Sink`."""
    return ()


@hookspec
def kcore_route() -> Iterable[Provider[Routes]]:
    """Requests that the store does not answer: logs, exec, reviews, metrics. Contract: `kcore.api.routes`."""
    return ()


@hookspec
def kcore_extension() -> Iterable[Provider[Any]]:
    """What changes the API while it serves: custom resources, aggregated APIs. Opened in the API, after the routes."""
    return ()


@hookspec
def kcore_policy() -> Iterable[Provider[Policy]]:
    """Scheduling policies: filters and scores over all nodes at once. Suite: `kcore.testing.policy`."""
    return ()


@hookspec
def kcore_controller() -> Iterable[Provider[Controller]]:
    """Control loops, one per name."""
    return ()


@hookspec
def kcore_command() -> Iterable[Any]:
    """Commands for the ``kcore`` program: `kcore.cli.Command` objects."""
    return ()
