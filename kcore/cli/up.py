"""``kcore up``: a cluster from one config, in the foreground or detached."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kcore import config, datadir
from kcore.cli import Command, common, memory, output
from kcore.errors import KcoreError, UserError

if TYPE_CHECKING:
    import trio

    from kcore.kernel import Kernel

_PROCESS_BEGAN = time.monotonic()
READY_SECONDS = 120.0
"""How long --wait and --detach wait for the nodes before they give up."""


def _arguments(p: argparse.ArgumentParser) -> None:
    common.add_cluster(p)
    p.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a setting of the config")
    p.add_argument("--kubeconfig", type=Path, metavar="FILE", help="also add this cluster to that kubeconfig file")
    p.add_argument("--detach", action="store_true", help="run in the background; return when the parts are open")
    p.add_argument("--wait", action="store_true", help="with --detach: return when every node is Ready")
    p.add_argument("--report-fd", type=int, default=-1, help=argparse.SUPPRESS)


def _run(args: argparse.Namespace) -> int:
    read = config.read(args.config, args.set)
    directory = common.data_dir(args, read)
    if args.detach:
        return _detach(args, directory)
    memory.starting()
    from kcore.kernel import Kernel

    with datadir.locked(directory):
        report = Report(args.report_fd)
        try:
            kernel = Kernel(read, directory, progress=report.part)
            return _serve(kernel, args, report)
        except KcoreError as e:
            report.failed(e)
            raise


class Report:
    """What the person sees while the cluster starts, and what a detaching parent reads."""

    def __init__(self, fd: int):
        self._pipe = os.fdopen(fd, "w", buffering=1) if fd >= 0 else None
        self.detached = fd >= 0

    def say(self, text: str) -> None:
        output.say(text)
        if self._pipe is not None:
            try:
                self._pipe.write(text + "\n")
            except BrokenPipeError:
                self._pipe = None

    def part(self, slot: str, provider: str, seconds: float) -> None:
        self.say(f"  {output.paint('✓', 'green')} {slot:20} {provider:12} {seconds * 1000:6.0f} ms")

    def failed(self, error: Exception) -> None:
        if self._pipe is not None:
            for line in str(error).splitlines():
                self._pipe.write(f"kcore: {line}\n")

    def done(self) -> None:
        """Tell a detaching parent that it may go."""
        if self._pipe is not None:
            self._pipe.write("\0ready\n")
            self._pipe.close()
            self._pipe = None


def _serve(kernel: Kernel, args: argparse.Namespace, report: Report) -> int:
    import trio

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    report.say(f"{output.paint('kcore', 'bold')} {kernel.cluster.name}  {kernel.config.source}")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, kernel, nursery.cancel_scope)
            await nursery.start(_cluster, kernel, args, report)
            await kernel.stopped.wait()
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        raise _first_known(group) from None
    report.say("stopped")
    return 0


def _first_known(group: BaseExceptionGroup[Any]) -> BaseException:
    """The error to tell the person: one of ours if there is one, else the whole group."""
    found: BaseException = group.split(KcoreError)[0] or group
    while isinstance(found, BaseExceptionGroup) and (found is not group or len(found.exceptions) == 1):
        found = found.exceptions[0]
    return found


async def _cluster(
    kernel: Kernel, args: argparse.Namespace, report: Report, *, task_status: trio.TaskStatus[None]
) -> None:
    import trio

    from kcore import control, operations

    async with trio.open_nursery() as nursery:
        await nursery.start(kernel.run)
        memory.started()
        kubeconfig = operations.write_kubeconfig(kernel, args.kubeconfig)
        await nursery.start(control.serve, kernel.data_dir, operations.commands(kernel))
        _how_to_connect(kernel, kubeconfig, report)
        task_status.started()
        if not args.wait:
            report.done()
        nodes = kernel.parts.get("nodes")
        if nodes is not None:
            await nodes.ready()
            report.say(f"{len(nodes.names)} nodes ready, {_age():.2f} s after the start")
        report.done()
        await kernel.stopped.wait()
        nursery.cancel_scope.cancel()


def _age() -> float:
    """Seconds since this process began, its imports included (where the kernel tells)."""
    try:
        with open("/proc/self/stat") as f:
            ticks = int(f.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return time.monotonic() - _PROCESS_BEGAN


def _how_to_connect(kernel: Kernel, kubeconfig: Path | None, report: Report) -> None:
    report.say(f"{len(kernel.parts)} parts open")
    if kubeconfig is not None:
        report.say(f"\n  export KUBECONFIG={kubeconfig}\n  kubectl get nodes      (or: kcore kubectl -- get nodes)\n")
    if not report.detached:
        report.say("Ctrl-C stops the cluster; its state stays.")


_LAST_SECONDS = 0.5


async def _stop_on_signal(kernel: Kernel, scope: trio.CancelScope) -> None:
    import trio

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if kernel.stopping:
                scope.cancel()  # a second Ctrl-C does not wait
                last = threading.Timer(_LAST_SECONDS, os._exit, (130,))  # for what is shielded; the store is durable
                last.daemon = True
                last.start()
            kernel.stop()


def _detach(args: argparse.Namespace, directory: Path) -> int:
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", "kcore", "up", "-c", args.config, "--data-dir", str(directory)]
    for setting in args.set:
        command += ["--set", setting]
    if args.kubeconfig is not None:
        command += ["--kubeconfig", str(args.kubeconfig.absolute())]
    if args.wait:
        command += ["--wait"]
    command += ["--report-fd", str(writing)]
    with datadir.locked(directory):  # says at once what is wrong with the directory
        log = (directory / "kcore.log").open("ab")
    with log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writing], start_new_session=True
        )
    os.close(writing)
    ready = False
    with os.fdopen(reading) as lines:
        for line in lines:
            if line.startswith("\0"):
                ready = True
            else:
                print(line, end="", file=sys.stderr if line.startswith("kcore: ") else sys.stdout, flush=True)
    if ready:
        output.say(f"running in the background (process {child.pid}); `kcore status`, `kcore down`")
        return 0
    code = child.wait()
    if code:
        print(f"kcore: the cluster did not start; see {directory}/kcore.log", file=sys.stderr)
        return code
    raise UserError("the cluster ended before it was ready")


UP = Command(
    "up",
    "Start a cluster, and run it until Ctrl-C.",
    _arguments,
    _run,
    "  kcore up\n  kcore up --detach --wait\n  kcore up -c memory --set nodes.count=5",
)
