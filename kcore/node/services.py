"""Services, for the environment variables that containers get of them."""

from __future__ import annotations

from kcore.client.informer import Informer
from kcore.objects import Object


class Services:
    """All services of the cluster, as one shared informer has them."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer

    def of(self, namespace: str) -> list[Object]:
        """Those of the namespace, and the one of the API server."""
        found = self._informer.by_namespace(namespace)
        master = self._informer.get("default/kubernetes")
        return found if master is None or namespace == "default" else [master, *found]
