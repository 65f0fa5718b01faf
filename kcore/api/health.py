"""``/healthz``, ``/livez``, ``/readyz`` and ``/version``."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from kcore.http.messages import Request, Response

_TEXT = "text/plain; charset=utf-8"

VERSION: dict[str, Any] = {
    "major": "1",
    "minor": "37",
    "emulationMajor": "1",
    "emulationMinor": "37",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "36",
    "gitVersion": "v1.37.0+kcore",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": f"{platform.python_implementation()} {platform.python_version()}",
    "compiler": platform.python_implementation().lower(),
    "platform": f"{platform.system().lower()}/{platform.machine().replace('x86_64', 'amd64')}",
}

Check = Callable[[], str]
"""Returns why something is not well; "" if it is."""


class Health:
    """Named checks. Liveness has those that only a restart mends, readiness all of them."""

    def __init__(self) -> None:
        self.checks: dict[str, Check] = {"ping": lambda: ""}
        self.ready_only: dict[str, Check] = {}

    def answer(self, request: Request) -> Response | None:
        """None for a path that is no health check."""
        root, _, name = request.path.lstrip("/").rstrip("/").partition("/")
        if root not in ("healthz", "livez", "readyz"):
            return None
        checks = {**self.checks, **self.ready_only} if root == "readyz" else self.checks
        if name:
            if name not in checks:
                return None
            problem = checks[name]()
            if problem:
                return Response(500, f"internal server error: {problem}\n".encode(), _TEXT)
            return Response(200, b"ok", _TEXT)
        return self._all(request, root, checks)

    def _all(self, request: Request, root: str, checks: dict[str, Check]) -> Response:
        excluded = request.params.get("exclude", [])
        lines, failed = [], False
        for name, check in checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok\n")
            elif problem := check():
                failed = True
                lines.append(
                    f"[-]{name} failed: reason withheld\n" if root != "livez" else f"[-]{name} failed: {problem}\n"
                )
            else:
                lines.append(f"[+]{name} ok\n")
        if failed:
            return Response(500, ("".join(lines) + f"{root} check failed\n").encode(), _TEXT)
        if "verbose" in request.params:
            return Response(200, ("".join(lines) + f"{root} check passed\n").encode(), _TEXT)
        return Response(200, b"ok", _TEXT)
