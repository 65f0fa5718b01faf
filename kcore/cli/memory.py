"""How the garbage collector of a cluster's process works.

Python's collector is tuned for scripts: it looks at the youngest objects after every 700 allocations, and at all
objects of the process whenever their number has grown by a quarter. A cluster's objects -- modules, schemas, the
watch caches -- live as long as it does, so those passes find nothing and take a tenth of the time of every request.
"""

from __future__ import annotations

import gc

_YOUNG = 20_000
"""Allocations between two looks at the youngest objects: a few milliseconds of work, a few MB at most."""
_OLDER = (20, 50)
"""Young passes to one over the middle generation, and of those to one over everything that was not frozen."""


def starting() -> None:
    """Nothing that is made while the cluster starts becomes garbage in cycles worth finding."""
    gc.disable()


def started() -> None:
    """What is here now stays: never look at it again. (To collect first would take longer than opening a part.)"""
    gc.freeze()
    gc.set_threshold(_YOUNG, *_OLDER)
    gc.enable()
