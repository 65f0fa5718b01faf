"""Control loops: what turns the state that people asked for into the state that is.

A controller is level-triggered: it looks at what is, compares it with what should be, and takes a step. It talks to
the cluster through a client only, never to another controller. Running it twice, late, or again from the start must
do no harm.

Most are a `kcore.controller.base.Reconciler`: informers tell it which keys have changed, a work queue hands each key
to one worker at a time, `reconcile` takes the step.

    class Greeter(Reconciler):
        name = "greeter"

        def __init__(self, context: ControllerContext):
            super().__init__(context)
            self.maps = self.watch(CONFIGMAPS, self.enqueue)

        async def reconcile(self, key: str) -> float | None:
            ...                                     # a returned number: look again in so many seconds

    @hookimpl
    def kcore_controller():
        return [provider(Greeter, help="Greets config maps")]

The other rooms of this package are what controllers have in common: creating and deleting pods (`pods`), remembering
what was asked for until it is seen (`expectations`), owning and adopting (`owners`), revisions (`revisions`) and the
hashes in names (`hashing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kcore.registry import Context

if TYPE_CHECKING:
    from kcore.client.events import Recorder
    from kcore.client.informer import Informers


class Controller(Protocol):
    """What a `kcore_controller` provider opens to: its tasks run in the nursery that it opened itself."""

    @property
    def name(self) -> str:
        """As in the config, and in ``workqueue_*`` metrics."""


class ControllerContext(Context, Protocol):
    """The `Context` of a controller: it shares its manager's informers and has a recorder of its own."""

    informers: Informers
    """All controllers of the process read through these."""
    recorder: Recorder
    """Writes events as ``<controller>-controller``."""
    workers: int
    """How many keys the controller may work on at once."""
