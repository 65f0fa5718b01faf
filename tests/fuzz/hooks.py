"""What the fuzzer leaves out: answers without an end, which it would wait for."""

from __future__ import annotations

from typing import Any

import schemathesis

_ENDLESS = ("watch", "follow")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Nothing is watched or followed."""
    if isinstance(case.query, dict):
        for name in _ENDLESS:
            case.query.pop(name, None)
