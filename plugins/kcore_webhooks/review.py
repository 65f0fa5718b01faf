"""AdmissionReview (admission.k8s.io): the question to a webhook, and what an answer must look like."""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import Any

from kcore.api.admission import AdmissionRequest
from kcore.api.goerrors import json_kind
from kcore.api.kinds import Kind
from kcore.api.review import request_object
from kcore.objects import Object

GROUP = "admission.k8s.io"

_FIELDS: dict[str, tuple[type, str]] = {
    "uid": (str, "types.UID"),
    "allowed": (bool, "bool"),
    "patch": (str, "[]uint8"),
    "patchType": (str, "v1.PatchType"),
    "status": (dict, "v1.Status"),
    "auditAnnotations": (dict, "map[string]string"),
    "warnings": (list, "[]string"),
}
_STATUS: dict[str, tuple[type, str]] = {
    "code": (int, "int32"),
    "message": (str, "string"),
    "reason": (str, "v1.StatusReason"),
    "status": (str, "string"),
    "details": (dict, "v1.StatusDetails"),
}


class WrongType(Exception):
    """The answer cannot be decoded as an AdmissionReview."""


class BadAnswer(Exception):
    """The answer is an AdmissionReview, but not one for this question."""


def build(
    request: AdmissionRequest, kind: Kind, obj: Object | None, old: Object | None, version: str
) -> tuple[str, Object]:
    """(uid, the AdmissionReview) about a request that is shown as `kind`."""
    uid = str(uuid.uuid4())
    asked = {"uid": uid, **request_object(request, kind)}
    options = asked.pop("options")
    dry_run = asked.pop("dryRun")
    asked["object"], asked["oldObject"], asked["dryRun"], asked["options"] = obj, old, dry_run, options
    return uid, {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": asked}


def response(answer: Object, version: str, uid: str, *, mutating: bool) -> Object:
    """The response in an answer. Raises WrongType, BadAnswer."""
    found = answer.get("response")
    if found is not None and not isinstance(found, dict):
        raise WrongType(_unfit(found, "AdmissionReview.response", "v1.AdmissionResponse"))
    if found is None:
        raise BadAnswer("webhook response was absent")
    _check(found, _FIELDS, "AdmissionResponse.response")
    if isinstance(found.get("status"), dict):
        _check(found["status"], _STATUS, "Status.response.status")
    for key, value in (found.get("auditAnnotations") or {}).items():
        if not isinstance(value, str):
            raise WrongType(_unfit(value, f"AdmissionResponse.response.auditAnnotations.{key}", "string"))
    for text in found.get("warnings") or ():
        if not isinstance(text, str):
            raise WrongType(_unfit(text, "AdmissionResponse.response.warnings", "string"))
    if version == "v1":
        _verify(answer, found, uid, mutating)
    elif found.get("patch"):
        found["patchType"] = "JSONPatch"  # v1beta1 knows no other and need not say so
        if not mutating:
            found.pop("patch")
    if found.get("patch"):
        _decodable(found["patch"])
    return found


def _verify(answer: Object, found: Object, uid: str, mutating: bool) -> None:
    if found.get("uid", "") != uid:
        raise BadAnswer(f'expected response.uid="{uid}", got "{found.get("uid") or ""}"')
    said = (answer.get("apiVersion") or "", answer.get("kind") or "")
    if said != (f"{GROUP}/v1", "AdmissionReview"):
        group, _, version = said[0].rpartition("/")
        raise BadAnswer(
            f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {group}/{version}, Kind={said[1]}"
        )
    patch, patch_type = found.get("patch"), found.get("patchType")
    if not mutating:
        if patch:
            raise BadAnswer("validating webhook may not return response.patch")
        if patch_type is not None:
            raise BadAnswer("validating webhook may not return response.patchType")
        return
    if patch and patch_type is None:
        raise BadAnswer("webhook returned response.patch but not response.patchType")
    if patch_type is not None and not patch:
        raise BadAnswer("webhook returned response.patchType but not response.patch")
    if patch and not patch_type:
        raise BadAnswer('webhook returned invalid response.patchType of ""')


def _check(obj: Object, known: dict[str, tuple[type, str]], where: str) -> None:
    for name, (wanted, shown) in known.items():
        value = obj.get(name)
        if value is None:
            continue
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise WrongType(_unfit(value, f"{where}.{name}", shown))


def _unfit(value: Any, where: str, wanted: str) -> str:
    kind = "object" if isinstance(value, dict) else json_kind(value)
    return f"json: cannot unmarshal {kind} into Go struct field {where} of type {wanted}"


def _decodable(patch: str) -> None:
    try:
        base64.b64decode(patch, validate=True)
    except (binascii.Error, ValueError) as error:
        text = str(error)
        at = next((i for i, c in enumerate(patch) if not (c.isalnum() or c in "+/=")), len(patch))
        raise WrongType(f"illegal base64 data at input byte {at}") from ValueError(text)
