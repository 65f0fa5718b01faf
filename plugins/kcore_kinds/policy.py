"""policy: how many pods may be down at once."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("policy")
group.serve(
    "PodDisruptionBudget",
    "poddisruptionbudgets",
    blind=False,
    generation=True,
    hash="EVWiDmWqyJw=",
    short="pdb",
    status=True,
)

KINDS = group.kinds
