"""The policy contract: filters and scores over all nodes at once.

A *policy* is one consideration of where a pod may or should run: resources, taints, affinity, where its data lies.
A scheduler runs an ordered list of them (a *profile*). Nodes are the rows of a `NodeTable`; what a policy says about
them is an array with one entry per row, so that five thousand nodes cost a few vector operations.

The life of a pod through a profile, and where a policy may take part:

    key            where the pod stands in the queue                      one policy of the profile
    gate           may it be tried at all?                                before it enters the queue
    prepare        is it hopeless, or pinned, whatever the nodes?         once per attempt
    filter         on which nodes can it run?                             all that are left, in the profile's order
    score          how good is each?  -> normalize -> weight -> sum       if more than one node is left
    reserve        it goes to this node: note what it will use            the node is chosen; undone by `unreserve`
    -- from here on in a task of its own, while other pods are being scheduled --
    permit         wait until it may go, or say no
    pre_bind       do what must be done first (volumes)
    bind           write the decision; the first that returns True has done it
    post_bind      it is written
    -- and if no node was left --
    refusals       why not, for the event that people read
    post_filter    make room (preemption)
    may_help       has this change made it worth another attempt?         for each change that the policy watches

A policy overrides what it needs; what it does not override is not called. It may keep state of its own, fed by
`attach` and by reserve/unreserve, but `filter` and `score` must be pure: same pod, same table, same answer, and
nothing written (`kcore.testing.policy` checks it). Everything but permit, pre_bind, bind and post_bind is
synchronous and runs between two awaits of the scheduler: nothing changes meanwhile.

    class Cheapest(Policy):
        name = "Cheapest"

        def score(self, pod, nodes):
            price = nodes.label("example.com/price")
            by_value = np.array([float(v or "inf") for v in price.values])    # one entry per distinct price
            return -by_value[price.ids]

        def normalize(self, scores):                                          # any range -> 0..100
            return spread_out(scores)

An exception that a policy raises costs the pod this attempt (it is tried again with back-off), is logged with the
policy's name and counted; the scheduler goes on. Whoever prefers to look at one node at a time derives from
`NodePolicy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs

from kcore.errors import KcoreError
from kcore.objects import Object
from kcore.objects.resources import GVR

if TYPE_CHECKING:
    from kcore.client import Client
    from kcore.client.informer import Informer
    from kcore.scheduler.arrays import Bools, Floats
    from kcore.scheduler.pods import PodInfo
    from kcore.scheduler.table import NodeTable

__all__ = ["Attempt", "Change", "Handle", "NodePolicy", "Nomination", "Policy", "Refusal", "Refused", "spread_out"]

MAX_SCORE = 100.0


class Refused(KcoreError):
    """A policy says no: from `prepare`, `reserve`, `permit`, `pre_bind` or `bind`. The text is for the pod's owner.

    The pod then waits for a change that the policy's `may_help` recognises.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.frozen
class Refusal:
    """Why some of the nodes were refused, in the words of the event: ``Insufficient cpu``."""

    reason: str
    nodes: Bools
    """One entry per row: the nodes that this reason applies to."""
    preemptible: bool = False
    """Removing pods from these nodes might help (upstream: Unschedulable, else UnschedulableAndUnresolvable)."""


@attrs.frozen
class Change:
    """Something that happened in the cluster. `old` is None for what is new, `new` for what is gone."""

    resource: GVR
    old: Object | None
    new: Object | None
    what: frozenset[str] = frozenset()
    """For nodes: added, removed, allocatable, labels, taints, unschedulable. For pods: added (a pod is now on a
    node), removed (it has left one), labels, requests, deleting."""
    pod: PodInfo | None = None
    """For pods: the view of the newest state."""


@attrs.frozen
class Nomination:
    """What `post_filter` proposes: the pod waits for `node`, from which `victims` are to be removed."""

    node: str
    victims: tuple[PodInfo, ...] = ()


class Attempt(Protocol):
    """A failed scheduling attempt, as `post_filter` sees it."""

    preemptible: Bools
    """One entry per row: nodes that were refused for nothing that removing pods could not mend."""
    hopeless: bool
    """`prepare` refused the pod before any node was looked at."""

    def victims(self, row: int, pods: Sequence[PodInfo]) -> list[PodInfo] | None:
        """Which of `pods`, all on that node, must go for the pod to pass all filters there?

        Those named first are spared first. None if it would not fit even without all of them.
        """


class Handle(Protocol):
    """What a policy may use of its scheduler. Given to `attach` before the first pod."""

    client: Client

    @property
    def nodes(self) -> NodeTable:
        """The one and only."""

    def informer(self, resource: GVR) -> Informer:
        """The objects of a resource, always current. Asking makes the scheduler watch it: ask in `attach`."""


class Policy:
    """A consideration with no opinion: derive from it and override what you have something to say about."""

    name: ClassVar[str] = ""
    """The name in configs, events and metrics."""
    watches: ClassVar[Mapping[GVR, frozenset[str]]] = {}
    """The changes that may make a refused pod schedulable: resource -> which of `Change.what`, empty for all.
    `may_help` is asked about those only."""

    def attach(self, handle: Handle) -> None:
        """Called once, before anything else."""

    def key(self, pod: PodInfo, since: float) -> Any:
        """The pod's place in the queue, smallest first; `since` is when it came (wall time, seconds).

        One policy of a profile defines the order, and all profiles of a scheduler must use the same one.
        """
        raise NotImplementedError

    def gate(self, pod: PodInfo) -> str:
        """ "" to let the pod into the queue, or the message why it must wait; asked again when the pod changes."""
        return ""

    def prepare(self, pod: PodInfo, nodes: NodeTable) -> None:
        """Before any filter. Raise `Refused` when no node can do, whatever its state."""

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        """Shape (nodes.size,), bool: where the pod can run. None: anywhere, as far as this policy goes (cheaper
        than an array of True). Rows of holes may hold anything."""
        return None

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        """Why the nodes in `refused` (those that this policy was the first to refuse) were refused.

        Every refused node needs a reason; it may have several. Asked only when no node was left.
        """
        return (Refusal(f"node(s) didn't satisfy plugin(s) [{self.name}]", refused),)

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        """Shape (nodes.size,), float64: how good each node is, more is better. None: no preference.

        Without a `normalize` of its own the values must lie in 0..100.
        """
        return None

    def normalize(self, scores: Floats) -> Floats:
        """Turn the raw scores of the nodes that passed all filters (and only theirs) into 0..100."""
        return scores

    def reserve(self, pod: PodInfo, node: str) -> None:
        """The pod is about to go to `node`. Raise `Refused` to stop it: then all policies get `unreserve`."""

    def unreserve(self, pod: PodInfo, node: str) -> None:
        """It does not go there after all. Called also without a `reserve` before; must not raise."""

    async def permit(self, pod: PodInfo, node: str) -> None:
        """Return when the pod may go, raise `Refused` if it may not. May wait as long as it sees fit: the pod keeps
        its place on the node meanwhile. Cancelled when the pod is deleted or the scheduler stops."""

    async def pre_bind(self, pod: PodInfo, node: str) -> None:
        """What must be done before the pod is bound, such as binding its volumes. Raise `Refused` if it cannot."""

    async def bind(self, pod: PodInfo, node: str) -> bool:
        """Tell the API where the pod goes and return True, or return False to leave it to the next policy."""
        return False

    async def post_bind(self, pod: PodInfo, node: str) -> None:
        """The pod is bound. For cleaning up only."""

    def post_filter(self, pod: PodInfo, nodes: NodeTable, attempt: Attempt) -> Nomination | str:
        """Make room, or say in a few words why there is none to make ("" for nothing to say)."""
        return ""

    def may_help(self, pod: PodInfo, change: Change) -> bool:
        """Might `change` have made a node good for this pod, which this policy refused? When in doubt: True."""
        return True


class NodePolicy(Policy):
    """For policies that would rather look at one node at a time. A hundred times slower at a thousand nodes.

    class EvenNames(NodePolicy):
        name = "EvenNames"

        def filter_node(self, pod, node):
            return None if len(node["metadata"]["name"]) % 2 == 0 else "node(s) had an odd name"
    """

    def filter_node(self, pod: PodInfo, node: Object) -> str | None:
        """None if the pod can run on this Node object, else the reason why not."""
        return None

    def score_node(self, pod: PodInfo, node: Object) -> float:
        """How good the node is; 0..100 unless there is a `normalize`."""
        return 0.0

    def filter(self, pod: PodInfo, nodes: NodeTable) -> Bools | None:
        if type(self).filter_node is NodePolicy.filter_node:
            return None
        import numpy as np

        judged = (node is not None and self.filter_node(pod, node) is None for node in nodes.objects)
        return np.fromiter(judged, np.bool_, nodes.size)

    def refusals(self, pod: PodInfo, nodes: NodeTable, refused: Bools) -> Sequence[Refusal]:
        import numpy as np

        by_reason: dict[str, list[int]] = {}
        for row in np.flatnonzero(refused):
            node = nodes.objects[row]
            if node is not None:
                reason = self.filter_node(pod, node) or f"node(s) didn't satisfy plugin(s) [{self.name}]"
                by_reason.setdefault(reason, []).append(int(row))
        out = []
        for reason, rows in by_reason.items():
            mask = np.zeros(nodes.size, np.bool_)
            mask[rows] = True
            out.append(Refusal(reason, mask))
        return out

    def score(self, pod: PodInfo, nodes: NodeTable) -> Floats | None:
        if type(self).score_node is NodePolicy.score_node:
            return None
        import numpy as np

        scores = (0.0 if node is None else self.score_node(pod, node) for node in nodes.objects)
        return np.fromiter(scores, np.float64, nodes.size)


def spread_out(scores: Floats) -> Floats:
    """A `normalize`: the worst becomes 0 and the best 100; all 0 where they are equal."""
    low, high = float(scores.min()), float(scores.max())
    if high <= low:
        return scores * 0.0
    return (scores - low) * (MAX_SCORE / (high - low))
