"""Keeps the flow control objects as they should be, and flow control as they say.

What is mandatory is always restored; what is suggested is restored as long as its annotation
``apf.kubernetes.io/autoupdate-spec`` is not "false". Every FlowSchema is told whether its priority level exists (the
condition Dangling).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from kcore import clock, errors
from kcore.api import decoding, layout
from kcore.api.flow import defaults, schemas
from kcore.api.flow.control import FlowControl
from kcore.api.flow.levels import LevelSpec
from kcore.api.options import Caller
from kcore.objects import Object

if TYPE_CHECKING:
    from kcore.api.cache import Watcher
    from kcore.api.served import Served
    from kcore.api.server import ApiServer

_GROUP, _VERSION = "flowcontrol.apiserver.k8s.io", "v1"
_SETTLE = 0.05  # seconds: changes come in groups
_MANAGER = "api-priority-and-fairness-config-producer-v1"


class Keeper:
    def __init__(self, server: ApiServer, control: FlowControl) -> None:
        self._server, self._control = server, control
        self._changed = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """For ever. Where the kinds are not served, what is mandatory applies and nothing else."""
        find = self._server.table.find
        flows, levels = (find(_GROUP, _VERSION, plural) for plural in ("flowschemas", "prioritylevelconfigurations"))
        if flows is None or levels is None:
            task_status.started()
            return
        async with trio.open_nursery() as nursery:
            for served in (flows, levels):
                nursery.start_soon(self._follow, served.cache.watch())
            async with trio.open_nursery() as making:  # together, so that they share the store's commits
                for obj in defaults.levels():
                    making.start_soon(self._keep, levels, obj)
                for obj in defaults.schemas():
                    making.start_soon(self._keep, flows, obj)
            await self._server.feed.caught_up()
            self._configure(flows, levels)
            task_status.started()
            while True:
                await self._tell_dangling(flows, levels)
                await self._changed.wait()
                await trio.sleep(_SETTLE)
                self._changed = trio.Event()
                for obj in defaults.levels():
                    await self._keep(levels, obj)
                for obj in defaults.schemas():
                    await self._keep(flows, obj)
                self._configure(flows, levels)

    async def _follow(self, watcher: Watcher) -> None:
        while not watcher.ended:
            await watcher.next()
            if watcher.closed:  # the cache began again
                watcher = watcher.again()
            self._changed.set()

    def _configure(self, flows: Served, levels: Served) -> None:
        self._control.configure(
            [schemas.compile(flows.object(entry)) for entry in flows.cache.entries.values()],
            [LevelSpec.of(levels.object(entry)) for entry in levels.cache.entries.values()],
        )

    async def _keep(self, served: Served, wanted: Object) -> None:
        """The object is there, and its spec is what it should be."""
        server, name = self._server, wanted["metadata"]["name"]
        caller = Caller(server.user, _MANAGER)
        found = served.cache.get("", name)
        try:
            if found is None:
                await server.storage.create(served, "", decoding.settled(served, _copy(wanted)), caller)
                return
            obj = served.object(found)
            kept = (obj["metadata"].get("annotations") or {}).get(defaults.AUTO_UPDATE)
            if obj["spec"] == wanted["spec"] or (kept == "false" and name not in defaults.MANDATORY):
                return
            if name == "exempt" and obj["spec"].get("type") == "Exempt":
                return  # its shares are for the administrator to choose

            def restore(current: Object) -> Object:
                return {**current, "spec": _copy(wanted)["spec"]}

            await server.storage.update(served, "", name, restore, caller)
        except (errors.AlreadyExists, errors.Conflict, errors.NotFound):
            self._changed.set()  # somebody else was quicker: look again
        except errors.ApiError as error:  # a refusal of admission, a store that is full
            server.log.warning("%s %s cannot be kept as it should be: %s", served.kind.plural, name, error)

    async def _tell_dangling(self, flows: Served, levels: Served) -> None:
        for entry in list(flows.cache.entries.values()):
            wanted = (flows.object(entry)["spec"].get("priorityLevelConfiguration") or {}).get("name", "")
            condition = _dangling(wanted, levels.cache.get("", wanted) is not None)
            try:
                await self._server.storage.modify(flows, "", entry.name, partial(_tell, condition))
            except errors.ApiError:
                self._changed.set()


def _dangling(level: str, there: bool) -> Object:
    text = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" '
    return {
        "type": "Dangling",
        "status": "False" if there else "True",
        "reason": "Found" if there else "NotFound",
        "message": text + ("and it exists" if there else "but there is no such object"),
    }


def _tell(condition: Object, obj: Object) -> None:
    status = obj.setdefault("status", {})
    conditions = status.setdefault("conditions", [])
    for at, old in enumerate(conditions):
        if old.get("type") != "Dangling":
            continue
        if all(old.get(key) == value for key, value in condition.items()):
            return
        since = old.get("lastTransitionTime") if old.get("status") == condition["status"] else None
        conditions[at] = {**condition, "lastTransitionTime": since or clock.timestamp()}
        return
    conditions.append({**condition, "lastTransitionTime": clock.timestamp()})


def _copy(obj: Object) -> Object:
    return layout.decode_json(layout.encode_json(obj))  # type: ignore[no-any-return]
