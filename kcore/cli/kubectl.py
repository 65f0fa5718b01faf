"""``kcore kubeconfig`` and ``kcore kubectl``: the way to the cluster for the tools people know."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from kcore.cli import Command, common
from kcore.errors import UserError


def _kubeconfig_arguments(p: argparse.ArgumentParser) -> None:
    common.add_cluster(p)
    p.add_argument("--user", default="", metavar="NAME", help="issue one for this user, e.g. system:kube-scheduler")
    p.add_argument("--group", action="append", default=[], metavar="NAME", help="a group of that user")


def _kubeconfig(args: argparse.Namespace) -> int:
    directory = common.data_dir(args)
    path = directory / "kubeconfig"
    if not path.is_file():
        raise UserError(f"no cluster has run in {directory}; start one with `kcore up`")
    if not args.user:
        sys.stdout.write(path.read_text())
        return 0
    from kcore import kubeconfig
    from kcore.pki import Pki

    sys.stdout.write(kubeconfig.for_user(path, Pki.open(directory), args.user, tuple(args.group)))
    return 0


KUBECONFIG = Command(
    "kubeconfig",
    "Print the cluster's kubeconfig, or issue one for another user.",
    _kubeconfig_arguments,
    _kubeconfig,
    "  kcore kubeconfig > my.kubeconfig\n  kcore kubeconfig --user system:kube-scheduler > scheduler.kubeconfig",
)


def _kubectl_arguments(p: argparse.ArgumentParser) -> None:
    common.add_cluster(p)
    p.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- ...", help="what kubectl is given")


def _kubectl(args: argparse.Namespace) -> int:
    path = common.data_dir(args) / "kubeconfig"
    if not path.is_file():
        raise UserError(f"there is no {path}; start the cluster with `kcore up`")
    program = find_kubectl()
    if program is None:
        raise UserError("kubectl is not installed; `python -m pip install 'kcore[kubectl]'` brings it")
    arguments = args.arguments[1:] if args.arguments[:1] == ["--"] else args.arguments
    sys.stdout.flush()
    os.execve(program, [program, *arguments], {**os.environ, "KUBECONFIG": str(path)})


def find_kubectl() -> str | None:
    """The kubectl beside this Python (the extra ``kubectl`` puts it there), else the one on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "kubectl"
    return str(beside) if beside.exists() else shutil.which("kubectl")


KUBECTL = Command(
    "kubectl",
    "Run kubectl against this cluster.",
    _kubectl_arguments,
    _kubectl,
    "  kcore kubectl -- get pods -A\n  kcore kubectl -- create deployment web --image=nginx --replicas=3",
)
