"""WATCH: what a watcher is told, and how that becomes a stream of bytes.

A watch begins with the present state (no resourceVersion, "0", or sendInitialEvents) or with the changes after a
resourceVersion, and goes on until its time is over, the client goes, or it falls behind. With a selector an object
that comes to match is ADDED and one that ceases to is DELETED, whatever happened to it in truth.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import trio

from kcore import errors
from kcore.api import layout
from kcore.api.cache import ADDED, DELETED, MODIFIED, Change, Entry
from kcore.api.feed import Feed
from kcore.api.listing import ListOptions, not_in_the_future, version_number
from kcore.api.past import reaches, read
from kcore.api.selection import Selection
from kcore.api.served import Served

BOOKMARK = "BOOKMARK"
BOOKMARK_SECONDS = 60.0
MIN_SECONDS = 1800.0  # a watch without timeoutSeconds lives this long to twice as long
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

Item = tuple[str, Entry, Change | None]
"""Event type, the object's state, and the change it came from (None: initial state and bookmarks)."""
Encode = Callable[[Item], bytes]


class Watch:
    """The events of one watch. `start` first; then `next` until it returns None; `close` in the end."""

    def __init__(self, feed: Feed, served: Served, selection: Selection, options: ListOptions) -> None:
        self._feed, self._served, self._selection, self._options = feed, served, selection, options
        self._initial: list[Item] = []
        self._behind = 0  # while history is read: the revision up to which it has been
        self._floor = 0  # changes up to this revision are not to be told
        seconds = options.timeout or MIN_SECONDS * (1 + random.random())
        self._deadline = trio.current_time() + seconds
        self._bookmark_at = trio.current_time() + BOOKMARK_SECONDS if options.bookmarks else float("inf")

    async def start(self) -> None:
        """Take the place from which to watch. Raises Gone when the resourceVersion is too old, BadRequest."""
        options, feed = self._options, self._feed
        if not self._served.remote:
            await self._selection.prepare()
        try:
            version = version_number(options.resource_version)
        except errors.BadRequest as error:
            raise errors.ApiError(error.message.removeprefix("invalid resource version: "), reason="") from None
        if options.send_initial and version:
            await not_in_the_future(feed, version, options.resource_version)
        if feed.revision < feed.store.revision:
            await feed.caught_up()
        past: list[Change] = []
        if version and not options.send_initial:
            cache, self._floor = self._selection.cache, version
            found = cache.since_revision(version)
            if found is None:
                if not reaches(feed.store, cache, version):
                    raise errors.Gone(f"too old resource version: {version} ({cache.since})")
                self._behind = version
                return
            past = found
        elif options.send_initial is not False:
            self._initial = [(ADDED, entry, None) for entry in await self._entries()]
            if options.send_initial and options.bookmarks:
                self._initial.append((BOOKMARK, self._mark(initial_end=True), None))
        self._attach(past)

    def _attach(self, past: list[Change]) -> None:
        self._watcher = self._selection.watcher()
        self._watcher.preload(past)
        self._feed.alarms.set(self._watcher, min(self._deadline, self._bookmark_at))

    async def next(self) -> list[Item] | None:
        """The next events, at least one; None when the watch or the API is over. Raises Gone when cut off."""
        if self._initial:
            items, self._initial = self._initial, []
            return items
        while self._behind:
            items = await self._catch_up()
            if items:
                return items
        while True:
            changes = await self._watcher.next()
            if self._watcher.closed:
                raise errors.Gone("too old resource version: the watch fell behind")
            if changes:
                if self._served.remote:
                    await self._convert(changes)
                items = self._tell(changes)
                if items:
                    return items
                continue
            now = trio.current_time()
            if now >= self._deadline or self._watcher.ended:
                return None
            if now >= self._bookmark_at:
                self._bookmark_at = now + BOOKMARK_SECONDS
                self._feed.alarms.set(self._watcher, min(self._deadline, self._bookmark_at))
                return [(BOOKMARK, self._mark(), None)]

    async def _catch_up(self) -> list[Item]:
        """A step through the store's history, up to where the cache's own begins."""
        cache = self._selection.cache
        past = cache.since_revision(self._behind)
        if past is not None:
            self._behind = 0
            self._attach(past)
            return []
        changes, self._behind = await read(self._feed.store, cache, self._behind)
        if self._served.remote:
            await self._convert(changes)
        return self._tell(changes)

    async def _entries(self) -> list[Entry]:
        """The present state; it is all taken at one moment, though a webhook may take its time to convert it."""
        if not self._served.remote:
            return list(self._selection.entries())
        while True:
            found = self._selection.candidates() if self._selection.fields else list(self._selection.entries())
            changed = self._selection.cache.changed
            await self._served.ready(found)
            if self._selection.cache.changed == changed:
                return list(self._selection.entries())

    async def _convert(self, changes: list[Change]) -> None:
        entries = [change.entry for change in changes]
        if self._selection.fields:
            entries += [change.old for change in changes if change.old is not None]
            entries += [change.gone() for change in changes if change.old is not None]
        await self._served.ready(entries)

    def close(self) -> None:
        watcher = getattr(self, "_watcher", None)
        if watcher is not None:
            watcher.close()

    def _tell(self, changes: list[Change]) -> list[Item]:
        selection, floor = self._selection, self._floor
        if selection.everything or not (selection.narrows or selection.namespace):
            return [(c.type, c.entry, c) for c in changes if c.revision > floor]
        items: list[Item] = []
        for change in changes:
            if change.revision <= floor:
                continue
            now = change.type is not DELETED and selection.matches(change.entry)
            before = change.old is not None and selection.matches(change.old)
            if now:
                items.append((MODIFIED if before else ADDED, change.entry, change))
            elif before:
                items.append((DELETED, change.entry if change.type is DELETED else change.gone(), change))
        return items

    def _mark(self, *, initial_end: bool = False) -> Entry:
        """A bookmark's object: nothing but the resourceVersion."""
        meta = b'"metadata":{"resourceVersion":"%d"' % self._feed.revision
        if initial_end:
            meta += b',"annotations":{"%b":"true"}' % INITIAL_EVENTS_END.encode()
        return Entry("", "", self._feed.revision, meta + b"}}")


def json_encoder(served: Served) -> Encode:
    """Events as JSON lines. The bytes of a change are made once for all watchers of this version."""
    head = served.head

    def encode(item: Item) -> bytes:
        type, entry, change = item
        if change is None:
            return b'{"type":"%b","object":%b%b}\n' % (type.encode(), head, _tail(served, type, entry))
        key = (type, head)
        line = change.forms.get(key)
        if line is None:
            line = b'{"type":"%b","object":%b%b}\n' % (type.encode(), head, served.tail(entry))
            change.forms[key] = line
        return line

    return encode


def _tail(served: Served, type: str, entry: Entry) -> bytes:
    return entry.tail if type == BOOKMARK else served.tail(entry)


def error_line(error: errors.ApiError) -> bytes:
    return b'{"type":"ERROR","object":%b}\n' % layout.encode_json(error.status())


class Stream:
    """The body of a watch's answer: bytes for every batch of events. Ends with an ERROR event where it must."""

    def __init__(
        self,
        watch: Watch,
        encode: Encode,
        encode_error: Callable[[errors.ApiError], bytes] = error_line,
        first: errors.ApiError | None = None,
        done: Callable[[int], None] | None = None,
    ) -> None:
        self._watch, self._encode, self._encode_error, self._first = watch, encode, encode_error, first
        self._done = done  # told once, when the stream ends
        self._sent = 0
        self._over = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        error = self._first
        if error is None:
            try:
                items = await self._watch.next()
            except errors.ApiError as raised:
                error = raised
            else:
                if items is None:
                    self._over = True
                    raise StopAsyncIteration
                self._sent += len(items)
                if len(items) == 1:
                    return self._encode(items[0])
                return b"".join([self._encode(item) for item in items])
        self._over = True
        return self._encode_error(error)

    async def aclose(self) -> None:
        self._over = True
        self._watch.close()
        if self._done is not None:
            self._done(self._sent)
            self._done = None
