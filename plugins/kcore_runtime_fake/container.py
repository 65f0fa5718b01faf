"""One fake container: a program that is interpreted, a service that answers on its ports, or a job that ends by
itself.

A container that only answers has no task; the timers of the engine end it if it is to end.
"""

from __future__ import annotations

import logging
import posixpath
from typing import TYPE_CHECKING, Any

import attrs
import trio

from kcore import clock
from kcore.runtime import CREATED, DIED, EXITED, RUNNING, STARTED, Container, ContainerConfig, ContainerStats
from kcore.timers import Timer
from kcore_runtime_fake import exposition, shell
from kcore_runtime_fake.behaviour import Behaviour
from kcore_runtime_fake.files import Entry, FileError, Identity, Mounted, Tree
from kcore_runtime_fake.logs import Log
from kcore_runtime_fake.terminal import Attachments, interactive

if TYPE_CHECKING:
    from kcore_runtime_fake.sandbox import FakeSandbox

log = logging.getLogger("kcore.runtime.fake")

SHELL_IMAGES = ("busybox", "alpine", "ubuntu", "debian", "centos", "fedora", "bash")
QUIET, FINISH_MOST = 0.2, 3.0  # seconds: without a request, and altogether, see `FakeContainer.stop`
MESSAGE_MOST = 4096  # bytes of a termination message
MESSAGE_LOG = 2048  # bytes of it when it is the end of the log
PERIOD = 100_000  # microseconds, in which a limit of CPU is kept to


class FakeContainer:
    """See the module. Made by its sandbox."""

    def __init__(self, sandbox: FakeSandbox, config: ContainerConfig, behaviour: Behaviour, id: str) -> None:
        self.sandbox, self.config, self.behaviour, self.id = sandbox, config, behaviour, id
        self.state = CREATED
        self.created_at = clock.now()
        self.started_at = self.finished_at = 0.0
        self.exit_code = self.signal = 0
        self.message = ""
        self.log = Log(sandbox.node.engine.config.log_lines)
        self.ended = trio.Event()
        self.attachments = Attachments(self)
        self.resources = config.resources
        self.requests: exposition.Requests = {}
        self.answering = 0  # requests in flight
        self.asked_at = float("-inf")  # trio's clock: when the last connection or request came
        self._began = 0.0  # trio's clock
        self._tree: Tree | None = None
        self._scope: trio.CancelScope | None = None
        self._timers: list[Timer] = []
        self._session: shell.Session | None = None
        self._lines = 0
        self._kill_at = float("inf")
        self._stopping: trio.CancelScope | None = None

    # --- what it is --------------------------------------------------------------------------------------------------

    def describe(self) -> Container:
        reason = ""
        if self.state == EXITED:
            reason = "Completed" if self.exit_code == 0 else "Error"
        image = self.config.image
        return Container(
            id=self.id,
            sandbox_id=self.sandbox.id,
            name=self.config.name,
            attempt=self.config.attempt,
            image=image,
            image_ref=self.sandbox.node.engine.image_id(image),
            state=self.state,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            exit_code=self.exit_code,
            signal=self.signal,
            reason=reason,
            message=self.message,
            labels=self.config.labels,
        )

    @property
    def running_for(self) -> float:
        """Seconds."""
        return trio.current_time() - self._began if self.state == RUNNING else 0.0

    @property
    def ready(self) -> bool:
        return self.state == RUNNING and self.behaviour.ready(self.running_for)

    def stats(self, now: float) -> ContainerStats:
        seconds = self.running_for
        cpu, memory = self.behaviour.cpu, int(self.behaviour.memory.at(seconds))
        return ContainerStats(
            id=self.id,
            name=self.config.name,
            image=self.config.image,
            attempt=self.config.attempt,
            started_at=self.started_at,
            time=now,
            cpu_nanoseconds=int(cpu.total(seconds) * 1e9),
            cpu_nanocores=int(cpu.at(seconds) * 1e9),
            memory_working_set=memory,
            memory_rss=memory * 9 // 10,
            memory_cache=memory - memory * 9 // 10,
            memory_limit=self.resources.memory_limit,
            cpu_quota=self.resources.cpu_limit * PERIOD // 1000,
            cpu_period=PERIOD,
            cpu_periods=int(seconds * 1e6 / PERIOD) if self.resources.cpu_limit else 0,
            cpu_shares=max(2, self.resources.cpu_request * 1024 // 1000),
            processes=1,
            threads=1,
        )

    @property
    def files(self) -> Tree:
        """What it sees below /. Made when somebody looks."""
        if self._tree is None:
            root = self.sandbox.root_files()
            mounts = []
            for m in self.config.mounts:
                directory = self.sandbox.directory(m.volume)
                read_only = m.read_only or m.volume.kind == "files"
                if m.sub_path and m.volume.kind == "files" and m.sub_path in directory.entries:
                    entry = directory.entries[m.sub_path]
                    root.entries[posixpath.normpath(m.path).strip("/")] = attrs.evolve(entry)
                    continue
                mounts.append(Mounted(posixpath.normpath(m.path), directory, m.sub_path.strip("/"), read_only))
            table = "".join(
                f"{'tmpfs' if m.volume.medium == 'Memory' else 'fake'} {m.path} "
                f"{'tmpfs' if m.volume.medium == 'Memory' else 'fake'} {'ro' if m.read_only else 'rw'} 0 0\n"
                for m in self.config.mounts
            )
            root.entries["proc/mounts"] = Entry(b"fake / fake rw 0 0\n" + table.encode())
            path = posixpath.normpath(self.config.termination_message_path).strip("/")
            root.entries.setdefault(path, Entry(mode=0o666))
            security = self.config.security
            read_only = bool(security.get("readOnlyRootFilesystem"))
            self._tree = Tree(root, mounts, Identity.of(security), read_only=read_only)
        return self._tree

    def session(self) -> shell.Session:
        """A shell in this container."""
        cwd = posixpath.normpath(self.config.working_dir or "/")
        env = {"HOME": "/root", **dict(self.config.env)}
        return shell.Session(self.files, env, self.sandbox.hostname, cwd)

    # --- its life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        if self.behaviour.start_delay:
            await trio.sleep(self.behaviour.start_delay)
        if self.state != CREATED:
            return
        self.state, self.started_at, self._began = RUNNING, clock.now(), trio.current_time()
        self.sandbox.open_ports(self)
        self.sandbox.tell(STARTED, self.id)
        if self.behaviour.log:
            self.log.write("stdout", self.behaviour.log.rstrip("\n").encode() + b"\n")
        if self.behaviour.log_every:
            self._log_again()
        self._live()

    def _live(self) -> None:
        """Begin what it does until it ends."""
        engine, config = self.sandbox.node.engine, self.config
        if self.behaviour.run_time is not None:
            self._end_after(self.behaviour.run_time, self.behaviour.exit_code)
            return
        program = shell.program((*config.command, *config.args))
        if program is not None:
            engine.nursery.start_soon(self._run, program)
        elif config.stdin and self._is_shell():
            engine.nursery.start_soon(self._run, None)
        elif config.restart_policy != "Always":
            self._end_after(engine.config.run_time, self.behaviour.exit_code)

    def _is_shell(self) -> bool:
        name = self.config.image.rpartition("/")[2].split(":")[0].split("@")[0]
        words = (*self.config.command, *self.config.args)
        return name in SHELL_IMAGES if not words else posixpath.basename(words[0]) in shell.SHELLS

    def _end_after(self, seconds: float, code: int) -> None:
        self._timers.append(self.sandbox.node.engine.timers.after(seconds, lambda: self.end(code)))

    def _log_again(self) -> None:
        def line() -> None:
            self._lines += 1
            self.log.write("stdout", self.behaviour.log_line.replace("{n}", str(self._lines)).encode() + b"\n")
            self._log_again()

        self._timers.append(self.sandbox.node.engine.timers.after(self.behaviour.log_every, line))
        del self._timers[:-4]  # fired ones; what may be pending is at the end

    async def _run(self, program: Any | None) -> None:
        """Run the program that its command is; None: a shell that reads what is typed."""
        code = 0
        with trio.CancelScope() as self._scope:
            try:
                code = await self._interpret(program)
            except Exception:  # a mistake of the shell is this container's failure, not the engine's
                log.exception("the program of container %s failed", self.config.name)
                code = 2
        if not self._scope.cancelled_caught:
            self.end(code)

    async def _interpret(self, program: Any | None) -> int:
        session = self._session = self.session()
        io = shell.Io(self.attachments.read, self._output("stdout"), self._output("stderr"))
        if program is None or _wants_input(self.config):
            return await interactive(session, io, tty=self.config.tty)
        return await shell.run_program(session, program, io)

    def _output(self, stream: str) -> shell.Write:
        async def write(data: bytes) -> None:
            self.log.write(stream, data)
            await self.attachments.send(stream, data)

        return write

    def end(self, code: int, signal: int = 0) -> None:
        """It has ended. Twice does no harm."""
        if self.state != RUNNING:
            return
        self.message = self._termination_message(code)
        self.state, self.exit_code, self.signal = EXITED, code, signal
        self.finished_at = clock.now()
        for timer in self._timers:
            timer.cancel()
        if self._scope is not None:
            self._scope.cancel()
        self.sandbox.close_ports(self)
        self.log.close()
        self.ended.set()
        self.sandbox.tell(DIED, self.id)

    def _termination_message(self, code: int) -> str:
        if self._tree is not None:
            try:
                data = self._tree.entry(self.config.termination_message_path).data
                if data:
                    return data[:MESSAGE_MOST].decode(errors="replace")
            except FileError:
                pass
        if code and self.config.termination_message_policy == "FallbackToLogsOnError":
            return self.log.last(80, MESSAGE_LOG).decode(errors="replace")
        return ""

    @property
    def stopping(self) -> bool:
        """It has been asked to end."""
        return self._stopping is not None

    async def stop(self, grace: float) -> None:
        """Ask it to end, and kill it after `grace` seconds; a later call with less grace hurries an earlier one.

        As well-behaved servers do, it answers on until the news that it is going away has reached those who ask:
        until nobody has asked for a moment. One that nobody asks ends at once.
        """
        if self.state == CREATED:
            self.state, self.finished_at = EXITED, clock.now()
            self.ended.set()
        if self.state != RUNNING:
            return
        now = trio.current_time()
        self._kill_at = min(self._kill_at, now + grace)
        if self._stopping is not None:
            self._stopping.deadline = min(self._stopping.deadline, self._kill_at)
            await self.ended.wait()
            return
        wish = now + self.behaviour.stop_delay
        with trio.CancelScope(deadline=min(wish, self._kill_at)) as self._stopping:
            await self.ended.wait()
        await self._finish(now + FINISH_MOST)
        self._stopping = None
        if trio.current_time() >= wish and wish <= self._kill_at:
            self.end(143 if self._scope is not None else 0, 15 if self._scope is not None else 0)
        else:
            self.end(137, 9)

    async def _finish(self, until: float) -> None:
        """Until nobody asks anything any more."""
        while self.state == RUNNING:
            now = trio.current_time()
            quiet_at = now + QUIET if self.answering else self.asked_at + QUIET
            deadline = min(quiet_at, until, self._kill_at)
            if deadline <= now:
                return
            with trio.CancelScope(deadline=deadline) as self._stopping:
                await self.ended.wait()

    def resize(self, width: int, height: int) -> None:
        """The terminal of the container's own program has another size."""
        if self._session is not None:
            self._session.resize(width, height)

    def forget(self) -> None:
        """Its node has lost its power: no events, no messages."""
        if self.state == RUNNING:
            self.state = EXITED
            for timer in self._timers:
                timer.cancel()
            if self._scope is not None:
                self._scope.cancel()
            self.log.close()
            self.ended.set()


def _wants_input(config: ContainerConfig) -> bool:
    """``sh`` alone, with its standard input open."""
    words = (*config.command, *config.args)
    return config.stdin and len(words) == 1 and posixpath.basename(words[0]) in shell.SHELLS
