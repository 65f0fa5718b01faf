"""What can be asked of a running cluster from outside: the commands behind the control socket."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kcore import clock, control, kubeconfig
from kcore.errors import UserError
from kcore.kernel import Kernel

Answer = dict[str, Any]


def commands(kernel: Kernel) -> dict[str, control.Command]:
    """The commands of one process, by name."""

    async def down(request: Answer) -> Answer:
        kernel.stop()
        return {"pid": os.getpid()}

    async def status(request: Answer) -> Answer:
        return describe(kernel)

    async def swap(request: Answer) -> Answer:
        table = request["table"]
        slot = kernel.slots.get(request["slot"])
        if slot is not None and slot.table["use"] == table["use"]:
            table = {**slot.table, **table}  # the same provider keeps the settings that are not given anew
        return {"seconds": await kernel.swap(request["slot"], table)}

    async def node(request: Answer) -> Any:
        return await _node(kernel, request["action"], request["name"])

    async def engine(request: Answer) -> Answer:
        return _engine(kernel)

    return {"down": down, "status": status, "swap": swap, "node": node, "engine": engine}


def describe(kernel: Kernel) -> Answer:
    """The state of every part. A part may say more of itself by a method ``notes() -> list[str]``."""
    api = kernel.parts.get("api")
    parts = []
    for slot in kernel.slots.values():
        parts.append(
            {
                "slot": slot.name,
                "provider": slot.choice.provider.name,
                "state": slot.state,
                "restarts": slot.restarts,
                "error": slot.error,
                "openingSeconds": round(slot.opening_seconds, 4),
                "openSince": clock.timestamp(slot.opened_at) if slot.opened_at else None,
                "notes": slot.part.notes() if hasattr(slot.part, "notes") else [],
                "uses": kernel.chosen(slot.name),
            }
        )
    return {
        "cluster": kernel.cluster.name,
        "pid": os.getpid(),
        "server": getattr(api, "url", ""),
        "config": kernel.config.source,
        "dataDir": str(kernel.data_dir),
        "kubeconfig": str(kernel.data_dir / "kubeconfig"),
        "parts": parts,
    }


def write_kubeconfig(kernel: Kernel, extra: Path | None) -> Path | None:
    """The administrator's kubeconfig at ``DATA_DIR/kubeconfig``, and merged into `extra` if given.

    None for a process without an API server. Raises UserError when `extra` has an entry of the same name that
    kcore did not write.
    """
    api = kernel.parts.get("api")
    if api is None:
        return None
    path = kernel.data_dir / "kubeconfig"
    for target in [path, extra] if extra is not None else [path]:
        kubeconfig.write(target, **api.admin_kubeconfig())
    return path


async def _node(kernel: Kernel, action: str, name: str) -> Any:
    nodes = kernel.parts.get("nodes")
    if nodes is None:
        raise UserError("this process has no nodes")
    if action == "list":
        running = set(nodes.running)
        return [{"name": n, "state": "running" if n in running else "stopped"} for n in nodes.names]
    if name not in nodes.names:
        raise UserError(f"no embedded node is called '{name}'; there are: {', '.join(nodes.names[:20])}")
    await (nodes.stop(name) if action == "stop" else nodes.start(name))
    return {}


def _engine(kernel: Kernel) -> Answer:
    """Where images go: the engine's name and socket."""
    nodes = kernel.parts.get("nodes")
    runtime = getattr(nodes, "engine", None)
    if runtime is None:
        raise UserError("this process has no nodes")
    if not getattr(runtime, "socket", ""):
        raise UserError(f"the runtime {runtime.name!r} keeps no images; `kcore up -c docker` has one that does")
    return {"name": runtime.name, "socket": runtime.socket}
