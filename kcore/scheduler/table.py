"""`NodeTable`: all nodes as columns, one row each, for policies that judge them all at once.

A node keeps its row for as long as it exists; the row of a deleted node is a *hole* until a new node takes it. Every
column has `size` entries, holes included; what a policy answers for a hole is ignored (`alive` tells them apart).

    nodes.allocatable[CPU] - nodes.requested[CPU]      # free millicores, int64, one per row
    nodes.label("topology.kubernetes.io/zone").ids     # the zone of each node as a small number, 0 for none
    nodes.count((term,))                               # how many pods that match the term each node holds

Columns are views that cannot be written. They are good until the next node or pod comes or goes: ask again each time
rather than keeping them. Label, taint and count columns are made when first asked for and kept up to date from then
on. Only the scheduler's cache changes the table, through the methods of the last section.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from kcore.objects import Object
from kcore.scheduler import terms
from kcore.scheduler.arrays import Bools, Ints
from kcore.scheduler.counts import PodCounts, Query
from kcore.scheduler.pods import PodInfo, amount, with_tag
from kcore.scheduler.terms import AffinityTerm, PodTerm, Taint

CPU, MEMORY, STORAGE, PODS = 0, 1, 2, 3
"""Where the resources that every node has stand in `allocatable` and `requested`."""
_FIRST = ("cpu", "memory", "ephemeral-storage", "pods")

ADDED = frozenset(("added",))
NOTHING_NEW: frozenset[str] = frozenset()


@attrs.frozen(slots=True)
class Labels:
    """One label of all nodes. `ids` numbers its values from 1 on, 0 where a node has none of that name."""

    ids: Ints
    values: tuple[str, ...] | list[str]  # by id; values[0] is ""
    _index: dict[str, int]

    def id(self, value: str) -> int:
        """The number of a value; -1 if no node has it."""
        return self._index.get(value, -1)


class _LabelColumn:
    """A label's values by row, interned."""

    def __init__(self, capacity: int) -> None:
        self.ids = np.zeros(capacity, np.int64)
        self.values = [""]
        self.index: dict[str, int] = {}

    def put(self, row: int, value: str | None) -> None:
        if value is None:
            self.ids[row] = 0
            return
        found = self.index.get(value)
        if found is None:
            found = self.index[value] = len(self.values)
            self.values.append(value)
        self.ids[row] = found


class NodeTable:
    """See the module."""

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self.resources: dict[str, int] = {name: i for i, name in enumerate(_FIRST)}
        """The index of each resource in `allocatable` and `requested`."""
        self.rows: dict[str, int] = {}
        """The row of each node, by name."""
        self.names: list[str] = []
        """By row; "" for a hole."""
        self.objects: list[Object | None] = []
        """The Node objects by row; None for a hole."""
        self.size = 0
        """Rows in use, holes included: the length of every column."""
        self.version = 0
        """Grows whenever a node comes, goes, or changes in labels, taints or schedulability."""
        self._free: list[int] = []
        self._alive = np.zeros(capacity, np.bool_)
        self._unschedulable = np.zeros(capacity, np.bool_)
        self._taint_ids = np.zeros(capacity, np.int64)
        self._allocatable = np.zeros((len(_FIRST), capacity), np.int64)
        self._requested = np.zeros((len(_FIRST), capacity), np.int64)
        self._assumed = np.zeros((2, capacity), np.int64)
        self.taint_sets: list[tuple[Taint, ...]] = [()]
        """The distinct sets of taints, by the numbers in `taint_ids`."""
        self._taint_index: dict[tuple[Taint, ...], int] = {(): 0}
        self._labels: dict[str, _LabelColumn] = {}
        self._counts = PodCounts(capacity)
        self._pods: dict[str, tuple[PodInfo, str]] = {}
        self._by_node: dict[str, dict[str, PodInfo]] = {}
        self._by_namespace: dict[str, dict[str, PodInfo]] = {}
        self._priorities: dict[int, int] = {}
        self._ports: dict[tuple[str, int], dict[str, list[str]]] = {}
        self._images: dict[str, dict[int, int]] = {}
        self._refresh()

    def __len__(self) -> int:
        """How many nodes there are (without holes)."""
        return len(self.rows)

    # --- columns ----------------------------------------------------------------------------------------------------

    alive: Bools
    """False for holes."""
    unschedulable: Bools
    """``spec.unschedulable``: the node is cordoned."""
    taint_ids: Ints
    """Which of `taint_sets` each node has; 0 for none."""
    allocatable: Ints
    """[resource, row]: millicores of cpu, whole units of everything else."""
    requested: Ints
    """[resource, row]: the sum of what the node's pods ask for, assumed ones included."""
    assumed: Ints
    """[cpu or memory, row]: the same with defaults for containers that ask for nothing: for scores."""

    def label(self, key: str) -> Labels:
        """The values of a label on all nodes."""
        column = self._labels.get(key)
        if column is None or len(column.values) > 2 * self.size + 64:  # too many values that nobody has any more
            column = self._labels[key] = _LabelColumn(self._capacity)
            for name, row in self.rows.items():
                column.put(row, _labels(self._object(name)).get(key))
        return Labels(_view(column.ids, self.size), column.values, column.index)

    def count(self, pods: tuple[PodTerm, ...], *, living: bool = False) -> Ints:
        """How many pods that match all of the terms each node holds; with `living` without those being deleted."""
        query = Query(pods, living)
        column = self._counts.get(query)
        if column is None:
            column = self._counts.start(query, self._placed(query))
        return _view(column, self.size)

    def carried(self, kind: str, pod: PodInfo) -> list[tuple[AffinityTerm, Ints]]:
        """The pod affinity terms that pods on the nodes carry and that mean `pod`: (term, carriers on each node).

        `kind` is "affinity" or "anti-affinity" (required ones) or "preferred" (weights negative for anti-affinity).
        """
        return [(term, _view(column, self.size)) for term, column in self._counts.carried(kind, pod)]

    def vector(self, pod: PodInfo) -> Ints:
        """The pod's requests in the order of `resources`."""
        known: Ints | None = pod.columns
        if known is None or len(known) != len(self.resources):
            for name in pod.requests.keys() - self.resources.keys():
                self._add_resource(name)
            known = np.zeros(len(self.resources), np.int64)
            for name, n in pod.requests.items():
                known[self.resources[name]] = n
            pod.columns = known
        return known

    def port_users(self, protocol: str, port: int) -> Iterator[tuple[int, str]]:
        """(row, host address) of every pod that has this host port."""
        for node, addresses in self._ports.get((protocol, port), {}).items():
            row = self.rows.get(node)
            if row is not None:
                for address in addresses:
                    yield row, address

    def image(self, name: str) -> Mapping[int, int]:
        """The nodes that hold an image (with its tag): row -> its size in bytes."""
        return self._images.get(name, {})

    def pods_on(self, node: str) -> Iterable[PodInfo]:
        return self._by_node.get(node, {}).values()

    def node_of(self, key: str) -> str:
        """The node that a pod (``namespace/name``) is placed on; "" for none."""
        found = self._pods.get(key)
        return found[1] if found else ""

    @property
    def lowest_priority(self) -> int:
        """Of all pods on nodes."""
        return min(self._priorities, default=0)

    @property
    def namespaces(self) -> Mapping[str, Mapping[str, str]]:
        """The labels of each namespace."""
        return self._counts.namespaces

    # --- for the scheduler's cache ----------------------------------------------------------------------------------

    def set_node(self, node: Object) -> frozenset[str]:
        """Add or update; say what changed: "added", "allocatable", "labels", "taints", "unschedulable"."""
        name = node["metadata"]["name"]
        row = self.rows.get(name)
        if row is None:
            row = self._new_row(name)
            changed = ADDED
        else:
            changed = _changes(self._object(name), node)
        old, self.objects[row] = self.objects[row], node
        if _images(old) != _images(node):
            self._drop_images(row, old)
            self._put_images(row, node)
        if changed:
            self._write(row, node)
            self.version += 1
        if changed is ADDED:
            for pod in self._by_node.get(name, {}).values():
                self._account(pod, row, 1)
        return changed

    def remove_node(self, name: str) -> bool:
        """Its pods stay known: should a node of that name come back, they count again."""
        row = self.rows.pop(name, None)
        if row is None:
            return False
        self._drop_images(row, self.objects[row])
        self.names[row], self.objects[row] = "", None
        self._alive[row] = self._unschedulable[row] = False
        self._taint_ids[row] = 0
        self._allocatable[:, row] = 0
        self._requested[:, row] = 0
        self._assumed[:, row] = 0
        for column in self._labels.values():
            column.put(row, None)
        self._counts.clear_row(row)
        self._free.append(row)
        self.version += 1
        return True

    def add_pod(self, pod: PodInfo, node: str) -> None:
        """Place a pod, in place of what was known under its key."""
        self.remove_pod(pod.key)
        self._pods[pod.key] = (pod, node)
        self._by_node.setdefault(node, {})[pod.key] = pod
        self._by_namespace.setdefault(pod.namespace, {})[pod.key] = pod
        self._priorities[pod.priority] = self._priorities.get(pod.priority, 0) + 1
        for protocol, port, address in pod.host_ports:
            self._ports.setdefault((protocol, port), {}).setdefault(node, []).append(address)
        row = self.rows.get(node)
        if row is not None:
            self._account(pod, row, 1)

    def remove_pod(self, key: str) -> PodInfo | None:
        found = self._pods.pop(key, None)
        if found is None:
            return None
        pod, node = found
        _discard(self._by_node, node, key)
        _discard(self._by_namespace, pod.namespace, key)
        self._priorities[pod.priority] -= 1
        if not self._priorities[pod.priority]:
            del self._priorities[pod.priority]
        for protocol, port, address in pod.host_ports:
            users = self._ports[protocol, port]
            users[node].remove(address)
            if not users[node]:
                del users[node]
            if not users:
                del self._ports[protocol, port]
        row = self.rows.get(node)
        if row is not None:
            self._account(pod, row, -1)
        return pod

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> None:
        """The labels of a namespace; None when it has gone."""
        self._counts.set_namespace(name, labels)

    # --- within -----------------------------------------------------------------------------------------------------

    def _object(self, name: str) -> Object:
        found = self.objects[self.rows[name]]
        assert found is not None
        return found

    def _account(self, pod: PodInfo, row: int, by: int) -> None:
        vector = self.vector(pod)
        cpu, memory = pod.assumed
        self._requested[:, row] += by * vector
        self._assumed[0, row] += by * cpu
        self._assumed[1, row] += by * memory
        self._counts.change(pod, row, by)

    def _placed(self, query: Query) -> Iterator[tuple[PodInfo, int]]:
        first = query.terms[0]
        names: Iterable[str] = first.namespaces if first.namespace_selector.nothing else list(self._by_namespace)
        for namespace in names:
            for key, pod in self._by_namespace.get(namespace, {}).items():
                row = self.rows.get(self._pods[key][1])
                if row is not None:
                    yield pod, row

    def _new_row(self, name: str) -> int:
        if self._free:
            row = self._free.pop()
            self.names[row] = name
        else:
            row = self.size
            if row == self._capacity:
                self._grow(2 * self._capacity)
            self.size += 1
            self.names.append(name)
            self.objects.append(None)
            self._refresh()
        self.rows[name] = row
        self._alive[row] = True
        return row

    def _write(self, row: int, node: Object) -> None:
        self._unschedulable[row] = bool(node.get("spec", {}).get("unschedulable"))
        found = terms.taints(node)
        taint_id = self._taint_index.get(found)
        if taint_id is None:
            taint_id = self._taint_index[found] = len(self.taint_sets)
            self.taint_sets.append(found)
        self._taint_ids[row] = taint_id
        amounts = _allocatable(node)
        for name in amounts.keys() - self.resources.keys():
            self._add_resource(name)
        self._allocatable[:, row] = 0
        for name, text in amounts.items():
            self._allocatable[self.resources[name], row] = amount(name, text)
        labels = _labels(node)
        for key, column in self._labels.items():
            column.put(row, labels.get(key))

    def _put_images(self, row: int, node: Object) -> None:
        for image in _images(node):
            for name in image.get("names") or ():
                self._images.setdefault(with_tag(name), {})[row] = int(image.get("sizeBytes") or 0)

    def _drop_images(self, row: int, node: Object | None) -> None:
        for image in _images(node):
            for name in image.get("names") or ():
                holders = self._images.get(with_tag(name))
                if holders is not None:
                    holders.pop(row, None)
                    if not holders:
                        del self._images[with_tag(name)]

    def _add_resource(self, name: str) -> None:
        self.resources[name] = len(self.resources)
        blank = np.zeros((1, self._capacity), np.int64)
        self._allocatable = np.vstack((self._allocatable, blank))
        self._requested = np.vstack((self._requested, blank))
        self._refresh()

    def _grow(self, capacity: int) -> None:
        more = capacity - self._capacity
        self._capacity = capacity
        self._alive = np.pad(self._alive, (0, more))
        self._unschedulable = np.pad(self._unschedulable, (0, more))
        self._taint_ids = np.pad(self._taint_ids, (0, more))
        self._allocatable = np.pad(self._allocatable, ((0, 0), (0, more)))
        self._requested = np.pad(self._requested, ((0, 0), (0, more)))
        self._assumed = np.pad(self._assumed, ((0, 0), (0, more)))
        for column in self._labels.values():
            column.ids = np.pad(column.ids, (0, more))
        self._counts.grow(capacity)

    def _refresh(self) -> None:
        n = self.size
        self.alive = _view(self._alive, n)
        self.unschedulable = _view(self._unschedulable, n)
        self.taint_ids = _view(self._taint_ids, n)
        self.allocatable = _view(self._allocatable, n)
        self.requested = _view(self._requested, n)
        self.assumed = _view(self._assumed, n)


def _view(column: NDArray[Any], size: int) -> NDArray[Any]:
    view = column[..., :size]
    view.flags.writeable = False
    return view


def _labels(node: Object) -> Mapping[str, str]:
    return node["metadata"].get("labels") or {}


def _images(node: Object | None) -> list[Object]:
    return (node or {}).get("status", {}).get("images") or []


def _allocatable(node: Object) -> Mapping[str, Any]:
    status = node.get("status", {})
    return status.get("allocatable") or status.get("capacity") or {}


def _changes(old: Object, new: Object) -> frozenset[str]:
    """What differs of what scheduling reads; heartbeats and conditions do not."""
    out = set()
    if _allocatable(old) != _allocatable(new):
        out.add("allocatable")
    if _labels(old) != _labels(new):
        out.add("labels")
    a, b = old.get("spec", {}), new.get("spec", {})
    if (a.get("taints") or []) != (b.get("taints") or []):
        out.add("taints")
    if bool(a.get("unschedulable")) != bool(b.get("unschedulable")):
        out.add("unschedulable")
    return frozenset(out) if out else NOTHING_NEW


def _discard(groups: dict[str, dict[str, PodInfo]], name: str, key: str) -> None:
    group = groups[name]
    del group[key]
    if not group:
        del groups[name]
