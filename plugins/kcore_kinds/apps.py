"""apps: workloads that keep pods running."""

from __future__ import annotations

from kcore.api.kinds import ScalePaths
from kcore_kinds import workloads
from kcore_kinds.declare import Group

group = Group("apps")
group.serve("ControllerRevision", "controllerrevisions", hash="85nkx63pcBU=")
group.serve(
    "DaemonSet",
    "daemonsets",
    strategy=workloads.DaemonSetStrategy(),
    generation=True,
    hash="dd7pWHUlMKQ=",
    short="ds",
    category="all",
    status=True,
)
group.serve(
    "Deployment",
    "deployments",
    strategy=workloads.DeploymentStrategy(),
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
    strategy=workloads.ReplicaSetStrategy(),
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
    strategy=workloads.StatefulSetStrategy(),
    generation=True,
    hash="H+vl74LkKdo=",
    short="sts",
    category="all",
    status=True,
    scale=ScalePaths(),
)

KINDS = group.kinds
