"""ControllerRevisions: the history of a DaemonSet's or StatefulSet's template (``kubectl rollout history|undo``).

A revision's ``data`` is a strategic merge patch that replaces the template; kubectl applies it to roll back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kcore.controller.hashing import revision_hash
from kcore.controller.owners import claim
from kcore.errors import AlreadyExists, NotFound
from kcore.objects import Object, meta
from kcore.objects.resources import CONTROLLERREVISIONS, GVR
from kcore.objects.selectors import Selector

if TYPE_CHECKING:
    from kcore.client import Client
    from kcore.client.informer import Informer

HASH_LABEL = "controller-revision-hash"  # on pods, and on the revisions of a DaemonSet
STATEFUL_LABEL = "controller.kubernetes.io/hash"  # on the revisions of a StatefulSet
_NAME_MAX = 223  # of the owner's part of a revision's name


def data_of(template: Object) -> Object:
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def template_of(revision: Object) -> Object:
    template = dict(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


async def history(
    client: Client, informer: Informer, owner: Object, resource: GVR, selector: Selector
) -> list[Object]:
    """The owner's revisions, oldest first."""
    found = await claim(client, informer, CONTROLLERREVISIONS, owner, resource, selector)
    return sorted(found, key=lambda r: (r["revision"], r["metadata"].get("creationTimestamp", ""), meta.name(r)))


async def current(
    client: Client,
    owner: Object,
    resource: GVR,
    known: list[Object],
    collisions: int | None,
    *,
    hash_of: Callable[[Object, int | None], str] = revision_hash,
    label: str = HASH_LABEL,
) -> tuple[Object, int | None]:
    """The revision of the owner's present template: found, moved to the front (a rollback), or made.

    ``hash_of(data, collisions)`` names a new one, and its hash is put into `label`. Also returns the new collision
    count (a name was taken by other data), as it came if there was none.
    """
    template = owner["spec"]["template"]
    data = data_of(template)
    newest = known[-1]["revision"] if known else 0
    for revision in reversed(known):
        if revision["data"] == data:
            if revision["revision"] == newest:
                return revision, collisions
            moved = {**revision, "revision": newest + 1}
            return await client.update(CONTROLLERREVISIONS, moved), collisions
    while True:
        name_hash = hash_of(data, collisions)
        try:
            wanted = _revision(owner, resource, data, (label, name_hash), newest + 1)
            return await client.create(CONTROLLERREVISIONS, wanted, meta.namespace(owner)), collisions
        except AlreadyExists:
            name = f"{meta.name(owner)[:_NAME_MAX]}-{name_hash}"
            try:
                taken = await client.get(CONTROLLERREVISIONS, name, meta.namespace(owner))
            except NotFound:
                continue
            if taken["data"] == data and meta.controlled_by(taken, owner):
                return taken, collisions
            collisions = (collisions or 0) + 1


def _revision(owner: Object, resource: GVR, data: Object, hashed: tuple[str, str], number: int) -> Object:
    label, name_hash = hashed
    metadata: Object = {
        "name": f"{meta.name(owner)[:_NAME_MAX]}-{name_hash}",
        "namespace": meta.namespace(owner),
        "labels": {
            **(owner["spec"]["template"].get("metadata", {}).get("labels") or {}),
            label: name_hash,
        },
        "ownerReferences": [meta.owner_reference(owner, resource.api_version, resource.kind)],
    }
    if meta.annotations(owner):
        metadata["annotations"] = dict(meta.annotations(owner))
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": data,
        "revision": number,
    }


async def truncate(client: Client, known: list[Object], live: set[str], limit: int) -> None:
    """Delete the oldest revisions that no pod uses until `limit` of them are left. `live` holds names."""
    unused = [r for r in known if meta.name(r) not in live]
    for revision in unused[: max(len(unused) - limit, 0)]:
        try:
            await client.delete(CONTROLLERREVISIONS, meta.name(revision), meta.namespace(revision))
        except NotFound:
            pass
