"""The ``kcore`` program: each command is a module here, and plugins may bring more (`kcore_command`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import attrs

from kcore.errors import ConfigError, KcoreError, UserError


@attrs.frozen
class Command:
    """One command of the program."""

    name: str
    """How it is typed: ``status``."""
    help: str
    """One line for the list of commands."""
    prepare: Callable[[argparse.ArgumentParser], None]
    """Adds its arguments to its parser."""
    run: Callable[[argparse.Namespace], int]
    """Does it; returns the exit code. Raises UserError or ConfigError for a mistake of the person."""
    examples: str = ""
    """Shown under ``--help``."""


def commands() -> list[Command]:
    """The built-in commands, in the order of ``--help``."""
    from kcore.cli import cluster, completion, configs, image, kubectl, plugins, up

    return [
        up.UP,
        cluster.DOWN,
        cluster.STATUS,
        kubectl.KUBECONFIG,
        kubectl.KUBECTL,
        cluster.SWAP,
        cluster.NODE,
        image.IMAGE,
        configs.CONFIG,
        plugins.PLUGINS,
        plugins.VERSION,
        completion.COMPLETION,
    ]


def parser(offered: list[Command]) -> argparse.ArgumentParser:
    """The whole program's parser, one subparser a command."""
    root = argparse.ArgumentParser(
        prog="kcore",
        description="The Kubernetes that you can import: a whole cluster in one process, every part a plugin.",
        epilog="Start with `kcore up`, then `kcore kubectl -- get pods -A`.",
    )
    sub = root.add_subparsers(dest="command", metavar="COMMAND")
    for command in offered:
        p = sub.add_parser(
            command.name,
            help=command.help,
            description=command.help,
            epilog=f"examples:\n{command.examples}" if command.examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.prepare(p)
        p.set_defaults(run=command.run)
    return root


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 done, 1 it failed, 2 the command or the config is wrong, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    offered = commands()
    if argv and argv[0] not in {c.name for c in offered} and not argv[0].startswith("-"):
        offered += _of_plugins(argv[0])
    root = parser(offered)
    args = root.parse_args(argv)
    if not args.command:
        root.print_help()
        return 2
    try:
        return int(args.run(args))
    except ConfigError as e:
        for problem in e.problems:
            print(f"kcore: {problem}", file=sys.stderr)
        return 2
    except KcoreError as e:
        print(f"kcore: {e}", file=sys.stderr)
        return 2 if isinstance(e, UserError) and e.usage else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has seen enough: say nothing
        return 1


def _of_plugins(name: str) -> list[Command]:
    from kcore.plugins import Plugins

    return [c for c in Plugins().offers("command", name) if isinstance(c, Command)]
