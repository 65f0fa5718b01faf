"""Lease timers: what the conformance suite cannot see from outside."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from kcore.errors import StoreError
from kcore.store.leases import LeaseTimers


async def test_leases_end_in_order_of_their_deadlines(autojump_clock: MockClock) -> None:
    timers, ended = LeaseTimers(), []

    async def expire(leases: list[int]) -> None:
        ended.append((trio.current_time(), leases))
        timers.end(leases)

    async with trio.open_nursery() as nursery:
        start = trio.current_time()
        nursery.start_soon(timers.run, expire)
        timers.start({1: 30, 2: 10, 3: 20})
        await trio.sleep(5)
        timers.start({4: 1, 5: 5})
        timers.keep_alive(3)
        timers.end([1])
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert [(round(at - start), leases) for at, leases in ended] == [(6, [4]), (10, [2, 5]), (25, [3])]


async def test_a_lease_that_cannot_be_ended_is_tried_again(autojump_clock: MockClock) -> None:
    timers, attempts = LeaseTimers(), []

    async def expire(leases: list[int]) -> None:
        attempts.append(round(trio.current_time() - start))
        if len(attempts) < 3:
            raise StoreError("the disk is full")
        timers.end(leases)

    async with trio.open_nursery() as nursery:
        start = trio.current_time()
        timers.start({1: 10})
        nursery.start_soon(timers.run, expire)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert attempts == [10, 11, 12]


async def test_thousands_of_leases_that_come_and_go_leave_nothing(autojump_clock: MockClock) -> None:
    timers = LeaseTimers()
    for lease in range(10_000):
        timers.start({lease: 1000})
        timers.end([lease])
    timers.start({10_000: 1})
    ended: list[int] = []

    async def expire(leases: list[int]) -> None:
        ended.extend(leases)
        timers.end(leases)

    with trio.move_on_after(2000):
        await timers.run(expire)
    assert ended == [10_000]
