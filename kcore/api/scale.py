"""``/scale``: the replica count of anything that has one, as an autoscaling/v1 Scale.

Who owns the count is kept in the object's managedFields, and shown to server-side apply as if the Scale had them
(`kcore.api.patch.scale_managers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcore import errors
from kcore.api import answers, decoding, fields, layout, negotiate, options, patching, tables, validation
from kcore.api.auth import User
from kcore.api.cache import Entry
from kcore.api.kinds import Column, ScalePaths
from kcore.api.negotiate import Form
from kcore.api.options import Caller
from kcore.api.patch import apply, invalid_result
from kcore.api.patch.scale_managers import ScaleManagers
from kcore.api.patching import Patch, immovable, shown_object
from kcore.api.routing import RequestInfo
from kcore.api.schema import Schema
from kcore.api.served import Served
from kcore.api.storage import RETRIES, Written
from kcore.api.verbs import addressed
from kcore.errors import CompareFailed
from kcore.http.messages import AnyResponse, Request, Response
from kcore.objects import Object, selectors

if TYPE_CHECKING:
    from kcore.api.server import ApiServer

KIND, API_VERSION = "Scale", "autoscaling/v1"
_COUNT = Schema(type="integer", format="int32")
_SPEC = Schema(type="object", properties={"replicas": _COUNT})
_STATUS = Schema(type="object", properties={"replicas": _COUNT, "selector": Schema(type="string")})
_TYPE = {name: Schema(type="string") for name in ("apiVersion", "kind")}
SCHEMA = Schema(type="object", properties={**_TYPE, "spec": _SPEC, "status": _STATUS})
_TYPED = Schema(type="object", name="io.k8s.api.autoscaling.v1.Scale", properties=_TYPE)  # the name brings the rest
_COLUMNS = (
    Column("Name", lambda scale: scale["metadata"].get("name", ""), format="name"),
    Column("Desired", lambda scale: scale["spec"].get("replicas", 0), "integer"),
    Column("Available", lambda scale: scale["status"]["replicas"], "integer"),
    Column("Age", tables.age),
)


class Scale:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def answer(self, request: Request, served: Served, info: RequestInfo, user: User) -> AnyResponse:
        storage = self._server.storage
        form = negotiate.negotiate(request, go_type="*autoscaling.Scale")
        if info.verb == "get":
            entry = await storage.get(served, info.namespace, info.name)
            _require_replicas(served, entry)
            return _answer(scale_of(served, entry), form)
        if info.verb == "update":
            caller = options.caller(request, user, "update")
            with caller:
                body = decoding.body(request, KIND, caller, typed=True)
                decoding.adopt(KIND, API_VERSION, body)
                decoding.shape(KIND, _TYPED, body, caller)
                addressed(body, info.namespace, info.name)
                written = await self._write(served, info, caller, lambda _: body, managed=True)
        else:
            type = decoding.media_type(request)
            patch = patching.decode(served, request, type)
            caller = options.caller(request, user, "patch", type)
            apply_ = type == options.APPLY
            produce = _applied if apply_ else _patched
            with caller:
                written = await self._write(
                    served, info, caller, lambda scale: produce(scale, patch, caller), managed=not apply_
                )
        response = _answer(scale_of(served, written.entry), form)
        response.headers += answers.warning_headers(caller.warnings)
        return response

    async def _write(
        self, served: Served, info: RequestInfo, caller: Caller, produce: Any, *, managed: bool = False
    ) -> Written:
        """Put the replicas of the produced Scale into the object.

        With `managed`, the caller becomes the manager of what it changes; else the Scale says who is.
        """
        paths = served.kind.scale
        assert paths is not None
        storage = self._server.storage
        for _ in range(RETRIES):
            entry = await storage.get(served, info.namespace, info.name)
            live = scale_of(served, entry)
            owners = ScaleManagers(served.object(entry)["metadata"], served.kind.api_version, paths.spec_replicas)
            live["metadata"]["managedFields"] = owners.of_scale(API_VERSION)
            wanted = produce(layout.decode_json(layout.encode_json(live)))
            replicas = self.replicas(info.name, wanted)
            new = served.copy(entry)
            _set(new, paths.spec_replicas, replicas)
            meta = wanted.get("metadata") or {}
            if meta.get("uid"):
                new["metadata"]["uid"] = meta["uid"]
            new["metadata"]["resourceVersion"] = meta.get("resourceVersion") or str(entry.revision)
            if managed:
                wanted = {**live, "metadata": dict(live["metadata"]), "spec": {"replicas": replicas}}
                _manage(live, wanted, caller)
            owners.keep(new["metadata"], wanted["metadata"].get("managedFields"))
            try:
                return await storage.replace(
                    served, entry, new, caller, subresource="scale", prepare=_prepare, managed=False
                )
            except CompareFailed:
                continue
        raise errors.modified(served.kind.plural, info.name, served.kind.group)

    @staticmethod
    def replicas(name: str, wanted: Object) -> int:
        replicas = (wanted.get("spec") or {}).get("replicas") or 0
        if isinstance(replicas, bool) or not isinstance(replicas, int):  # a webhook may have made it so
            kind = "string" if isinstance(replicas, str) else "number"
            why = f"json: cannot unmarshal {kind} into Go struct field ScaleSpec.spec.replicas of type int32"
            raise invalid_result(fields.show(wanted), why)
        if replicas < 0:
            cause = fields.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
            raise errors.invalid(KIND, name, [cause], "autoscaling")
        return replicas


def _manage(live: Object, wanted: Object, caller: Caller) -> None:
    apply.update_managed_fields(
        live, wanted, SCHEMA, manager=caller.manager, api_version=API_VERSION, time="", subresource="scale"
    )


def _patched(live: Object, patch: Patch, caller: Caller) -> Object:
    """Raises Invalid where a whole Scale would have been a BadRequest."""
    if caller.field_validation != "Ignore":
        caller.duplicates = patch.problems()
    new = patch.apply(layout.decode_json(layout.encode_json(live)))
    given = dict(new)
    try:
        decoding.shape(KIND, _TYPED, new, caller)
    except errors.BadRequest as error:
        why = error.message.removeprefix(f'{KIND} in version "v1" cannot be handled as a {KIND}: ')
        raise invalid_result(patch.shown() or shown_object(given), why) from None
    immovable(new, live)
    return new


def _applied(live: Object, patch: Patch, caller: Caller) -> Object:
    """Raises Conflict if somebody else has set another count."""
    applied = patch.value()
    validation.decode_check(applied, _TYPED, KIND)
    was, meta = live["metadata"], applied.get("metadata") or {}
    immovable({"metadata": {**meta, **{k: meta.get(k, was.get(k, "")) for k in ("name", "namespace")}}}, live)
    return apply.apply(
        live,
        applied,
        SCHEMA,
        manager=caller.manager,
        api_version=API_VERSION,
        time="",
        force=caller.force,
        subresource="scale",
    )


def _answer(scale: Object, form: Form) -> Response:
    version = f"meta.k8s.io/{form.version}"
    if form.wants == "PartialObjectMetadata":
        return answers.encoded({"kind": form.wants, "apiVersion": version, "metadata": scale["metadata"]}, form)
    if form.wants != "Table":
        return answers.encoded(scale, form)
    meta = {"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": scale["metadata"]}
    doc = {
        "kind": "Table",
        "apiVersion": version,
        "metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]},
        "columnDefinitions": tables.definitions(_COLUMNS),
        "rows": [{"cells": [column.cell(scale) for column in _COLUMNS], "object": meta}],
    }
    return answers.encoded(doc, form)


def _prepare(new: Object, old: Object) -> None:
    """Nothing but the replicas has been changed: there is nothing to carry over."""


def _require_replicas(served: Served, entry: Entry) -> None:
    """A custom resource may have no count where its definition says that it is. Raises InternalError."""
    paths = served.kind.scale
    if served.kind.conversion is None or paths is None or _at(served.object(entry), paths.spec_replicas) is not None:
        return
    why = f'the spec replicas field "{paths.spec_replicas}" does not exist'
    raise errors.InternalError(f"Internal error occurred: {why}", details={"causes": [{"message": why}]})


def scale_of(served: Served, entry: Entry) -> Object:
    """An object's Scale."""
    assert served.kind.scale is not None
    return scale_object(served.object(entry), served.kind.scale)


def with_replicas(obj: Object, paths: ScalePaths, scale: Object) -> Object:
    """A copy of the object with the replicas of its changed Scale. Raises Invalid."""
    replicas = Scale.replicas((obj.get("metadata") or {}).get("name", ""), scale)
    copy: Object = layout.decode_json(layout.encode_json(obj))
    _set(copy, paths.spec_replicas, replicas)
    return copy


def scale_object(obj: Object, paths: ScalePaths) -> Object:
    meta = obj["metadata"]
    shown = {k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in meta}
    replicas = _at(obj, paths.spec_replicas)
    status: Object = {"replicas": _at(obj, paths.status_replicas) or 0}
    selector = selector_text(obj, paths)
    if selector:
        status["selector"] = selector
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": KIND, "apiVersion": API_VERSION, "metadata": shown, "spec": spec, "status": status}


def selector_text(obj: Object, paths: ScalePaths) -> str:
    """The pods' selector as a string, whichever of its three forms the object has."""
    selector = _at(obj, paths.selector) if paths.selector else None
    if not selector:
        return ""
    if isinstance(selector, str):
        return selector
    if "matchLabels" in selector or "matchExpressions" in selector:
        return _sorted(selectors.from_object(selector))
    return _sorted(selectors.from_map(selector))


def _sorted(selector: selectors.Selector) -> str:
    return ",".join(str(r) for r in sorted(selector.requirements, key=lambda r: r.key))


def _at(obj: Object, path: str) -> Any:
    at: Any = obj
    for part in path.strip(".").split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return at


def _set(obj: Object, path: str, value: Any) -> None:
    *parents, last = path.strip(".").split(".")
    at = obj
    for part in parents:
        at = at.setdefault(part, {})
    at[last] = value
