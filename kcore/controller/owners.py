"""Owning: finding what a controller object owns, adopting what matches its selector, releasing what no longer does.

A controller may own an object only through an owner reference with ``controller: true``; an object has one at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kcore.errors import ApiError, NotFound
from kcore.objects import Object, meta
from kcore.objects.selectors import Selector

if TYPE_CHECKING:
    from kcore.client import Client
    from kcore.client.informer import Informer
    from kcore.objects.resources import GVR

BY_CONTROLLER = "controller"
ORPHANS = "orphans"


def index_owned(informer: Informer) -> None:
    """Add the indexes that `Claim` reads: by the controller's uid, and those without one by namespace."""
    informer.add_index(BY_CONTROLLER, _controller_uid)
    informer.add_index(ORPHANS, _orphan_namespace)


def _controller_uid(obj: Object) -> Iterable[str]:
    for ref in obj["metadata"].get("ownerReferences") or ():
        if ref.get("controller"):
            return (ref["uid"],)
    return ()


def _orphan_namespace(obj: Object) -> Iterable[str]:
    return () if _controller_uid(obj) else (obj["metadata"].get("namespace", ""),)


def owned(informer: Informer, owner: Object) -> list[Object]:
    """What `owner` controls, whether its selector matches or not."""
    return informer.indexed(BY_CONTROLLER, meta.uid(owner))


def owner_key(obj: Object, kind: str) -> str:
    """The key of the controller of `obj` if it is of that kind, else ""."""
    for ref in obj["metadata"].get("ownerReferences") or ():
        if ref.get("controller"):
            if ref["kind"] == kind:
                return f"{obj['metadata']['namespace']}/{ref['name']}"
            return ""
    return ""


async def claim(
    client: Client, informer: Informer, resource: GVR, owner: Object, owner_resource: GVR, selector: Selector
) -> list[Object]:
    """What `owner` controls and selects, after adopting matching orphans and releasing what no longer matches.

    An owner that is being deleted neither adopts nor releases. Objects being deleted are not adopted.
    """
    out: list[Object] = []
    deleting = meta.deleting(owner)
    for obj in owned(informer, owner):
        if selector.matches(meta.labels(obj)):
            out.append(obj)
        elif not deleting:
            await _release(client, resource, obj, owner)
    if deleting or not informer.index_size(ORPHANS, meta.namespace(owner)):
        return out
    matching = [
        o
        for o in informer.indexed(ORPHANS, meta.namespace(owner))
        if not meta.deleting(o) and selector.matches(meta.labels(o))
    ]
    if matching and await _still_there(client, owner, owner_resource):
        for obj in matching:
            adopted = await _adopt(client, resource, obj, owner, owner_resource)
            if adopted is not None:
                out.append(adopted)
    return out


async def _still_there(client: Client, owner: Object, resource: GVR) -> bool:
    """Ask the API itself: an informer may not know yet that the owner is being deleted, or is another one."""
    try:
        fresh = await client.get(resource, meta.name(owner), meta.namespace(owner))
    except NotFound:
        return False
    return meta.uid(fresh) == meta.uid(owner) and not meta.deleting(fresh)


async def _adopt(client: Client, resource: GVR, obj: Object, owner: Object, owner_resource: GVR) -> Object | None:
    reference = meta.owner_reference(owner, owner_resource.api_version, owner_resource.kind)
    references = [*(obj["metadata"].get("ownerReferences") or ()), reference]
    return await _write_references(client, resource, obj, references)


async def _release(client: Client, resource: GVR, obj: Object, owner: Object) -> None:
    references = [r for r in obj["metadata"].get("ownerReferences") or () if r["uid"] != meta.uid(owner)]
    await _write_references(client, resource, obj, references)


async def _write_references(client: Client, resource: GVR, obj: Object, references: list[Object]) -> Object | None:
    # the uid and the version make sure that it is still this very object with these very references
    patch = {
        "metadata": {
            "uid": meta.uid(obj),
            "resourceVersion": meta.resource_version(obj),
            "ownerReferences": references or None,
        }
    }
    try:
        return await client.patch(resource, meta.name(obj), patch, meta.namespace(obj))
    except NotFound:
        return None
    except ApiError as error:
        if error.code in (409, 422):
            return None  # it has changed: its event brings the owner back
        raise
