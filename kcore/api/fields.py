"""Field errors: the sentences that upstream's validation speaks (apimachinery, util/validation/field)."""

from __future__ import annotations

from typing import Any

import msgspec

from kcore.errors import Cause


def show(value: Any) -> str:
    """A value as upstream prints it in a message: strings quoted, objects and lists as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return msgspec.json.encode(value).decode()


def required(field: str, why: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value{': ' + why if why else ''}", field)


def invalid(field: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {show(value)}: {why}", field)


def forbidden(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {show(value)}", field)


def not_supported(field: str, value: Any, supported: list[str]) -> Cause:
    """`supported` in the order upstream lists them (sorted, as a rule)."""
    choices = ", ".join(show(s) for s in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {choices}", field)


def not_found(field: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {show(value)}", field)


def type_invalid(field: str, value: Any, why: str) -> Cause:
    return Cause("FieldValueTypeInvalid", f"Invalid value: {show(value)}: {why}", field)


def too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", field)


def too_many(field: str, actual: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {actual}: must have at most {limit} items", field)
