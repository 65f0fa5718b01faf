"""authentication.k8s.io: who is this? Never stored."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("authentication.k8s.io")
group.serve("SelfSubjectReview", "selfsubjectreviews", namespaced=False, verbs=("create",), virtual=True)
group.serve("TokenReview", "tokenreviews", namespaced=False, verbs=("create",), virtual=True)

KINDS = group.kinds
