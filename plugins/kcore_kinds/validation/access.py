"""The rules of roles, their bindings, access reviews and certificate requests."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from kcore.api import fields, names
from kcore.errors import Cause
from kcore_kinds.validation import common
from kcore_kinds.validation.common import Object, problems

RBAC = "rbac.authorization.k8s.io"


def role(obj: Object, old: Object | None) -> Iterator[Cause]:
    for i, rule in enumerate(obj.get("rules") or ()):
        yield from _rule(f"rules[{i}]", rule, namespaced=True)


def cluster_role(obj: Object, old: Object | None) -> Iterator[Cause]:
    for i, rule in enumerate(obj.get("rules") or ()):
        yield from _rule(f"rules[{i}]", rule, namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None:
        chosen = aggregation.get("clusterRoleSelectors") or []
        if not chosen:
            why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            yield fields.required("aggregationRule.clusterRoleSelectors", why)
        for i, selector in enumerate(chosen):
            yield from common.label_selector(f"aggregationRule.clusterRoleSelectors[{i}]", selector)


def _rule(path: str, rule: Object, *, namespaced: bool) -> Iterator[Cause]:
    urls = rule.get("nonResourceURLs") or []
    if not rule.get("verbs"):
        yield fields.required(f"{path}.verbs", "verbs must contain at least one value")
    if urls:
        if namespaced:
            why = "namespaced rules cannot apply to non-resource URLs"
            yield fields.invalid(f"{path}.nonResourceURLs", urls, why)
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            yield fields.invalid(f"{path}.nonResourceURLs", urls, why)
        return
    if not rule.get("apiGroups"):
        yield fields.required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        yield fields.required(f"{path}.resources", "resource rules must supply at least one resource")


def role_binding(obj: Object, old: Object | None) -> Iterator[Cause]:
    ref = obj.get("roleRef") or {}
    kinds = ["ClusterRole"] if obj.get("kind") == "ClusterRoleBinding" else ["Role", "ClusterRole"]
    if ref.get("apiGroup") != RBAC:
        yield fields.not_supported("roleRef.apiGroup", ref.get("apiGroup"), [RBAC])
    if ref.get("kind") not in kinds:
        yield fields.not_supported("roleRef.kind", ref.get("kind", ""), kinds)
    if not ref.get("name"):
        yield fields.required("roleRef.name")
    else:
        yield from problems("roleRef.name", ref["name"], names.path_segment(ref["name"]))
    for i, subject in enumerate(obj.get("subjects") or ()):
        yield from _subject(f"subjects[{i}]", subject, namespaced=len(kinds) == 2)
    if old is not None and ref != old.get("roleRef"):
        internal = {"APIGroup": ref.get("apiGroup", ""), "Kind": ref.get("kind", ""), "Name": ref.get("name", "")}
        yield fields.invalid("roleRef", internal, "cannot change roleRef")


def _subject(path: str, subject: Object, *, namespaced: bool) -> Iterator[Cause]:
    name, kind, group = subject.get("name", ""), subject.get("kind"), subject.get("apiGroup", "")
    if not name:
        yield fields.required(f"{path}.name")
    if kind == "ServiceAccount":
        if name:
            yield from problems(f"{path}.name", name, names.dns_subdomain(name))
        if group:
            yield fields.not_supported(f"{path}.apiGroup", group, [""])
        if not subject.get("namespace") and not namespaced:
            yield fields.required(f"{path}.namespace")
    elif kind in ("User", "Group"):
        if group != RBAC:
            yield fields.not_supported(f"{path}.apiGroup", group, [RBAC])
    else:
        yield fields.not_supported(f"{path}.kind", kind or "", ["ServiceAccount", "User", "Group"])


_ATTRIBUTES = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


def subject_access_review(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    yield from _attributes(spec)
    if not spec.get("user") and not spec.get("groups"):
        yield fields.invalid("spec.user", spec.get("user", ""), "at least one of user or group must be specified")


def self_subject_access_review(obj: Object, old: Object | None) -> Iterator[Cause]:
    yield from _attributes(obj.get("spec") or {})


def _attributes(spec: Object) -> Iterator[Cause]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        internal = {"Path": path.get("path", ""), "Verb": path.get("verb", "")}
        why = "cannot be specified in combination with resourceAttributes"
        yield fields.invalid("spec.nonResourceAttributes", internal, why)
    elif resource is None and path is None:
        yield fields.invalid("spec.resourceAttributes", None, _ATTRIBUTES)


_SIGNER = "must be a fully qualified domain and path of the form 'example.com/signer-name'"


def certificate_request(obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj["spec"]
    request = spec.get("request") or ""
    wrong = _request_error(request)
    if wrong:
        yield fields.invalid("spec.request", request, wrong)
    if not spec.get("usages"):
        yield fields.required("spec.usages")
    signer = spec.get("signerName") or ""
    if not signer:
        yield fields.required("spec.signerName")
    else:
        domain, slash, rest = signer.partition("/")
        if not slash or "." not in domain or not rest or names.dns_subdomain(domain):
            yield fields.invalid("spec.signerName", signer, _SIGNER)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        yield fields.invalid("spec.expirationSeconds", seconds, why)


def certificate_request_status(obj: Object, old: Object) -> Iterator[Cause]:
    """What was decided about a request stays decided."""
    now = [c.get("type") for c in obj.get("status", {}).get("conditions") or ()]
    before = [c.get("type") for c in old.get("status", {}).get("conditions") or ()]
    for type in ("Approved", "Denied", "Failed"):
        if now.count(type) < before.count(type):
            yield fields.forbidden("status.conditions", f'updates may not remove a condition of type "{type}"')


def _request_error(encoded: str) -> str:
    try:
        text = base64.b64decode(encoded)
    except ValueError:
        text = b""
    if not re.search(rb"-----BEGIN (NEW )?CERTIFICATE REQUEST-----", text):
        return "PEM block type must be CERTIFICATE REQUEST"
    from cryptography import x509

    try:
        x509.load_pem_x509_csr(text)
    except ValueError as e:
        return str(e)
    return ""
