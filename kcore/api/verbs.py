"""The verbs over HTTP: from a request with a known resource to an answer.

Each method is one verb. What they share with the in-process client -- reading, writing, deleting, selecting -- is in
`storage`, `deletion`, `listing` and `watch`; here is only what HTTP adds: options from the query, decoding, encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kcore import errors
from kcore.api import answers, decoding, deletion, layout, listing, negotiate, observe, options, patching
from kcore.api.auth import User
from kcore.api.cache import Entry
from kcore.api.checks import wrong_uid
from kcore.api.negotiate import Form
from kcore.api.options import Caller
from kcore.api.routing import RequestInfo
from kcore.api.selection import Selection
from kcore.api.served import Served
from kcore.api.storage import Prepare, Storage, Written
from kcore.api.streams import encoder
from kcore.api.watch import Stream, Watch
from kcore.http.messages import AnyResponse, Request, Response, StreamResponse
from kcore.objects import Object

Ended = Callable[[Served, str, int], None]
"""Told when a watch ends: the resource, the request's scope, how many events were sent."""


class Verbs:
    def __init__(self, storage: Storage, watch_ended: Ended) -> None:
        self._storage, self._feed, self._watch_ended = storage, storage.feed, watch_ended

    @staticmethod
    def _form(request: Request, served: Served, *, list: bool = False) -> Form:
        go_type = served.go_list_type if list else served.go_type
        return negotiate.negotiate(request, protobuf=bool(served.kind.message), go_type=go_type)

    # --- reading ------------------------------------------------------------------------------------------------

    async def get(self, request: Request, served: Served, info: RequestInfo) -> Response:
        form = self._form(request, served)
        if request.query and (version := listing.version_number(request.param("resourceVersion"))):
            await listing.not_in_the_future(self._feed, version, request.param("resourceVersion"))
        entry = await self._storage.get(served, info.namespace, info.name)
        return answers.entry(served, entry, form, include=_include(request, form))

    async def list(self, request: Request, served: Served, info: RequestInfo) -> Response:
        form = self._form(request, served, list=True)
        page = await listing.page(self._feed, served, info.namespace, listing.parse(request))
        return answers.page(served, page, form, include=_include(request, form))

    async def watch(self, request: Request, served: Served, info: RequestInfo) -> AnyResponse:
        form = negotiate.negotiate(request, protobuf=bool(served.kind.message), watch=True)
        wanted = listing.parse(request, watch=True)
        fields = wanted.field_selector
        if info.named:  # the old /watch/ path of one object
            fields = f"metadata.name={info.name}" + ("," + fields if fields else "")
        selection = Selection.parse(served, info.namespace, wanted.label_selector, fields)
        watch = Watch(self._feed, served, selection, wanted)
        first = None
        try:
            await watch.start()
        except errors.Gone as error:  # the stream has begun for upstream's server: the error is its only event
            first = error
        encode, encode_error, content_type = encoder(served, form, _include(request, form))
        scope = observe.scope(info)
        stream = Stream(watch, encode, encode_error, first, lambda sent: self._watch_ended(served, scope, sent))
        return StreamResponse(stream, content_type=content_type)

    # --- writing ------------------------------------------------------------------------------------------------

    async def create(self, request: Request, served: Served, info: RequestInfo, user: User) -> Response:
        form = self._form(request, served)
        caller = options.caller(request, user, "create")
        with caller:
            obj = decoding.body(request, served.kind.kind, caller, protobuf=bool(served.kind.message), typed=True)
            decoding.typed(served, obj, caller)
            written = await self._storage.create(served, info.namespace, obj, caller)
        return _answer(request, served, written, form, caller)

    async def update(
        self,
        request: Request,
        served: Served,
        info: RequestInfo,
        user: User,
        subresource: str = "",
        prepare: Prepare | None = None,
    ) -> Response:
        form = self._form(request, served)
        caller = options.caller(request, user, "update")
        with caller:
            obj = decoding.body(request, served.kind.kind, caller, protobuf=bool(served.kind.message), typed=True)
            decoding.typed(served, obj, caller)
            addressed(obj, info.namespace, info.name)
            written = await self.put(
                served, info.namespace, info.name, obj, caller, subresource=subresource, prepare=prepare
            )
        return _answer(request, served, written, form, caller)

    async def put(
        self,
        served: Served,
        namespace: str,
        name: str,
        obj: Object,
        caller: Caller,
        *,
        subresource: str = "",
        prepare: Prepare | None = None,
    ) -> Written:
        """Replace an object by one that names it; create it where the kind allows that."""
        kept, uid = layout.encode_json(obj), obj["metadata"].get("uid")
        first = [obj]

        def produce(_: Object) -> Object:
            return first.pop() if first else layout.decode_json(kept)

        try:
            return await self._storage.update(
                served, namespace, name, produce, caller, subresource=subresource, prepare=prepare
            )
        except errors.NotFound:
            if uid:
                raise wrong_uid(served, namespace, name, uid, "") from None
            if subresource or not served.kind.strategy.allow_create_on_update:
                raise
        new = layout.decode_json(kept)
        new["metadata"].pop("resourceVersion", None)
        return await self._storage.create(served, namespace, new, caller)

    async def patch(
        self,
        request: Request,
        served: Served,
        info: RequestInfo,
        user: User,
        subresource: str = "",
        prepare: Prepare | None = None,
    ) -> Response:
        type = decoding.media_type(request)
        patch = patching.decode(served, request, type)
        form = self._form(request, served)
        caller = options.caller(request, user, "patch", type)
        with caller:
            written = await patching.patch(
                self._storage,
                served,
                info.namespace,
                info.name,
                patch,
                caller,
                subresource=subresource,
                prepare=prepare,
            )
        return _answer(request, served, written, form, caller)

    async def delete(self, request: Request, served: Served, info: RequestInfo, user: User) -> Response:
        form = self._form(request, served)
        wanted, orphaned = self._delete_options(request, served)
        caller = Caller(user)
        with caller:
            written = await deletion.delete(self._storage, served, info.namespace, info.name, wanted, caller)
        status = 202 if not written.deleted and orphaned is False else 200
        if not _shows_object(served, written):
            details = served.details(info.name) | {"uid": served.object(written.entry)["metadata"].get("uid", "")}
            response = answers.encoded(answers.success(details), form)
        else:
            response = answers.entry(served, written.entry, form, status=status, include=_include(request, form))
        response.headers += answers.warning_headers(caller.warnings)
        return response

    async def delete_collection(self, request: Request, served: Served, info: RequestInfo, user: User) -> Response:
        form = self._form(request, served, list=True)
        wanted, _ = self._delete_options(request, served)
        parsed = listing.parse(request)
        page = await listing.page(self._feed, served, info.namespace, parsed)
        caller = Caller(user)
        response = answers.page(served, page, form, include=_include(request, form))
        with caller:
            await self.delete_entries(served, page.entries, wanted, caller)
        response.headers += answers.warning_headers(caller.warnings)
        return response

    async def delete_entries(
        self, served: Served, entries: Sequence[Entry], wanted: options.DeleteOptions, caller: Caller
    ) -> None:
        for entry in entries:
            try:
                await deletion.delete(self._storage, served, entry.namespace, entry.name, wanted, caller)
            except errors.NotFound:
                pass  # somebody else was quicker

    def _delete_options(self, request: Request, served: Served) -> tuple[options.DeleteOptions, bool | None]:
        body: Object | None = None
        if request.body.strip():
            try:
                body = decoding.body(request, "DeleteOptions")
            except errors.BadRequest as error:
                # upstream's decoder of options does not show the body again
                text = error.message.partition("(must be of type DeleteOptions): ")[2].rpartition(" (")[0]
                raise errors.BadRequest(text or error.message) from None
        source = body if body is not None else {k: v[0] for k, v in request.params.items()}
        orphan = source.get("orphanDependents")
        return options.delete_options(request, body), None if orphan is None else orphan in (True, "true", "1")


def addressed(obj: Object, namespace: str, name: str) -> None:
    """The object in a PUT is the one in the URL. Raises BadRequest."""
    meta = obj["metadata"]
    if namespace and meta.get("namespace", "") not in ("", namespace):
        raise errors.BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if meta.get("name") != name:
        given = meta.get("name", "")
        raise errors.BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")
    meta["namespace"] = namespace
    if not namespace:  # one that stands in an object of the whole cluster means nothing
        del meta["namespace"]


def _shows_object(served: Served, written: Written) -> bool:
    return not written.deleted or served.kind.strategy.returns_deleted or bool(served.kind.strategy.graceful_seconds)


def _include(request: Request, form: Form) -> str:
    """The includeObject parameter of a Table. Raises BadRequest."""
    if form.wants != "Table" or not request.query:
        return ""
    include = request.param("includeObject")
    if include not in ("", "None", "Metadata", "Object"):
        raise errors.BadRequest(f'unrecognized includeObject value: "{include}"')
    return include


def _answer(request: Request, served: Served, written: Written, form: Form, caller: Caller) -> Response:
    response = answers.entry(
        served, written.entry, form, status=201 if written.created else 200, include=_include(request, form)
    )
    if caller.warnings:
        response.headers += answers.warning_headers(caller.warnings)
    return response
