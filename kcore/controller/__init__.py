"""Control loops: what turns the state that people asked for into the state that is.

A controller is level-triggered: it looks at what is, compares it with what should be, and takes a step. It talks to
the cluster through a client only, never to another controller. Running it twice, late, or again from the start must
do no harm.
"""

from __future__ import annotations

from typing import Protocol


class Controller(Protocol):
    """What a `kcore_controller` provider opens to: its tasks run in the nursery that it opened itself."""
