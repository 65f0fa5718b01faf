"""The sinks of the audit log: the file that turns over, and the webhook."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
import trio
from kcore_audit import LogConfig, WebhookConfig, _open_log, _open_webhook
from kcore_audit.batches import Batches
from kcore_audit.logfile import LogFile

from kcore import clock
from kcore.errors import ConfigError
from kcore.filewatch import changes
from kcore.http.listen import bound, listen
from kcore.http.messages import AnyResponse, Request, Response
from kcore.http.server import serve
from kcore.testing import TestContext

EVENT = b'{"kind":"Event"}'


def batches(write: Any, **settings: Any) -> Batches:
    complaints: list[str] = []
    given = {"most": 10, "wait": 0, "queue_bytes": 1000, "blocking": False, "complain": complaints.append} | settings
    sink = Batches("test", write, **given)
    sink.__dict__["complaints"] = complaints
    return sink


async def test_events_are_written_in_order_and_in_batches(autojump_clock: trio.testing.MockClock) -> None:
    written: list[list[bytes]] = []

    async def write(batch: list[bytes]) -> None:
        written.append(batch)
        await trio.sleep(1)

    sink = batches(write)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        for i in range(25):
            sink.submit(b"%d" % i)
        await trio.sleep(0.5)
        sink.submit(b"25")
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert [int(e) for batch in written for e in batch] == list(range(26))
    assert [len(batch) for batch in written] == [10, 10, 6]


async def test_a_batch_waits_until_it_is_full_or_its_time_has_come(autojump_clock: trio.testing.MockClock) -> None:
    written: list[tuple[float, int]] = []

    async def write(batch: list[bytes]) -> None:
        written.append((trio.current_time() - start, len(batch)))

    start = trio.current_time()
    sink = batches(write, wait=30)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        sink.submit(EVENT)
        await trio.sleep(60)
        for _ in range(10):
            sink.submit(EVENT)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert written == [(30, 1), (60, 10)]


async def test_a_sink_that_hangs_costs_events_but_neither_memory_nor_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def write(batch: list[bytes]) -> None:
        await trio.sleep_forever()

    sink = batches(write, queue_bytes=160)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        for _ in range(1000):
            assert sink.submit(EVENT) is None
        await trio.sleep(1)
        assert sink.dropped == 990
        assert sink.__dict__["complaints"] == ["the queue of audit events is full: events are dropped"]
        nursery.cancel_scope.cancel()


async def test_a_write_that_fails_is_counted_and_the_next_one_is_tried(autojump_clock: trio.testing.MockClock) -> None:
    written = []

    async def write(batch: list[bytes]) -> None:
        if len(batch) == 10:
            raise OSError("no space left on device")
        written.extend(batch)

    sink = batches(write)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        for i in range(12):
            sink.submit(b"%d" % i)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert (sink.lost, written) == (10, [b"10", b"11"])
    assert sink.__dict__["complaints"] == ["audit events are lost: no space left on device"]


async def test_blocking_means_that_the_request_waits_for_its_own_batch(autojump_clock: trio.testing.MockClock) -> None:
    async def write(batch: list[bytes]) -> None:
        await trio.sleep(1)

    sink = batches(write, blocking=True)
    done: list[float] = []
    start = trio.current_time()

    async def request(at: float) -> None:
        await trio.sleep(at)
        waiting: Awaitable[None] | None = sink.submit(EVENT)
        assert waiting is not None
        await waiting
        done.append(trio.current_time() - start)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        async with trio.open_nursery() as requests:
            requests.start_soon(request, 0)
            requests.start_soon(request, 0.5)
        nursery.cancel_scope.cancel()
    assert done == [1, 2]


async def test_what_is_queued_when_the_server_stops_is_written(autojump_clock: trio.testing.MockClock) -> None:
    written: list[bytes] = []

    async def write(batch: list[bytes]) -> None:
        written.extend(batch)

    sink = batches(write, wait=1000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        sink.submit(EVENT)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert written == [EVENT]


# --- the file --------------------------------------------------------------------------------------------------------


def log_file(path: Path, **settings: Any) -> LogFile:
    return LogFile(path, **({"max_bytes": 100, "max_age": 0, "max_backups": 0, "compress": False} | settings))


def lines(path: Path) -> list[bytes]:
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).splitlines()


async def test_a_full_file_is_turned_over_and_old_ones_are_forgotten(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    clock.use_virtual()
    log = log_file(tmp_path / "audit.log", max_backups=2, compress=True)
    for i in range(12):
        log.write([b"%03d-" % i + b"x" * 36])
        await trio.sleep(1)
    log.close()
    backups = log.backups()
    assert [path.suffix for path in backups] == [".gz", ".gz"]
    kept = [line[:3] for path in [*reversed(backups), tmp_path / "audit.log"] for line in lines(path)]
    assert kept == [b"006", b"007", b"008", b"009", b"010", b"011"]
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


async def test_files_older_than_their_age_are_removed(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    clock.use_virtual()
    log = log_file(tmp_path / "audit.log", max_bytes=10, max_age=1)
    log.write([b"first line"])
    log.write([b"second line"])
    assert len(log.backups()) == 1
    await trio.sleep(2 * 86400)
    log.write([b"third line"])
    assert [lines(path) for path in log.backups()] == [[b"second line"]]
    log.close()


def test_a_file_that_logrotate_has_moved_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = log_file(path, max_bytes=0)
    log.write([b"one"])
    os.rename(path, tmp_path / "audit.log.1")
    log.write([b"two"])
    path.write_bytes(b"")  # copytruncate
    log.write([b"three"])
    log.close()
    assert (lines(tmp_path / "audit.log.1"), lines(path)) == ([b"one"], [b"three"])


def test_a_full_disk_is_an_error_of_the_batch_alone() -> None:
    log = log_file(Path("/dev/full"), max_bytes=0)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            log.write([EVENT])
    log.close()


async def test_the_sink_appends_lines_to_its_file(tmp_path: Path) -> None:
    async with _open_log(TestContext(tmp_path), LogConfig(mode="blocking")) as sink:
        waiting = sink.submit(EVENT)
        assert waiting is not None
        with trio.fail_after(10):
            await waiting
        assert (tmp_path / "audit.log").read_bytes() == EVENT + b"\n"


async def test_a_file_that_cannot_be_opened_is_a_mistake_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        async with _open_log(TestContext(tmp_path), LogConfig(path="not/there.log")):
            pass


# --- the webhook -----------------------------------------------------------------------------------------------------


async def test_the_webhook_gets_lists_of_events_and_is_asked_again_after_a_failure(tmp_path: Path) -> None:
    seen: list[Any] = []
    got = trio.Event()

    async def handler(request: Request) -> AnyResponse:
        seen.append((request.path, request.headers.get("authorization"), json.loads(request.body)))
        if len(seen) == 1:
            return Response(500)
        got.set()
        return Response(200)

    listener = await listen(0, "127.0.0.1")
    host, port = bound(listener)
    user = {"name": "u", "user": {"token": "secret"}}
    cluster = {"name": "c", "cluster": {"server": f"http://{host}:{port}/audit"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    config = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "x"}
    (tmp_path / "hook").write_text(json.dumps(config))
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve(handler, [listener], task_status=task_status))
        settings = WebhookConfig(kubeconfig="hook", batch_max_wait=0.01, initial_backoff=0.01)
        async with _open_webhook(TestContext(tmp_path), settings) as sink:
            sink.submit(b'{"auditID":"1"}')
            sink.submit(b'{"auditID":"2"}')
            with trio.fail_after(10):
                await got.wait()
        nursery.cancel_scope.cancel()
    path, token, body = seen[-1]
    assert (path, token, body["kind"]) == ("/audit", "Bearer secret", "EventList")
    assert body["apiVersion"] == "audit.k8s.io/v1"
    assert [event["auditID"] for event in body["items"]] == ["1", "2"]


async def test_a_webhook_without_a_kubeconfig_is_a_mistake_of_the_config(tmp_path: Path) -> None:
    for settings in (WebhookConfig(), WebhookConfig(kubeconfig="none")):
        with pytest.raises(ConfigError, match="kubeconfig"):
            async with _open_webhook(TestContext(tmp_path), settings):
                pass


async def test_a_file_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    watched = tmp_path / "policy.yaml"
    watched.write_text("old")
    async with changes(watched) as changed:
        (tmp_path / "new").write_text("new")
        os.rename(tmp_path / "new", watched)
        with trio.fail_after(10):
            await anext(changed)
        watched.write_text("newer")
        with trio.fail_after(10):
            await anext(changed)
