"""authorization.k8s.io: may they? Never stored."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("authorization.k8s.io")
group.serve("LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=("create",), virtual=True)
group.serve(
    "SelfSubjectAccessReview",
    "selfsubjectaccessreviews",
    namespaced=False,
    verbs=("create",),
    virtual=True,
)
group.serve(
    "SelfSubjectRulesReview",
    "selfsubjectrulesreviews",
    namespaced=False,
    verbs=("create",),
    virtual=True,
)
group.serve("SubjectAccessReview", "subjectaccessreviews", namespaced=False, verbs=("create",), virtual=True)

KINDS = group.kinds
