"""The part of the store's conformance suite (`kcore.testing.store`) that is about leases, on a virtual clock."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from kcore.store import KeyValue, Store
from kcore.testing.store_model import take


class LeaseConformance:
    """The fixture `store` is the suite's."""

    async def test_a_lease_that_ends_takes_its_keys_along(self, store: Store, mock_clock: MockClock) -> None:
        lease = await store.grant(10)
        other = await store.grant(1000)
        held = [await store.put(key, b"", lease=lease) for key in ("/a", "/b")]
        assert held[0] == KeyValue("/a", b"", 1, 1, 1, lease)
        await store.put("/c", b"", lease=other)
        await store.put("/d", b"")
        async with store.watch("/") as batches:
            mock_clock.jump(9.9)
            await trio.testing.wait_all_tasks_blocked()
            assert store.revision == 4
            mock_clock.jump(0.2)
            events = await take(batches, 2)
        assert sorted(event.key for event in events) == ["/a", "/b"]
        assert [(event.revision, event.current) for event in events] == [(5, None), (6, None)]
        assert [item.key for item in (await store.range("")).items] == ["/c", "/d"]
        with pytest.raises(KeyError):
            await store.keep_alive(lease)
        with pytest.raises(KeyError):
            await store.revoke(lease)
        with pytest.raises(KeyError):
            await store.put("/e", b"", lease=lease)
        assert store.revision == 6

    async def test_a_lease_that_is_kept_alive_does_not_end(self, store: Store, mock_clock: MockClock) -> None:
        short, long = await store.grant(10), await store.grant(25)
        await store.put("/short", b"", lease=short)
        await store.put("/long", b"", lease=long)
        for _ in range(3):
            mock_clock.jump(8)
            await store.keep_alive(short)
        async with store.watch("/") as batches:
            mock_clock.jump(2)
            assert [event.key for event in await take(batches, 1)] == ["/long"]
            mock_clock.jump(9)
            assert [event.key for event in await take(batches, 1)] == ["/short"]

    async def test_revoking_a_lease_deletes_its_keys_at_once(self, store: Store) -> None:
        lease = await store.grant(1000)
        assert lease > 0
        for key in ("/a", "/b"):
            await store.put(key, b"", lease=lease)
        await store.revoke(lease)
        assert (store.revision, (await store.range("")).items) == (4, [])
        with pytest.raises(KeyError):
            await store.revoke(lease)
        assert await store.grant(1000) != lease

    async def test_a_key_hangs_on_the_lease_of_its_last_write(self, store: Store) -> None:
        first, second = await store.grant(1000), await store.grant(1000)
        for key in ("/moved", "/freed", "/again"):
            await store.put(key, b"", lease=first)
        await store.put("/moved", b"", lease=second)
        await store.put("/freed", b"")
        await store.delete("/again")
        await store.put("/again", b"")
        await store.revoke(first)
        assert [item.key for item in (await store.range("")).items] == ["/again", "/freed", "/moved"]
        await store.revoke(second)
        assert [item.key for item in (await store.range("")).items] == ["/again", "/freed"]

    async def test_no_key_hangs_on_a_lease_that_ended_while_it_was_written(self, store: Store) -> None:
        async def put(n: int) -> None:
            try:
                await store.put(f"/{n}", b"", lease=lease)
            except KeyError:
                pass

        lease = await store.grant(1000)
        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(put, n)
                if n == 10:
                    nursery.start_soon(store.revoke, lease)
        assert (await store.range("")).items == []
