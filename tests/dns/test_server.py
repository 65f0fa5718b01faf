"""The built-in DNS server passes the suite, and does what only it has to do."""

from __future__ import annotations

from typing import Any

from kcore_dns import DnsConfig, kcore_dns

from kcore.testing.dns import DnsConformance


class TestServer(DnsConformance):
    provider = next(iter(kcore_dns()))

    def config(self, upstream: str) -> Any:
        return DnsConfig(port=0, forward=[upstream], forward_seconds=0.3)
