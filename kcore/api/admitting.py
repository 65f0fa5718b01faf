"""The admission step: every plugin that cares about a write, in order; what each takes is measured.

Which plugins care is mostly a matter of what is written: it is found out once for each operation, kind and
subresource, and only plugins that look at more than that (`Admission.steady` is False) are asked every time.
"""

from __future__ import annotations

import time
from typing import NamedTuple
from weakref import WeakKeyDictionary

from kcore.api.admission import Admission, AdmissionRequest
from kcore.api.admission_metrics import AdmissionMetrics
from kcore.api.kinds import Kind


class _Link(NamedTuple):
    """A plugin as the step uses it."""

    plugin: Admission
    steady: bool
    admits: bool
    validates: bool


class Admitting:
    """`plugins` is in the order in which they run, and may be added to until the first write."""

    def __init__(self, plugins: list[Admission], observed: AdmissionMetrics) -> None:
        self._plugins, self._observed = plugins, observed
        self._links: WeakKeyDictionary[Kind, dict[tuple[str, str], list[_Link]]] = WeakKeyDictionary()
        self._count = 0

    async def admit(self, request: AdmissionRequest) -> list[Admission]:
        """Let every plugin change the object; return those that want to see it once more."""
        began, rejected = time.perf_counter(), "true"
        try:
            validating = await self._admit(request)
            while request.next_round():
                validating = await self._admit(request)
            rejected = "false"
        finally:
            self._observed.step.observe(time.perf_counter() - began, "admit", request.operation, rejected)
        return validating

    async def _admit(self, request: AdmissionRequest) -> list[Admission]:
        observe, operation = self._observed.controller.observe, request.operation
        validating = []
        links = [link for link in self._concerned(request) if link.steady or link.plugin.handles(request)]
        for plugin, _, admits, validates in links:
            if validates:
                validating.append(plugin)
            if not admits:
                continue
            began, rejected = time.perf_counter(), "true"
            try:
                await plugin.admit(request)
                rejected = "false"
            finally:
                observe(time.perf_counter() - began, plugin.name, "admit", operation, rejected)
        return validating

    async def validate(self, request: AdmissionRequest, plugins: list[Admission]) -> None:
        """`plugins` are what `admit` has returned."""
        observe, operation = self._observed.controller.observe, request.operation
        start, refused = time.perf_counter(), "true"
        try:
            for plugin in plugins:
                began, rejected = time.perf_counter(), "true"
                try:
                    await plugin.validate(request)
                    rejected = "false"
                finally:
                    observe(time.perf_counter() - began, plugin.name, "validate", operation, rejected)
            refused = "false"
        finally:
            self._observed.step.observe(time.perf_counter() - start, "validate", operation, refused)

    def _concerned(self, request: AdmissionRequest) -> list[_Link]:
        """All but those that have said that they do not care about such a write."""
        if len(self._plugins) != self._count:
            self._links, self._count = WeakKeyDictionary(), len(self._plugins)
        known = self._links.get(request.kind)
        if known is None:
            known = self._links[request.kind] = {}
        key = (request.operation, request.subresource)
        found = known.get(key)
        if found is None:
            found = known[key] = [
                _link(plugin) for plugin in self._plugins if not plugin.steady or plugin.handles(request)
            ]
        return found


def _link(plugin: Admission) -> _Link:
    kind = type(plugin)
    admits, validates = kind.admit is not Admission.admit, kind.validate is not Admission.validate
    return _Link(plugin, plugin.steady, admits, validates)
