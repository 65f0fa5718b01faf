"""batch: workloads that finish."""

from __future__ import annotations

from kcore_kinds import workloads
from kcore_kinds.declare import Group, fields

group = Group("batch")
group.serve(
    "CronJob",
    "cronjobs",
    strategy=workloads.CronJobStrategy(),
    generation=True,
    hash="sd5LIXh4Fjs=",
    short="cj",
    category="all",
    status=True,
)
group.serve(
    "Job",
    "jobs",
    strategy=workloads.JobStrategy(),
    selectable=fields("status.successful"),
    generation=True,
    hash="mudhfqk/qZY=",
    category="all",
    status=True,
)

KINDS = group.kinds
