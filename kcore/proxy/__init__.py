"""The service proxy: what makes a service's addresses reach its ready endpoints (kube-proxy)."""

from __future__ import annotations

from typing import Protocol


class Proxy(Protocol):
    """What a `kcore_proxy` provider opens to."""
