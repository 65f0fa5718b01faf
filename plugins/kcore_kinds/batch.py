"""batch: workloads that finish."""

from __future__ import annotations

from kcore_kinds.declare import Group, fields

group = Group("batch")
group.serve(
    "CronJob",
    "cronjobs",
    generation=True,
    hash="sd5LIXh4Fjs=",
    short="cj",
    category="all",
    status=True,
)
group.serve(
    "Job",
    "jobs",
    selectable=fields("status.successful"),
    generation=True,
    hash="mudhfqk/qZY=",
    category="all",
    status=True,
)

KINDS = group.kinds
