"""How much the watch cache keeps of what is over."""

from __future__ import annotations

from kcore.api import cache
from kcore.api.cache import Cache


def _value(size: int) -> bytes:
    return b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"%s"}}' % (b"x" * size)


def test_large_objects_fill_the_ring_by_their_bytes():
    held = Cache("configmaps")
    for revision in range(1, 101):
        held.apply("default/a", _value(1 << 20), revision)
    assert sum(change.entry.size for change in held.ring) <= cache.RING_BYTES
    assert held.rolled
    assert held.since_revision(held.since - 1) is None
    after = held.since_revision(held.since)
    assert after is not None
    assert [change.revision for change in after] == list(range(held.since + 1, 101))


def test_small_objects_fill_it_by_their_number():
    held = Cache("configmaps")
    for revision in range(1, cache.RING + 3):
        held.apply("default/a", _value(1), revision)
    assert len(held.ring) == cache.RING
    assert held.since == 2


def test_one_change_stays_however_large_it_is(monkeypatch):
    monkeypatch.setattr(cache, "RING_BYTES", 100)
    held = Cache("configmaps")
    for revision in (1, 2):
        held.apply("default/a", _value(1000), revision)
    assert [change.revision for change in held.ring] == [2]


def test_of_a_large_object_no_other_form_outlives_it():
    held = Cache("configmaps")
    held.apply("default/a", _value(100_000), 1)
    entry = held.get("default", "a")
    assert entry is not None
    entry.forms[b""] = {"decoded": True}
    held.apply("default/a", _value(1), 2)
    assert entry.forms == {}


async def test_a_watcher_that_does_not_read_is_cut_off_by_the_bytes_that_wait_for_it():
    held = Cache("configmaps")
    idle, reader = held.watch(), held.watch()
    for revision in range(1, 6):
        held.apply("default/a", _value(cache.BUFFER_BYTES // 4), revision)
        assert [change.revision for change in await reader.next()] == [revision]
        assert idle.closed == (revision >= 4)
