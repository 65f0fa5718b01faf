"""Every reason to refuse an object, gathered: metadata rules and the kind's own."""

from __future__ import annotations

from kcore import errors
from kcore.api import validation
from kcore.api.served import Served
from kcore.errors import Cause
from kcore.objects import Object


def metadata_causes(served: Served, obj: Object) -> list[Cause]:
    """What is wrong with a new object's metadata, its name first."""
    kind = served.kind
    return list(validation.metadata(obj, kind.namespaced, kind.strategy.validate_name))


def update_causes(served: Served, new: Object, old: Object, subresource: str) -> list[Cause]:
    """What is wrong with a change."""
    strategy = served.kind.strategy
    about_metadata = list(validation.metadata_update(new, old))
    # upstream checks metadata in front of the kind's own rules and again among them, and says everything twice
    causes = about_metadata + about_metadata
    if subresource in ("status", "approval"):
        return causes + list(strategy.validate_status(new, old))
    if subresource in ("", "scale"):
        return causes + list(strategy.validate_update(new, old))
    return causes + list(strategy.validate(new))  # a part that is immutable elsewhere: only the whole must be right


def refuse(served: Served, name: str, causes: list[Cause]) -> None:
    """Raises Invalid with all of them."""
    if causes:
        raise errors.invalid(served.kind.kind, name, causes, served.stored.group)  # an Event is the core group's
