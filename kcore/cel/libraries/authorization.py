"""``authorizer.group('').resource('pods').namespace('a').check('create').allowed()``.

A check asks authorizers, which may have to ask a webhook: it is asynchronous, and evaluation is not. So a program
that meets a check nobody has answered stops with `Pending`; `Program.arun` has the check decided and evaluates again,
from the start, with what is known by then. An evaluation has no effects and a check costs a third of what an
expression may cost, so that happens twice at most.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.types import TYPE
from kcore.cel.values import Opaque
from kcore.objects import naming as names

CHECK_COST = 350_000
_PREFIX = "kubernetes.authorization"


@attrs.frozen
class Check(Opaque):
    """What is asked for: a path, or a resource. ``service_account``: on whose behalf, if not the requester's."""

    type_name = f"{_PREFIX}.ResourceCheck"
    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None


@attrs.frozen
class Decision(Opaque):
    """The answer. ``error``: the check could not be made."""

    type_name = f"{_PREFIX}.Decision"
    allowed: bool
    reason: str = ""
    error: str = ""


Decide = Callable[[Check], Awaitable[Decision]]


class Authorizer(Opaque):
    """The value of ``authorizer`` in one evaluation of somebody's request. ``decide`` makes a check."""

    __slots__ = ("answers", "decide", "service_account")
    type_name = f"{_PREFIX}.Authorizer"

    def __init__(self, decide: Decide, *, service_account: tuple[str, str] | None = None) -> None:
        self.decide = decide
        self.answers: dict[Check, Decision] = {}
        self.service_account = service_account

    def resource(self, check: Check) -> ResourceCheck:
        """What ``authorizer.requestResource`` is: the check of the request's own resource."""
        return ResourceCheck(self, check)


class GroupCheck(Opaque):
    __slots__ = ("authorizer", "group")
    type_name = f"{_PREFIX}.GroupCheck"

    def __init__(self, authorizer: Authorizer, group: str) -> None:
        self.authorizer = authorizer
        self.group = group


class _Asking(Opaque):
    __slots__ = ("authorizer", "check")

    def __init__(self, authorizer: Authorizer, check: Check) -> None:
        self.authorizer = authorizer
        self.check = check


class PathCheck(_Asking):
    __slots__ = ()
    type_name = f"{_PREFIX}.PathCheck"


class ResourceCheck(_Asking):
    __slots__ = ()
    type_name = f"{_PREFIX}.ResourceCheck"


class Pending(Exception):
    """The program needs an answer first; no expression can absorb this."""

    def __init__(self, authorizer: Authorizer, check: Check) -> None:
        super().__init__("an authorization check must be made before this expression can be evaluated")
        self.authorizer = authorizer
        self.check = check

    async def resolve(self) -> None:
        """Have the check made. A check that cannot be made is an answer too."""
        self.authorizer.answers[self.check] = await self.authorizer.decide(self.check)


def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return PathCheck(authorizer, Check(path=path, service_account=authorizer.service_account))


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if names.dns_subdomain(name):
        raise EvaluationError("Invalid service account name")
    if names.dns_label(namespace):
        raise EvaluationError("Invalid service account namespace")
    made = Authorizer(authorizer.decide, service_account=(namespace, name))
    made.answers = authorizer.answers
    return made


def _resource(group: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    check = Check(group=group.group, resource=resource, service_account=group.authorizer.service_account)
    return ResourceCheck(group.authorizer, check)


def _changed(check: Check, members: dict[str, Any]) -> Check:
    return attrs.evolve(check, **members)


def _with(field: str) -> Callable[[ResourceCheck, str], ResourceCheck]:
    return lambda asking, value: ResourceCheck(asking.authorizer, _changed(asking.check, {field: value}))


def _check(asking: _Asking, verb: str) -> Decision:
    check = attrs.evolve(asking.check, verb=verb)
    answer = asking.authorizer.answers.get(check)
    if answer is None:
        raise Pending(asking.authorizer, check)
    return answer


def _check_cost(*_: Any) -> int:
    return CHECK_COST


def library() -> Library:
    made = Library("authorization")
    add = made.add
    who, path, group, resource, decision = (
        kind.type_name for kind in (Authorizer, PathCheck, GroupCheck, ResourceCheck, Decision)
    )
    made.names.update(dict.fromkeys((who, path, group, resource, decision), TYPE))
    add("path", "authorizer_path", f"{who}.(string) -> {path}", _path)
    add("group", "authorizer_group", f"{who}.(string) -> {group}", GroupCheck)
    add("serviceAccount", "authorizer_serviceaccount", f"{who}.(string, string) -> {who}", _service_account)
    add("resource", "groupcheck_resource", f"{group}.(string) -> {resource}", _resource)
    for name in ("subresource", "namespace", "name"):
        add(name, f"resourcecheck_{name}", f"{resource}.(string) -> {resource}", _with(name))
    for name in ("fieldSelector", "labelSelector"):
        field = re.sub("S", "_s", name)
        add(name, f"authorizer_{name.lower()}", f"{resource}.(string) -> {resource}", _with(field))
    add("check", "pathcheck_check", f"{path}.(string) -> {decision}", _check, cost=_check_cost)
    add("check", "resourcecheck_check", f"{resource}.(string) -> {decision}", _check, cost=_check_cost)
    add("allowed", "decision_allowed", f"{decision}.() -> bool", lambda a: a.allowed)
    add("reason", "decision_reason", f"{decision}.() -> string", lambda a: a.reason)
    add("errored", "decision_errored", f"{decision}.() -> bool", lambda a: bool(a.error))
    add("error", "decision_error", f"{decision}.() -> string", lambda a: a.error)
    return made
