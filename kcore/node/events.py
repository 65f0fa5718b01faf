"""What the node agent tells about pods and nodes, at most `RATE` events a second (upstream's ``eventRecordQPS``).

One recorder serves all nodes of a process; the limit is for all of them together, so that starting ten thousand pods
at once does not drown the API in news about them.
"""

from __future__ import annotations

import trio

from kcore.client.events import Recorder, reference_to
from kcore.objects import Object

RATE, BURST = 50.0, 500.0  # events a second; how many at once


class NodeEvents:
    """Limits what goes to a `Recorder`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._tokens, self._filled = BURST, trio.current_time()

    def record(
        self, about: Object, kind: str, host: str, type: str, reason: str, message: str, path: str = ""
    ) -> None:
        """`path` is the part of the pod that it is about, as in ``spec.containers{name}``."""
        now = trio.current_time()
        self._tokens = min(BURST, self._tokens + (now - self._filled) * RATE)
        self._filled = now
        if self._tokens < 1:
            return
        self._tokens -= 1
        reference = {**reference_to(about, field_path=path), "kind": kind, "apiVersion": "v1"}
        self._recorder.event(reference, type, reason, message, host=host)
