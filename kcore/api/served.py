"""A served version of a resource: its declaration, its cache, and how its entries become bytes and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kcore.api import layout
from kcore.api.cache import Cache, Entry
from kcore.api.kinds import Kind, KindTable
from kcore.api.peek import Peek
from kcore.api.schema import Schema
from kcore.api.validation import normalize
from kcore.errors import BadRequest
from kcore.objects import Object

_NAME_FIELDS = ("metadata.name", "metadata.namespace")


class Served:
    """One kind at work. Made once for each declaration; what is costly to find out is kept here."""

    def __init__(self, kind: Kind, cache: Cache, stored: Kind) -> None:
        self.kind = kind
        self.cache = cache
        self.stored = stored  # the declaration whose version lies in the store; often the same
        self.prefix = layout.prefix(kind)
        self.head = layout.head(kind.api_version, kind.kind)
        # upstream leaves out what every item of a typed list repeats; custom resources have no such list type
        self.item_head = b"{" if kind.message else self.head
        self.list_head = layout.head(kind.api_version, kind.listed)
        self._conversion = kind.conversion
        self.converts = kind.from_storage is not None or kind.conversion is not None
        self.remote = kind.conversion is not None and kind.conversion.remote
        """Entries must be made `ready` before anything is read of them: a webhook converts them."""
        self._form = self.head if kind.conversion is None else kind.conversion  # forms of one declaration
        self.stored_head = layout.head(stored.api_version, stored.kind)
        package = (kind.group or "core").partition(".")[0]
        self.go_type = f"*{package}.{kind.kind}" if kind.message else "*unstructured.Unstructured"
        self.go_list_type = self.go_type + "List"
        self._extractors: dict[str, Callable[[Entry], str]] = {}
        self.kinds: KindTable | None = None  # what else is served; set by the table that made this

    def key(self, namespace: str, name: str) -> str:
        return layout.key(self.prefix, namespace, name)

    def settled(self, entry: Entry) -> bool:
        """The entry lies in the store as it is served."""
        return self._conversion is None or self._conversion.current(entry.version, entry.revision)

    def lies(self, entry: Entry, value: bytes) -> bool:
        """Whether a value would put nothing new in the place of an entry; times of managers do not count."""
        head = layout.head(entry.version, self.kind.kind)
        new, old = layout.decode_json(value), entry.copy(head)
        old["metadata"].pop("resourceVersion", None)
        for each in (new, old):
            each["metadata"]["managedFields"] = [
                {k: v for k, v in f.items() if k != "time"} for f in each["metadata"].get("managedFields") or ()
            ]
        return bool(new == old)

    async def ready(self, entries: Iterable[Entry]) -> None:
        """Convert what a webhook has to convert, all at once. Raises InternalError."""
        conversion = self._conversion
        assert conversion is not None
        waiting = [e for e in entries if self._form not in e.forms and not conversion.current(e.version, e.revision)]
        if waiting:
            stored = [e.copy(layout.head(e.version, self.kind.kind)) for e in waiting]
            for entry, obj in zip(waiting, await conversion.read(stored), strict=True):
                entry.forms[self._form] = obj

    def object(self, entry: Entry) -> Object:
        """The decoded object in this version: shared, read-only."""
        if not self.converts or (self._conversion is not None and self.settled(entry)):
            return entry.object(self.head)
        found: Object | None = entry.forms.get(self._form)
        if found is None:
            found = entry.forms[self._form] = self._converted(entry)
        return found

    def copy(self, entry: Entry) -> Object:
        """The decoded object in this version, for the caller to change."""
        if not self.converts or (self._conversion is not None and self.settled(entry)):
            return entry.copy(self.head)
        if self.remote:
            return layout.decode_json(layout.encode_json(self.object(entry)))  # type: ignore[no-any-return]
        return self._converted(entry)

    def _converted(self, entry: Entry) -> Object:
        if self._conversion is not None:
            return self._conversion.local(entry.copy(layout.head(entry.version, self.kind.kind)))
        assert self.kind.from_storage is not None
        out = self.kind.from_storage(entry.copy(self.stored_head))
        out["kind"], out["apiVersion"] = self.kind.kind, self.kind.api_version
        return out

    def in_version(self, obj: Object, api_version: str) -> tuple[Object, Schema] | None:
        """An object of any version of this kind in another one, and that version's schema of whole objects.

        None: there is no such version. Where `remote`, called in a worker thread (`Conversion.across`).
        """
        from kcore.api.patch.apply import whole_schema

        if self.kind.conversion is not None:
            found = self.kind.conversion.across(obj, api_version)
            return None if found is None else (found[0], whole_schema(found[1]))
        source, target = self._version(obj["apiVersion"]), self._version(api_version)
        if source is None or target is None:
            return None
        if source is target:
            return obj, whole_schema(target.schema)
        out = _copied(obj)
        normalize(out, source.schema)
        out = source.to_storage(out) if source.to_storage is not None else out
        out = target.from_storage(out) if target.from_storage is not None else out
        out["kind"], out["apiVersion"] = target.kind, target.api_version
        return out, whole_schema(target.schema)

    def _version(self, api_version: str) -> Kind | None:
        if api_version == self.kind.api_version or self.kinds is None:
            return self.kind
        group, _, version = api_version.rpartition("/")
        found = self.kinds.by_kind(group, version, self.kind.kind)
        return found if found is not None and layout.prefix(found) == self.prefix else None

    def tail(self, entry: Entry) -> bytes:
        """Everything of the JSON form from ``"metadata"`` on, with the closing brace."""
        if not self.converts or (self._conversion is not None and self.settled(entry)):
            return entry.tail
        key = ("tail", self._form)
        found = entry.forms.get(key)
        if found is None:
            encoded = layout.encode(self.object(entry))
            found = entry.forms[key] = layout.tail(encoded, entry.revision)
        return found

    def item(self, entry: Entry, before: bytes) -> tuple[bytes | memoryview, bytes | memoryview]:
        """The tail with something before it, for long lists; not copied, where that can be."""
        if self._conversion is not None and self.settled(entry):
            return entry.item(before)
        return before, self.tail(entry)

    def json(self, entry: Entry) -> list[bytes]:
        return [self.head, self.tail(entry)]

    def encode(self, obj: Object) -> bytes:
        """The stored bytes of an object in this version."""
        if self.kind.to_storage is not None:
            obj = self.kind.to_storage(obj)
        obj["kind"], obj["apiVersion"] = self.stored.kind, self.stored.api_version
        return layout.encode(obj)

    def extractor(self, field: str) -> Callable[[Entry], str]:
        """How a selectable field is read from an entry. Raises BadRequest for a field that is none."""
        found = self._extractors.get(field)
        if found is None:
            found = self._extractors[field] = self._make_extractor(field)
        return found

    def _make_extractor(self, field: str) -> Callable[[Entry], str]:
        if field == "metadata.name":
            return lambda entry: entry.name
        if field == "metadata.namespace" and self.kind.namespaced:
            return lambda entry: entry.namespace
        read = self.kind.selectable.get(field)
        if read is None:
            if self.kind.selectable or self.kind.conversion is not None:
                raise BadRequest(f"field label not supported: {field}")
            known = ", ".join(f'"{f}"' for f in _NAME_FIELDS)
            raise BadRequest(f'"{field}" is not a known field selector: only {known}')

        def extract(entry: Entry) -> str:
            value = entry.forms.get(read)
            if value is None:
                if entry.forms or self.converts or not isinstance(read, Peek):
                    value = read(self.object(entry))
                else:
                    value = read.encoded(entry.json)
                entry.forms[read] = value
            return str(value)

        return extract

    def finished(self, obj: Object) -> bool:
        """The object's deletion has begun and nothing holds it any more: the write that says so removes it."""
        meta = obj["metadata"]
        if not meta.get("deletionTimestamp") or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
            return False
        # namespaces are also held by the finalizers of their spec
        return not ("finalize" in self.kind.subresources and (obj.get("spec") or {}).get("finalizers"))

    def details(self, name: str = "") -> dict[str, Any]:
        """The ``details`` of a Status about this resource."""
        out: dict[str, Any] = {"name": name} if name else {}
        if self.kind.group:
            out["group"] = self.kind.group
        out["kind"] = self.kind.plural
        return out


def _copied(obj: Object) -> Object:
    copied: Object = layout.decode_json(layout.encode_json(obj))
    return copied


class ServedTable:
    """What is served now: a `Served` for every declared kind, made when it is first asked for."""

    def __init__(self, kinds: KindTable, cache: Callable[[str], Cache]) -> None:
        self.kinds, self._cache = kinds, cache
        self._made: dict[Kind, Served] = {}
        self._generation = -1

    def find(self, group: str, version: str, plural: str) -> Served | None:
        kind = self.kinds.get(group, version, plural)
        return None if kind is None else self.of(kind)

    def of(self, kind: Kind) -> Served:
        if self._generation != self.kinds.generation:
            self._made.clear()  # a declaration may have changed what another one is stored as
            self._generation = self.kinds.generation
        made = self._made.get(kind)
        if made is None:
            made = self._made[kind] = Served(kind, self._cache(layout.prefix(kind)), self._stored(kind))
            made.kinds = self.kinds
        return made

    def _stored(self, kind: Kind) -> Kind:
        """The declaration in whose version `kind` is stored."""
        version = kind.storage_version or kind.version
        if kind.from_storage is None and version == kind.version:
            return kind
        prefix = layout.prefix(kind)
        for other in self.kinds:
            if other.from_storage is None and other.version == version and layout.prefix(other) == prefix:
                return other
        return kind
