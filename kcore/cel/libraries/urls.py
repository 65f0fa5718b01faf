"""``url('https://host:80/path?k=v')``: absolute URLs and absolute paths, by the rules of Go's net/url."""

from __future__ import annotations

import json
import re
from urllib.parse import quote, unquote, unquote_plus

from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.standard import text_cost
from kcore.cel.types import TYPE
from kcore.cel.values import Opaque

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_BAD_HOST = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:\[\]<>\"%\x80-\U0010ffff-]")
_SAFE_PATH = "/$&+,:;=@!'()*[]~"


class URL(Opaque):
    __slots__ = ("host", "path", "query", "scheme", "text")
    type_name = "kubernetes.URL"

    def __init__(self, text: str, scheme: str, host: str, path: str, query: str) -> None:
        self.text = text
        self.scheme = scheme
        self.host = host
        self.path = path  # escaped
        self.query = query  # raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URL) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def hostname(self) -> str:
        host = self.host
        if host.startswith("["):
            return host[1 : host.index("]")] if "]" in host else host
        return host.rpartition(":")[0] if ":" in host else host

    def port(self) -> str:
        tail = self.host.rpartition("]")[2] if self.host.startswith("[") else self.host
        return tail.rpartition(":")[2] if ":" in tail else ""

    def parameters(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for part in self.query.split("&"):
            if not part or ";" in part:
                continue
            key, _, value = part.partition("=")
            if _BAD_ESCAPE.search(part):
                continue
            found.setdefault(unquote_plus(key), []).append(unquote_plus(value))
        return found


def parse(text: str) -> URL:
    """ValueError, in Go's words, for anything but an absolute URL or path."""
    if any(char < " " or char == "\x7f" for char in text):
        raise ValueError("net/url: invalid control character in URL")
    if not text:
        raise ValueError("empty url")
    rest, _, _ = text.partition("#")
    scheme = ""
    if match := _SCHEME.match(rest):
        scheme, rest = match[1].lower(), rest[match.end() :]
    elif rest.startswith(":"):
        raise ValueError("missing protocol scheme")
    rest, _, query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme and rest:
            return URL(text, scheme, "", "", query)  # mailto:somebody
        raise ValueError("invalid URI for request")
    host = ""
    if scheme and rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        rest = slash + path
        host = _host(host.rpartition("@")[2])
    if bad := _BAD_ESCAPE.search(rest):
        raise ValueError(f"invalid URL escape {json.dumps(bad.group())}")
    return URL(text, scheme, host, _escaped(rest), query)


def _host(host: str) -> str:
    if host.startswith("["):
        if "]" not in host:
            raise ValueError("missing ']' in host")
        port = host[host.rindex("]") + 1 :]
    else:
        port = ":" + host.partition(":")[2] if ":" in host else ""
    if port and not (port[0] == ":" and (port[1:].isdigit() or not port[1:]) and port.isascii()):
        raise ValueError(f"invalid port {json.dumps(port)} after host")
    if bad := _BAD_HOST.search(host):
        raise ValueError(f"invalid character {json.dumps(bad.group())} in host name")
    if "%" in host and (bad := re.search(r"%.{0,2}", host)):
        raise ValueError(f"invalid URL escape {json.dumps(bad.group())}")
    return host


def _escaped(path: str) -> str:
    """The path as it stands if it is well escaped, else escaped."""
    if quote(path, safe=_SAFE_PATH + "%") == path:
        return path
    return quote(unquote(path), safe=_SAFE_PATH)


def from_text(text: str) -> URL:
    try:
        return parse(text)
    except ValueError as error:
        shown = json.dumps(text, ensure_ascii=False)
        message = f"URL parse error during conversion from string: parse {shown}: {error}"
        raise EvaluationError(message) from None


def is_url(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def library() -> Library:
    made = Library("urls")
    add = made.add
    kind = URL.type_name
    made.names[kind] = TYPE
    add("url", "string_to_url", f"string -> {kind}", from_text, cost=text_cost)
    add("isURL", "is_url_string", "string -> bool", is_url)
    add("getScheme", "url_get_scheme", f"{kind}.() -> string", lambda url: url.scheme)
    add("getHost", "url_get_host", f"{kind}.() -> string", lambda url: url.host)
    add("getHostname", "url_get_hostname", f"{kind}.() -> string", URL.hostname)
    add("getPort", "url_get_port", f"{kind}.() -> string", URL.port)
    add("getEscapedPath", "url_get_escaped_path", f"{kind}.() -> string", lambda url: url.path)
    add("getQuery", "url_get_query", f"{kind}.() -> map(string, list(string))", URL.parameters)
    return made
