"""What a decision costs, and what a thousand RoleBindings of others add to it.

The first decision of a user in a namespace gathers his grants; later ones of the same kind are a look-up. Both are
measured with the bootstrap bindings alone, and with a thousand RoleBindings in the same namespace.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from kcore_auth import bootstrap
from kcore_auth.rbac import Index

from kcore.api.auth import Attributes, User
from kcore.objects.resources import ROLEBINDINGS, ROLES
from tests.benchmarks.figures import figure, heading

_fresh = itertools.count()
BINDINGS, ROUNDS, DECISIONS = 1000, 7, 20_000


def _index(others: int) -> Index:
    index = Index()
    for resource in bootstrap.RESOURCES:
        for obj in bootstrap.objects(resource):
            index.put(resource, obj)
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    index.put(ROLES, {"metadata": {"name": "reader", "namespace": "ns"}, "rules": [rule]})
    for number in range(others + 1):
        name = "jane" if number == others else f"user-{number}"
        index.put(ROLEBINDINGS, _binding(f"b-{number}", name))
    return index


def _binding(name: str, user: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "metadata": {"name": name, "namespace": "ns"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }


def _first(index: Index) -> float:
    """Microseconds of a first decision: every group list is new."""
    users = [User("jane", (f"g-{next(_fresh)}", "system:authenticated")) for _ in range(2000)]
    began = time.perf_counter()
    for user in users:
        index.decide(Attributes(user, "get", "pods", "", "", "v1", "ns", "p"))
    return (time.perf_counter() - began) / len(users) * 1e6


def _later(index: Index) -> float:
    """Microseconds of a decision like one made before."""
    wanted = Attributes(User("jane", ("system:authenticated",)), "get", "pods", "", "", "v1", "ns", "p")
    assert index.decide(wanted) is not None
    began = time.perf_counter()
    for _ in range(DECISIONS):
        index.decide(wanted)
    return (time.perf_counter() - began) / DECISIONS * 1e6


def main() -> None:
    heading(f"RBAC: a decision, without and with {BINDINGS:,} RoleBindings of others in the namespace")
    few, many = _index(0), _index(BINDINGS)
    for name, measure in (("first decision of a user", _first), ("later decision", _later)):
        without = min(measure(few) for _ in range(ROUNDS))
        beside = min(measure(many) for _ in range(ROUNDS))
        figure(
            name,
            f"{beside:.2f} us",
            "nothing added",
            None,
            f"{beside / without:5.2f} x without them ({without:.2f} us)",
        )


if __name__ == "__main__":
    main()
