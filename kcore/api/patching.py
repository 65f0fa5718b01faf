"""PATCH: reading a patch, applying it to the current object, and storing the result like an update."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kcore import clock, errors
from kcore.api import aside, decoding, layout, managing, validation
from kcore.api.checks import same_uid
from kcore.api.codec import json
from kcore.api.options import APPLY, Caller
from kcore.api.patch import apply, go_text, invalid_result, json_patch, malformed, merge, strategic
from kcore.api.served import Served
from kcore.api.storage import ATTEMPTS, Storage, Written
from kcore.client import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from kcore.errors import CompareFailed
from kcore.http.messages import Request
from kcore.objects import Object

_META_ORDER = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip


class Patch:
    """A patch that can be applied again and again: `apply` takes an object that it may change."""

    def __init__(
        self, served: Served, type: str, value: Any, body: bytes = b"", lines: list[str] | None = None
    ) -> None:
        self.type, self._served = type, served
        self._raw, self._body, self._lines = layout.encode_json(value), body, lines

    @property
    def size(self) -> int:
        """Bytes of JSON."""
        return len(self._raw)

    def value(self) -> Any:
        """The decoded patch, fresh: applying may change it."""
        return layout.decode_json(self._raw)

    def problems(self) -> list[str]:
        """What the patch itself says twice, and members that no operation of a JSON patch has."""
        if self._lines is not None:
            lines = "".join(f"\n  {line}" for line in self._lines)
            return [f"error converting YAML to JSON: yaml: unmarshal errors:{lines}"] if lines else []
        value = self.value()
        found = json.duplicate_fields(self._body, value)
        if self.type != JSON_PATCH:
            return found
        unknown = json_patch.unknown_members(value)
        return [f"json patch {each}" for each in json.strict_problems(self._body, unknown)] if found or unknown else []

    def shown(self) -> str:
        """How the refusal of its result shows a strategic merge patch; "" for others, whose result is shown."""
        return go_text(self.value()) if self.type == STRATEGIC_PATCH else ""

    def apply(self, doc: Object) -> Object:
        """Raises BadRequest, Invalid or a 500 in upstream's words."""
        value = self.value()
        if self.type == JSON_PATCH:
            result = json_patch.apply(doc, value)
        elif self.type == MERGE_PATCH:
            result = merge.apply(doc, value)
        else:
            result = strategic.apply(doc, value, self._served.kind.schema)
        if not isinstance(result, dict):
            raise invalid_result(layout.encode_json(result).decode(), "the patched object is no object")
        return result


def decode(served: Served, request: Request, type: str) -> Patch:
    """Raises UnsupportedMediaType for a type of patch that the kind does not take, BadRequest for a malformed one."""
    body = request.body
    if len(body) > decoding.MAX_BODY:
        raise errors.ApiError(
            f"Request entity too large: limit is {decoding.MAX_BODY}", code=413, reason="RequestEntityTooLarge"
        )
    if type in (JSON_PATCH, MERGE_PATCH):
        value = json.decode_patch(body)
        if type == MERGE_PATCH:
            _an_object(value, "error decoding patch: ")
        return Patch(served, type, value, body)
    if type == STRATEGIC_PATCH and served.kind.message:
        try:
            value = json.loads(body)
        except ValueError as error:
            raise malformed(str(error)) from None
        _an_object(value, "")
        return Patch(served, type, value, body)
    if type == APPLY:
        try:
            value, lines = decoding.decoded(request, type)
            return Patch(served, type, value, lines=lines)
        except errors.BadRequest as error:
            raise errors.BadRequest(f"error decoding patch: {error.message}") from None
    if type == STRATEGIC_PATCH:
        accepted = ", ".join((JSON_PATCH, MERGE_PATCH, APPLY))
        raise errors.UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    raise errors.UnsupportedMediaType("415: Unsupported Media Type", details={})


def _an_object(value: Any, before: str) -> None:
    """Raises BadRequest for a patch that is anything else, as Go's decoder says it."""
    if value is None:
        raise malformed("Invalid JSON Patch")
    if not isinstance(value, dict):
        said = "array" if isinstance(value, list) else "bool" if isinstance(value, bool) else ""
        said = said or ("string" if isinstance(value, str) else "number")
        raise malformed(f"{before}json: cannot unmarshal {said} into Go value of type map[string]interface {{}}")


async def patch(
    storage: Storage,
    served: Served,
    namespace: str,
    name: str,
    patch: Patch,
    caller: Caller,
    *,
    subresource: str = "",
    prepare: Callable[[Object, Object], None] | None = None,
) -> Written:
    """Apply until it sticks. A patch that names no resourceVersion is applied to whatever is current."""
    told = patch.type != APPLY and caller.field_validation != "Ignore"  # an apply tells it when it has been merged
    problems = patch.problems() if told else []
    for _ in range(ATTEMPTS):
        entry = await storage.find(served, namespace, name)
        if entry is None:
            if patch.type == APPLY and not subresource:
                try:
                    return await _apply_new(storage, served, namespace, name, patch, caller)
                except errors.AlreadyExists:
                    continue  # somebody else was quicker: it is applied to theirs
            raise errors.not_found(served.kind.plural, name, served.kind.group)
        if patch.type == APPLY:
            live = served.object(entry)
            merge_in = partial(_applied, served, live, patch, name, namespace, caller, subresource)
            if served.remote and managing.several(served, live):
                new = await aside.waiting(merge_in)
            else:
                new = await aside.run(patch.size, merge_in)
        else:
            caller.duplicates = problems
            new = result(served, patch.apply(served.copy(entry)), caller, patch.shown)
            immovable(new, served.object(entry))
        same_uid(served, new, served.object(entry))
        try:
            return await storage.replace(
                served, entry, new, caller, subresource=subresource, prepare=prepare, managed=patch.type != APPLY
            )
        except CompareFailed:
            continue
    raise errors.modified(served.kind.plural, name, served.kind.group)


def result(served: Served, new: Object, caller: Caller, shown: Callable[[], str] = str) -> Object:
    """The patched object as its kind. Raises Invalid where a whole object would have been a BadRequest.

    The refusal shows the object, or what `shown` makes of the patch.
    """
    kind = served.kind
    given = dict(new)  # decoding makes new members: these stay for the error to show
    if (new.get("kind"), new.get("apiVersion")) != (kind.kind, kind.api_version):
        _became_another(served, new, given)
    try:
        return decoding.typed(served, new, caller)
    except errors.BadRequest as error:
        prefix = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
        text = shown() or (shown_object(given) if kind.conversion is None else json.encode_sorted(given).decode())
        raise invalid_result(text, error.message.removeprefix(prefix)) from None


def _became_another(served: Served, new: Object, given: Object) -> None:
    """A patch that changes what the object is: it is decoded as that, and then fits nowhere. Raises Invalid."""
    kind, said, version = served.kind, new.get("kind") or "", new.get("apiVersion") or ""
    if not served.kind.message or not said or not version or served.kinds is None:
        return
    group, _, number = str(version).rpartition("/")
    other = served.kinds.by_kind(group, number, str(said))
    if other is None or not other.message:
        return
    try:
        validation.prepare(new, other.schema, other.kind)
    except errors.BadRequest as error:
        why = error.message.removeprefix(f'{said} in version "{number}" cannot be handled as a {said}: ')
        raise invalid_result(shown_object(given), why) from None
    there = f"{group.partition('.')[0]}/{number}" if group else number
    why = f"unable to decode {there}, Kind={said} into {served.go_type}"
    if other.group != kind.group or other.kind != kind.kind:
        raise invalid_result(shown_object(given), why)


def shown_object(obj: Object) -> str:
    """An object as upstream's patch errors print it: members sorted, metadata in the order of Go's struct."""
    ordered = {key: obj[key] for key in sorted(obj)}
    given = obj.get("metadata")
    if isinstance(given, dict):
        known = {key: given[key] for key in _META_ORDER if key in given}
        ordered["metadata"] = {**known, **given}
    return layout.encode_json(ordered).decode()


def immovable(new: Object, old: Object) -> None:
    """A patch cannot rename. Raises BadRequest."""
    was, meta = old["metadata"], new["metadata"]
    if meta.get("name") != was.get("name"):
        raise errors.BadRequest(
            f"the name of the object ({meta.get('name', '')}) does not match the name on the URL ({was['name']})"
        )
    if meta.get("namespace", "") != was.get("namespace", ""):
        raise errors.BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


# --- server-side apply -----------------------------------------------------------------------------------------------


def _configuration(served: Served, patch: Patch, name: str, namespace: str, caller: Caller) -> Object:
    """The applied configuration, checked as upstream checks it before it is merged."""
    applied: Object = patch.value()
    kind = served.kind
    said = (applied.get("apiVersion") or "", applied.get("kind") or "")
    if said != (kind.api_version, kind.kind):
        group, _, version = said[0].rpartition("/")
        raise errors.BadRequest(f"invalid object type: {group}/{version}, Kind={said[1]}")
    if applied.get("metadata") is None:
        applied["metadata"] = {}
    meta = applied["metadata"]
    if type(meta) is not dict:
        validation.decode_check(applied, kind.schema, kind.kind)
    if meta.get("managedFields"):
        raise errors.BadRequest("metadata.managedFields must be nil")
    if meta.get("name", name) != name:
        raise errors.BadRequest(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
    if kind.namespaced:
        if meta.get("namespace", namespace) != namespace:
            raise errors.BadRequest(
                f"the namespace of the object ({meta['namespace']}) does not match the namespace on the request "
                f"({namespace})"
            )
        meta["namespace"] = namespace
    meta["name"] = name
    # not brought into Go's form: what the client did not write it does not own
    validation.decode_check(applied, kind.schema, kind.kind)
    return applied


def _applied(
    served: Served, live: Object, patch: Patch, name: str, namespace: str, caller: Caller, subresource: str
) -> Object:
    applied = _configuration(served, patch, name, namespace, caller)
    version = applied["metadata"].pop("resourceVersion", "")
    if version and version != live["metadata"].get("resourceVersion", version):
        raise errors.modified(served.kind.plural, name, served.kind.group)
    result = apply.apply(
        live,
        applied,
        served.kind.schema,
        manager=caller.manager,
        api_version=served.kind.api_version,
        time=clock.timestamp(),
        force=caller.force,
        subresource=subresource,
        reset=served.kind.strategy.managed_reset(subresource),
        convert=served.in_version,
    )
    _strictly(patch, caller)
    return decoding.settled(served, result)


async def _apply_new(
    storage: Storage, served: Served, namespace: str, name: str, patch: Patch, caller: Caller
) -> Written:
    """Applying what does not exist creates it; with a uid it must exist."""
    new = await aside.run(patch.size, partial(_created, served, namespace, name, patch, caller))
    return await storage.create(served, namespace, new, caller, managed=False)


def _created(served: Served, namespace: str, name: str, patch: Patch, caller: Caller) -> Object:
    applied = _configuration(served, patch, name, namespace, caller)
    kind = served.kind
    uid = applied["metadata"].get("uid")
    applied["metadata"].pop("resourceVersion", None)
    new = apply.apply(
        None,
        applied,
        kind.schema,
        manager=caller.manager,
        api_version=kind.api_version,
        time=clock.timestamp(),
        force=caller.force,
        reset=kind.strategy.managed_reset(""),
    )
    _strictly(patch, caller)
    if uid:
        why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise errors.conflict(kind.plural, name, why, kind.group)
    return decoding.settled(served, new)


def _strictly(patch: Patch, caller: Caller) -> None:
    """Tell of keys that the configuration has twice. Raises BadRequest."""
    problems = patch.problems() if caller.field_validation != "Ignore" else []
    if problems and caller.field_validation == "Strict":
        raise errors.BadRequest(f"error strict decoding patch: {problems[0]}")
    decoding.tell(problems, caller)
