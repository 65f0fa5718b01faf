"""A candidate of the official Python client's leader election: says when it leads, and leads until it is killed.

python candidate.py KUBECONFIG NAMESPACE LEASE IDENTITY
"""

from __future__ import annotations

import sys
import threading

from kubernetes import config
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

kubeconfig, namespace, lease, identity = sys.argv[1:]
config.load_kube_config(kubeconfig)


def lead() -> None:
    print(f"{identity} leads", flush=True)
    threading.Event().wait()


settings = electionconfig.Config(
    LeaseLock(lease, namespace, identity),
    lease_duration=4,
    renew_deadline=3,
    retry_period=1,
    onstarted_leading=lead,
    onstopped_leading=lambda: None,
)
leaderelection.LeaderElection(settings).run()
