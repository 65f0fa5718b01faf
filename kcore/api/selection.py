"""Which objects a list or a watch is about: a namespace, a label selector and a field selector, compiled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import attrs
import trio

from kcore import errors
from kcore.api import names
from kcore.api.cache import Cache, Entry, Watcher
from kcore.api.fields import show
from kcore.api.served import Served
from kcore.objects import selectors
from kcore.objects.selectors import EVERYTHING, Selector

_NUMBER = re.compile(r"[-+]?[0-9]{1,18}").fullmatch
_FieldTest = tuple[str, Callable[[Entry], str], bool, str]  # field, how to read it, wanted equal, value

_MANY = 5_000  # objects
_BREATH = 200  # of them: a few milliseconds


@attrs.frozen(slots=True)
class Selection:
    """Compiled once for each request. `matches` is on the path of every event to every watcher: it is kept short."""

    cache: Cache
    namespace: str = ""
    labels: Selector = EVERYTHING
    fields: tuple[_FieldTest, ...] = ()
    everything: bool = False  # nothing is left out, not even by namespace
    indexed: bool = True  # fields can be read at any time: nothing has to be converted by a webhook before

    @staticmethod
    def parse(served: Served, namespace: str, label_selector: str = "", field_selector: str = "") -> Selection:
        """Raises BadRequest for a selector that cannot be understood or a field that is not selectable."""
        labels = EVERYTHING
        if label_selector:
            labels = selectors.parse(label_selector)
            _check(labels)
        tests: list[_FieldTest] = []
        if field_selector:
            for field, op, value in selectors.parse_fields(field_selector):
                tests.append((field, served.extractor(field), op == "=", value))
        everything = not namespace and not tests and labels.everything
        return Selection(served.cache, namespace, labels, tuple(tests), everything, not served.remote)

    @property
    def narrows(self) -> bool:
        """There is a selector: remaining items cannot be counted."""
        return bool(self.fields) or not self.labels.everything

    def matches(self, entry: Entry) -> bool:
        if self.everything:
            return True
        if self.namespace and entry.namespace != self.namespace:
            return False
        for _, extract, equal, value in self.fields:
            if (extract(entry) == value) is not equal:
                return False
        return self.labels.everything or self.labels.matches(entry.labels)

    async def prepare(self) -> None:
        """Read what `entries` will look at first: an index over very many objects is not made in one breath."""
        cache = self.cache
        if len(cache.entries) < _MANY or not self.narrows or cache.indexed([f for f, *_ in self.fields], self.labels):
            return
        labelled = not self.labels.everything
        for at, entry in enumerate(list(cache.entries.values())):
            for _, extract, _, _ in self.fields:
                extract(entry)
            if labelled:
                entry.labels  # noqa: B018  # it remembers them
            if not at % _BREATH:
                await trio.lowlevel.checkpoint()

    def entries(self) -> Iterable[Entry]:
        """The current entries, in order, found by the narrowest index there is."""
        cache = self.cache
        for field, extract, equal, value in self.fields:
            if not equal:
                continue
            if field == "metadata.name":
                return self._named(value)
            if field == "metadata.namespace":
                if not self.namespace:
                    return [e for path in cache.paths(value) if self.matches(e := cache.entries[path])]
                continue
            if self.indexed:
                return [e for e in cache.with_field(field, value, extract) if self.matches(e)]
        for requirement in self.labels.requirements:
            if requirement.op == "in" and len(requirement.values) == 1:
                (value,) = requirement.values
                return [e for e in cache.with_label(requirement.key, value) if self.matches(e)]
        entries = cache.entries
        if self.narrows:
            return [e for path in cache.paths(self.namespace) if self.matches(e := entries[path])]
        return [entries[path] for path in cache.paths(self.namespace)]

    def candidates(self) -> list[Entry]:
        """The current entries that may match, as far as that can be told without reading their fields."""
        entries = self.cache.entries
        return [entries[path] for path in self.cache.paths(self.namespace)]

    def _named(self, name: str) -> list[Entry]:
        cache = self.cache
        namespaces = [self.namespace] if self.namespace else ["", *sorted(cache.namespaces)]
        found = [cache.get(namespace, name) for namespace in namespaces]
        return [e for e in found if e is not None and self.matches(e)]

    def watcher(self) -> Watcher:
        """A watcher that is told as little more than what this selects as the cache's indexes allow."""
        for field, extract, equal, value in self.fields:
            if equal and field in ("metadata.name", "metadata.namespace"):
                return self.cache.watch(field, value)
            if equal and self.indexed:
                return self.cache.watch(field, value, extract)
        if self.namespace:
            return self.cache.watch("metadata.namespace", self.namespace)
        return self.cache.watch()


def _check(labels: Selector) -> None:
    """Keys and values must be such as labels can have. Raises BadRequest."""
    for requirement in labels.requirements:
        for why in names.qualified_name(requirement.key):
            raise errors.BadRequest(
                f"unable to parse requirement: <nil>: Invalid value: {show(requirement.key)}: {why}"
            )
        for at, value in enumerate(sorted(requirement.values)):
            for why in names.label_value(value):
                where = f"values[{at}][{requirement.key}]"
                raise errors.BadRequest(f"unable to parse requirement: {where}: Invalid value: {show(value)}: {why}")
            if requirement.op in ("gt", "lt") and not _NUMBER(value):
                raise errors.BadRequest(
                    f"unable to parse requirement: values[{at}]: Invalid value: {show(value)}: "
                    "for 'Gt', 'Lt' operators, the value must be an integer"
                )
