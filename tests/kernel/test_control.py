"""The control socket: what `kcore status` and its like talk to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from kcore import control
from kcore.errors import UserError


async def test_a_command_that_breaks_is_told_and_the_next_is_answered(tmp_path: Path) -> None:
    async def good(request: dict[str, Any]) -> dict[str, Any]:
        return {"fine": True}

    async def broken(request: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("no such thing")

    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve, tmp_path, {"good": good, "broken": broken})
        with pytest.raises(UserError, match="no such thing"):
            await trio.to_thread.run_sync(control.ask, tmp_path, "broken")
        assert await trio.to_thread.run_sync(control.ask, tmp_path, "good") == {"fine": True}
        nursery.cancel_scope.cancel()
