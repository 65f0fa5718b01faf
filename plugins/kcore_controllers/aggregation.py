"""Aggregated ClusterRoles: their rules are those of all ClusterRoles that their selectors find."""

from __future__ import annotations

from kcore.controller import ControllerContext
from kcore.controller.base import Reconciler
from kcore.objects import Object, meta, selectors
from kcore.objects.resources import CLUSTERROLES


class AggregationController(Reconciler):
    name = "clusterrole-aggregation"

    def __init__(self, context: ControllerContext):
        super().__init__(context)
        self.roles = self.watch(CLUSTERROLES)
        self.roles.add_index("aggregated", lambda role: ("yes",) if role.get("aggregationRule") else ())
        self.handle(self.roles, self._changed)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        for role in self.roles.indexed("aggregated", "yes"):
            self.queue.add(meta.name(role))

    async def reconcile(self, key: str) -> float | None:
        role = self.roles.get(key)
        if role is None or not role.get("aggregationRule"):
            return None
        rules: list[Object] = []
        for raw in role["aggregationRule"].get("clusterRoleSelectors") or ():
            selector = selectors.from_object(raw)
            for part in sorted(self.roles.items(), key=meta.name):
                if meta.name(part) != key and selector.matches(meta.labels(part)):
                    rules += [r for r in part.get("rules") or () if r not in rules]
        if rules != (role.get("rules") or []):
            await self.client.update(CLUSTERROLES, {**role, "rules": rules or None})
        return None
