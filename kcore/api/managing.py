"""Who has set which fields, where that is written down: around `kcore.api.patch.apply`."""

from __future__ import annotations

from functools import partial

from kcore import clock, errors
from kcore.api import aside
from kcore.api.options import Caller
from kcore.api.patch import apply
from kcore.api.served import Served
from kcore.objects import Object


def manage(old: Object | None, new: Object, served: Served, caller: Caller, subresource: str = "") -> None:
    """Record in managedFields which fields the caller has set."""
    apply.update_managed_fields(
        old,
        new,
        served.kind.schema,
        manager=caller.manager,
        api_version=served.kind.api_version,
        time=clock.timestamp(),
        subresource=subresource,
        reset=served.kind.strategy.managed_reset(subresource),
        convert=served.in_version,
    )


async def asking(old: Object, new: Object, served: Served, caller: Caller, subresource: str = "") -> None:
    """The same, where a webhook may have to tell what a change means in the versions of other managers.

    If it cannot tell, nobody manages the object any more: upstream would rather have no managers than wrong ones.
    """
    if not several(served, old, new):
        manage(old, new, served, caller, subresource)
        return
    try:
        await aside.waiting(partial(manage, old, new, served, caller, subresource))
    except errors.ApiError:
        new["metadata"].pop("managedFields", None)


def several(served: Served, *objects: Object) -> bool:
    """Whether somebody manages what he wrote in another version."""
    own = served.kind.api_version
    for obj in objects:
        entries = obj["metadata"].get("managedFields")
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("apiVersion") != own:
                return True
    return False
