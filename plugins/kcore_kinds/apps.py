"""apps: workloads that keep pods running."""

from __future__ import annotations

from kcore.api.kinds import ScalePaths
from kcore_kinds.declare import Group

group = Group("apps")
group.serve("ControllerRevision", "controllerrevisions", hash="85nkx63pcBU=")
group.serve(
    "DaemonSet",
    "daemonsets",
    generation=True,
    hash="dd7pWHUlMKQ=",
    short="ds",
    category="all",
    status=True,
)
group.serve(
    "Deployment",
    "deployments",
    generation=True,
    hash="8aSe+NMegvE=",
    short="deploy",
    category="all",
    status=True,
    scale=ScalePaths(),
)
group.serve(
    "ReplicaSet",
    "replicasets",
    generation=True,
    hash="P1RzHs8/mWQ=",
    short="rs",
    category="all",
    status=True,
    scale=ScalePaths(),
)
group.serve(
    "StatefulSet",
    "statefulsets",
    generation=True,
    hash="H+vl74LkKdo=",
    short="sts",
    category="all",
    status=True,
    scale=ScalePaths(),
)

KINDS = group.kinds
