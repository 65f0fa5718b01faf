"""Regular expressions as Kubernetes reads them: RE2.

Python's own engine has another syntax and backtracks, so that a pattern of thirty characters from a custom resource's
author could hold the process for hours. The RE2 library is linear in the text; it is loaded when the first pattern is
used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kcore.cel.errors import EvaluationError

MAX_MEMORY = 8 << 20  # bytes one compiled pattern may use


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """The pattern. ValueError with RE2's words if it is none."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "invalid"
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None


def checked(pattern: str) -> Any:
    try:
        return compiled(pattern)
    except (ValueError, UnicodeEncodeError) as error:
        raise EvaluationError(explain(pattern, str(error))) from None


def explain(pattern: str, reason: str) -> str:
    """RE2's reason in the words of Go's regexp package, which upstream uses."""
    what, _, detail = reason.partition(": ")
    what = _GO_WORDS.get(what, what)
    return f"error parsing regexp: {what}: `{detail or pattern}`"


_GO_WORDS = {
    "missing )": "missing closing )",
    "unexpected )": "unexpected )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "trailing \\": "trailing backslash at end of expression",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid named capture group": "invalid named capture",
}


def matches(text: str, pattern: str) -> bool:
    return checked(pattern).search(text) is not None


def cost(text: str, pattern: str, _: Any) -> int:
    """Linear in the text, and in the pattern at four characters a state."""
    return -(-(1 + len(text)) // 10) * -(-len(pattern) // 4)
