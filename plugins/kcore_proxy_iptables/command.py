"""``kcore proxy cleanup``: what the iptables proxy has left on a machine."""

from __future__ import annotations

import argparse

from kcore.cli import Command

EXAMPLES = """examples:
  sudo kcore proxy cleanup      # after a cluster that was killed, or to change to another proxy
"""


def _prepare(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("cleanup", help="remove the chains KUBE-* of the proxy; rules of others stay")


def _run(arguments: argparse.Namespace) -> int:
    import trio

    return trio.run(cleanup)


async def cleanup() -> int:
    """Raises UserError."""
    import logging

    from kcore.errors import UserError
    from kcore.linux.commands import CommandFailed
    from kcore.metrics import Metrics
    from kcore_proxy_iptables import IptablesConfig
    from kcore_proxy_iptables.backend import IptablesBackend

    config = IptablesConfig(localhost_node_ports=False)
    backend = await IptablesBackend.open(config, logging.getLogger("kcore"), Metrics("kubeproxy"))
    try:
        await backend.remove()
    except CommandFailed as error:
        raise UserError(f"the rules cannot be removed: {error}") from error
    print("The rules of the service proxy are removed.")
    return 0


PROXY = Command("proxy", "clean up after the iptables proxy", _prepare, _run, EXAMPLES)
