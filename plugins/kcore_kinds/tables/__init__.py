"""What ``kubectl get`` shows: the columns of every kind's Table, by resource (``deployments.apps``).

Columns, their order, types and priorities are part of the API; so are the cells, down to ``<none>`` and ``<unset>``.
"""

from __future__ import annotations

from kcore.api.kinds import Column
from kcore_kinds.tables import cluster, core, networking, pods, storage, workloads

TABLES: dict[str, tuple[Column, ...]] = {
    **core.TABLES,
    **pods.TABLES,
    **workloads.TABLES,
    **networking.TABLES,
    **storage.TABLES,
    **cluster.TABLES,
}
