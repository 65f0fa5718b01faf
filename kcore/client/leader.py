"""Leader election: of several processes that could do a job, one does it, and another takes over when it dies.

The candidates compete for a ``Lease`` (coordination.k8s.io/v1) as client-go's ``leaderelection`` does, with the same
defaults and fields, so that ``kubectl get leases -n kube-system`` shows who leads.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs
import trio

from kcore import clock
from kcore.errors import AlreadyExists, ApiError, NotFound
from kcore.objects import Object
from kcore.objects.resources import LEASES

if TYPE_CHECKING:
    from kcore.client import Client

_log = logging.getLogger("kcore.leader")


@attrs.frozen
class Timing:
    """Seconds; the defaults of the upstream components."""

    lease: float = 15.0
    """How long others wait, after a leader was last heard of, before they take over."""
    renew: float = 10.0
    """A leader that could not renew for so long stops its work."""
    retry: float = 2.0
    """How often a leader renews, and a candidate tries."""


@attrs.define
class LeaderElector:
    """One candidate. `identity` must differ between candidates (host name and a random part)."""

    client: Client
    name: str
    identity: str
    namespace: str = "kube-system"
    timing: Timing = attrs.Factory(Timing)
    _seen: tuple[str, str] = ("", "")  # holder and renewTime as last observed
    _seen_at: float = 0.0  # by this process's own clock: other machines' clocks are not trusted
    leading: bool = False

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait to become the leader, run `work` while leading; when leadership is lost, cancel it and start over.

        Returns when `work` returns. When cancelled, gives the lease up so that the next one need not wait.
        """
        while True:
            while not await self._try():  # noqa: ASYNC110  # another process's lease: nobody here could set an event
                await trio.sleep(self.timing.retry * (1 + 0.2 * random.random()))
            self.leading = True
            _log.info("%s: became leader as %s", self.name, self.identity)
            finished = False
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep, nursery.cancel_scope)
                    await work()
                    finished = True
                    nursery.cancel_scope.cancel()
            finally:
                self.leading = False
                with trio.move_on_after(1, shield=True):
                    await self._release()
            if finished:
                return
            _log.warning("%s: leadership lost", self.name)

    async def _keep(self, work: trio.CancelScope) -> None:
        renewed = trio.current_time()
        while True:
            with trio.move_on_at(renewed + self.timing.renew) as time_left:  # an API that hangs gives no answer
                await trio.sleep(self.timing.retry)
                asked = trio.current_time()
                if await self._try():
                    renewed = asked
                elif self._seen[0] != self.identity:
                    break  # somebody else holds it
            if time_left.cancelled_caught:
                break
        work.cancel()

    async def _try(self) -> bool:
        """Take or renew the lease. False if another holds it or the API cannot be reached."""
        try:
            return await self._take()
        except (ApiError, OSError) as error:
            _log.debug("%s: %s", self.name, error)
            return False

    async def _take(self) -> bool:
        now = clock.micro_timestamp()
        spec: Object = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self.timing.lease),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": 0,
        }
        try:
            lease = await self.client.get(LEASES, self.name, self.namespace)
        except NotFound:
            metadata = {"name": self.name, "namespace": self.namespace}
            try:
                lease = await self.client.create(
                    LEASES,
                    {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec},
                    self.namespace,
                )
            except AlreadyExists:
                return False
            self._observe(lease)
            return True
        self._observe(lease)
        old = lease.get("spec") or {}
        holder = old.get("holderIdentity", "")
        if holder == self.identity:
            spec["acquireTime"] = old.get("acquireTime", now)
            spec["leaseTransitions"] = old.get("leaseTransitions", 0)
        elif holder and trio.current_time() < self._seen_at + old.get("leaseDurationSeconds", self.timing.lease):
            return False
        else:
            spec["leaseTransitions"] = old.get("leaseTransitions", 0) + 1
        self._observe(await self.client.update(LEASES, {**lease, "spec": spec}))  # Conflict: another was quicker
        return True

    def _observe(self, lease: Object) -> None:
        spec = lease.get("spec") or {}
        seen = (spec.get("holderIdentity", ""), spec.get("renewTime", ""))
        if seen != self._seen:
            self._seen, self._seen_at = seen, trio.current_time()

    async def _release(self) -> None:
        try:
            lease = await self.client.get(LEASES, self.name, self.namespace)
            if lease["spec"].get("holderIdentity") == self.identity:
                spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                await self.client.update(LEASES, {**lease, "spec": spec})
        except (ApiError, OSError):
            return  # it runs out by itself
