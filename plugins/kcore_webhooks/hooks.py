"""Webhooks as their configurations declare them, and which of them a request concerns."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from kcore import errors
from kcore.api.admission import AdmissionRequest, ServerAdmission
from kcore.api.matching import Equivalents, Followed, Match, Namespaces, Rules, Selection, Selects, Versions
from kcore.api.webhook import WebhookError
from kcore.objects import Object
from kcore_webhooks import review

if TYPE_CHECKING:
    from kcore.api.conditions import MatchConditions
    from kcore.api.server import ApiServer


class CallFailed(Exception):
    """A webhook could not be asked, or made no sense. `code` is for the metrics."""

    def __init__(self, hook: str, why: str, code: int = 503):
        super().__init__(f'failed calling webhook "{hook}": {why}')
        self.code = code


class Hook:
    """One webhook of a configuration."""

    def __init__(self, configuration: str, position: int, hook: Object) -> None:
        self.configuration, self.name = configuration, hook.get("name", "")
        self.uid = f"{configuration}/{self.name}/{position}"
        self.index = 0  # among all webhooks, in the order in which they are called
        self.rules = Rules(hook.get("rules") or (), (), hook.get("matchPolicy"))
        self.selects = Selects(hook)
        self.client: Object = hook.get("clientConfig") or {}
        self.timeout = float(hook.get("timeoutSeconds") or 10)
        self.fails_open = hook.get("failurePolicy") == "Ignore"
        self.reinvocable = hook.get("reinvocationPolicy") == "IfNeeded"
        self.dry_runs = hook.get("sideEffects") in ("None", "NoneOnDryRun")
        wanted = hook.get("admissionReviewVersions") or ()
        self.version = next((v for v in wanted if v in ("v1", "v1beta1")), "v1")
        self._conditions: list[Object] = hook.get("matchConditions") or []
        self._compiled: MatchConditions | None = None

    @property
    def conditions(self) -> MatchConditions | None:
        """Compiled when they are first needed: most webhooks have none."""
        if self._compiled is None and self._conditions:
            from kcore.api.conditions import MatchConditions

            self._compiled = MatchConditions(self._conditions, "Ignore" if self.fails_open else "Fail")
        return self._compiled


def compile_configuration(obj: Object) -> list[Hook]:
    name = obj["metadata"]["name"]
    return [Hook(name, i, hook) for i, hook in enumerate(obj.get("webhooks") or ())]


class WebhookPlugin(ServerAdmission):
    """What both kinds have in common."""

    resource = ""
    type = ""  # as metrics call it

    def __init__(self, server: ApiServer) -> None:
        super().__init__(server)
        self._followed = Followed(server.table, self.resource, compile_configuration)
        self._selection: Selection[Hook] = Selection(Equivalents(server.table))
        self._namespaces = Namespaces(server.table)
        self._metrics = server.storage.observed

    def handles(self, request: AdmissionRequest) -> bool:
        if self._followed.moved():
            hooks = [hook for configuration in self._followed.items for hook in configuration]
            for index, hook in enumerate(hooks):
                hook.index = index
            self._selection.use(hooks)
        return bool(self._selection.of(request))

    async def wanted(self, hook: Hook, match: Match, request: AdmissionRequest, versions: Versions) -> bool:
        """Whether the webhook is to be called. Raises NotFound, Forbidden."""
        if not hook.selects.objects_match(request):
            return False
        if not hook.selects.namespace_matches(request, self._namespaces):
            return False
        conditions = hook.conditions
        if conditions is None:
            return True
        outcome = await conditions.match(self.server, request, match, versions)
        labels = (hook.name, "webhook", self.type, request.operation)
        for _ in range(outcome.errors):
            self._metrics.condition_errors.add(*labels)
        if outcome.error:
            kind = request.kind
            raise errors.Forbidden(
                f'{kind.resource} "{request.name}" is forbidden: {outcome.error}',
                details={
                    **({"name": request.name} if request.name else {}),
                    **({"group": kind.group} if kind.group else {}),
                    "kind": kind.plural,
                },
            )
        if not outcome.matches:
            self._metrics.condition_exclusions.add(*labels)
        return outcome.matches

    async def call(
        self, hook: Hook, match: Match, request: AdmissionRequest, obj: Object | None, old: Object | None
    ) -> Answer:
        """Ask the webhook; warnings and audit annotations are passed on. Raises CallFailed, ApiError (a refusal)."""
        if request.dry_run and not hook.dry_runs:
            raise errors.BadRequest(f'admission webhook "{hook.name}" does not support dry run')
        uid, body = review.build(request, match.kind, obj, old, hook.version)
        left = trio.current_effective_deadline() - trio.current_time()
        try:
            answer = await self.server.webhooks.call(hook.client, body, timeout=max(0.0, min(hook.timeout, left)))
            response = review.response(answer, hook.version, uid, mutating=self.type == "admit")
        except WebhookError as error:
            code = error.code if error.code >= 400 else 503
            raise CallFailed(hook.name, f"failed to call webhook: {error}", code) from error
        except review.WrongType as error:
            raise CallFailed(hook.name, f"failed to call webhook: {error}") from error
        except review.BadAnswer as error:
            raise CallFailed(hook.name, f"received invalid webhook response: {error}") from error
        for key, value in (response.get("auditAnnotations") or {}).items():
            request.annotate(f"{hook.name}/{key}", value)
        for text in response.get("warnings") or ():
            request.warn(text)
        if not response.get("allowed"):
            raise Denied(hook.name, response.get("status"))
        return Answer(response)

    def observe(self, hook: Hook, request: AdmissionRequest, began: float, error: BaseException | None) -> None:
        """Count a call."""
        code, rejected, operation = 200, error is not None, request.operation
        if isinstance(error, CallFailed):
            code, rejected = error.code, not hook.fails_open
            if rejected:
                self._metrics.rejected(hook.name, self.type, operation, "calling_webhook_error", error.code)
        elif isinstance(error, Denied):
            code = error.code
            self._metrics.rejected(hook.name, self.type, operation, "no_error", error.code)
        elif error is not None:
            code = 0
            self._metrics.rejected(hook.name, self.type, operation, "apiserver_internal_error", 0)
        self._metrics.called(hook.name, self.type, operation, code, rejected, time.perf_counter() - began)


class Answer:
    """What an approving webhook said."""

    def __init__(self, response: Object) -> None:
        self.patch_type: str = response.get("patchType") or ""
        self._patch: str = response.get("patch") or ""

    def patch(self, hook: str) -> list[Any]:
        """The operations of its patch. Raises CallFailed."""
        if not self._patch:
            return []
        if self.patch_type != "JSONPatch":
            raise CallFailed(hook, f'unsupported patch type "{self.patch_type}"')
        raw = base64.b64decode(self._patch)
        try:
            found = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            from kcore.api.goerrors import json_error

            raise CallFailed(hook, f"received undecodable patch in webhook response: {json_error(raw)}") from None
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(operation, dict) for operation in found):
            kind = "object" if isinstance(found, dict) else "string" if isinstance(found, str) else "value"
            why = f"json: cannot unmarshal {kind} into Go value of type jsonpatch.Patch"
            raise CallFailed(hook, f"received undecodable patch in webhook response: {why}")
        return found


class Denied(errors.ApiError):
    """A webhook's refusal, with the status that it chose."""

    def __init__(self, hook: str, status: Object | None):
        status = status or {}
        why = status.get("message") or status.get("reason")
        denied = f'admission webhook "{hook}" denied the request'
        super().__init__(
            f"{denied}: {why}" if why else f"{denied} without explanation",
            details=status.get("details"),
            code=max(int(status.get("code") or 0), 400),
            reason=status.get("reason") or "",
        )


def internal(text: str) -> errors.InternalError:
    """The 500 that upstream makes of an error of its own."""
    return errors.InternalError(f"Internal error occurred: {text}", details={"causes": [{"message": text}]})
