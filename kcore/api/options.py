"""The options of a write (CreateOptions, UpdateOptions, PatchOptions, DeleteOptions) from a query string or a body."""

from __future__ import annotations

import re
from typing import Any

import attrs

from kcore import errors
from kcore.api import bodies, fields
from kcore.api.auth import User
from kcore.errors import Cause
from kcore.http.messages import Request

_FIELD_VALIDATION = ("", "Ignore", "Strict", "Warn")
_POLICIES = ("Foreground", "Background", "Orphan")
_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:37"  # errors name it
APPLY = "application/apply-patch+yaml"
_INTEGER = re.compile(r"[-+]?[0-9]+").fullmatch  # what strconv takes: int() would take "1_000", " 1" and other scripts
_DIGITS = 1000


@attrs.define
class Caller:
    """Who writes, and how. The warnings gathered on the way become Warning headers."""

    user: User
    manager: str = "unknown"
    field_validation: str = "Warn"
    dry_run: bool = False
    force: bool = False
    warnings: list[str] = attrs.Factory(list)
    options: dict[str, Any] = attrs.Factory(dict)  # the *Options object, as admission sees it
    annotations: dict[str, str] = attrs.Factory(dict)  # what admission wants in the audit log
    duplicates: list[str] = attrs.Factory(list)  # fields that the body gives twice, until they are told of
    text: bytes = b""  # a body of JSON: what is told of it follows its order

    @property
    def patches(self) -> bool:
        return self.options.get("kind") == "PatchOptions"

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, type: object, error: object, traceback: object) -> None:
        """An error that ends the write takes the warnings along."""
        if isinstance(error, errors.ApiError):
            error.warnings = self.warnings


@attrs.define
class DeleteOptions:
    """What a DELETE may say. `grace` None means the kind's default; `propagation` "" the kind's default policy.

    A precondition that is "" holds for no object.
    """

    grace: int | None = None
    propagation: str = ""
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False

    def as_object(self) -> dict[str, Any]:
        """The DeleteOptions that admission sees."""
        out: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if self.grace is not None:
            out["gracePeriodSeconds"] = self.grace
        given = {"uid": self.uid, "resourceVersion": self.resource_version}
        conditions = {k: v for k, v in given.items() if v is not None}
        if conditions:
            out["preconditions"] = conditions
        if self.propagation:
            out["propagationPolicy"] = self.propagation
        if self.dry_run:
            out["dryRun"] = ["All"]
        return out


def caller(request: Request, user: User, verb: str, patch_type: str = "") -> Caller:
    """The options of a POST, PUT or PATCH. Raises Invalid with every mistake."""
    kind = {"create": "CreateOptions", "update": "UpdateOptions"}.get(verb, "PatchOptions")
    out = Caller(user, manager=default_manager(request))
    options: dict[str, Any] = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if request.query:
        params = request.params
        causes = []
        if "dryRun" in params:
            causes += check_dry_run(params["dryRun"])
            out.dry_run = True
            options["dryRun"] = params["dryRun"]
        if "fieldManager" in params:
            manager = params["fieldManager"][0]
            causes += _check_manager(manager)
            out.manager = manager or out.manager
            options["fieldManager"] = manager
        if "fieldValidation" in params:
            choice = params["fieldValidation"][0]
            if choice not in _FIELD_VALIDATION:
                causes.append(fields.not_supported("fieldValidation", choice, list(_FIELD_VALIDATION)))
            out.field_validation = choice or "Warn"
            options["fieldValidation"] = choice
        if "force" in params:
            out.force = params["force"][0] in ("true", "1", "True")
            options["force"] = out.force
            if verb == "patch" and patch_type != APPLY:
                causes.append(fields.forbidden("force", "may not be specified for non-apply patch"))
        refuse(kind, causes)
    if patch_type == APPLY and not request.params.get("fieldManager", [""])[0]:
        refuse(kind, [fields.required("fieldManager", "is required for apply patch")])
    out.options = options
    return out


def delete_options(request: Request, body: dict[str, Any] | None) -> DeleteOptions:
    """A DELETE's options: the body if there is one, else the query string. Raises Invalid or BadRequest."""
    source: dict[str, Any]
    if body is not None:
        kind, version = body.get("kind") or "DeleteOptions", body.get("apiVersion") or ""
        if kind != "DeleteOptions":  # of whatever group: clients write the resource's
            raise errors.BadRequest(f'no kind "{kind}" is registered for version "{version}" in scheme "{_SCHEME}"')
        bodies.check(body, "DeleteOptions")
        source = body
    else:
        params = request.params
        source = {k: v[0] for k, v in params.items()}
        if "dryRun" in params:
            source["dryRun"] = params["dryRun"]
        if "orphanDependents" in source:
            source["orphanDependents"] = source["orphanDependents"] in ("true", "1", "True")
        if "gracePeriodSeconds" in source:
            source["gracePeriodSeconds"] = integer(source["gracePeriodSeconds"])
    return parse_delete_options(source)


def parse_delete_options(source: dict[str, Any]) -> DeleteOptions:
    causes = []
    policy = source.get("propagationPolicy") or ""
    orphan = source.get("orphanDependents")
    if orphan is not None and policy:
        why = "orphanDependents and deletionPropagation cannot be both set"
        causes.append(fields.invalid("propagationPolicy", policy, why))
    elif policy and policy not in _POLICIES:
        causes.append(fields.not_supported("propagationPolicy", policy, [*_POLICIES, "nil"]))
    dry_run = source.get("dryRun") or []
    causes += check_dry_run(dry_run)
    refuse("DeleteOptions", causes)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    preconditions = source.get("preconditions") or {}
    grace = source.get("gracePeriodSeconds")
    return DeleteOptions(
        # a negative period is taken for "as soon as possible, but gracefully"
        grace=None if grace is None else (1 if grace < 0 else int(grace)),
        propagation=policy,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        dry_run=bool(dry_run),
    )


def check_dry_run(values: list[str]) -> list[Cause]:
    if any(v != "All" for v in values):
        return [fields.not_supported("dryRun", values, ["All"])]
    return []


def _check_manager(manager: str) -> list[Cause]:
    if len(manager.encode()) > 128:
        return [fields.too_long("fieldManager", 128)]
    if not manager.isprintable():
        return [fields.invalid("fieldManager", manager, "should only contain printable characters")]
    return []


def refuse(kind: str, causes: list[Cause]) -> None:
    if causes:
        raise errors.invalid(kind, "", causes, "meta.k8s.io")


def default_manager(request: Request) -> str:
    """Without a fieldManager the first word of the User-Agent, up to its slash, is the manager's name."""
    agent = request.headers.get("user-agent", "")
    return agent.split("/", 1)[0][:128] or "unknown"


def integer(text: str) -> int:
    """An int64 of a query string. Raises BadRequest as strconv puts it."""
    if not _INTEGER(text):
        raise errors.BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    number = int(text) if len(text) < _DIGITS else 2**63  # int() refuses text of thousands of digits
    if not -(2**63) <= number < 2**63:
        raise errors.BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number
