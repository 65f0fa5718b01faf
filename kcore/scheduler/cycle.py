"""The scheduling cycle: one pod, one node -- or the reasons why there is none.

Nothing here awaits: from the first filter to the assumption in the node table no other task runs, so what a policy
has seen is what the decision is based on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter

import attrs
import numpy as np

from kcore.scheduler.arrays import Bools, Floats, Ints
from kcore.scheduler.pods import PodInfo
from kcore.scheduler.policy import Nomination, Refusal, Refused
from kcore.scheduler.profile import PolicyError, Profile
from kcore.scheduler.table import NodeTable

Nominated = Mapping[str, Mapping[str, PodInfo]]
"""Pods that preemption has made room for, by the node they were promised, by key."""
Observe = Callable[[str, bool, float], None]
"""``observe(extension point, success, seconds)``."""


@attrs.frozen
class Decision:
    """The pod goes to `node`, the best of `feasible` nodes."""

    node: str
    feasible: int


@attrs.frozen
class Failure:
    """The pod goes nowhere for now."""

    message: str
    """For the event and the condition, in upstream's form."""
    refused_by: frozenset[str]
    """The policies that refused: their `may_help` decides when to try again."""
    nomination: Nomination | None = None


class Attempt:
    """One pod against the table as it is. Implements `kcore.scheduler.policy.Attempt` for post_filter."""

    def __init__(self, profile: Profile, pod: PodInfo, nodes: NodeTable, nominated: Nominated) -> None:
        self._profile, self._pod, self._nodes = profile, pod, nodes
        self._promised = [
            (other, node)
            for node, pods in nominated.items()
            for other in pods.values()
            if other.priority >= pod.priority and other.key != pod.key and not nodes.node_of(other.key)
        ]
        self.hopeless = False
        self.preemptible: Bools = np.zeros(nodes.size, np.bool_)
        self.refused_by: set[str] = set()
        self.refusals: list[Refusal] = []

    def feasible(self) -> Bools:
        """The nodes that all filters let through. Raises PolicyError.

        Pods of the same or a higher priority that were promised a node count as if they were there already; but
        the pod must fit without them too, as it could otherwise depend on a pod that never comes.
        """
        mask = self._filter()
        if self._promised and mask.any():
            with self._with_promised():
                mask = mask & self._filter()
        return mask

    def victims(self, row: int, pods: Sequence[PodInfo]) -> list[PodInfo] | None:
        """See `kcore.scheduler.policy.Attempt`. The table is as before when this returns."""
        name, gone = self._nodes.names[row], {pod.key: pod for pod in pods}
        for pod in pods:
            self._nodes.remove_pod(pod.key)
        try:
            if not self.feasible()[row]:
                return None
            for pod in pods:
                self._nodes.add_pod(pod, name)
                if self.feasible()[row]:
                    del gone[pod.key]
                else:
                    self._nodes.remove_pod(pod.key)
            return [pod for pod in pods if pod.key in gone]
        finally:
            for pod in gone.values():
                self._nodes.add_pod(pod, name)

    def diagnose(self) -> None:
        """After `feasible` left no node: find out who was the first to refuse each, and why."""
        left: Bools = self._nodes.alive.copy()
        with self._with_promised():
            left = self._attribute(left)
        if self._promised and left.any():
            left = self._attribute(left)
        stuck = np.zeros(self._nodes.size, np.bool_)
        for refusal in self.refusals:
            if not refusal.preemptible:
                stuck |= refusal.nodes
        self.preemptible = self._nodes.alive & ~left & ~stuck

    def _filter(self) -> Bools:
        pod, nodes, mask = self._pod, self._nodes, self._nodes.alive
        policy = None
        try:
            for policy in self._profile.filters:
                own = policy.filter(pod, nodes)
                if own is not None:
                    _check(own, np.bool_, nodes.size)
                    mask = mask & own
        except Exception as error:
            raise PolicyError(policy.name if policy else "", "filter", error) from error
        return mask

    def _attribute(self, left: Bools) -> Bools:
        policy = None
        try:
            for policy in self._profile.filters:
                own = policy.filter(self._pod, self._nodes)
                if own is None:
                    continue
                refused = left & ~own
                if refused.any():
                    self.refused_by.add(policy.name)
                    self.refusals.extend(policy.refusals(self._pod, self._nodes, refused))
                    left = left & own
        except Exception as error:
            raise PolicyError(policy.name if policy else "", "refusals", error) from error
        return left

    @contextmanager
    def _with_promised(self) -> Iterator[None]:
        for pod, node in self._promised:
            self._nodes.add_pod(pod, node)
        try:
            yield
        finally:
            for pod, _ in self._promised:
                self._nodes.remove_pod(pod.key)


def schedule(
    profile: Profile,
    pod: PodInfo,
    nodes: NodeTable,
    nominated: Nominated,
    rng: random.Random,
    observe: Observe,
) -> Decision | Failure:
    """Find the node for a pod. Raises PolicyError if a policy fails."""
    attempt = Attempt(profile, pod, nodes, nominated)
    start = perf_counter()
    try:
        _prepare(profile, pod, nodes, attempt)
    except Refused as refused:
        observe("PreFilter", False, perf_counter() - start)
        attempt.hopeless = True
        return _fail(attempt, profile, pod, nodes, refused.reason, observe)
    prepared = perf_counter()
    observe("PreFilter", True, prepared - start)
    if not len(nodes):
        return Failure("no nodes available to schedule pods", frozenset(p.name for p in profile.filters))
    mask = attempt.feasible()
    rows = np.flatnonzero(mask)
    filtered = perf_counter()
    observe("Filter", len(rows) > 0, filtered - prepared)
    if len(rows) == 0:
        attempt.diagnose()
        return _fail(attempt, profile, pod, nodes, _reasons(attempt.refusals), observe)
    promised = nodes.rows.get(pod.nominated, -1) if pod.nominated else -1
    if len(rows) == 1:
        best = int(rows[0])
    elif promised >= 0 and mask[promised]:
        best = promised
    else:
        best = _best(profile, pod, nodes, rows, rng)
        observe("Score", True, perf_counter() - filtered)
    return Decision(nodes.names[best], len(rows))


def _prepare(profile: Profile, pod: PodInfo, nodes: NodeTable, attempt: Attempt) -> None:
    for policy in profile.preparers:
        try:
            policy.prepare(pod, nodes)
        except Refused:
            attempt.refused_by.add(policy.name)
            raise
        except Exception as error:
            raise PolicyError(policy.name, "prepare", error) from error


def _best(profile: Profile, pod: PodInfo, nodes: NodeTable, rows: Ints, rng: random.Random) -> int:
    """The row with the highest weighted sum of scores; one of them at random if there are several."""
    every = len(rows) == nodes.size
    total: Floats | None = None
    policy = None
    try:
        for policy, weight, normalizes in profile.scorers:
            scores = policy.score(pod, nodes)
            if scores is None:
                continue
            _check(scores, np.float64, nodes.size)
            if not every:
                scores = scores[rows]
            if normalizes:
                scores = policy.normalize(scores)
            scores = scores * weight
            total = scores if total is None else total + scores
    except Exception as error:
        raise PolicyError(policy.name if policy else "", "score", error) from error
    if total is None:
        return int(rows[rng.randrange(len(rows))])
    highest = total.max()
    if not np.isfinite(highest):
        raise PolicyError(_infinite(profile, pod, nodes, rows), "score", "a score is not a finite number")
    ties = np.flatnonzero(total == highest)
    return int(rows[ties[0] if len(ties) == 1 else ties[rng.randrange(len(ties))]])


def _infinite(profile: Profile, pod: PodInfo, nodes: NodeTable, rows: Ints) -> str:
    """Which policies gave a score that is no number."""
    bad = []
    for policy, _, _ in profile.scorers:
        scores = policy.score(pod, nodes)
        if scores is not None and not np.isfinite(policy.normalize(scores[rows])).all():
            bad.append(policy.name)
    return ", ".join(bad)


def _check(array: Bools | Floats, dtype: type, size: int) -> None:
    if array.dtype != dtype or array.shape != (size,):
        raise TypeError(f"answered {array.dtype} of shape {array.shape}, must be {dtype.__name__} of shape ({size},)")


def _fail(
    attempt: Attempt, profile: Profile, pod: PodInfo, nodes: NodeTable, reasons: str, observe: Observe
) -> Failure:
    """Ask the post_filters for room and put the message together."""
    message = f"0/{len(nodes)} nodes are available: {reasons}."
    start = perf_counter()
    nomination: Nomination | None = None
    notes: list[str] = []
    for policy in profile.post_filters:
        try:
            answer = policy.post_filter(pod, nodes, attempt)
        except Exception as error:
            raise PolicyError(policy.name, "post_filter", error) from error
        if isinstance(answer, Nomination):
            nomination, notes = answer, []
            break
        if answer:
            notes.append(answer)
    if profile.post_filters:
        observe("PostFilter", nomination is not None, perf_counter() - start)
    return Failure(" ".join([message, *notes]), frozenset(attempt.refused_by), nomination)


def _reasons(refusals: Sequence[Refusal]) -> str:
    """``3 Insufficient cpu, 1 node(s) were unschedulable``: sorted as text, as upstream has it."""
    counts: dict[str, int] = {}
    for refusal in refusals:
        counts[refusal.reason] = counts.get(refusal.reason, 0) + int(np.count_nonzero(refusal.nodes))
    return ", ".join(sorted(f"{n} {reason}" for reason, n in counts.items()))
