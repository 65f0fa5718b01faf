"""Noticing that a client has gone while its request is being worked on.

Nobody reads from a connection while its handler works, so nobody would see it end. The kernel can say so without being
read from: one epoll set holds every connection, edge-triggered, with nothing but "the peer has closed" asked for. A
request costs nothing; a connection costs one system call.
"""

from __future__ import annotations

import select
from typing import Protocol

import trio

PATIENCE = 0.5  # seconds in which an answer may still be made: some close their side as soon as they have asked


class Leaving(Protocol):
    def left(self) -> None:
        """The peer had closed, or at least its side, and has had its time."""


class Hangups:
    """`run` in a nursery; add and discard connections."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._connections: dict[int, Leaving] = {}

    def add(self, fd: int, connection: Leaving) -> None:
        self._connections[fd] = connection
        self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)

    def discard(self, fd: int, connection: Leaving) -> None:
        """The kernel forgets a closed file by itself, and its number may be another connection's by now."""
        if self._connections.get(fd) is connection:
            del self._connections[fd]

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    for fd, _ in self._epoll.poll(0):
                        connection = self._connections.get(fd)
                        if connection is not None:
                            nursery.start_soon(self._later, connection)
        finally:
            self._epoll.close()

    @staticmethod
    async def _later(connection: Leaving) -> None:
        await trio.sleep(PATIENCE)
        connection.left()
