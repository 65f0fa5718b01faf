"""The Client contract in this process: the same pipeline as over HTTP, without bytes.

Objects come from the watch cache, decoded once for each revision and shared by all informers; a write goes through
defaulting, admission and validation like any other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from kcore import errors
from kcore.api import access, decoding, deletion, layout, listing, patching
from kcore.api.auth import Attributes, User
from kcore.api.cache import Entry
from kcore.api.listing import ListOptions
from kcore.api.options import Caller, DeleteOptions
from kcore.api.selection import Selection
from kcore.api.served import Served
from kcore.api.watch import BOOKMARK, Watch
from kcore.client import MERGE_PATCH, ObjectList, WatchEvent
from kcore.http.messages import Request
from kcore.objects import Object
from kcore.objects.resources import GVR

if TYPE_CHECKING:
    from kcore.api.server import ApiServer


class InProcessClient:
    """Access as one user. All methods are those of `kcore.client.Client`."""

    def __init__(self, server: ApiServer, user: User) -> None:
        self._server, self._user = server, access.with_standard_group(user)
        self._manager = user.name.removeprefix("system:").rpartition(":")[2][:128] or "unknown"

    async def get(self, resource: GVR, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        served = await self._enter("get", resource, namespace, name, subresource)
        if (subresource and subresource != "status") or served.kind.virtual:
            return await self._subresource("GET", resource, name, namespace, subresource)
        return served.object(await self._server.storage.get(served, namespace, name))

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
    ) -> ObjectList:
        served = await self._enter("list", resource, namespace)
        if served.kind.virtual:  # nothing is stored: whoever answers it over HTTP answers here
            query = urlencode({"labelSelector": label_selector, "fieldSelector": field_selector})
            found = await self._subresource("GET", resource, "", namespace, "", query=query)
            return ObjectList(found["items"], found["metadata"].get("resourceVersion", ""), "")
        options = ListOptions(label_selector, field_selector, limit, continue_token, resource_version)
        page = await listing.page(self._server.feed, served, namespace, options)
        return ObjectList([served.object(e) for e in page.entries], str(page.revision), page.continue_token)

    @asynccontextmanager
    async def watch(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        served = await self._enter("watch", resource, namespace)
        options = ListOptions(label_selector, field_selector, resource_version=resource_version, bookmarks=True)
        selection = Selection.parse(served, namespace, label_selector, field_selector)
        watch = Watch(self._server.feed, served, selection, options)
        try:
            await watch.start()
            yield _Events(watch, served)
        finally:
            watch.close()

    async def create(
        self, resource: GVR, obj: Object, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Object:
        namespace = namespace or obj.get("metadata", {}).get("namespace", "")
        served = await self._enter("create", resource, namespace, name, subresource)
        if subresource or served.kind.virtual:
            return await self._subresource("POST", resource, name, namespace, subresource, obj)
        caller = self._caller()
        body = decoding.typed(served, layout.decode_json(layout.encode_json(obj)), caller)
        written = await self._server.storage.create(served, namespace, body, caller)
        return served.object(written.entry)

    async def update(self, resource: GVR, obj: Object, *, subresource: str = "") -> Object:
        meta = obj["metadata"]
        name, namespace = meta["name"], meta.get("namespace", "")
        served = await self._enter("update", resource, namespace, name, subresource)
        if subresource not in ("", "status"):
            return await self._subresource("PUT", resource, name, namespace, subresource, obj)
        caller = self._caller()
        body = decoding.typed(served, layout.decode_json(layout.encode_json(obj)), caller)
        written = await self._server.verbs.put(served, namespace, name, body, caller, subresource=subresource)
        return served.object(written.entry)

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
        served = await self._enter("patch", resource, namespace, name, subresource)
        if subresource not in ("", "status"):
            query = f"fieldManager={field_manager}" if field_manager else ""
            if force:
                query += "&force=true"
            return await self._subresource("PATCH", resource, name, namespace, subresource, patch, type, query)
        caller = self._caller()
        caller.manager, caller.force = field_manager or caller.manager, force
        made = patching.Patch(served, type, patch)
        written = await patching.patch(
            self._server.storage, served, namespace, name, made, caller, subresource=subresource
        )
        return served.object(written.entry)

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
        served = await self._enter("delete", resource, namespace, name)
        options = DeleteOptions(grace_seconds, propagation, uid or None, resource_version or None)
        written = await deletion.delete(self._server.storage, served, namespace, name, options, self._caller())
        return served.object(written.entry)

    async def delete_collection(
        self, resource: GVR, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        served = await self._enter("deletecollection", resource, namespace)
        options = ListOptions(label_selector, field_selector)
        page = await listing.page(self._server.feed, served, namespace, options)
        await self._server.verbs.delete_entries(served, page.entries, DeleteOptions(), self._caller())

    # --- the way in ---------------------------------------------------------------------------------------------

    async def _enter(
        self, verb: str, resource: GVR, namespace: str = "", name: str = "", subresource: str = ""
    ) -> Served:
        """The resource at work, once the user may use it. Raises Forbidden, NotFound."""
        server = self._server
        server.check_serving()
        wanted = Attributes(
            self._user,
            verb,
            resource.resource,
            subresource,
            resource.group,
            resource.version,
            namespace,
            name,
        )
        await access.authorize(server.authorizers, wanted)
        served = server.table.find(resource.group, resource.version, resource.resource)
        if served is None:
            raise server.unknown_resource()
        return served

    def _caller(self) -> Caller:
        return Caller(self._user, self._manager, field_validation="Ignore")

    async def _subresource(
        self,
        method: str,
        resource: GVR,
        name: str,
        namespace: str,
        subresource: str,
        body: Any = None,
        type: str = "application/json",
        query: str = "",
    ) -> Object:
        """Subresources with rules of their own are few and rare: they go the HTTP way, as this user."""
        request = Request(
            method,
            resource.path(namespace, name, subresource),
            query,
            {"content-type": type, "accept": "application/json", "user-agent": self._manager},
            b"" if body is None else layout.encode_json(body),
        )
        response = await self._server.handle_as(request, self._user)
        raw = getattr(response, "body", b"")
        doc: Object = layout.decode_json(b"".join(raw) if isinstance(raw, list) else raw)
        if getattr(response, "status", 200) >= 400:
            raise errors.ApiError.from_status(doc)
        return doc


class _Events:
    """The events of a watch, one by one."""

    def __init__(self, watch: Watch, served: Served) -> None:
        self._watch, self._served = watch, served
        self._items: list[WatchEvent] = []

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> WatchEvent:
        if not self._items:
            items = await self._watch.next()
            if items is None:
                raise StopAsyncIteration
            self._items = [WatchEvent(type, self._object(type, entry)) for type, entry, _ in reversed(items)]
        return self._items.pop()

    def _object(self, type: str, entry: Entry) -> Object:
        if type == BOOKMARK:
            return layout.decode_json(self._served.head + entry.tail)  # type: ignore[no-any-return]
        return self._served.object(entry)
