"""``kcore config``: check a file, show what it amounts to, write a new one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import attrs

from kcore import config
from kcore.cli import Command, output
from kcore.errors import ConfigError, UserError
from kcore.plugins import Plugins


def _arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("action", choices=["check", "show", "init", "list"])
    p.add_argument("file", nargs="?", default="", help="a file, or the name of a built-in config (dev)")
    p.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a setting")
    p.add_argument("--from", dest="source", default="dev", metavar="NAME", help="init: the built-in to begin with")


def _run(args: argparse.Namespace) -> int:
    if args.action == "list":
        for name in config.built_in_names():
            output.say(name)
        return 0
    if args.action == "init":
        return _init(args.file or "kcore.toml", args.source)
    read = config.read(args.file or "dev", args.set)
    settings = _checked(read)
    if args.action == "check":
        output.say(f"{read.source}: good")
        return 0
    for name, values in settings.items():
        output.say(f"[{name}]")
        for key, value in values.items():
            output.say(f"{key} = {_toml(value)}")
        output.say()
    return 0


def _init(path: str, source: str) -> int:
    target = Path(path)
    try:
        with target.open("x") as f:
            f.write(config.find(source).read_text())
    except FileExistsError:
        raise UserError(f"{path} exists already; give another name") from None
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}") from e
    output.say(f"wrote {path}; start it with `kcore up -c ./{path}`" if target.name == path else f"wrote {path}")
    return 0


def _checked(read: config.Config) -> dict[str, dict[str, Any]]:
    """Every table with the defaults of its provider filled in. Raises ConfigError with all problems."""
    from kcore.registry import Cluster

    plugins = Plugins()
    problems: list[str] = []
    out: dict[str, dict[str, Any]] = {}
    for name, table in read.tables.items():
        where = f"{read.source}: {name}"
        try:
            if name == "cluster":
                out[name] = attrs.asdict(config.structure(Cluster, table, where))
            elif name == "connect":
                out[name] = attrs.asdict(config.structure(config.Connect, table, where))
            else:
                choice = plugins.choose(name, table["use"], table, where)
                out[name] = {"use": table["use"], **attrs.asdict(choice.config)}
        except ConfigError as e:
            problems += e.problems
    if problems:
        raise ConfigError(problems)
    return out


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, int | float):
        return str(value)
    import json

    return json.dumps(str(value) if value is not None else "")


def _key(key: str) -> str:
    import json
    import re

    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


CONFIG = Command(
    "config",
    "Check a config, show it with its defaults, list the built-in ones, or write one to begin with.",
    _arguments,
    _run,
    "  kcore config check ./my.toml\n  kcore config show dev\n  kcore config init my.toml --from memory",
)
