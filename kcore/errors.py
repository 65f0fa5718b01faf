"""One small hierarchy of errors, and its mapping to the API's ``Status`` (meta/v1).

Everything that kcore raises on purpose is a `KcoreError`. What a client of the API may see is an
`ApiError`: it carries the HTTP code, the machine-readable reason and the details that Kubernetes'
own ``Status`` object carries, so a handler raises the right class and the front end only encodes it.
"""

from __future__ import annotations

from typing import Any

import attrs

Json = dict[str, Any]


class KcoreError(Exception):
    """Root of every error raised on purpose by kcore or a plugin of it."""


# --- configuration -------------------------------------------------------------------------------


class ConfigError(KcoreError):
    """A configuration cannot be used. `problems` has one line each: where, what is wrong, the remedy."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        super().__init__("\n".join(problems))


class UserError(KcoreError):
    """A mistake of the person at the terminal: shown as one line, without a traceback.

    `usage` says that the command line itself is wrong (exit code 2 instead of 1).
    """

    def __init__(self, message: str, *, usage: bool = False):
        self.usage = usage
        super().__init__(message)


# --- store ---------------------------------------------------------------------------------------


class StoreError(KcoreError):
    """The store cannot do what was asked."""


class Compacted(StoreError):
    """The revision asked for has been compacted away; `oldest` is the oldest one still readable."""

    def __init__(self, asked: int, oldest: int):
        self.asked, self.oldest = asked, oldest
        super().__init__(f"revision {asked} has been compacted; the oldest readable one is {oldest}")


class FutureRevision(StoreError):
    """The revision asked for has not been written yet; `current` is the store's own."""

    def __init__(self, asked: int, current: int):
        self.asked, self.current = asked, current
        super().__init__(f"revision {asked} is in the future; the store is at {current}")


class CompareFailed(StoreError):
    """A compare-and-set found another mod revision than expected; nothing was written.

    `current` is the present mod revision of the key, 0 if the key does not exist.
    """

    def __init__(self, key: str, expected: int, current: int):
        self.key, self.expected, self.current = key, expected, current
        super().__init__(f"{key}: expected mod revision {expected}, found {current}")


# --- API -----------------------------------------------------------------------------------------


@attrs.frozen
class Cause:
    """One `StatusCause`: why one field was refused."""

    reason: str  # FieldValueInvalid, FieldValueRequired, FieldValueNotSupported, ...
    message: str
    field: str = ""

    def to_json(self) -> Json:
        out = {"reason": self.reason, "message": self.message}
        if self.field:
            out["field"] = self.field
        return out


class ApiError(KcoreError):
    """An error in Kubernetes' own form.

    `details` is the Status's ``details`` member (name, group, kind, uid, causes, retryAfterSeconds).
    """

    code: int = 500
    reason: str = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        details: Json | None = None,
        code: int | None = None,
        reason: str | None = None,
        headers: dict[str, str] | None = None,
        list_meta: Json | None = None,
    ):
        super().__init__(message)
        self.message = message
        self.details = details
        self.headers = headers or {}
        self.warnings: list[str] = []  # what the client shall be told beside the error
        self.list_meta = list_meta or {}  # the Status's own metadata: a continue token that goes with a 410
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    def status(self) -> Json:
        """The meta/v1 Status object that tells a client about this error."""
        out: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.list_meta,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            out["reason"] = self.reason
        if self.details is not None:
            out["details"] = self.details
        out["code"] = self.code
        return out

    @staticmethod
    def from_status(status: Json) -> ApiError:
        """The error class for a Status that another server sent."""
        reason = status.get("reason", "")
        cls = _BY_REASON.get(reason, ApiError)
        return cls(
            status.get("message", "the server answered without a message"),
            details=status.get("details"),
            code=status.get("code", cls.code),
            reason=reason,
        )


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class Gone(ApiError):
    """The resourceVersion or continue token is too old: list again from the start."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


_BY_REASON: dict[str, type[ApiError]] = {cls.reason: cls for cls in ApiError.__subclasses__()}


def not_found(resource: str, name: str, group: str = "") -> NotFound:
    """The standard answer for an object that is not there: ``pods "x" not found``."""
    full = f"{resource}.{group}" if group else resource
    return NotFound(f'{full} "{name}" not found', details=_details(resource, name, group))


def already_exists(resource: str, name: str, group: str = "") -> AlreadyExists:
    full = f"{resource}.{group}" if group else resource
    return AlreadyExists(f'{full} "{name}" already exists', details=_details(resource, name, group))


def name_taken(resource: str, name: str, group: str = "") -> AlreadyExists:
    """Of an object with a generateName: trying again makes another name."""
    error = already_exists(resource, name, group)
    error.message += ", the server was not able to generate a unique name for the object"
    error.details = {**(error.details or {}), "retryAfterSeconds": 1}
    return error


def conflict(resource: str, name: str, why: str, group: str = "") -> Conflict:
    full = f"{resource}.{group}" if group else resource
    return Conflict(
        f'Operation cannot be fulfilled on {full} "{name}": {why}', details=_details(resource, name, group)
    )


def modified(resource: str, name: str, group: str = "") -> Conflict:
    """The optimistic-concurrency conflict."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(resource, name, why, group)


_MAX_CAUSES = 1000  # of one object: what is told must not be many times as long as what was sent


def invalid(kind: str, name: str, causes: list[Cause], group: str = "") -> Invalid:
    """All field errors of one object at once, the first thousand of them, with upstream's summary line."""
    causes = causes[:_MAX_CAUSES]
    # the same sentence is said once, though its cause may be listed twice
    lines = list(dict.fromkeys(f"{c.field}: {c.message}" if c.field else c.message for c in causes))
    text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
    full = f"{kind}.{group}" if group else kind
    details: Json = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = kind
    details["causes"] = [c.to_json() for c in causes]
    return Invalid(f'{full} "{name}" is invalid: {text}', details=details)


def _details(resource: str, name: str, group: str) -> Json:
    out: Json = {"name": name}
    if group:
        out["group"] = group
    out["kind"] = resource
    return out
