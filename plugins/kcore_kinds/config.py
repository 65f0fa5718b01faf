"""ConfigMaps, Secrets and limits: what other objects refer to."""

from __future__ import annotations

import base64
from typing import Any

from kcore_kinds.declare import Builtin
from kcore_kinds.podspec import missing

Object = dict[str, Any]


class SecretStrategy(Builtin):
    def default(self, obj: Object) -> None:
        """``stringData`` is for writing only: its values go into ``data`` and win there."""
        plain = obj.pop("stringData", None)
        if plain:
            encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in plain.items()}
            obj["data"] = {**(obj.get("data") or {}), **encoded}
        missing(obj, {"type": "Opaque"})


class LimitRangeStrategy(Builtin):
    allow_create_on_update = True

    def default(self, obj: Object) -> None:
        for item in obj["spec"].get("limits") or ():
            if item.get("type") != "Container":
                continue
            default, request = dict(item.get("default") or {}), dict(item.get("defaultRequest") or {})
            for name, amount in (item.get("max") or {}).items():
                default.setdefault(name, amount)
            for name, amount in default.items():
                request.setdefault(name, amount)
            for name, amount in (item.get("min") or {}).items():
                request.setdefault(name, amount)
            for name, amounts in (("default", default), ("defaultRequest", request)):
                if amounts:
                    item[name] = amounts


class ResourceQuotaStrategy(Builtin):
    returns_deleted = True


class ServiceAccountStrategy(Builtin):
    returns_deleted = True
    allow_unconditional_update = False
