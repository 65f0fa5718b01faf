"""LIST: pages of a stable snapshot, and upstream's rules for resourceVersion, resourceVersionMatch and continue.

A list without a limit, and the first page of one with a limit, comes from the cache. A continue token names the
revision of the first page and where to go on; later pages are read from the store at that revision (or from the
cache, while nothing has changed since), so that all pages together are one state.
"""

from __future__ import annotations

import base64
import re

import attrs
import msgspec

from kcore import errors
from kcore.api import fields, layout
from kcore.api.atrest import Sealed, sealed
from kcore.api.cache import Entry
from kcore.api.feed import Feed
from kcore.api.options import integer, refuse
from kcore.api.routing import truthy
from kcore.api.selection import Selection
from kcore.api.served import Served
from kcore.errors import Compacted, FutureRevision
from kcore.http.messages import Request

_CHUNK = 500  # keys read at a time when a selector picks from a page of the store
_BASE64 = re.compile(r"[A-Za-z0-9_-]*").match
_DIGITS = 1000  # of a number; int() refuses text of thousands
_TOKEN_VERSION = "meta.k8s.io/v1"
_EXPIRED_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@attrs.frozen(slots=True)
class ListOptions:
    """The query of a LIST or WATCH, checked for what contradicts itself."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    match: str = ""  # "", Exact or NotOlderThan
    send_initial: bool | None = None
    bookmarks: bool = False
    timeout: int | None = None


@attrs.frozen(slots=True)
class Page:
    entries: list[Entry]
    revision: int
    continue_token: str = ""
    remaining: int | None = None  # None: not known, or no more


PLAIN = ListOptions()


def parse(request: Request, *, watch: bool = False) -> ListOptions:
    """Raises BadRequest or Invalid, as upstream's ListOptions validation does."""
    if not request.query:
        return PLAIN
    params = request.params
    first = {k: v[0] for k, v in params.items()}
    initial = first.get("sendInitialEvents")
    options = ListOptions(
        label_selector=first.get("labelSelector", ""),
        field_selector=first.get("fieldSelector", ""),
        limit=integer(first["limit"]) if first.get("limit") else 0,
        continue_token=first.get("continue", ""),
        resource_version=first.get("resourceVersion", ""),
        match=first.get("resourceVersionMatch", ""),
        send_initial=None if initial is None else truthy(initial),
        bookmarks=truthy(first.get("allowWatchBookmarks")),
        timeout=integer(first["timeoutSeconds"]) if first.get("timeoutSeconds") else None,
    )
    check(options, watch=watch)
    return options


def check(options: ListOptions, *, watch: bool) -> None:
    causes = []
    match, where = options.match, "resourceVersionMatch"
    initial = options.send_initial is not None
    if watch:
        choices = ["NotOlderThan"]
        if initial and match != "NotOlderThan":
            why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            causes.append(fields.forbidden(where, why))
        if match and not initial:
            why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            causes.append(fields.forbidden(where, why))
    else:
        choices = ["Exact", "NotOlderThan", ""]
        if match and not options.resource_version:
            why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            causes.append(fields.forbidden(where, why))
    if options.continue_token and (match or watch):
        why = "resourceVersionMatch is forbidden when continue is provided"
        causes.append(fields.forbidden(where, why))
    if match and match not in choices:
        causes.append(fields.not_supported(where, match, choices))
    if match == "Exact" and options.resource_version == "0" and not watch:
        causes.append(fields.forbidden(where, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if not watch and initial:
        causes.append(fields.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    refuse("ListOptions", causes)


async def page(feed: Feed, served: Served, namespace: str, options: ListOptions) -> Page:
    """The objects asked for. Raises BadRequest, Gone, Timeout (a resourceVersion of the future)."""
    selection = Selection.parse(served, namespace, options.label_selector, options.field_selector)
    if feed.revision < feed.store.revision:
        await feed.caught_up()
    if served.cache.sealed:
        served.cache.check_readable(namespace)
    if not served.remote:
        await selection.prepare()
        return await _page(feed, served, selection, options)
    if selection.fields:  # whether an object matches shows only when it has been converted
        await feed.caught_up()
        await served.ready(selection.candidates())
    found = await _page(feed, served, selection, options)
    await served.ready(found.entries)
    return found


async def _page(feed: Feed, served: Served, selection: Selection, options: ListOptions) -> Page:
    if options.continue_token:
        if options.resource_version not in ("", "0"):
            raise errors.BadRequest("specifying resource version is not allowed when using continue")
        revision, start = _read_token(options.continue_token)
        return await _continued(feed, served, selection, revision, start, options.limit)
    version = version_number(options.resource_version)
    if version and (options.match == "Exact" or (options.limit and not options.match)):
        await not_in_the_future(feed, version, options.resource_version)
        return await _exact(feed, served, selection, version, options.limit)
    if version:
        await not_in_the_future(feed, version, options.resource_version)
    if feed.revision < feed.store.revision:  # "0" and "not older than" would do with less; this costs no more
        await feed.caught_up()
    return _from_cache(feed, selection, options.limit, "")


def _from_cache(feed: Feed, selection: Selection, limit: int, start: str) -> Page:
    revision = feed.revision
    if not limit and not start:
        entries = selection.entries()
        return Page(entries if isinstance(entries, list) else list(entries), revision)
    cache = selection.cache
    found: list[Entry] = []
    more = ""
    for path in cache.paths(selection.namespace, start):
        entry = cache.entries[path]
        if not selection.matches(entry):
            continue
        if limit and len(found) == limit:
            more = found[-1].path
            break
        found.append(entry)
    if not more:
        return Page(found, revision)
    remaining = None
    if not selection.narrows:
        remaining = cache.count(selection.namespace, more + "\0")
    return Page(found, revision, _make_token(revision, more + "\0"), remaining)


async def _continued(feed: Feed, served: Served, selection: Selection, revision: int, start: str, limit: int) -> Page:
    if revision <= 0:  # a token given out with a 410: go on inconsistently
        await feed.caught_up()
        return _from_cache(feed, selection, limit, start)
    try:
        return await _at_revision(feed, served, selection, revision, start, limit)
    except Compacted:
        raise errors.ApiError(
            _EXPIRED_TOKEN, code=410, reason="Expired", list_meta={"continue": _make_token(-1, start)}
        ) from None
    except FutureRevision:
        raise errors.BadRequest("invalid continue token") from None


async def _exact(feed: Feed, served: Served, selection: Selection, revision: int, limit: int) -> Page:
    try:
        return await _at_revision(feed, served, selection, revision, "", limit)
    except Compacted:
        raise errors.Gone("The resourceVersion for the provided list is too old.") from None


async def _at_revision(
    feed: Feed, served: Served, selection: Selection, revision: int, start: str, limit: int
) -> Page:
    """A page of the state at `revision`, read from the store unless the cache still has that very state."""
    if revision <= feed.store.compacted:
        raise Compacted(revision, feed.store.compacted)
    cache = selection.cache
    if cache.changed <= revision <= feed.revision:
        page = _from_cache(feed, selection, limit, start)
        token = _make_token(revision, page.entries[-1].path + "\0") if page.continue_token else ""
        return attrs.evolve(page, revision=revision, continue_token=token)
    root = layout.key(served.prefix, "", "")
    prefix = f"{root}{selection.namespace}/" if selection.namespace else root
    at = root + start if start else ""
    found: list[Entry] = []
    while True:
        chunk = 0 if not limit else (max(limit, _CHUNK) if selection.narrows else limit - len(found))
        page_ = await feed.store.range(prefix, start=at, limit=chunk, revision=revision)
        for index, kv in enumerate(page_.items):
            path = kv.key[len(root) :]
            space, _, name = path.rpartition("/")
            if isinstance(kv.value, Sealed):
                raise sealed(kv.key, kv.value.decode())
            entry = Entry.stored(space, name, kv.mod_revision, kv.value)
            if served.remote and selection.fields:
                await served.ready([entry])
            if not selection.matches(entry):
                continue
            found.append(entry)
            if limit and len(found) == limit:
                left = page_.count - index - 1
                if not left:
                    return Page(found, revision)
                return Page(found, revision, _make_token(revision, path + "\0"), None if selection.narrows else left)
        if not page_.more:
            return Page(found, revision)
        at = page_.items[-1].key + "\0"


def version_number(text: str) -> int:
    """A resourceVersion of a query; 0 for none. Raises BadRequest."""
    if not text or text == "0":
        return 0
    why = "" if text.isdecimal() and text.isascii() else "invalid syntax"
    if not why and (len(text) > _DIGITS or int(text) >= 2**64):
        why = "value out of range"
    if why:
        raise errors.BadRequest(
            f'invalid resource version: resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing '
            f'"{text}": {why}'
        )
    return int(text)


async def not_in_the_future(feed: Feed, version: int, text: str) -> None:
    """Make sure that the caches are at `version`. Raises Timeout for one the store has not reached."""
    if version <= feed.revision:
        return
    if version > feed.store.revision:
        raise errors.Timeout(
            f"Timeout: Too large resource version: {text}, current: {feed.revision}",
            details={
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            },
            headers={"retry-after": "1"},
        )
    await feed.caught_up(version)


def _make_token(revision: int, start: str) -> str:
    raw = msgspec.json.encode({"v": _TOKEN_VERSION, "rv": revision, "start": start})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _read_token(token: str) -> tuple[int, str]:
    """(revision, key to start at). Raises BadRequest."""
    invalid = "invalid continue token: continue key is not valid"
    at = len(_BASE64(token)[0])  # type: ignore[index]  # it always matches
    if at < len(token) or at % 4 == 1:
        raise errors.BadRequest(f"{invalid}: illegal base64 data at input byte {at - (at == len(token))}")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        first = raw[:1].decode("latin-1")
        raise errors.BadRequest(f"{invalid}: invalid character '{first}' looking for beginning of value") from None
    version = data.get("v", "") if isinstance(data, dict) else ""
    if version != _TOKEN_VERSION:
        raise errors.BadRequest(f"{invalid}: server does not recognize this encoded version {version}")
    start, revision = data.get("start"), data.get("rv")
    if type(revision) is not int or not revision:
        raise errors.BadRequest(f"{invalid}: incorrect encoded start resourceVersion (version {version})")
    if not isinstance(start, str) or not start:
        raise errors.BadRequest(f"{invalid}: encoded start key empty (version {version})")
    if not {".", ".."}.isdisjoint(start.split("/")):
        raise errors.BadRequest(f"{invalid}: invalid key")
    return revision, start
