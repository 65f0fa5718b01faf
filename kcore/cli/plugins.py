"""``kcore plugins`` and ``kcore version``: what is installed, what is in use."""

from __future__ import annotations

import argparse
import platform
from typing import Any

from kcore import __version__, control
from kcore.cli import Command, common, output
from kcore.errors import KcoreError
from kcore.plugins import Plugins, seams
from kcore.registry import Provider


def _plugins_arguments(p: argparse.ArgumentParser) -> None:
    common.add_cluster(p)
    common.add_output(p)


def _plugins(args: argparse.Namespace) -> int:
    in_use = _in_use(args)
    found = Plugins()
    listed: list[dict[str, Any]] = []
    for seam, help in seams().items():
        offers = []
        for _, name, entry in (i for i in found.installed() if i[0] == seam):
            source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
            try:
                offered = [p for p in found.offers(seam, name) if isinstance(p, Provider)]
            except KcoreError as e:
                offers.append({"name": name, "from": source, "help": str(e), "inUse": False})
                continue
            for title, help_line in [(p.name, p.help) for p in offered] or [(name, "")]:
                if any(o["name"] == title for o in offers):
                    continue  # one module may stand behind several entry points
                used = title in in_use.get(seam, ())
                offers.append({"name": title, "from": source, "help": help_line, "inUse": used})
        listed.append({"seam": seam, "help": help, "installed": offers})
    if args.output == "json":
        output.json(listed)
        return 0
    for seam_listed in listed:
        output.say(f"{output.paint(seam_listed['seam'], 'bold')}  {output.paint(seam_listed['help'], 'dim')}")
        for offer in seam_listed["installed"]:
            mark = output.paint("*", "green") if offer["inUse"] else " "
            output.say(f"  {mark} {offer['name']:24} {offer['help']}  ({offer['from']})")
        if not seam_listed["installed"]:
            output.say("    none")
    output.say("\n* in use by the running cluster" if in_use else "\nno cluster is running: nothing is in use")
    return 0


def _in_use(args: argparse.Namespace) -> dict[str, set[str]]:
    try:
        state = control.ask(common.data_dir(args), "status")
    except KcoreError:
        return {}
    used: dict[str, set[str]] = {}
    for part in state["parts"]:
        used.setdefault(part["slot"], set()).add(part["provider"])
        for seam, names in part["uses"].items():
            used.setdefault(seam, set()).update(names)
    return used


PLUGINS = Command(
    "plugins",
    "List every seam: what is installed for it, and what is in use.",
    _plugins_arguments,
    _plugins,
    "  kcore plugins\n  kcore plugins -o json",
)


def _version(args: argparse.Namespace) -> int:
    if args.output == "json":
        output.json({"kcore": __version__, "python": platform.python_version()})
    else:
        output.say(f"kcore {__version__} (Python {platform.python_version()})")
    return 0


VERSION = Command("version", "Print the version.", common.add_output, _version)
