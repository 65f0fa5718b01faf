"""What a store knows: the present, a stretch of recent history, and the rules by which writes change them.

`State` holds committed things only. A write is first evaluated in a `Draft`, which sees the state and what was
drafted before it; `State.apply` then makes a draft's events the present, all at once, when they are committed.
So nobody can read what might still be rolled back, and the rules of compare-and-set stand in one place.

Nothing here waits, and nothing here knows about disks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from kcore.errors import Compacted, CompareFailed, FutureRevision
from kcore.store import Event, KeyValue, Range
from kcore.store.keys import SortedKeys, prefix_end

Overlay = dict[str, KeyValue | None]
"""How keys were at an older revision: those that have changed since. None: there was no such key."""


_HISTORY_BYTES = 64 << 20  # the most that the values of remembered events may take, however few they are


class History:
    """The most recent events, without a gap: `keep` of them, or up to an eighth more; fewer if they are very large."""

    def __init__(self, first: int, keep: int):
        self.first = first  # the revision of the oldest event held, or of the next one if none is
        self._keep = keep
        self._most = keep + keep // 8
        self._events: list[Event] = []
        self._bytes = 0

    @property
    def end(self) -> int:
        """The revision that the next event will have."""
        return self.first + len(self._events)

    def extend(self, events: list[Event]) -> None:
        self._events += events
        self._bytes += sum(map(_size, events))
        # An eighth at a time: dropping one by one would move the whole list with every write.
        if len(self._events) > self._most:
            self.drop_before(self.end - self._keep)
        while self._bytes > _HISTORY_BYTES:
            self.drop_before(self.first + len(self._events) // 8 + 1)

    def since(self, revision: int, most: int = 0) -> list[Event]:
        """Events from `revision` on, which must be held (or be the next one): `most` of them, 0 for all."""
        at = revision - self.first
        return self._events[at : at + most] if most else self._events[at:]

    def drop_before(self, revision: int) -> None:
        count = min(revision, self.end) - self.first
        if count > 0:
            self._bytes -= sum(map(_size, self._events[:count]))
            del self._events[:count]
            self.first += count


def _size(event: Event) -> int:
    return 0 if event.current is None else len(event.current.value)


class State:
    """The committed state of one store."""

    def __init__(
        self,
        history: int,
        *,
        items: Iterable[KeyValue] = (),
        revision: int = 0,
        compacted: int = 0,
        leases: Iterable[int] = (),
        last_lease: int = 0,
    ):
        self.revision = revision
        self.compacted = compacted
        self.current = {item.key: item for item in items}
        self.keys = SortedKeys(self.current)
        self.history = History(revision + 1, history)
        self.leases: dict[int, set[str]] = {lease: set() for lease in leases}
        self.last_lease = last_lease
        for item in self.current.values():
            if item.lease in self.leases:
                self.leases[item.lease].add(item.key)

    # --- reading -------------------------------------------------------------------------------------------------

    def check_readable(self, revision: int) -> None:
        """Raises Compacted or FutureRevision if there is no reading at `revision`."""
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        if revision < self.compacted:
            raise Compacted(revision, self.compacted)

    def check_watchable(self, start: int) -> None:
        """Raises Compacted or FutureRevision if no watch can start with the event of revision `start`."""
        if start > self.revision + 1:
            raise FutureRevision(start, self.revision)
        if start <= self.compacted:
            raise Compacted(start, self.compacted + 1)

    def remembers(self, revision: int) -> bool:
        """Whether reads at `revision` can be answered from here: no event after it has been dropped."""
        return revision >= self.history.first - 1

    def get(self, key: str, revision: int) -> KeyValue | None:
        """The key at a remembered revision."""
        found = self.current.get(key)
        if found is not None and found.mod_revision <= revision:
            return found
        for event in self.history.since(revision + 1):
            if event.key == key:
                return event.previous
        return found

    def range(self, prefix: str, start: str, limit: int, revision: int, past: Overlay | None = None) -> Range:
        """A page at a remembered revision; or at an older one, given how keys that changed until then were there."""
        low, high = max(prefix, start), prefix_end(prefix)
        if revision == self.revision and not past:
            keys, count = self.keys.between(low, high, limit)
            items = list(map(self.current.__getitem__, keys))
            return Range(revision, items, count > len(items), count)
        past = {} if past is None else past
        for event in self.history.since(revision + 1):
            if event.key >= low and (high is None or event.key < high):
                past.setdefault(event.key, event.previous)
        return self._page(low, high, limit, revision, past)

    def _page(self, low: str, high: str | None, limit: int, revision: int, past: Overlay) -> Range:
        hidden = sum(1 for key, then in past.items() if then is None and key in self.current)
        revived = [key for key, then in past.items() if then is not None and key not in self.current]
        keys, count = self.keys.between(low, high, limit + hidden if limit else 0)
        count += len(revived) - hidden
        if revived:
            keys = sorted(keys + revived)
        items = [item for key in keys if (item := past[key] if key in past else self.current[key]) is not None]
        if limit:
            del items[limit:]
        return Range(revision, items, count > len(items), count)

    # --- writing -------------------------------------------------------------------------------------------------

    def apply(self, draft: Draft) -> None:
        """Make a draft of this very state the present."""
        for event in draft.events:
            self._apply(event)
        self.revision = draft.revision
        self.last_lease = draft.last_lease
        for lease in draft.granted:
            self.leases[lease] = set()
        for event in draft.events:
            self._attach(event)
        for lease in draft.ended:
            self.leases.pop(lease, None)
        self.history.extend(draft.events)
        if draft.compacted > self.compacted:
            self.compacted = draft.compacted
            self.history.drop_before(self.compacted + 1)

    def _apply(self, event: Event) -> None:
        key = event.key
        if event.current is None:
            del self.current[key]
            self.keys.remove(key)
        else:
            if event.previous is None:
                self.keys.add(key)
            self.current[key] = event.current

    def _attach(self, event: Event) -> None:
        previous, current = event.previous, event.current
        if previous is not None and previous.lease:
            keys = self.leases.get(previous.lease)
            if keys is not None:
                keys.discard(event.key)
        if current is not None and current.lease:
            self.leases[current.lease].add(event.key)


@attrs.define
class Draft:
    """Writes that are about to be committed together. Each either has its effect here, or raises and has none."""

    state: State
    events: list[Event] = attrs.Factory(list)
    revision: int = attrs.field()
    compacted: int = attrs.field()
    last_lease: int = attrs.field()
    granted: dict[int, float] = attrs.Factory(dict)  # lease -> seconds
    ended: list[int] = attrs.Factory(list)
    size: int = 0  # bytes of all values
    _changed: Overlay = attrs.Factory(dict)

    @revision.default
    def _revision(self) -> int:
        return self.state.revision

    @compacted.default
    def _compacted(self) -> int:
        return self.state.compacted

    @last_lease.default
    def _last_lease(self) -> int:
        return self.state.last_lease

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.events or self.granted or self.ended or self.compacted > self.state.compacted)

    def put(self, key: str, value: bytes, expect: int | None, lease: int) -> KeyValue:
        previous = self._compare(key, expect)
        if lease and not self._has_lease(lease):
            raise KeyError(lease)
        self.revision = revision = self.revision + 1
        if previous is None:
            current = KeyValue(key, value, revision, revision, 1, lease)
        else:
            current = KeyValue(key, value, previous.create_revision, revision, previous.version + 1, lease)
        self._changed[key] = current
        self.size += len(value)
        self.events.append(Event(revision, key, current, previous))
        return current

    def delete(self, key: str, expect: int | None) -> KeyValue | None:
        previous = self._compare(key, expect)
        if previous is not None:
            self._remove(previous)
        return previous

    def compact(self, revision: int) -> None:
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        if revision <= self.compacted:
            raise Compacted(revision, self.compacted)
        self.compacted = revision

    def grant(self, ttl: float) -> int:
        self.last_lease += 1
        self.granted[self.last_lease] = ttl
        return self.last_lease

    def revoke(self, lease: int) -> None:
        if not self._has_lease(lease):
            raise KeyError(lease)
        for item in list(self._on_lease(lease)):
            self._remove(item)
        self.ended.append(lease)

    def revoke_all(self, leases: list[int]) -> None:
        """Those of `leases` that have not ended already."""
        for lease in leases:
            if self._has_lease(lease):
                self.revoke(lease)

    def _current(self, key: str) -> KeyValue | None:
        return self._changed[key] if key in self._changed else self.state.current.get(key)

    def _compare(self, key: str, expect: int | None) -> KeyValue | None:
        found = self._current(key)
        if expect is not None:
            mod_revision = 0 if found is None else found.mod_revision
            if mod_revision != expect:
                raise CompareFailed(key, expect, mod_revision)
        return found

    def _remove(self, previous: KeyValue) -> None:
        self.revision += 1
        self._changed[previous.key] = None
        self.events.append(Event(self.revision, previous.key, None, previous))

    def _has_lease(self, lease: int) -> bool:
        return (lease in self.state.leases or lease in self.granted) and lease not in self.ended

    def _on_lease(self, lease: int) -> Iterator[KeyValue]:
        """The keys that hang on a lease now, in order."""
        keys = self.state.leases.get(lease, set()) | self._changed.keys()
        for key in sorted(keys):
            item = self._current(key)
            if item is not None and item.lease == lease:
                yield item
