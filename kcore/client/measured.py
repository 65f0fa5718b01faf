"""What a component asks of the API, counted under upstream's names, ``rest_client_*``.

Every call through the Client contract is a request, whether it goes over HTTPS or stays in this process; in this
process it has the status that HTTP would have shown, and its `host` is "in-process". A watch counts when it begins.
A call that ended without any answer has the code "<error>", as upstream.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from kcore.client import Client, ObjectList, WatchEvent
from kcore.errors import ApiError
from kcore.metrics import Metrics
from kcore.metrics.plain import Counts, Durations
from kcore.objects import Object
from kcore.objects.resources import GVR

if TYPE_CHECKING:
    from prometheus_client import Metric

IN_PROCESS = "in-process"
ERROR = "<error>"
_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)


class Requests:
    """The requests of one component; a collector of its registry."""

    def __init__(self, metrics: Metrics) -> None:
        self.total = Counts(
            "rest_client_requests",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            ("code", "host", "method"),
        )
        self.seconds = Durations(
            "rest_client_request_duration_seconds",
            "Request latency in seconds, by verb and host.",
            ("host", "verb"),
            _SECONDS,
        )
        metrics.collect_with(self)

    def collect(self) -> Iterator[Metric]:
        yield self.total.family()
        yield self.seconds.family()


class MeasuredClient:
    """Another client, counted. What the contract does not name is the other client's own."""

    def __init__(self, client: Client, requests: Requests, host: str = IN_PROCESS) -> None:
        self._client, self._total, self._seconds, self._host = client, requests.total, requests.seconds, host

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def get(self, resource: GVR, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        found: Object = await self._counted("GET", "get", resource, name, namespace, subresource=subresource)
        return found

    async def list(self, resource: GVR, namespace: str = "", **options: Any) -> ObjectList:
        found: ObjectList = await self._counted("GET", "list", resource, namespace, **options)
        return found

    @asynccontextmanager
    async def watch(
        self, resource: GVR, namespace: str = "", **options: Any
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        async with AsyncExitStack() as stack:
            yield await self._counted("GET", "_begin", stack, resource, namespace, **options)

    async def create(
        self, resource: GVR, obj: Object, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Object:
        rest = {"name": name, "subresource": subresource}
        made: Object = await self._counted("POST", "create", resource, obj, namespace, **rest)
        return made

    async def update(self, resource: GVR, obj: Object, *, subresource: str = "") -> Object:
        written: Object = await self._counted("PUT", "update", resource, obj, subresource=subresource)
        return written

    async def patch(self, resource: GVR, name: str, patch: Any, namespace: str = "", **options: Any) -> Object:
        written: Object = await self._counted("PATCH", "patch", resource, name, patch, namespace, **options)
        return written

    async def delete(self, resource: GVR, name: str, namespace: str = "", **options: Any) -> Object:
        left: Object = await self._counted("DELETE", "delete", resource, name, namespace, **options)
        return left

    async def delete_collection(self, resource: GVR, namespace: str = "", **options: Any) -> None:
        await self._counted("DELETE", "delete_collection", resource, namespace, **options)

    async def _begin(self, stack: AsyncExitStack, *arguments: Any, **options: Any) -> AsyncIterator[WatchEvent]:
        """Open a watch that ends with `stack`."""
        return await stack.enter_async_context(self._client.watch(*arguments, **options))

    async def _counted(self, method: str, call: str, *arguments: Any, **options: Any) -> Any:
        """Looks the method up while the clock runs: that the API is closed at the moment is an answer, too."""
        code, began = "201" if method == "POST" else "200", perf_counter()
        try:
            return await getattr(self if call == "_begin" else self._client, call)(*arguments, **options)
        except ApiError as error:
            code = str(error.code)
            raise
        except BaseException:
            code = ERROR
            raise
        finally:
            self._total.add(code, self._host, method)
            self._seconds.observe(perf_counter() - began, self._host, method)
