"""An API server's place, for the plugins that look at it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kcore.pki import Pki
from kcore.testing import TestContext
from kcore.testing.client import MemoryClient


@pytest.fixture
def context(tmp_path: Path) -> Any:
    """A context whose part ``api`` has a PKI and empty lists, and whose client is in memory."""
    server = SimpleNamespace(authenticators=[], authorizers=[])
    api = SimpleNamespace(pki=Pki.open(tmp_path), server=server)
    return TestContext(tmp_path, api=MemoryClient(), parts={"api": api})
