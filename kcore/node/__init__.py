"""The node agent (kubelet): makes the pods that are assigned to a node exist, and tells the cluster how they are.

host.py        what all nodes of a process share: one watch of pods, one work queue, one heap of timers
agent.py       one node: its Node object and Lease, and which pods it has
pod.py         one pod: a state machine that takes a step whenever something about the pod has changed
run.py         one container of a pod: its runs, restarts and back-off
launch.py      starting containers: image, environment, mounts, hooks
status.py      a pod's status, computed from what is known, never from what was said before
admission.py   whether a pod fits on the node at all
env.py         environment variables; expansion.py: $(VAR)
volumes.py     what containers mount
references.py  ConfigMaps, Secrets and others that pods name: one watch per object, however many pods use it
probes.py      liveness, readiness and startup probes; probers.py: how each kind of probe asks
events.py      what is told about pods and nodes
server.py      the kubelet's own HTTPS API; metrics.py: what it measures

Everything here talks to the cluster through a `kcore.client.Client` and to containers through a
`kcore.runtime.NodeRuntime`. There is no task per pod: steps are jobs in a queue (work.py) and waiting is an entry in
a heap (`kcore.timers`).
"""
