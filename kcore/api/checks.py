"""Every reason to refuse an object, gathered: metadata rules and the kind's own."""

from __future__ import annotations

from kcore import errors
from kcore.api import fields, validation
from kcore.api.options import Caller
from kcore.api.served import Served
from kcore.errors import Cause
from kcore.objects import Object

_PLACES = {
    "endpoints": "services/endpoints",
    "ingresses": "ingress",
    "nodes": "minions",
    "replicationcontrollers": "controllers",
    "services": "services/specs",
}
"""Where upstream stores what it does not store by the resource's name: errors show it."""


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


def one_owner_each(obj: Object, caller: Caller, *, late: bool = False) -> None:
    """An owner that is named twice is kept once, and the caller is told. `late`: admission has had the object."""
    refs = obj["metadata"].get("ownerReferences") or ()
    if len(refs) < 2:
        return
    kept: dict[frozenset[tuple[str, object]], Object] = {}
    twice: list[str] = []
    for ref in refs:
        if kept.setdefault(frozenset(ref.items()), ref) is not ref:
            twice.append(ref.get("uid") or "")
    if twice:
        obj["metadata"]["ownerReferences"] = list(kept.values())
        when = " after mutating admission happens" if late else ""
        caller.warn(
            f".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+"
            ", and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
            + ", ".join(twice)
        )


def wrong_uid(served: Served, namespace: str, name: str, asked: str, found: str) -> errors.Conflict:
    """A PUT names another object than the one there is; `found` is "" if there is none."""
    kind = served.kind
    place = f"{kind.group}/{kind.plural}" if kind.conversion is not None else _PLACES.get(kind.plural, kind.plural)
    where = "/".join(part for part in ("/registry", place, namespace, name) if part)
    return errors.conflict(
        kind.plural,
        name,
        f"StorageError: invalid object, Code: 4, Key: {where}, ResourceVersion: 0, AdditionalErrorMsg: "
        f"Precondition failed: UID in precondition: {asked}, UID in object meta: {found}",
        kind.group,
    )


def same_uid(served: Served, new: Object, old: Object) -> None:
    """A patch may not change the uid: for it, that is no precondition but one more change. Raises Invalid."""
    was, meta = old["metadata"], new["metadata"]
    if meta.get("uid", was["uid"]) == was["uid"] or meta.get("resourceVersion") != was["resourceVersion"]:
        return  # right, or a conflict before anything is looked at
    cause = fields.invalid("metadata.uid", meta["uid"], "field is immutable")
    refuse(served, was["name"], [cause, cause])


def refuse(served: Served, name: str, causes: list[Cause]) -> None:
    """Raises Invalid with all of them."""
    if causes:
        raise errors.invalid(served.kind.kind, name, causes, served.stored.group)  # an Event is the core group's
