"""Asking a conversion webhook: the ConversionReview, and what of its answer is believed.

Many objects go out in one review, but no more than a webhook can be expected to read at once; upstream asks for
each object by itself, and its messages speak of one. All errors are 500 without a reason, as upstream's.
(apiextensions-apiserver, pkg/apiserver/conversion/webhook_converter.go.)
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import msgspec
import trio

from kcore import errors
from kcore.api import layout, metadata
from kcore.api.webhook import WebhookError

if TYPE_CHECKING:
    from kcore.api.webhook import Webhooks

Object = dict[str, Any]
GROUP, KIND = "apiextensions.k8s.io", "ConversionReview"
TIMEOUT = 30.0  # seconds that a webhook has
MOST, SIZE = 100, 1024 * 1024  # objects and bytes of one review; an object that is larger goes alone
AT_ONCE = 4  # reviews on their way for one list
_VERSIONS = ("v1", "v1beta1")


@attrs.frozen
class Reviewer:
    """Converts objects of one kind; they are not changed."""

    webhooks: Webhooks
    config: Object  # spec.conversion.webhook
    kind: str

    async def convert(self, objects: list[Object], wanted: str) -> list[Object]:
        """Objects of any other version as apiVersion `wanted`. Raises ApiError (500)."""
        batches = list(_batches(objects))
        if len(batches) == 1:
            return await self._review(*batches[0], wanted)
        out: list[list[Object]] = [[] for _ in batches]
        failed: list[errors.ApiError] = []
        limit = trio.CapacityLimiter(AT_ONCE)

        async def one(at: int, scope: trio.CancelScope) -> None:
            async with limit:
                try:
                    out[at] = await self._review(*batches[at], wanted)
                except errors.ApiError as error:
                    failed.append(error)
                    scope.cancel()

        async with trio.open_nursery() as nursery:
            for at in range(len(batches)):
                nursery.start_soon(one, at, nursery.cancel_scope)
        if failed:
            raise failed[0]
        return [obj for batch in out for obj in batch]

    async def _review(self, sent: list[Object], encoded: list[msgspec.Raw], wanted: str) -> list[Object]:
        group, _, version = sent[0]["apiVersion"].rpartition("/")
        who = f"conversion webhook for {group}/{version}, Kind={self.kind}"
        number = next(v for v in self.config["conversionReviewVersions"] if v in _VERSIONS)
        uid = str(uuid.uuid4())
        review = {
            "kind": KIND,
            "apiVersion": f"{GROUP}/{number}",
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": encoded},
        }
        try:
            answer = await self.webhooks.call(self.config["clientConfig"], review, timeout=TIMEOUT)
        except WebhookError as error:
            raise _failed(f"{who} failed: {error}") from None
        objects = _converted(answer, number, uid, who)
        if len(objects) != len(sent):
            raise _failed(f"{who} returned {len(objects)} objects, expected {len(sent)}")
        return [_checked(*pair, wanted, who) for pair in zip(sent, objects, strict=True)]


def _batches(objects: list[Object]) -> Iterator[tuple[list[Object], list[msgspec.Raw]]]:
    batch: list[Object] = []
    encoded: list[msgspec.Raw] = []
    size = 0
    for obj in objects:
        raw = layout.encode_json(obj)
        if batch and (len(batch) == MOST or size + len(raw) > SIZE):
            yield batch, encoded
            batch, encoded, size = [], [], 0
        batch.append(obj)
        encoded.append(msgspec.Raw(raw))
        size += len(raw)
    yield batch, encoded


def _failed(message: str) -> errors.ApiError:
    return errors.ApiError(message, code=500, reason="")


def _converted(answer: Object, number: str, uid: str, who: str) -> list[Any]:
    """The converted objects of an answer. Raises ApiError."""
    fail = partial(_because, f"{who} failed: ")
    response = answer.get("response")
    if number == "v1":  # the older one is not held to its type and uid
        group, _, version = str(answer.get("apiVersion") or "").rpartition("/")
        got = f"{group}/{version}, Kind={answer.get('kind') or ''}"
        expected = f"{GROUP}/v1, Kind={KIND}"
        if got != expected:
            raise fail(f"expected webhook response of {expected}, got {got}")
    if not isinstance(response, dict):
        raise fail("no response provided")
    if number == "v1" and response.get("uid") != uid:
        raise fail(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result")
    result = result if isinstance(result, dict) else {}
    if result.get("status") != "Success":
        why = result.get("message") or f"response.result.status was '{result.get('status') or ''}', not 'Success'"
        raise fail(why)
    objects = response.get("convertedObjects")
    return objects if isinstance(objects, list) else []


def _because(start: str, why: str) -> errors.ApiError:
    return _failed(start + why)


def _checked(sent: Object, got: Any, wanted: str, who: str) -> Object:
    """A converted object with the metadata that no webhook may change. Raises ApiError."""
    if not isinstance(got, dict):
        raise _failed(f"json: cannot unmarshal {_json(got)} into Go value of type unstructured.detector")
    if not got.get("kind"):
        raise _failed(f"Object 'Kind' is missing in '{layout.encode_json(got).decode()}'")
    if got.get("apiVersion") != wanted:
        why = f"invalid groupVersion (expected {wanted}, received {got.get('apiVersion') or ''})"
        raise _failed(f"{who} returned invalid object at index 0: {why}")
    if got["kind"] != sent["kind"]:
        why = f"invalid kind (expected {sent['kind']}, received {got['kind']})"
        raise _failed(f"{who} returned invalid object at index 0: {why}")
    meta, old = got.get("metadata"), sent["metadata"]
    said = meta if isinstance(meta, dict) else {}
    for member, shown in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        before, now = old.get(member) or "", said.get(member) or ""
        if before != now:
            raise _failed(f"{who} returned invalid object: must have the same {shown}: {before} != {now}")
    fail = partial(_because, f"{who} returned invalid metadata: ")
    if "metadata" not in got:
        raise fail("missing metadata in converted object")
    if not isinstance(meta, dict):
        raise fail(f"invalid metadata of type {_go(meta)} in converted object")
    kept = {key: value for key, value in old.items() if key not in ("labels", "annotations")}
    for member in ("labels", "annotations"):
        value = meta.get(member)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise fail(f"invalid metadata.{member} of type {_go(value)} in converted object")
        for key, text in value.items():
            if not isinstance(text, str):
                raise fail(f"metadata.{member}[{key}] must be a string, but is {_go(text)} in converted object")
        if value != old.get(member) and (why := _wrong(member, value)):
            raise fail(why)
        kept[member] = value
    return {**got, "metadata": kept}


def _wrong(member: str, value: dict[str, str]) -> str:
    if member == "labels":
        causes = metadata.labels(value, "metadata.labels")
    else:
        causes = metadata.annotations(value, "metadata.annotation")
    told = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    return told[0] if len(told) == 1 else f"[{', '.join(told)}]" if told else ""


def _go(value: Any) -> str:
    """What Go calls the type of a decoded value."""
    kinds: dict[type, str] = {
        bool: "bool", str: "string", float: "float64", int: "int64", list: "[]interface {}", type(None): "<nil>"
    }  # fmt: skip
    return kinds.get(type(value), "map[string]interface {}")


def _json(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return "bool" if isinstance(value, bool) else "array" if isinstance(value, list) else "number"
