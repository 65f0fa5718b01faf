"""Access that somebody else decides about: SubjectAccessReviews to a webhook (Kubernetes, "Webhook Mode")."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import msgspec

from kcore.api.auth import Attributes, Decision
from kcore.objects import Object, selectors
from kcore.registry import Context
from kcore_auth import WebhookAuthorizerConfig
from kcore_auth.ask import Memory, Reviewer, Unanswered, reviewer

_KEY_MOST = 10_000  # bytes of a review that is remembered, as upstream
COST = 10_000_000


@attrs.frozen
class Rules:
    """How long answers count, and what happens without one."""

    authorized_seconds: float
    unauthorized_seconds: float
    deny_on_failure: bool
    conditions: Sequence[Any] = ()
    """CEL programs over `request`, a SubjectAccessReviewSpec: all must hold, or the webhook is not asked."""


class WebhookAuthorizer:
    def __init__(self, name: str, reviews: Reviewer, rules: Rules, log: logging.Logger):
        self._name, self._reviews, self._rules, self._log = name, reviews, rules, log
        self._known: Memory[Decision] = Memory()

    async def authorize(self, attributes: Attributes) -> Decision:
        spec = review_of(attributes)
        if self._rules.conditions:
            matched = self._matches(spec)
            if matched is not True:
                return Decision(matched)
        data = msgspec.json.encode(spec)
        key = hashlib.sha256(data).digest()
        known = self._known.get(key)
        if known is not None:
            return known
        try:
            status = await self._reviews.ask(spec)
        except Unanswered as error:
            self._log.warning("the authorizer %s gives no answer: %s", self._name, error)
            return self._failed()
        allowed, reason = status.get("allowed") is True, str(status.get("reason") or "")
        decision = Decision(True if allowed else False if status.get("denied") is True else None, reason)
        if len(data) <= _KEY_MOST:
            rules = self._rules
            self._known.put(key, decision, rules.authorized_seconds if allowed else rules.unauthorized_seconds)
        return decision

    def _failed(self) -> Decision:
        return Decision(False if self._rules.deny_on_failure else None)

    def _matches(self, spec: Object) -> bool | None:
        """True: ask; None or False: the decision without asking."""
        from kcore.cel import Budget, BudgetExceeded, EvaluationError

        failed = False
        for program in self._rules.conditions:
            try:
                if program.run({"request": spec}, budget=Budget(COST)) is not True:
                    return None  # one that does not hold outweighs one that fails
            except (EvaluationError, BudgetExceeded) as error:
                self._log.warning("a match condition of the authorizer %s failed: %s", self._name, error)
                failed = True
        return self._failed().allowed if failed else True


def review_of(wanted: Attributes) -> Object:
    """A SubjectAccessReviewSpec."""
    user = wanted.user
    spec: Object = {"user": user.name}
    for key, value in (("groups", list(user.groups)), ("uid", user.uid), ("extra", user.extra)):
        if value:
            spec[key] = value
    if not wanted.resource:
        spec["nonResourceAttributes"] = {"path": wanted.path, "verb": wanted.verb}
        return spec
    about = {
        "namespace": wanted.namespace,
        "verb": wanted.verb,
        "group": wanted.group,
        "version": wanted.version,
        "resource": wanted.resource,
        "subresource": wanted.subresource,
        "name": wanted.name,
    }
    attributes: Object = {k: v for k, v in about.items() if v}
    if wanted.label_selector or wanted.field_selector:
        attributes |= _selectors(wanted)
    spec["resourceAttributes"] = attributes
    return spec


_LABEL_OPERATORS = {"in": "In", "notin": "NotIn", "exists": "Exists", "!": "DoesNotExist"}


def _selectors(wanted: Attributes) -> Object:
    """What of the selectors can be read: one that cannot narrows nothing, and is refused later."""
    out: Object = {}
    try:
        labels = [
            {"key": r.key, "operator": _LABEL_OPERATORS.get(r.op, r.op), "values": sorted(r.values)}
            for r in (selectors.parse(wanted.label_selector).requirements if wanted.label_selector else ())
        ]
        if labels:
            out["labelSelector"] = {"requirements": [{k: v for k, v in one.items() if v} for one in labels]}
    except ValueError:
        pass
    try:
        terms = selectors.parse_fields(wanted.field_selector) if wanted.field_selector else []
    except ValueError:
        return out
    if terms:
        out["fieldSelector"] = {
            "requirements": [
                {"key": path, "operator": "NotIn" if op == "!=" else "In", "values": [value]}
                for path, op, value in terms
            ]
        }
    return out


@asynccontextmanager
async def open_webhook(context: Context, config: WebhookAuthorizerConfig) -> AsyncIterator[WebhookAuthorizer]:
    rules = Rules(config.authorized_seconds, config.unauthorized_seconds, config.failure_policy == "Deny")
    path = context.file(config.kubeconfig)
    async with reviewer(path, "SubjectAccessReview", config.timeout_seconds) as reviews:
        yield WebhookAuthorizer("webhook", reviews, rules, context.log)
