"""A request as admission.k8s.io shows it: to webhooks in an AdmissionReview, to expressions as ``request``."""

from __future__ import annotations

from kcore.api.admission import AdmissionRequest
from kcore.api.kinds import Kind
from kcore.api.matching import attribute_namespace, body_kind
from kcore.objects import Object

_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


def request_object(request: AdmissionRequest, kind: Kind) -> Object:
    """An AdmissionRequest (but for uid and the objects) for who knows the resource as `kind`."""
    own, sub = request.kind, request.subresource
    out: Object = {
        "kind": body_kind(kind, sub).as_object(),
        "resource": {"group": kind.group, "version": kind.version, "resource": kind.plural},
    }
    if sub:
        out["subResource"] = sub
    out["requestKind"] = body_kind(own, sub).as_object()
    out["requestResource"] = {"group": own.group, "version": own.version, "resource": own.plural}
    if sub:
        out["requestSubResource"] = sub
    if request.name:
        out["name"] = request.name
    namespace = attribute_namespace(request)
    if namespace:
        out["namespace"] = namespace
    out["operation"] = request.operation
    out["userInfo"] = user_info(request)
    out["dryRun"] = request.dry_run
    out["options"] = _options(request)
    return out


def user_info(request: AdmissionRequest) -> Object:
    user = request.user
    out: Object = {"username": user.name}
    if user.uid:
        out["uid"] = user.uid
    if user.groups:
        out["groups"] = list(user.groups)
    if user.extra:
        out["extra"] = dict(user.extra)
    return out


def _options(request: AdmissionRequest) -> Object | None:
    kind = _OPTIONS.get(request.operation)
    if kind is None:
        return None
    # a patch is a create or an update to admission, whatever it is to HTTP
    given = {k: v for k, v in request.options.items() if k not in ("kind", "apiVersion", "force")}
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **given}
