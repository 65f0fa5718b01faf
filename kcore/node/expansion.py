"""``$(VAR)`` in commands, arguments and environment values (Kubernetes docs, "Define dependent environment
variables").

``$(NAME)`` becomes the variable's value, ``$$`` a dollar sign (so ``$$(NAME)`` stays as it reads); a reference to a
variable that is not defined is left as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")


def missing_of(text: str, variables: Mapping[str, str]) -> list[str]:
    """The names that `text` refers to and that are not defined."""
    return [m.group(1) for m in _REFERENCE.finditer(text) if m.group(0) != "$$" and m.group(1) not in variables]


def expand(text: str, variables: Mapping[str, str]) -> str:
    if "$" not in text:
        return text

    def one(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        name = match.group(1)
        return variables[name] if name in variables else match.group(0)

    return _REFERENCE.sub(one, text)
