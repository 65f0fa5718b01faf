"""Which form the client wants: JSON, YAML or protobuf, and of that the object, its Table or its metadata alone."""

from __future__ import annotations

from functools import lru_cache

import attrs

from kcore.errors import NotAcceptable
from kcore.http.messages import Request

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"

_WILDCARDS = ("*/*", "application/*")
_CURLY = ("curl", "Wget", "Mozilla/5.0")  # clients with a person behind them: upstream prints prettily for them


@attrs.frozen(slots=True)
class Form:
    """A negotiated form."""

    type: str = JSON  # JSON, YAML or PROTOBUF
    wants: str = ""  # Table, PartialObjectMetadata, PartialObjectMetadataList, APIGroupDiscoveryList or ""
    version: str = ""  # of what is wanted: v1, v1beta1, v2
    pretty: bool = False

    @property
    def plain_json(self) -> bool:
        return self.type == JSON and not self.wants and not self.pretty


PLAIN = Form()


@lru_cache(maxsize=256)
def clauses(accept: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """The clauses of an Accept header, best first, of equals those without wildcards: (media type, parameters)."""
    found = []
    for at, clause in enumerate(accept.split(",")):
        media, *raw = clause.split(";")
        params = {k.strip(): v.strip().strip('"') for k, _, v in (r.partition("=") for r in raw)}
        try:
            quality = float(params.pop("q", "1"))
        except ValueError:
            quality = 1.0
        if media.strip() and quality > 0:
            name = media.strip().lower()
            found.append((-quality, name.startswith("*/"), name.endswith("/*"), at, name, params))
    found.sort(key=lambda clause: clause[:4])
    return tuple((media, params) for *_, media, params in found)


def negotiate(request: Request, *, protobuf: bool = True, watch: bool = False, go_type: str = "") -> Form:
    """The form of an answer with objects in it. Raises NotAcceptable.

    `protobuf`: the kind has that form. `go_type`: what upstream calls the answer in its refusals, "*core.PodList".
    """
    accept = request.headers.get("accept", "")
    asked = _pretty(request)
    if not asked and accept in ("", JSON, "*/*"):
        return PLAIN
    for media, params in clauses(accept or "*/*"):
        if media in _WILDCARDS:
            media = JSON
        if media == PROTOBUF and not protobuf and params.get("as") is None:
            continue
        if media not in (JSON, YAML, PROTOBUF) or (media == YAML and watch):
            continue
        if (stream := params.get("stream")) and (stream != "watch" or media == YAML):
            continue
        wants = params.get("as", "")
        if wants == "Table" and media == PROTOBUF:
            continue  # there is no such form
        pretty = asked or params.get("pretty") == "1"
        if wants and params.get("g") == "meta.k8s.io" and params.get("v") in ("v1", "v1beta1"):
            is_list = go_type.endswith("List")
            if wants == "PartialObjectMetadataList" and not is_list:
                raise NotAcceptable(f"you requested {wants}, but the requested object is not a list ({go_type})")
            if wants == "PartialObjectMetadata" and is_list:
                raise NotAcceptable(f"you requested {wants}, but the requested object is a list ({go_type})")
            if wants in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
                return Form(media, wants, params["v"], pretty)
        if not wants:
            return Form(media, pretty=pretty)
    raise not_acceptable(protobuf=protobuf, watch=watch)


def not_acceptable(*, protobuf: bool = True, watch: bool = False) -> NotAcceptable:
    types = [JSON, *([] if watch else [YAML]), *([PROTOBUF] if protobuf else [])]
    if watch:
        types = [t + ";stream=watch" if t == PROTOBUF else t for t in types]
    return NotAcceptable(f"only the following media types are accepted: {', '.join(types)}")


def _pretty(request: Request) -> bool:
    if request.query and "pretty=" in request.query:
        return request.param("pretty") in ("1", "true", "True")
    return request.headers.get("user-agent", "").startswith(_CURLY)
