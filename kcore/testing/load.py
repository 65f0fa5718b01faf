"""Constant load on a service from a thread of the test, and what came of it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import attrs


@attrs.define
class Sent:
    """What a load was answered with. To be read after the block."""

    answers: int = 0
    failures: list[str] = attrs.Factory(list)
    """What went wrong, with the time since the load began."""
    by_pod: Counter[str] = attrs.Factory(Counter)
    """Good answers by the pod that gave them."""


@contextmanager
def load(
    host: str, port: int, *, rate: float = 300.0, clients: int = 4, seconds: float = 0.0, source: str = ""
) -> Iterator[Sent]:
    """HTTP requests, each over a connection of its own, `rate` a second while the block runs (and for `seconds` at
    least), in `clients` threads; `source` is the client's address. Anything but the JSON answer of a fake pod with
    status 200 is a failure."""
    sent, ended, lock = Sent(), threading.Event(), threading.Lock()
    began = time.monotonic()

    def ask() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=10, source_address=(source, 0) if source else None)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            pod = json.loads(answer.read()).get("pod", "")
            problem = "" if answer.status == 200 else f"status {answer.status} of {pod or 'nobody'}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            pod, problem = "", f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        with lock:
            if problem:
                sent.failures.append(f"{time.monotonic() - began:.3f} s: {problem}")
            else:
                sent.answers += 1
                sent.by_pod[pod] += 1

    def client(first: float) -> None:
        due = first
        while not ended.wait(max(0.0, due - time.monotonic())):
            ask()
            due = max(due + clients / rate, time.monotonic() - 1.0)

    threads = [threading.Thread(target=client, args=(began + i / rate,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield sent
        time.sleep(max(0.0, began + seconds - time.monotonic()))
    finally:
        ended.set()
        for thread in threads:
            thread.join()
