"""What an object may look like: everything that is checked by shape alone, whatever the kind.

A request passes through here in this order:

    prepare(obj, schema, kind)         decode into the kind's type: wrong types are refused (400), unknown members
                                       dropped and named, values brought into canonical form
    metadata(obj, ...)                 names, labels, annotations, owners, finalizers
    check(obj, schema)                 a custom resource's own schema; built-in kinds have their rules in code
    metadata_update(obj, old)          what of the metadata may not change

The single steps of `prepare` are also there by themselves. Everything is compiled once per schema node.
"""

from __future__ import annotations

from kcore.api import typed
from kcore.api.metadata import metadata, metadata_update
from kcore.api.rules import check
from kcore.api.schema import Schema
from kcore.errors import BadRequest
from kcore.objects import Object

__all__ = [
    "check",
    "decode_check",
    "decode_error",
    "metadata",
    "metadata_update",
    "normalize",
    "prepare",
    "prune",
    "unknown_fields",
]


def prepare(obj: Object, schema: Schema, kind: str) -> list[str]:
    """Decode `obj` into its type, in place: `decode_check`, `unknown_fields` and `normalize` in one walk.

    Returns the messages for unknown members; raises BadRequest as `decode_check` does.
    """
    try:
        return [f'unknown field "{path}"' for path in typed.read(obj, schema)]
    except typed.Unfit as e:
        raise decode_error(obj, kind, str(e)) from None


def decode_check(obj: Object, schema: Schema, kind: str) -> None:
    """Refuse values of the wrong type, as Go's decoder does. `kind` is the kind that was expected.

    A custom resource has only its metadata checked here; the rest is `check`'s.
    """
    why = typed.problem(obj, schema)
    if why:
        raise decode_error(obj, kind, why)


def decode_error(obj: Object, kind: str, why: str) -> BadRequest:
    """``Pod in version "v1" cannot be handled as a Pod: ...``; also for strict decoding errors."""
    given = obj.get("kind") or kind
    version = str(obj.get("apiVersion") or "").rpartition("/")[2]
    return BadRequest(f'{given} in version "{version}" cannot be handled as a {kind}: {why}')


def unknown_fields(obj: Object, schema: Schema) -> list[str]:
    """``unknown field "spec.foo"`` for each member that has no place in the schema."""
    return [f'unknown field "{path}"' for path in typed.unknown(obj, schema)]


def normalize(obj: Object, schema: Schema) -> None:
    """Bring `obj`, in place, into the form that Go's typed round trip gives it. Drops unknown members.

    Nulls and empty values that Go omits are dropped, values it always writes are added, quantities and times get their
    canonical form. Raises `kcore.api.typed.Unfit` for a value of the wrong type.
    """
    typed.read(obj, schema)


def prune(obj: Object, schema: Schema) -> None:
    """Drop members that have no place in the schema, and nulls as Go's decoder does: the same walk as `normalize`."""
    typed.read(obj, schema)
