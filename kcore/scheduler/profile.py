"""A profile: the policies that one ``schedulerName`` stands for, sorted by what they take part in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from kcore.errors import ConfigError, KcoreError
from kcore.scheduler.policy import Handle, Policy


class PolicyError(KcoreError):
    """A policy raised something else than `Refused`, or answered with something that is no answer."""

    def __init__(self, policy: str, point: str, error: object) -> None:
        super().__init__(f"policy {policy} failed in {point}: {error}")
        self.policy, self.point = policy, point
        if isinstance(error, BaseException):
            self.__cause__ = error


@attrs.frozen
class Weighted:
    """A policy and what its scores count for."""

    policy: Policy
    weight: float = 1.0


class Profile:
    """Which policies to call at each point: only those that have something to say there."""

    def __init__(self, name: str, policies: Sequence[Weighted]) -> None:
        """Raises ConfigError if two policies have one name, or if it is not just one that orders the queue."""
        self.name = name
        """The ``spec.schedulerName`` of the pods that it schedules."""
        self.policies = [w.policy for w in policies]
        names = [p.name for p in self.policies]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ConfigError([f"profile {name}: policy {n} is named twice; name it once" for n in twice])
        orders = self._that("key")
        if len(orders) != 1:
            found = ", ".join(p.name for p in orders) or "none"
            raise ConfigError(
                [f"profile {name}: just one policy must order the queue (as PrioritySort does), not {found}"]
            )
        self.order = orders[0]
        self.gates = self._that("gate")
        self.preparers = self._that("prepare")
        self.filters = self._that("filter")
        chosen = {id(p) for p in self._that("score")}
        self.scorers = [
            (w.policy, float(w.weight), _overrides(w.policy, "normalize"))
            for w in policies
            if id(w.policy) in chosen and w.weight
        ]
        self.post_filters = self._that("post_filter")
        self.reservers = self._that("reserve")
        self.unreservers = self._that("unreserve")
        self.permits = self._that("permit")
        self.pre_binders = self._that("pre_bind")
        self.binders = self._that("bind")
        self.post_binders = self._that("post_bind")
        if not self.binders:
            raise ConfigError([f"profile {name}: no policy binds pods; add DefaultBinder"])

    def attach(self, handle: Handle) -> None:
        for policy in self.policies:
            policy.attach(handle)

    def policy(self, name: str) -> Policy | None:
        return next((p for p in self.policies if p.name == name), None)

    def _that(self, point: str) -> list[Policy]:
        return [p for p in self.policies if _overrides(p, point)]


def _overrides(policy: Any, point: str) -> bool:
    return getattr(type(policy), point) is not getattr(Policy, point)
