"""What a definition's status says: which names are its own, and the conditions that follow.

Names are given out by group, first come first served: plural, singular and short names out of one pot, kind and list
kind out of another. A name that is taken is told in the condition NamesAccepted; the others are accepted all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from kcore import clock
from kcore_custom_resources.definitions import Definition, Names

Object = dict[str, Any]

ACCEPTED, ESTABLISHED, TERMINATING = "NamesAccepted", "Established", "Terminating"
CONFORMANT, NON_STRUCTURAL = "KubernetesAPIApprovalPolicyConformant", "NonStructuralSchema"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_APPROVED = "api-approved.kubernetes.io"
_PROTECTED = (".k8s.io", ".kubernetes.io")


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def set_condition(obj: Object, type: str, status: str, reason: str, message: str) -> None:
    """Put a condition in its place, or behind the others; the time is that of its status' last change."""
    conditions = obj["status"]["conditions"] = list(obj["status"].get("conditions") or ())
    made = {"type": type, "status": status, "lastTransitionTime": clock.timestamp()}
    for at, known in enumerate(conditions):
        if known["type"] == type:
            if known["status"] == status:
                made["lastTransitionTime"] = known["lastTransitionTime"]
            conditions[at] = made
            break
    else:
        conditions.append(made)
    made["reason"], made["message"] = reason, message


def drop_condition(obj: Object, type: str) -> None:
    conditions = obj["status"].get("conditions")
    if conditions:
        obj["status"]["conditions"] = [c for c in conditions if c["type"] != type]


def judge(definition: Definition, others: Iterable[Names]) -> tuple[Names, tuple[str, str, str]]:
    """The names that a definition has from now on, and (status, reason, message) of NamesAccepted.

    `others` are the accepted names of the group's other definitions.
    """
    wanted, own = definition.spec.names, definition.status.accepted_names
    resources: set[str] = set()
    kinds: set[str] = set()
    for names in others:
        resources |= {names.plural, names.singular, *(names.short_names or ())}
        kinds |= {names.kind, names.list_kind}
    result = Names(own.plural, own.singular, own.kind, own.list_kind, own.short_names, wanted.categories)
    verdict = ("True", "NoConflicts", "no conflicts found")
    for member, pot, reason in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("short_names", resources, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("list_kind", kinds, "ListKindConflict"),
    ):
        asked, has = getattr(wanted, member), getattr(own, member)
        if member == "short_names":
            taken = [name for name in asked or () if name in pot and name not in (has or ())]
        else:
            taken = [asked] if asked != has and asked in pot else []
        if taken:
            verdict = ("False", reason, _in_use(taken))
        else:
            setattr(result, member, asked)
    return result, verdict


def _in_use(taken: list[str]) -> str:
    said = [f'"{name}" is already in use' for name in dict.fromkeys(taken)]
    return said[0] if len(said) == 1 else f"[{', '.join(said)}]"


def names_object(names: Names) -> Object:
    """As the API writes them."""
    out: Object = {"plural": names.plural, "kind": names.kind}
    optional = {
        "singular": names.singular,
        "shortNames": names.short_names,
        "listKind": names.list_kind,
        "categories": names.categories,
    }
    out.update((key, value) for key, value in optional.items() if value)
    return out


def approval(definition: Definition) -> tuple[str, str, str] | None:
    """(status, reason, message) of the condition that groups of Kubernetes itself have; None for other groups."""
    if not ("." + definition.spec.group).endswith(_PROTECTED):
        return None
    note = (definition.metadata.annotations or {}).get(_APPROVED, "")
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    must = f'protected groups must have approval annotation "{_APPROVED}"'
    if not note:
        return "False", "MissingAnnotation", f"{must}, {see}"
    if note.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f'not approved: "{note}"'
    try:
        url = urlsplit(note)
    except ValueError:
        url = urlsplit("")
    if url.scheme and url.netloc:
        return "True", "ApprovedAnnotation", f"approved in {note}"
    return "False", "InvalidAnnotation", f'{must} with either a URL or a reason starting with "unapproved", {see}'
