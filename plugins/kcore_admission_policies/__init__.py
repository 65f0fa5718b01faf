"""Admission by policies: rules in CEL that the cluster keeps as objects, evaluated here without leaving the process.

A ValidatingAdmissionPolicy or MutatingAdmissionPolicy says what holds, its bindings say where and with which
parameters. All are followed through the watch cache; expressions are compiled when a request first meets them, and the
language is loaded then.
"""

from __future__ import annotations

from collections.abc import Iterable

from kcore.api.admission import Admission
from kcore.hookspecs import hookimpl
from kcore.registry import Provider, lazily

PLUGINS = {
    "MutatingAdmissionPolicy": ("mutating", "Policies that may change what is written"),
    "ValidatingAdmissionPolicy": ("validating", "Policies that may refuse what is written"),
}


@hookimpl
def kcore_admission() -> Iterable[Provider[Admission]]:
    return [
        Provider(name, lazily(f"kcore_admission_policies.{module}:{name}.open"), help=help)
        for name, (module, help) in PLUGINS.items()
    ]
