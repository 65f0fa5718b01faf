"""The shapes of objects that are only ever a request's body: Eviction, Binding, TokenRequest, DeleteOptions.

They are no resources, so no bundle of kinds brings their schemas. (Kubernetes API reference: policy/v1, core/v1,
authentication.k8s.io/v1 and meta/v1.)
"""

from __future__ import annotations

from kcore import errors
from kcore.api import typed
from kcore.api.schema import Schema
from kcore.objects import Object


def _object(name: str, /, **properties: Schema) -> Schema:
    return Schema("object", name=name, properties=properties, preserve_unknown=True)


_STRING = Schema("string")
_MAP = Schema("object", values=_STRING)
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_OBJECT_META = _object(
    f"{_META}.ObjectMeta",
    name=_STRING,
    namespace=_STRING,
    uid=_STRING,
    resourceVersion=_STRING,
    labels=_MAP,
    annotations=_MAP,
)
_REFERENCE = {"kind": _STRING, "apiVersion": _STRING, "name": _STRING, "uid": _STRING}
DELETE_OPTIONS = _object(
    f"{_META}.DeleteOptions",
    dryRun=Schema("array", items=_STRING),
    gracePeriodSeconds=Schema("integer", "int64"),
    orphanDependents=Schema("boolean"),
    preconditions=_object(f"{_META}.Preconditions", resourceVersion=_STRING, uid=_STRING),
    propagationPolicy=_STRING,
)
_SCHEMAS = {
    "DeleteOptions": DELETE_OPTIONS,
    "Eviction": _object("io.k8s.api.policy.v1.Eviction", metadata=_OBJECT_META, deleteOptions=DELETE_OPTIONS),
    "Binding": _object(
        "io.k8s.api.core.v1.Binding",
        metadata=_OBJECT_META,
        target=_object("io.k8s.api.core.v1.ObjectReference", namespace=_STRING, **_REFERENCE),
    ),
    "TokenRequest": _object(
        "io.k8s.api.authentication.v1.TokenRequest",
        metadata=_OBJECT_META,
        spec=_object(
            "io.k8s.api.authentication.v1.TokenRequestSpec",
            audiences=Schema("array", items=_STRING),
            boundObjectRef=_object("io.k8s.api.authentication.v1.BoundObjectReference", **_REFERENCE),
            expirationSeconds=Schema("integer", "int64"),
        ),
    ),
}


def schema(kind: str) -> Schema | None:
    """What is known of a body's shape."""
    return _SCHEMAS.get(kind)


_TYPE = dict.fromkeys(("apiVersion", "kind"), _STRING)
_TYPED = {kind: Schema("object", name=schema.name, properties=_TYPE) for kind, schema in _SCHEMAS.items()}


def typed_schema(kind: str) -> Schema | None:
    """By its name the decoder knows all members of the Go type, and what is none."""
    return _TYPED.get(kind)


def check(obj: Object, kind: str) -> None:
    """Raises BadRequest for a value of the wrong type, as Go's decoder puts it. Kinds that are not here pass."""
    schema = _SCHEMAS.get(kind)
    why = typed.problem(obj, schema) if schema is not None else ""
    if why:
        raise errors.BadRequest(
            f'{kind} in version "{obj.get("apiVersion") or ""}" cannot be handled as a {kind}: {why}'
        )
