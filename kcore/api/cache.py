"""The watch cache of one stored kind: its current objects, its recent changes, and who is watching them.

The feed (`kcore.api.feed`) applies every change of the store here, in order. An `Entry` is one object at one
revision; it keeps the bytes that are served and decodes them only when somebody needs to look inside, once for
everybody. A `Change` is one event; each of its encoded forms is made once, and the same bytes go to every watcher.

A watcher that does not keep up is cut off (it is told 410 and lists again); nothing here grows without bound.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import attrs
import msgspec
import trio

from kcore.api import layout
from kcore.api.atrest import Sealed, sealed
from kcore.objects import Object
from kcore.objects.selectors import Selector

RING = 4096  # events kept for watches that start in the past
RING_BYTES = 16 << 20  # ... and the most that their objects may take; what is older is in the store's history
_LARGE = 64 << 10  # bytes: of a larger object nothing is kept in other forms once it has been superseded
_RECENT = 256  # of these, the ones that most watches may still want in decoded form
BUFFER = 4096  # events a watcher may be behind; one burst of a big Deployment must fit
BUFFER_BYTES = 64 << 20  # ... and what their objects may take

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"


class _Labels(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Meta(msgspec.Struct):
    metadata: _Labels


_decode_labels = msgspec.json.Decoder(_Meta).decode
_NO_LABELS: dict[str, str] = {}


@attrs.define(slots=True, eq=False)
class Entry:
    """One object as it was at one revision. Immutable but for what it remembers of its own forms.

    Of what is in the store the stored bytes are kept, which the store has as well, and not the served ones: memory
    that is not taken need not be found, and a cluster's objects are most of what its process holds.
    """

    namespace: str
    name: str
    revision: int
    _tail: bytes  # as it was given; empty for what is in the store
    _labels: dict[str, str] | None = None
    forms: dict[Any, Any] = attrs.Factory(dict)  # decoded objects by head, encoded ones by (form, head)
    value: bytes = b""  # the stored bytes, or none

    @classmethod
    def stored(cls, namespace: str, name: str, revision: int, value: bytes) -> Entry:
        """What the store holds at `revision`."""
        return cls(namespace, name, revision, b"", None, {}, value)

    @property
    def tail(self) -> bytes:
        """The served bytes from the metadata on, see `kcore.api.layout`."""
        return self._tail or layout.tail(self.value, self.revision)

    @property
    def size(self) -> int:
        """Bytes that it takes, or a little less."""
        return len(self.value) or len(self._tail)

    @property
    def version(self) -> str:
        """The apiVersion in which it lies in the store."""
        return layout.version(self.value)

    @property
    def json(self) -> bytes:
        """The object in the version in which it is stored, perhaps without its resourceVersion: to look into."""
        return self.value or b"{" + self._tail

    def item(self, before: bytes) -> tuple[bytes | memoryview, bytes | memoryview]:
        """The tail with something before it, for long lists: the value is not copied."""
        return (before, self._tail) if self._tail else layout.tail_pieces(before, self.value, self.revision)

    @property
    def labels(self) -> dict[str, str]:
        if self._labels is None:
            # there are labels in the metadata alone, or none at all: most kinds need no decoding here
            if b'"labels":{' in (self._tail or self.value):
                self._labels = _decode_labels(self.json).metadata.labels or _NO_LABELS
            else:
                self._labels = _NO_LABELS
        return self._labels

    def object(self, head: bytes) -> Object:
        """The decoded object, shared by everybody and read-only, with the apiVersion that `head` says."""
        found = self.forms.get(head)
        if found is None:
            found = self.forms[head] = layout.decode_json(head + self.tail)
        return found  # type: ignore[no-any-return]

    def copy(self, head: bytes) -> Object:
        """The decoded object, for the caller to change. Decoding is several times faster than deepcopy."""
        return layout.decode_json(head + self.tail)  # type: ignore[no-any-return]

    @property
    def path(self) -> str:
        """The end of the object's key, by which lists are ordered."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@attrs.define(slots=True, eq=False)
class Change:
    """One event. For a deletion `entry` is the last state at the deletion's revision."""

    type: str
    revision: int
    entry: Entry
    old: Entry | None
    forms: dict[Any, bytes] = attrs.Factory(dict)  # encoded events, by form

    def gone(self) -> Entry:
        """The state before this change at this change's revision: what a selector's watcher sees vanish."""
        found = self.forms.get("gone")
        if found is None:
            assert self.old is not None
            found = self.forms["gone"] = at_revision(self.old, self.revision)  # type: ignore[assignment]
        return found  # type: ignore[return-value]


def at_revision(entry: Entry, revision: int) -> Entry:
    """The same object as if it had been written at another revision."""
    if entry.value:
        return Entry.stored(entry.namespace, entry.name, revision, entry.value)
    rest = entry.tail
    mark = b'"metadata":{"resourceVersion":"%d",' % entry.revision
    value = b'"metadata":{' + rest[len(mark) :] if rest.startswith(mark) else rest
    return Entry(entry.namespace, entry.name, revision, layout.tail(value, revision))


class Watcher:
    """A bounded buffer between the cache and one watch. Iterated by one task alone."""

    def __init__(self, cache: Cache, trigger: tuple[str, str], limit: int = BUFFER) -> None:
        self._cache, self.trigger, self._limit = cache, trigger, limit
        self._buffer: deque[Change] = deque()
        self._bytes = 0  # pushed since the buffer was last empty
        self._lot = trio.lowlevel.ParkingLot()
        self._woken = False
        self.closed = False  # cut off: it fell behind, or the cache starts again
        self.ended = False  # no change will come any more

    def push(self, change: Change, size: int) -> None:
        """`size`: of its object, in bytes."""
        self._bytes += size
        if len(self._buffer) >= self._limit or self._bytes > BUFFER_BYTES:
            self.close()
            return
        self._buffer.append(change)
        if self._lot:
            self._lot.unpark()

    def preload(self, changes: list[Change]) -> None:
        """Past changes, to be delivered before any new one; they do not count against the limit."""
        self._buffer.extend(changes)

    def close(self) -> None:
        """End the watch with "too old": the client lists and watches again."""
        self.closed = True
        self._buffer.clear()
        self._cache.unwatch(self)
        self._lot.unpark_all()

    def end(self) -> None:
        """Nothing follows what is in the buffer: the API closes."""
        self.ended = True
        self._lot.unpark_all()

    def wake(self) -> None:
        """Let `next` return though nothing has happened."""
        self._woken = True
        self._lot.unpark()

    def again(self) -> Watcher:
        """A new watcher of the same, for one that has been cut off and does not mind what it has missed."""
        return self._cache.watch_again(self.trigger)

    async def next(self) -> list[Change]:
        """What has happened since the last call. An empty list: cut off, ended, or woken."""
        while not (self._buffer or self.closed or self.ended or self._woken):
            await self._lot.park()
        self._woken = False
        batch = list(self._buffer)
        self._buffer.clear()
        self._bytes = 0
        return batch


class Cache:
    """The objects of one store prefix. Single-threaded: the feed writes, everybody reads between checkpoints."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.entries: dict[str, Entry] = {}  # by the key's rest: "namespace/name" or "name"
        self.order: list[str] = []  # sorted keys of `entries`
        self.namespaces: dict[str, list[str]] = {}  # sorted keys of `entries` in one namespace
        self.ring: deque[Change] = deque()
        self._ring_bytes = 0
        self.rolled = False  # the ring has dropped changes, the last of them that of revision `since`
        self.since = 0  # the ring is complete from the change after this revision on
        self.changed = 0  # revision of the newest change
        self.stale: set[str] = set()  # paths of what would be encrypted otherwise now
        self.sealed: dict[str, str] = {}  # ... and of what cannot be read, and why
        self.watching = 0  # watchers
        self._watchers: dict[tuple[str, str], dict[Watcher, None]] = {}
        self._extractors: dict[str, Callable[[Entry], str]] = {}  # selectable fields that watchers are indexed by
        self._by_label: dict[tuple[str, str], dict[str, Entry]] | None = None
        self._by_field: dict[str, dict[str, dict[str, Entry]]] = {}

    # --- the feed's side ----------------------------------------------------------------------------------------

    def load(self, path: str, value: bytes, revision: int) -> None:
        """An object that was there when the feed began."""
        if type(value) is not bytes and self._special(path, value):
            self.changed = max(self.changed, revision)
            return
        entry = self._entry(path, value, revision)
        self._put(path, entry, self.entries.get(path))
        self.changed = max(self.changed, revision)

    def apply(self, path: str, value: bytes | None, revision: int) -> None:
        """One change: a written value, or None for a deletion."""
        old = self.entries.get(path)
        if self.stale or self.sealed:
            self.stale.discard(path)
            self.sealed.pop(path, None)
        if value is not None and type(value) is not bytes and self._special(path, value):
            value = None  # for watchers it is gone
            self.changed = revision
        if value is not None:
            entry = self._entry(path, value, revision)
            change = Change(ADDED if old is None else MODIFIED, revision, entry, old)
            self._put(path, entry, old)
        elif old is not None:
            change = Change(DELETED, revision, at_revision(old, revision), old)
            self._drop(path, old)
        else:
            return
        self.changed = revision
        self._remember(change)
        if old is not None and old.size > _LARGE:
            old.forms.clear()
        if len(self.ring) > _RECENT and (superseded := self.ring[-_RECENT].old) is not None:
            superseded.forms.clear()  # a decoded object takes five times the memory of its bytes
        self._deliver(change)

    def _remember(self, change: Change) -> None:
        """Put a change into the ring; the oldest leave it if they are too many, or too much."""
        ring = self.ring
        ring.append(change)
        self._ring_bytes += change.entry.size
        while len(ring) > RING or (self._ring_bytes > RING_BYTES and len(ring) > 1):
            dropped = ring.popleft()
            self._ring_bytes -= dropped.entry.size
            self.since = dropped.revision
            self.rolled = True

    def _special(self, path: str, value: bytes) -> bool:
        """Remember how a value lies in the store; whether it cannot be read (see `kcore.api.atrest`)."""
        if isinstance(value, Sealed):
            self.sealed[path] = value.decode()
            return True
        self.stale.add(path)
        return False

    def look_again(self, path: str, value: bytes, revision: int) -> None:
        """The keys of the store have changed; a value that could not be read before may be readable now."""
        self.stale.discard(path)
        self.sealed.pop(path, None)
        held = self.entries.get(path)
        if type(value) is not bytes and self._special(path, value):
            return  # what is held in memory stays readable
        if held is None and self.changed >= revision:
            self._put(path, self._entry(path, value, revision), None)

    def check_readable(self, namespace: str = "") -> None:
        """Raises InternalError if one of the objects cannot be read."""
        for path, why in self.sealed.items():
            if not namespace or path.startswith(namespace + "/"):
                raise sealed(f"{layout.ROOT}{self.prefix}/{path}", why)

    def reset(self, revision: int) -> None:
        """Forget everything: the feed lost its place. All watchers list again."""
        for group in list(self._watchers.values()):
            for watcher in list(group):
                watcher.close()
        self.entries.clear()
        self.stale.clear()
        self.sealed.clear()
        self.order.clear()
        self.namespaces.clear()
        self.ring.clear()
        self._ring_bytes = 0
        self._by_label = None
        self._by_field.clear()
        self.since = self.changed = revision
        self.rolled = False

    def renew(self) -> None:
        """The declaration has changed: what was made of the objects under the old one is made anew."""
        for entry in self.entries.values():
            entry.forms.clear()
        for change in self.ring:
            change.entry.forms.clear()
            change.forms.clear()
        self._by_field.clear()
        watched = {field for field, _ in self._watchers}
        self._extractors = {field: read for field, read in self._extractors.items() if field in watched}

    def end(self) -> None:
        """No change will come any more: all watches are over."""
        for group in self._watchers.values():
            for watcher in group:
                watcher.end()

    @staticmethod
    def _entry(path: str, value: bytes, revision: int) -> Entry:
        namespace, _, name = path.rpartition("/")
        layout.check(value)
        return Entry.stored(namespace, name, revision, value)

    def _put(self, path: str, entry: Entry, old: Entry | None) -> None:
        self.entries[path] = entry
        if old is None:
            _insert(self.order, path)
            if entry.namespace:
                _insert(self.namespaces.setdefault(entry.namespace, []), path)
        if self._by_label is not None:
            self._index_labels(path, entry, old)
        for field, index in self._by_field.items():
            extract = self._extractors[field]
            if old is not None:
                index.get(extract(old), {}).pop(path, None)
            index.setdefault(extract(entry), {})[path] = entry

    def _drop(self, path: str, old: Entry) -> None:
        del self.entries[path]
        del self.order[bisect_left(self.order, path)]
        if old.namespace:
            paths = self.namespaces[old.namespace]
            del paths[bisect_left(paths, path)]
            if not paths:
                del self.namespaces[old.namespace]
        if self._by_label is not None:
            self._index_labels(path, None, old)
        for field, index in self._by_field.items():
            index.get(self._extractors[field](old), {}).pop(path, None)

    def _index_labels(self, path: str, entry: Entry | None, old: Entry | None) -> None:
        assert self._by_label is not None
        if old is not None:
            for pair in old.labels.items():
                found = self._by_label.get(pair)
                if found is not None:
                    found.pop(path, None)
                    if not found:
                        del self._by_label[pair]
        if entry is not None:
            for pair in entry.labels.items():
                self._by_label.setdefault(pair, {})[path] = entry

    def _deliver(self, change: Change) -> None:
        watchers = self._watchers
        if not watchers:
            return
        entry, old, size = change.entry, change.old, change.entry.size
        seen: set[tuple[str, str]] = {("", ""), ("metadata.namespace", entry.namespace), ("metadata.name", entry.name)}
        for field, extract in self._extractors.items():
            seen.add((field, extract(entry)))
            if old is not None:
                seen.add((field, extract(old)))
        for trigger in seen:
            for watcher in list(watchers.get(trigger, ())):
                watcher.push(change, size)

    # --- the readers' side --------------------------------------------------------------------------------------

    def get(self, namespace: str, name: str) -> Entry | None:
        return self.entries.get(f"{namespace}/{name}" if namespace else name)

    def paths(self, namespace: str = "", start: str = "") -> Iterator[str]:
        """Keys in order, of one namespace or all, from `start` on."""
        order = self.namespaces.get(namespace, []) if namespace else self.order
        return islice(order, bisect_left(order, start), None) if start else iter(order)

    def count(self, namespace: str = "", start: str = "") -> int:
        order = self.namespaces.get(namespace, []) if namespace else self.order
        return len(order) - (bisect_left(order, start) if start else 0)

    def indexed(self, fields: Iterable[str], labels: Selector) -> bool:
        """Whether nothing need be looked into to find objects by these."""
        known = self._by_field.keys() | {"metadata.name", "metadata.namespace"}
        return all(field in known for field in fields) and (labels.everything or self._by_label is not None)

    def with_label(self, key: str, value: str) -> list[Entry]:
        """Entries that carry a label, in order. The index is made when it is first asked for."""
        if self._by_label is None:
            self._by_label = {}
            for path, entry in self.entries.items():
                self._index_labels(path, entry, None)
        found = self._by_label.get((key, value), {})
        return [found[path] for path in sorted(found)]

    def with_field(self, field: str, value: str, extract: Callable[[Entry], str]) -> list[Entry]:
        """Entries whose selectable field has a value (pods of a node), in order; indexed from the first call on."""
        index = self._by_field.get(field)
        if index is None:
            self._extractors.setdefault(field, extract)
            index = self._by_field[field] = {}
            for path, entry in self.entries.items():
                index.setdefault(extract(entry), {})[path] = entry
        found = index.get(value, {})
        return [found[path] for path in sorted(found)]

    def since_revision(self, revision: int) -> list[Change] | None:
        """The changes after `revision`, or None when they are not all here any more."""
        if revision < self.since:
            return None
        if revision >= self.changed:
            return []
        newest: list[Change] = []
        for change in reversed(self.ring):
            if change.revision <= revision:
                break
            newest.append(change)
        newest.reverse()
        return newest

    def watch(self, field: str = "", value: str = "", extract: Callable[[Entry], str] | None = None) -> Watcher:
        """A watcher of what is to come, told only of changes whose `field` has or had `value` ("" : of all)."""
        if extract is not None:
            self._extractors.setdefault(field, extract)
        return self.watch_again((field, value))

    def watch_again(self, trigger: tuple[str, str]) -> Watcher:
        """A watcher of a trigger that is known already."""
        watcher = Watcher(self, trigger)
        self._watchers.setdefault(trigger, {})[watcher] = None
        self.watching += 1
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        group = self._watchers.get(watcher.trigger)
        if group is not None and watcher in group:
            self.watching -= 1
            del group[watcher]
            if not group:
                del self._watchers[watcher.trigger]


def _insert(order: list[str], path: str) -> None:
    if not order or path > order[-1]:
        order.append(path)
    else:
        insort(order, path)
