"""How many pods of a sort each node holds, kept up to date instead of counted.

Affinity and spreading ask "how many pods that match S are there in each domain?" for every pod they place. The first
time a question is asked the pods of its namespaces are counted once; from then on every pod that comes or goes
changes the columns of those questions that it matches, which an index by label finds without looking at the others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

import attrs
import numpy as np

from kcore.scheduler.arrays import Ints
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.terms import AffinityTerm, PodTerm

T = TypeVar("T")

LIMIT = 4096
"""Questions remembered; the one asked least recently is forgotten first."""


@attrs.frozen(slots=True, cache_hash=True)
class Query:
    """Pods that match all of `terms`; with `living`, only those that are not being deleted."""

    terms: tuple[PodTerm, ...]
    living: bool = False

    def matches(self, pod: PodInfo, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        if self.living and pod.deleting:
            return False
        for term in self.terms:
            if not term.matches(pod.namespace, pod.labels, namespaces):
                return False
        return True


class SelectorIndex(Generic[T]):
    """Things by the selector that they carry: which of them may match a set of labels?"""

    def __init__(self) -> None:
        self._by_label: dict[tuple[str, str], dict[T, None]] = {}
        self._others: dict[T, None] = {}

    def add(self, thing: T, term: PodTerm) -> None:
        for bucket in self._buckets(term):
            bucket[thing] = None

    def remove(self, thing: T, term: PodTerm) -> None:
        for bucket in self._buckets(term):
            bucket.pop(thing, None)
        for label in self._labels(term):
            if not self._by_label.get(label, True):
                del self._by_label[label]

    def candidates(self, labels: Mapping[str, str]) -> list[T]:
        """All that match `labels`, and some that do not."""
        out = list(self._others)
        for label in labels.items():
            if found := self._by_label.get(label):
                out.extend(found)
        return out

    def _buckets(self, term: PodTerm) -> Iterator[dict[T, None]]:
        labels = self._labels(term)
        if not labels:
            yield self._others
        for label in labels:
            yield self._by_label.setdefault(label, {})

    @staticmethod
    def _labels(term: PodTerm) -> list[tuple[str, str]]:
        for requirement in term.selector.requirements:
            if requirement.op == "in":
                return [(requirement.key, value) for value in requirement.values]
        return []


@attrs.define(eq=False)
class _Carried:
    """How many pods on each node carry one term."""

    term: AffinityTerm
    column: Ints
    total: int = 0


Placed = Iterable[tuple[PodInfo, int]]
"""Pods with the rows of their nodes."""


class PodCounts:
    """The columns of pod counts of one node table, `capacity` rows each."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._columns: OrderedDict[Query, Ints] = OrderedDict()
        self._queries: SelectorIndex[Query] = SelectorIndex()
        self._carried: dict[tuple[str, AffinityTerm], _Carried] = {}
        self._carriers: dict[str, SelectorIndex[_Carried]] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        """The labels of each namespace."""

    def get(self, query: Query) -> Ints | None:
        """The column of a question that was asked before."""
        column = self._columns.get(query)
        if column is not None:
            self._columns.move_to_end(query)
        return column

    def start(self, query: Query, pods: Placed) -> Ints:
        """Count for the first time; `pods` must hold all that can match."""
        column = np.zeros(self._capacity, np.int64)
        for pod, row in pods:
            if query.matches(pod, self.namespaces):
                column[row] += 1
        self._columns[query] = column
        self._queries.add(query, query.terms[0])
        if len(self._columns) > LIMIT:
            oldest, _ = self._columns.popitem(last=False)
            self._queries.remove(oldest, oldest.terms[0])
        return column

    def carried(self, kind: str, pod: PodInfo) -> list[tuple[AffinityTerm, Ints]]:
        """The terms of pods already placed that mean `pod`, with the number of their carriers on each node."""
        index = self._carriers.get(kind)
        if index is None:
            return []
        return [
            (c.term, c.column)
            for c in index.candidates(pod.labels)
            if c.term.pods.matches(pod.namespace, pod.labels, self.namespaces)
        ]

    def change(self, pod: PodInfo, row: int, by: int) -> None:
        """`pod` has come to the node in `row` (`by` is 1) or left it (-1)."""
        for query in self._queries.candidates(pod.labels):
            if query.matches(pod, self.namespaces):
                self._columns[query][row] += by
        if pod.has_affinity:
            for kind, term in _carries(pod):
                self._carry(kind, term, row, by)

    def clear_row(self, row: int) -> None:
        """The node in `row` has gone, and its pods with it."""
        for column in self._columns.values():
            column[row] = 0
        for key, carried in list(self._carried.items()):
            carried.total -= int(carried.column[row])
            carried.column[row] = 0
            self._drop_if_unused(key, carried)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Questions that select namespaces by label are counted anew when they are asked next."""
        if labels is None:
            self.namespaces.pop(name, None)
        elif self.namespaces.get(name) == labels:
            return
        else:
            self.namespaces[name] = labels
        for query in [q for q in self._columns if any(not t.namespace_selector.nothing for t in q.terms)]:
            del self._columns[query]
            self._queries.remove(query, query.terms[0])

    def grow(self, capacity: int) -> None:
        self._capacity = capacity
        for query, column in self._columns.items():
            self._columns[query] = _grown(column, capacity)
        for carried in self._carried.values():
            carried.column = _grown(carried.column, capacity)

    def _carry(self, kind: str, term: AffinityTerm, row: int, by: int) -> None:
        key = (kind, term)
        carried = self._carried.get(key)
        if carried is None:
            carried = self._carried[key] = _Carried(term, np.zeros(self._capacity, np.int64))
            self._carriers.setdefault(kind, SelectorIndex()).add(carried, term.pods)
        carried.column[row] += by
        carried.total += by
        self._drop_if_unused(key, carried)

    def _drop_if_unused(self, key: tuple[str, AffinityTerm], carried: _Carried) -> None:
        if carried.total == 0:
            del self._carried[key]
            self._carriers[key[0]].remove(carried, carried.term.pods)


def _carries(pod: PodInfo) -> Iterator[tuple[str, AffinityTerm]]:
    for term in pod.affinity:
        yield "affinity", term
    for term in pod.anti_affinity:
        yield "anti-affinity", term
    for term in pod.preferred_affinity:
        yield "preferred", term
    for term in pod.preferred_anti_affinity:
        yield "preferred", term


def _grown(column: Ints, capacity: int) -> Ints:
    out = np.zeros(capacity, np.int64)
    out[: len(column)] = column
    return out
