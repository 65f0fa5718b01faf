"""The fake runtime keeps the contract."""

from __future__ import annotations

import kcore_runtime_fake
from kcore_runtime_fake import FakeConfig

from kcore.testing.runtime import RuntimeConformance


class TestFake(RuntimeConformance):
    (provider,) = kcore_runtime_fake.kcore_runtime()
    config = FakeConfig(sockets=False)
    virtual = True
