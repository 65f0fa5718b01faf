"""The matchConditions of a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kcore.api.admission_cel import Conditions, Outcome, environment

if TYPE_CHECKING:
    from kcore.api.admission import AdmissionRequest
    from kcore.api.matching import Match, Versions
    from kcore.api.server import ApiServer
    from kcore.objects import Object


class MatchConditions:
    def __init__(self, conditions: list[Object], failure_policy: str) -> None:
        self._conditions = Conditions(environment(), conditions, failure_policy)

    async def match(self, server: ApiServer, request: AdmissionRequest, match: Match, versions: Versions) -> Outcome:
        return await self._conditions.match(
            server, request, match.kind, await versions.new(match.kind), await versions.old(match.kind)
        )
