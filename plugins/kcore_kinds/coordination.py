"""coordination.k8s.io: leases, by which leaders are elected and nodes say that they live."""

from __future__ import annotations

from kcore_kinds.declare import Group

group = Group("coordination.k8s.io")
group.serve("Lease", "leases", upsert=True, blind=False, hash="gqkMMb/YqFM=")

KINDS = group.kinds
