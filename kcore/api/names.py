"""Rules for names, labels and values, in upstream's wording (apimachinery, util/validation)."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


def _trim(name: str, prefix: bool) -> str:
    # a generateName may end in '-': five characters follow it
    return name[:-1] + "a" if prefix and name.endswith("-") and len(name) > 1 else name


def dns_subdomain(name: str, *, prefix: bool = False) -> list[str]:
    """RFC 1123 subdomain, at most 253 characters."""
    name = _trim(name, prefix)
    problems = [_too_long(253)] if len(name) > 253 else []
    if not _SUBDOMAIN.fullmatch(name):
        problems.append(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
            "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    return problems


def dns_label(name: str, *, prefix: bool = False) -> list[str]:
    """RFC 1123 label, at most 63 characters."""
    name = _trim(name, prefix)
    problems = [_too_long(63)] if len(name) > 63 else []
    if not _LABEL.fullmatch(name):
        if _SUBDOMAIN.fullmatch(name):
            return [*problems, "must not contain dots"]
        problems.append(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
            "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        )
    return problems


def path_segment(name: str, *, prefix: bool = False) -> list[str]:
    """What can stand between two slashes of a URL: the rule for RBAC objects and other names with colons."""
    if not prefix and name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{bad}'" for bad in ("/", "%") if bad in name]
