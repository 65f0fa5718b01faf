"""OpenAPI documents: the v3 index with one document for each group and version, and the whole as v2.

    __init__      what is served: names, hashes, forms, caching
    paths         which operations a kind has
    operations    what one operation takes and answers
    definitions   the schemas of built-in and custom kinds
    v2, v3        the two document formats, as JSON and as protobuf
    merging       what other servers' documents of version 2 add to the own one

A document's ETag says what it is made of, so that the index and a client's conditional request need no document. One
that is asked for is made in slices, between which the server does other work, and kept compressed, as nearly every
client takes it.
"""

from __future__ import annotations

import hashlib
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from kcore import clock
from kcore.api import layout, negotiate
from kcore.api.health import VERSION
from kcore.api.kinds import Kind, KindTable
from kcore.api.openapi.definitions import Definitions, from_schema
from kcore.api.openapi.paths import Paths, root_paths
from kcore.errors import NotAcceptable
from kcore.http.messages import HeaderList, Request, Response

if TYPE_CHECKING:
    from kcore.api.openapi.merging import Foreign

Json = dict[str, Any]
INFO = {"title": "Kubernetes", "version": VERSION["gitVersion"].partition("+")[0]}

_V2 = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"  # what clients ask for
_V3 = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
_FIXED = ("api", "apis", "version", "openid/v1/jwks", ".well-known/openid-configuration")
_WHOLE = "v2"  # the one document that has every kind
_KEPT_BYTES = 4 * 1024 * 1024  # of compressed documents: more than all built-in ones in every form
_SLICE_SECONDS = 0.005  # making a document lets others work that often
_YEAR = 365 * 24 * 3600  # seconds


class Format(Protocol):
    """How a document is written: piece by piece, so that nothing long is done at one go."""

    def path(self, path: str, item: Json) -> bytes: ...

    def schema(self, name: str, node: Json) -> bytes: ...

    def document(self, info: Json, paths: list[bytes], schemas: list[bytes]) -> bytes: ...


@attrs.frozen
class _Form:
    """A form that documents are served in."""

    media: str  # as it is asked for
    sent: str  # as it is answered: Go cannot parse a media type with @
    version: str
    protobuf: bool = False


_FORMS = {
    "v2": (_Form(negotiate.JSON, negotiate.JSON, "v2"), _Form(_V2, _V2.replace("@", "."), "v2", True)),
    "v3": (_Form(negotiate.JSON, negotiate.JSON, "v3"), _Form(_V3, _V3.replace("@", "."), "v3", True)),
}


class OpenApi:
    def __init__(self, kinds: KindTable) -> None:
        self._kinds = kinds
        self._generation = -1
        self._names: dict[str, list[Kind]] = {}
        self._hashes: dict[str, str] = {}
        self._of_kind: weakref.WeakKeyDictionary[Kind, bytes] = weakref.WeakKeyDictionary()
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # compressed, by ETag and media type
        self._making = trio.Lock()  # one at a time: who asks for the same thing finds it made
        self._foreign: Sequence[Foreign] = ()

    def add_foreign(self, foreign: Sequence[Foreign]) -> None:
        """What other servers' documents of version 2 say, the most important first; in place of what was."""
        if [f.digest for f in foreign] != [f.digest for f in self._foreign]:
            self._foreign = tuple(foreign)
            self._generation = -1

    async def answer(self, request: Request) -> Response | None:
        """None for a path that is no OpenAPI document. Raises NotAcceptable."""
        path = request.path.rstrip("/")
        if not path.startswith("/openapi/"):
            return None
        self._look()
        if path == "/openapi/v2":
            return await self._document(request, _WHOLE, _form(request, "v2"))
        if path == "/openapi/v3":
            return self._index(request)
        name = path.removeprefix("/openapi/v3/")
        if name not in self._names:
            return None
        asked = request.param("hash") if "hash=" in request.query else ""
        if asked and asked != self._hashes[name]:  # an older document's address leads to the one that is now
            return Response(301, b"", headers=[(b"location", self._url(name).encode())])
        response = await self._document(request, name, _form(request, "v3"))
        if asked:
            from email.utils import formatdate

            expires = formatdate(clock.now() + _YEAR, usegmt=True)
            response.headers += [(b"cache-control", b"public, immutable"), (b"expires", expires.encode())]
        return response

    # --- what there is ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See which documents there are, if kinds have come or gone."""
        if self._generation == self._kinds.generation:
            return
        self._generation = self._kinds.generation
        names: dict[str, list[Kind]] = {name: [] for name in _FIXED}
        for kind in self._kinds:
            if kind.group:
                names.setdefault(f"apis/{kind.group}", [])
                names.setdefault(f"apis/{kind.group}/{kind.version}", []).append(kind)
            else:
                names.setdefault(f"api/{kind.version}", []).append(kind)
        self._names = dict(sorted(names.items()))
        self._hashes = {name: self._hash(name, kinds) for name, kinds in self._names.items()}
        every = hashlib.sha256("".join(self._hashes.values()).encode()).hexdigest().upper()
        self._hashes[""] = every
        more = "".join([every, *(foreign.digest for foreign in self._foreign)]) if self._foreign else every
        self._hashes[_WHOLE] = hashlib.sha256(f"v2 {more}".encode()).hexdigest().upper()
        living = {f'"{digest}"' for digest in self._hashes.values()}
        for key in [key for key in self._kept if key[0] not in living]:
            del self._kept[key]

    def _hash(self, name: str, kinds: Iterable[Kind]) -> str:
        """Of what a document is made of."""
        seen = hashlib.sha256(f"{INFO['version']} {name} ".encode())
        for kind in sorted(kinds, key=lambda k: k.plural):
            made = self._of_kind.get(kind)
            if made is None:
                made = self._of_kind[kind] = _fingerprint(kind)
            seen.update(made)
        return seen.hexdigest().upper()

    def _url(self, name: str) -> str:
        return f"/openapi/v3/{name}?hash={self._hashes[name]}"

    def _index(self, request: Request) -> Response:
        paths = {name: {"serverRelativeURL": self._url(name)} for name in self._names}
        body = layout.encode_json({"paths": paths})
        headers: HeaderList = [(b"etag", f'"{self._hashes[""]}"'.encode()), (b"vary", b"Accept")]
        if _unchanged(request, self._hashes[""]):
            return Response(304, b"", negotiate.JSON, headers)
        return Response(200, body, negotiate.JSON, headers)

    # --- one document -------------------------------------------------------------------------------------------

    async def _document(self, request: Request, name: str, form: _Form) -> Response:
        digest = self._hashes[name]
        etag = f'"{digest}"'
        headers: HeaderList = [(b"etag", etag.encode()), (b"vary", b"Accept")]
        if _unchanged(request, digest):
            return Response(304, b"", form.sent, headers)
        packed = await self._packed(name, (etag, form.media), form)
        if any(coding == "gzip" for coding, _ in negotiate.clauses(request.headers.get("accept-encoding", ""))):
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
            return Response(200, packed, form.sent, headers)
        return Response(200, await trio.to_thread.run_sync(_unpack, packed), form.sent, headers)

    async def _packed(self, name: str, key: tuple[str, str], form: _Form) -> bytes:
        kinds = self._names.get(name, [])
        whole = self._names
        async with self._making:
            packed = self._kept.get(key)
            if packed is None:
                body = await self._make(form, whole if name == _WHOLE else {name: kinds})
                packed = self._kept[key] = await trio.to_thread.run_sync(_pack, body)
                while len(self._kept) > 1 and sum(map(len, self._kept.values())) > _KEPT_BYTES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return packed

    async def _make(self, form: _Form, names: dict[str, list[Kind]]) -> bytes:
        """Write a document, in slices."""
        write = _format(form)
        definitions = Definitions(self._kinds.definitions, old=form.version == "v2")
        paths: dict[str, bytes] = {}
        pause = _Pause()
        for name, kinds in names.items():
            for path, item in root_paths(name, definitions).items():
                paths[path] = write.path(path, item)
            for kind in kinds:
                definitions.declare(kind)
                for path, item in Paths(kind, definitions).items():
                    paths[path] = write.path(path, item)
                await pause()
        schemas: dict[str, bytes] = {}
        foreign = self._foreign if form.version == "v2" else ()
        doubtful = {name for one in foreign for name in one.definitions}
        own: dict[str, Json] = {}
        for schema, node in definitions.closure():
            schemas[schema] = write.schema(schema, node)
            if schema in doubtful:
                own[schema] = node
            await pause()
        if foreign:
            _add(write, foreign, paths, schemas, own)
        custom = all(not kind.message for kinds in names.values() for kind in kinds) and any(names.values())
        info: Json = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"} if custom else INFO
        return write.document(info, [paths[p] for p in sorted(paths)], [schemas[s] for s in sorted(schemas)])


def _add(
    write: Format, foreign: Sequence[Foreign], paths: dict[str, bytes], schemas: dict[str, bytes], own: dict[str, Json]
) -> None:
    """Put other servers' parts into a document of version 2."""
    from kcore.api.openapi import merging, v2

    assert isinstance(write, v2.Text | v2.Protobuf)
    merged = merging.merge(foreign, paths, schemas, lambda name: v2.schema(own[name]) if name in own else None)
    paths.update((path, write.own_path(path, item)) for path, item in merged.paths.items())
    schemas.update((name, write.own_schema(name, node)) for name, node in merged.definitions.items())


class _Pause:
    """A checkpoint where enough has been done since the last one."""

    def __init__(self) -> None:
        import time

        self._clock = time.perf_counter
        self._since = self._clock()

    async def __call__(self) -> None:
        if self._clock() - self._since > _SLICE_SECONDS:
            await trio.lowlevel.checkpoint()
            self._since = self._clock()


def _form(request: Request, version: str) -> _Form:
    """The form of a document that the client takes. Raises NotAcceptable."""
    forms = _FORMS[version]
    for media, _ in negotiate.clauses(request.headers.get("accept", "") or "*/*"):
        if media in ("*/*", "application/*"):
            return forms[0]
        for form in forms:
            if media == form.media:
                return form
    known = ", ".join(form.media for form in forms)
    raise NotAcceptable(f"only the following media types are accepted: {known}")


def _format(form: _Form) -> Format:
    from kcore.api.openapi import v2, v3

    if form.version == "v2":
        return v2.Protobuf() if form.protobuf else v2.Text()
    return v3.Protobuf() if form.protobuf else v3.Text()


def _unchanged(request: Request, digest: str) -> bool:
    return digest in request.headers.get("if-none-match", "")


def _fingerprint(kind: Kind) -> bytes:
    """Of all that a document says of a kind. Built-in schemas are those of a release, which the hash begins with."""
    subresources = [attrs.astuple(sub) for _, sub in sorted(kind.subresources.items())]
    said = (kind.kind, kind.list_kind, kind.plural, kind.namespaced, kind.verbs, subresources, sorted(kind.selectable))
    seen = hashlib.sha256(repr(said).encode())
    if not kind.message:
        seen.update(layout.encode_json(kind.raw_schema() if kind.raw_schema else from_schema(kind.schema)))
    return seen.digest()


def _pack(body: bytes) -> bytes:
    packer = zlib.compressobj(6, wbits=31)
    return packer.compress(body) + packer.flush()


def _unpack(packed: bytes) -> bytes:
    return zlib.decompress(packed, wbits=31)
