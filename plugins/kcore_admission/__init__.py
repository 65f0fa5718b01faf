"""The admission plugins that every cluster has, each under its upstream name.

They do what Kubernetes users take for defaults but what needs a look at other objects: the token volume of a pod's
service account, priorities, limits, the default storage class. The config lists the ones to use, in order; `DEFAULTS`
is upstream's order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import Any

from kcore.api.admission import Admission
from kcore.hookspecs import hookimpl
from kcore.registry import Context, NoConfig, Provider

# name: (module, one line of help)
PLUGINS = {
    "NamespaceLifecycle": ("namespaces", "Nothing is created in a namespace that is missing or going away"),
    "LimitRanger": ("limits", "Requests and limits as the namespace's LimitRanges say"),
    "ServiceAccount": ("accounts", "Pods run as a service account and get its token"),
    "TaintNodesByCondition": ("nodes", "A new node takes no pods before it is ready"),
    "PodSecurity": ("podsecurity", "Pods keep to the Pod Security Standard that their namespace's labels name"),
    "Priority": ("priority", "Pods get the number behind their priority class"),
    "DefaultTolerationSeconds": ("nodes", "Pods stay five minutes on a node that does not answer"),
    "DefaultStorageClass": ("storage", "Claims that name no storage class get the default one"),
    "StorageObjectInUseProtection": ("storage", "Claims and volumes in use are not deleted"),
    "RuntimeClass": ("runtimes", "Pods get overhead and node selector of their runtime class"),
    "CertificateRequester": ("certificates", "Certificate requests say who asked"),
    "CertificateSubjectRestriction": ("certificates", "Nobody becomes system:masters by a certificate request"),
    "DefaultIngressClass": ("storage", "Ingresses that name no class get the default one"),
    "ResourceQuota": ("quota", "A namespace uses no more than its ResourceQuotas allow"),
    "AlwaysPullImages": ("accounts", "Every image is pulled anew, so that its pull secret is checked"),
}
DEFAULTS = tuple(name for name in PLUGINS if name != "AlwaysPullImages")


@hookimpl
def kcore_admission() -> Iterable[Provider[Admission]]:
    return [Provider(name, _opener(name, module), help=help) for name, (module, help) in PLUGINS.items()]


def _opener(name: str, module: str) -> Callable[[Context, NoConfig], AbstractAsyncContextManager[Admission]]:
    """Opens the class of that name; its module is imported only then."""

    @asynccontextmanager
    async def open_plugin(context: Context, config: NoConfig) -> AsyncIterator[Admission]:
        plugin: Any = getattr(import_module(f"kcore_admission.{module}"), name)
        async with plugin.open(context) as opened:
            yield opened

    return open_plugin
