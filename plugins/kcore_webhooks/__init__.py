"""Admission by webhooks: servers outside of the cluster that may change or refuse a write.

MutatingWebhookConfigurations and ValidatingWebhookConfigurations say who is asked about what; both are followed
through the watch cache and compiled when they change. Without any, a request pays one comparison.
"""

from __future__ import annotations

from collections.abc import Iterable

from kcore.api.admission import Admission
from kcore.hookspecs import hookimpl
from kcore.registry import Provider, lazily

PLUGINS = {
    "MutatingAdmissionWebhook": ("mutating", "Webhooks that may change what is written"),
    "ValidatingAdmissionWebhook": ("validating", "Webhooks that may refuse what is written"),
}


@hookimpl
def kcore_admission() -> Iterable[Provider[Admission]]:
    return [
        Provider(name, lazily(f"kcore_webhooks.{module}:{name}.open"), help=help)
        for name, (module, help) in PLUGINS.items()
    ]
