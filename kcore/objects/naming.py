"""Rules for names, labels and values, in upstream's wording (apimachinery, util/validation)."""

from __future__ import annotations

import re
from functools import lru_cache

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


_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")


def _too_many_bytes(limit: int) -> str:
    return f"must be no more than {limit} bytes"


@lru_cache(maxsize=4096)
def _qualified_name(name: str) -> tuple[str, ...]:
    prefix, slash, part = name.partition("/")
    if not slash:
        prefix, part = "", name
    elif "/" in part:
        return (
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
            "an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')",
        )
    problems: list[str] = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        problems += [f"prefix part {p}" for p in dns_subdomain(prefix)]
    if not part:
        problems.append("name part must be non-empty")
    elif len(part) > 63:
        problems.append(f"name part {_too_many_bytes(63)}")
    if not _QUALIFIED.fullmatch(part):
        problems.append(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        )
    return tuple(problems)


def qualified_name(name: str) -> list[str]:
    """The rule for keys of labels and annotations, and finalizers: a name, perhaps with ``subdomain/`` before it."""
    return list(_qualified_name(name))


def label_value(value: str) -> list[str]:
    """At most 63 characters, or none at all."""
    problems = [_too_many_bytes(63)] if len(value) > 63 else []
    if not _VALUE.fullmatch(value):
        problems.append(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
            "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )
    return problems


def dns_1035_label(name: str, *, prefix: bool = False) -> list[str]:
    """RFC 1035 label: as `dns_label`, but it starts with a letter. The rule for names of Services."""
    name = _trim(name, prefix)
    problems = [_too_long(63)] if len(name) > 63 else []
    if not _LABEL_1035.fullmatch(name):
        problems.append(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
            "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
        )
    return problems


def config_map_key(key: str) -> list[str]:
    """A key of a ConfigMap's or Secret's data: it becomes a file's name."""
    problems = [_too_long(253)] if len(key) > 253 else []
    if not _CONFIG_KEY.fullmatch(key):
        problems.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
            "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        )
    if key == ".":
        problems.append("must not be '.'")
    elif key == "..":
        problems.append("must not be '..'")
    elif key.startswith(".."):
        problems.append("must not start with '..'")
    return problems
