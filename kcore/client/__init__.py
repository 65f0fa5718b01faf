"""The Client contract: how every component talks to the cluster, in this process or over HTTPS.

Components never call each other. They read through a `Client` (or an informer on top of it), write through it,
and react to what they watch; so any of them may run in another process, be restarted, or be swapped.

Two transports give the same contract: `kcore.api` offers one that calls the API machinery in this process, and
`kcore.client.remote` speaks HTTPS with a kubeconfig. Both raise the `ApiError` that the server answered.

Objects that a client returns are shared and read-only (see `kcore.objects`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import attrs

from kcore.objects import Object
from kcore.objects.resources import GVR

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@attrs.frozen(slots=True)
class ObjectList:
    """A page of objects, all as they were at `resource_version`."""

    items: list[Object]
    resource_version: str  # watch from here
    continue_token: str = ""  # "" when this was the last page


@attrs.frozen(slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK; for DELETED the object is its last state."""

    type: str
    object: Object


class Client(Protocol):
    """Access to the API as one user. Safe to use from many tasks.

    Every method may raise ServiceUnavailable (or an OSError subclass for a remote server): components retry.
    """

    async def get(self, resource: GVR, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        """Raises NotFound."""

    async def list(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_token: str = "",
        resource_version: str = "",
        outline: bool = False,
    ) -> ObjectList:
        """`namespace` "" lists all namespaces. Raises Gone for a continue token that is too old.

        With `outline` the objects come without what is long and seldom wanted (`kcore.objects.outlines`).
        """

    def watch(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        outline: bool = False,
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        """Changes after `resource_version`, with bookmarks. Entering or iterating raises Gone when it is too
        old (list again). The iterator ends when the server ends the watch: start again where it stopped."""

    async def create(
        self, resource: GVR, obj: Object, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Object:
        """POST. `namespace` "" takes the object's own. With `name` and `subresource`: pods/x/eviction,
        pods/x/binding, serviceaccounts/x/token. Raises AlreadyExists, Invalid, Forbidden."""

    async def update(self, resource: GVR, obj: Object, *, subresource: str = "") -> Object:
        """PUT. Raises Conflict if the object's resourceVersion is not the newest."""

    async def patch(
        self,
        resource: GVR,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: str = MERGE_PATCH,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        """`patch` is the decoded patch: a dict, or a list for JSON_PATCH."""

    async def delete(
        self,
        resource: GVR,
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        propagation: str = "",
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """Returns the object, or a Status. `uid` and `resource_version` are preconditions (Conflict)."""

    async def delete_collection(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        propagation: str = "",
    ) -> None:
        """Delete all that match, as `propagation` says."""

    async def discover(self, group: str, version: str) -> Sequence[Object]:
        """The resources of a group version, as its discovery document has them (APIResource). Raises NotFound."""
