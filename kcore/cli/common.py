"""Arguments that many commands take."""

from __future__ import annotations

import argparse
from pathlib import Path

from kcore import config, datadir


def add_cluster(p: argparse.ArgumentParser) -> None:
    """Which cluster a command is about: by data directory, or by the config that started it."""
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="the cluster's data directory")
    p.add_argument("-c", "--config", default="dev", metavar="FILE|NAME", help="the config it was started from (dev)")


def data_dir(args: argparse.Namespace, read: config.Config | None = None) -> Path:
    """The data directory that the arguments mean."""
    if args.data_dir is not None:
        return Path(args.data_dir).expanduser().absolute()
    read = read or config.read(args.config)
    name = (read.table("cluster") or {}).get("name")
    return datadir.default(name if isinstance(name, str) and name else "kcore")


def add_output(p: argparse.ArgumentParser) -> None:
    p.add_argument("-o", "--output", choices=["text", "json"], default="text", help="json for scripts")
