"""MutatingAdmissionWebhook: webhooks are asked one after the other, and each sees what those before it have made."""

from __future__ import annotations

import time

import attrs

from kcore import errors
from kcore.api import layout
from kcore.api.admission import AdmissionRequest
from kcore.api.matching import Match, Versions
from kcore.api.patch import Rejected, json_patch
from kcore.objects import Object
from kcore_webhooks.hooks import CallFailed, Hook, WebhookPlugin, internal

_LATER = ("uid", "creationTimestamp", "generation")  # of a new object: upstream sets them after mutation


@attrs.define
class Rounds:
    """What is remembered from the first round of mutation for the second one."""

    reinvocable: set[str] = attrs.Factory(set)  # webhooks that have been called and may be again
    due: set[str] = attrs.Factory(set)
    output: bytes = b""

    def changed(self) -> None:
        """The object is not what they have seen."""
        self.due |= self.reinvocable
        self.reinvocable = set()


class MutatingAdmissionWebhook(WebhookPlugin):
    name = "MutatingAdmissionWebhook"
    resource = "mutatingwebhookconfigurations"
    type = "admit"

    async def admit(self, request: AdmissionRequest) -> None:
        rounds: Rounds = request.notes.setdefault(self.name, Rounds())
        if request.again and rounds.reinvocable and layout.encode_json(request.obj) != rounds.output:
            rounds.changed()
        versions = Versions(self.server.table, request)
        for hook, match in self._selection.of(request):
            if not await self.wanted(hook, match, request, versions):
                continue
            if request.again and hook.uid not in rounds.due:
                continue
            if await self._ask(hook, match, request, versions):
                rounds.changed()
            if hook.reinvocable:
                rounds.reinvocable.add(hook.uid)
        if rounds.reinvocable:
            rounds.output = layout.encode_json(request.obj)

    async def _ask(self, hook: Hook, match: Match, request: AdmissionRequest, versions: Versions) -> bool:
        """Whether it has changed the object. Raises ApiError."""
        began = time.perf_counter()
        place = f"round_{int(request.again)}_index_{hook.index}"
        try:
            changed = await self._mutate(hook, match, request, versions, place)
        except CallFailed as error:
            self.observe(hook, request, began, error)
            self._annotate(hook, request, place, False)
            if not hook.fails_open:
                raise internal(str(error)) from error
            self._metrics.fail_open.add(hook.name, self.type)
            request.annotate(f"failed-open.mutation.webhook.admission.k8s.io/{place}", hook.name)
            self.server.log.warning("%s; the request goes on without it", error)
            return False
        except errors.ApiError as error:
            self.observe(hook, request, began, error)
            self._annotate(hook, request, place, False)
            raise
        self.observe(hook, request, began, None)
        self._annotate(hook, request, place, changed)
        return changed

    @staticmethod
    def _annotate(hook: Hook, request: AdmissionRequest, place: str, changed: bool) -> None:
        said = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
        request.annotate(f"mutation.webhook.admission.k8s.io/{place}", layout.encode_json(said).decode())

    async def _mutate(
        self, hook: Hook, match: Match, request: AdmissionRequest, versions: Versions, place: str
    ) -> bool:
        obj = shown = await versions.new(match.kind)
        if obj is not None and request.operation == "CREATE" and not request.subresource:
            shown = _unborn(obj, request)
        old = await versions.old(match.kind)
        answer = await self.call(hook, match, request, shown, old)
        operations = answer.patch(hook.name)
        if not operations:
            return False
        if shown is None:
            raise internal(
                f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for this '
                "operation"
            )
        new = await self._patched(shown, operations, match, versions)
        said = {
            "configuration": hook.configuration,
            "webhook": hook.name,
            "patch": operations,
            "patchType": "JSONPatch",
        }
        request.annotate(f"patch.webhook.admission.k8s.io/{place}", layout.encode_json(said).decode())
        assert request.obj is not None
        if request.operation == "CREATE" and not request.subresource:
            _restore(new, request.obj)
        if new == request.obj:
            return False
        request.changed(new)
        return True

    @staticmethod
    async def _patched(shown: Object, operations: list[Object], match: Match, versions: Versions) -> Object:
        doc = layout.decode_json(layout.encode_json(shown))
        try:
            doc = json_patch.apply(doc, operations)
        except Rejected as error:
            raise internal(error.why or error.message) from error
        except errors.ApiError as error:
            raise internal(error.message) from error
        if not isinstance(doc, dict):
            raise internal("the patched object is no object")
        try:
            return await versions.settle(doc, match.kind)
        except errors.ApiError as error:
            prefix = f" cannot be handled as a {match.kind.kind}: "
            raise internal(error.message.partition(prefix)[2] or error.message) from error


def _unborn(obj: Object, request: AdmissionRequest) -> Object:
    """A new object without what only validation and the store see."""
    hidden = _LATER if request.name else (*_LATER, "name")
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in hidden}}


def _restore(new: Object, obj: Object) -> None:
    meta, was = new.setdefault("metadata", {}), obj["metadata"]
    for field in (*_LATER, "name"):
        if field in was and (field != "name" or not meta.get("name")):
            meta[field] = was[field]
