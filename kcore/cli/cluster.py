"""Commands about a running cluster: down, status, swap, node."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from kcore import config, control
from kcore.cli import Command, common, output
from kcore.errors import UserError

# --- down ----------------------------------------------------------------------------------------------------------


def _down_arguments(p: argparse.ArgumentParser) -> None:
    common.add_cluster(p)
    p.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="how long to wait for its end (10)")


def _down(args: argparse.Namespace) -> int:
    directory = common.data_dir(args)
    pid = control.ask(directory, "down")["pid"]
    deadline = time.monotonic() + args.timeout
    handle = _pidfd(pid)
    if handle is not None:
        import select

        poll = select.poll()
        poll.register(handle, select.POLLIN)
        ended = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        os.close(handle)
        if not ended:
            raise UserError(f"process {pid} has not ended within {args.timeout:.0f} s; see {directory}/kcore.log")
    output.say(f"stopped (process {pid})")
    return 0


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None  # it has already gone


DOWN = Command("down", "Stop the cluster and wait until it is gone.", _down_arguments, _down, "  kcore down")

# --- status --------------------------------------------------------------------------------------------------------


def _status_arguments(p: argparse.ArgumentParser) -> None:
    common.add_cluster(p)
    common.add_output(p)


def _status(args: argparse.Namespace) -> int:
    state: dict[str, Any] = control.ask(common.data_dir(args), "status")
    healthy = all(part["state"] == "open" for part in state["parts"])
    if args.output == "json":
        output.json(state)
        return 0 if healthy else 1
    output.say(f"{output.paint(state['cluster'], 'bold')}  process {state['pid']}  {state.get('server') or ''}")
    output.say(f"data directory  {state['dataDir']}")
    output.say(f"kubeconfig      {state['kubeconfig']}")
    output.say()
    rows = []
    for part in state["parts"]:
        rows.append(
            (part["slot"], part["provider"], part["state"], str(part["restarts"]), f"{part['openingSeconds']:.3f} s")
        )
    output.table(rows, ("slot", "provider", "state", "restarts", "opened in"))
    for part in state["parts"]:
        if part["error"]:
            output.say(output.paint(f"{part['slot']}: {part['error']}", "red"))
        for line in part["notes"]:
            output.say(output.paint(f"{part['slot']}: {line}", "yellow"))
    return 0 if healthy else 1


STATUS = Command(
    "status",
    "Show the parts of the running cluster.",
    _status_arguments,
    _status,
    "  kcore status\n  kcore status -o json",
)

# --- swap ----------------------------------------------------------------------------------------------------------


def _swap_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("slot", choices=[s for s in config.SLOTS if s != "store"])
    p.add_argument("provider", help="the name of the new part's provider; `kcore plugins` lists them")
    p.add_argument("--set", action="append", default=[], metavar="a.b=c", help="a setting of the new part")
    common.add_cluster(p)


def _swap(args: argparse.Namespace) -> int:
    table: dict[str, Any] = {"use": args.provider}
    for setting in args.set:
        path, eq, value = setting.partition("=")
        if not eq:
            raise UserError(f"--set {setting}: give it as setting=value", usage=True)
        at = table
        *parents, last = path.split(".")
        for key in parents:
            at = at.setdefault(key, {})
        at[last] = config.parse_value(value)
    seconds = control.ask(common.data_dir(args), "swap", slot=args.slot, table=table)["seconds"]
    output.say(f"{args.slot} is now {args.provider} (took {seconds:.3f} s)")
    return 0


SWAP = Command(
    "swap",
    "Replace a part of the running cluster; the same provider keeps the settings that are not given anew.",
    _swap_arguments,
    _swap,
    "  kcore swap proxy userspace\n  kcore swap scheduler default --set seed=7",
)

# --- node ----------------------------------------------------------------------------------------------------------


def _node_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("action", choices=["stop", "start", "list"])
    p.add_argument("name", nargs="?", default="")
    common.add_cluster(p)


def _node(args: argparse.Namespace) -> int:
    if args.action != "list" and not args.name:
        raise UserError(f"which node? kcore node {args.action} NAME", usage=True)
    answer = control.ask(common.data_dir(args), "node", action=args.action, name=args.name)
    if args.action == "list":
        output.table([(n["name"], n["state"]) for n in answer], ("name", "state"))
    else:
        output.say(f"{args.name} {'stopped' if args.action == 'stop' else 'started'}")
    return 0


NODE = Command(
    "node",
    "Stop or start an embedded node, as if its machine had died or come back.",
    _node_arguments,
    _node,
    "  kcore node stop node-2\n  kcore node start node-2",
)
