"""ValidatingAdmissionWebhook: all webhooks that a request concerns are asked at once, and each may refuse it."""

from __future__ import annotations

import time

import trio

from kcore import errors
from kcore.api.admission import AdmissionRequest
from kcore.api.matching import Match, Versions
from kcore.objects import Object
from kcore_webhooks.hooks import CallFailed, Hook, WebhookPlugin, internal

_FAILED_OPEN = "failed-open.validating.webhook.admission.k8s.io/"


class ValidatingAdmissionWebhook(WebhookPlugin):
    name = "ValidatingAdmissionWebhook"
    resource = "validatingwebhookconfigurations"
    type = "validating"

    async def validate(self, request: AdmissionRequest) -> None:
        versions = Versions(self.server.table, request)
        calls: list[tuple[Hook, Match, Object | None, Object | None]] = []
        for hook, match in self._selection.of(request):
            if await self.wanted(hook, match, request, versions):
                calls.append((hook, match, await versions.new(match.kind), await versions.old(match.kind)))
        if not calls:
            return
        refusals: list[errors.ApiError | None] = [None] * len(calls)

        async def ask(place: int) -> None:
            refusals[place] = await self._ask(*calls[place], request, place)

        if len(calls) == 1:
            await ask(0)
        else:
            async with trio.open_nursery() as nursery:
                for place in range(len(calls)):
                    nursery.start_soon(ask, place)
        for refusal in refusals:
            if refusal is not None:
                raise refusal

    async def _ask(
        self, hook: Hook, match: Match, obj: Object | None, old: Object | None, request: AdmissionRequest, place: int
    ) -> errors.ApiError | None:
        """The refusal, if it is one."""
        began = time.perf_counter()
        try:
            await self.call(hook, match, request, obj, old)
        except CallFailed as error:
            self.observe(hook, request, began, error)
            if not hook.fails_open:
                return internal(str(error))
            self._metrics.fail_open.add(hook.name, self.type)
            request.annotate(f"{_FAILED_OPEN}round_0_index_{place}", hook.name)
            self.server.log.warning("%s; the request goes on without it", error)
            return None
        except errors.ApiError as error:
            self.observe(hook, request, began, error)
            return error
        self.observe(hook, request, began, None)
        return None
