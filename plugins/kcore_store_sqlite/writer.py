"""The writer thread, and group commit.

One thread writes, one transaction at a time; an fsync of milliseconds is most of it. Whoever writes meanwhile waits
in a list, and all of them share the next transaction. Each batch crosses to the thread once and back once, however
many writes it holds:

    writers (trio)      ->  waiting list  ->  form a Draft  --queue-->  thread: INSERT, COMMIT (fsync)
    wake, all at once   <-  apply to the state, tell watchers  <--run_sync_soon--  done

While the store is idle the thread moves a grown log into the database (a checkpoint stalls writers for milliseconds,
so not while they wait, unless the log has become very long) and removes what was compacted.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs
import outcome
import trio

from kcore.errors import StoreError
from kcore.store.state import Draft, State

from .database import Commit, Database

T = TypeVar("T")

_BATCH = 1024  # events in one transaction, about
_BATCH_BYTES = 8 << 20  # ... and the size of their values
_IDLE = 0.02  # seconds without a write after which the thread turns to upkeep
_LOG_IDLE = 1 << 20  # bytes in the log that are worth a checkpoint: a log written anew is quicker than one that grows
_LOG_MOST = 32 << 20  # ... that force one between two batches
_NOTHING: outcome.Outcome[Any] = outcome.Value(None)
_AT_ONCE = 16  # tasks woken in one round of the event loop: each has an answer to make
_PURGE = 512  # revisions to purge in one idle transaction


@attrs.define(eq=False)
class _Request:
    """A task that waits for its operation to be committed."""

    operation: Callable[[Draft], Any]
    task: trio.lowlevel.Task | None  # None: it was cancelled
    result: outcome.Outcome[Any] = _NOTHING
    formed: bool = False  # part of a batch: it will happen, or fail


class Writer:
    """Commits drafts of a state. `run` must be running; it ends by raising StoreError when the database fails."""

    def __init__(self, database: Database, state: State, applied: Callable[[Draft], None]):
        self._database = database
        self._state = state
        self._applied = applied
        self._token = trio.lowlevel.current_trio_token()
        self._waiting: deque[_Request] = deque()
        self._batch: list[_Request] = []  # in the thread's hands
        self._waking: deque[_Request] = deque()
        self._draft: Draft | None = None
        self._stirred = trio.Event()
        self._stopped: str | None = None  # why no more writes are taken
        self._failed = False
        self._jobs: queue.SimpleQueue[Commit | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="kcore-store-sqlite", daemon=True)
        self._ended = trio.Event()

    async def commit(self, operation: Callable[[Draft], T]) -> T:
        """Evaluate `operation` in the next batch; return when it is durable and applied, or raise what it raised.

        Cancelled before the batch is formed, it never happens; cancelled later, it goes on to its end, which is
        milliseconds away, and the caller learns what became of it.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._stopped is not None:
            raise StoreError(self._stopped)
        request = _Request(operation, trio.lowlevel.current_task())
        if not self._waiting:
            self._stirred.set()
        self._waiting.append(request)

        def abort(_: object) -> trio.lowlevel.Abort:
            if request.formed:
                return trio.lowlevel.Abort.FAILED
            request.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abort)  # type: ignore[no-any-return]

    async def run(self) -> None:
        """Form batches until cancelled; then let the thread finish the one it has, and end it."""
        self._thread.start()
        try:
            while not self._failed:
                await self._stirred.wait()
                self._stirred = trio.Event()
                # This task has been woken by the first write after a pause. Others are often about to write in this
                # very round of the scheduler (those whom the last batch woke): let them join.
                await trio.lowlevel.checkpoint()
                self._form()
            raise StoreError(self._stopped)
        finally:
            self.stop("the store has been closed")
            self._jobs.put(None)
            with trio.CancelScope(shield=True):
                await self._ended.wait()
            self._thread.join()

    def stop(self, why: str) -> None:
        """Take no more writes; those that wait for a batch get StoreError."""
        if self._stopped is None:
            self._stopped = why
        requests, self._waiting = self._waiting, deque()
        self._refuse(requests, why)

    def _form(self) -> None:
        """Give the thread a batch of what waits, if it has none."""
        while self._waiting and self._draft is None and self._stopped is None:
            draft = Draft(self._state)
            batch = []
            while self._waiting and len(draft.events) < _BATCH and draft.size < _BATCH_BYTES:
                request = self._waiting.popleft()
                if request.task is not None:
                    request.formed = True
                    request.result = outcome.capture(request.operation, draft)
                    batch.append(request)
            if draft.empty:  # comparisons that failed, deletions of nothing
                self._wake(batch)
                continue
            self._draft, self._batch = draft, batch
            compacted = draft.compacted if draft.compacted > self._state.compacted else 0
            self._jobs.put(Commit(draft.events, draft.granted, draft.ended, compacted, draft.last_lease))

    def _done(self, error: BaseException | None) -> None:
        """In trio's thread again: the batch is durable, or has failed."""
        draft, batch = self._draft, self._batch
        assert draft is not None
        self._draft, self._batch = None, []
        if error is None:
            self._applied(draft)
            self._wake(batch)
        else:
            remedy = "make room on the disk, or raise max_bytes" if _harmless(error) else "check the disk"
            why = f"{self._database.path}: cannot write ({error}): {remedy}"
            if not _harmless(error):
                self._failed = True
                self.stop(why)
                self._stirred.set()  # `run` shall end
            self._refuse(batch, why)
        self._form()

    def _wake(self, requests: Iterable[_Request]) -> None:
        """Give every task its result: a few now, the others in the next rounds of the event loop."""
        under_way = bool(self._waking)
        self._waking.extend(requests)
        if self._waking and not under_way:
            self._wake_some()

    def _wake_some(self) -> None:
        for _ in range(min(_AT_ONCE, len(self._waking))):
            request = self._waking.popleft()
            if request.task is not None:
                trio.lowlevel.reschedule(request.task, request.result)
                request.task = None
        if self._waking:
            self._token.run_sync_soon(self._wake_some)

    def _refuse(self, requests: Iterable[_Request], why: str) -> None:
        for request in requests:
            request.result = outcome.Error(StoreError(why))
        self._wake(requests)

    # --- in the writer thread --------------------------------------------------------------------------------------

    def _work(self) -> None:
        database = self._database
        upkeep_failed = False
        while True:
            try:
                job = self._jobs.get(timeout=None if upkeep_failed else self._patience())
            except queue.Empty:
                upkeep_failed = not self._upkeep()
                continue
            if job is None:
                break
            error = None
            try:
                database.commit(job)
            except BaseException as failure:
                error = failure
            self._token.run_sync_soon(self._done, error)
            upkeep_failed = database.unchecked > _LOG_MOST and not self._upkeep()
        self._token.run_sync_soon(self._ended.set)

    def _patience(self) -> float | None:
        """How long to wait for the next batch before upkeep; None: for ever, as nothing wants doing."""
        database = self._database
        return _IDLE if database.purged < database.compacted or database.unchecked > _LOG_IDLE else None

    def _upkeep(self) -> bool:
        """One piece of it. False if it failed: then it is tried again after the next commit, which is what reports
        a failing disk to those who wait for it."""
        database = self._database
        try:
            if database.unchecked > _LOG_IDLE:
                database.checkpoint()
            else:
                database.purge(_PURGE)
        except Exception:  # whatever it is, this thread must go on to commit
            return False
        return True


def _harmless(error: BaseException) -> bool:
    """Whether a failed commit has certainly left nothing behind, so that the store may go on.

    A full disk has. After a failed fsync nobody knows what a restart would find, so the store must not go on to
    use the same revisions for something else.
    """
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
