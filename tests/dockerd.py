"""A Docker daemon of the tests' own, in a directory and, if wanted, in a network namespace: a host by itself."""

from __future__ import annotations

import io
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

IMAGE = "busybox:latest"


@attrs.define
class Daemon:
    """It runs; `docker` asks it."""

    directory: Path
    command: list[str]
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> str:
        return str(self.directory / "docker.sock")

    def docker(self, *arguments: str, input: bytes | None = None) -> str:
        """What the real command line tool says. Raises CalledProcessError."""
        command = ["docker", "-H", f"unix://{self.socket}", *arguments]
        return subprocess.run(command, input=input, capture_output=True, check=True).stdout.decode()

    def containers(self) -> list[str]:
        """Names of all containers, those that have ended too."""
        return self.docker("ps", "-a", "--format", "{{.Names}}").split()

    def kill(self) -> None:
        """As if it had crashed, with all that it started itself."""
        said = self.directory / "exec/containerd/containerd.pid"
        pid = int(said.read_text())
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        handle = os.pidfd_open(pid)  # its containerd ends itself, but late: a new one must not take it for alive
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], 10)
        os.close(handle)
        said.unlink()

    def start(self) -> None:
        """Run it again, after `kill`."""
        self.process = _spawn(self.command, self.directory)
        _until_it_answers(self)


def _spawn(command: list[str], directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


@contextmanager
def dockerd(directory: Path, *, netns: str = "", bridge: str = "") -> Iterator[Daemon]:
    """Yields when it answers and has the image `IMAGE`. Its containers end with it.

    `bridge`: the address (10.99.0.1/24) of a network of the engine's own, with its rules; "" for none.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # not `ip netns exec`, which hides the control groups
    where = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
    command = [
        *where, "dockerd", "--data-root", str(directory / "data"), "--exec-root", str(directory / "exec"),
        "-H", f"unix://{directory}/docker.sock", "--pidfile", str(directory / "pid"), "--live-restore=false",
    ]  # fmt: skip
    command += ["--bip", bridge] if bridge else ["--bridge", "none", "--iptables=false", "--ip-forward=false"]
    command.append("--ip6tables=false")
    daemon = Daemon(directory, command, _spawn(command, directory))
    try:
        _until_it_answers(daemon)
        daemon.docker("import", "-c", 'CMD ["sh"]', "-", IMAGE, input=busybox())
        yield daemon
    finally:
        daemon.process.send_signal(signal.SIGTERM)
        try:
            daemon.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.process.pid, signal.SIGKILL)
            daemon.process.wait()
        _clean(directory)


def _until_it_answers(daemon: Daemon) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(daemon.socket)
            daemon.docker("version")
            return
        except (OSError, subprocess.CalledProcessError):
            if daemon.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"dockerd does not answer: {(daemon.directory / 'log').read_text()[-2000:]}"
                ) from None
            time.sleep(0.05)


def _clean(directory: Path) -> None:
    """What a daemon that was killed has left mounted."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split(" ", 5)[4]
        if point.startswith(f"{directory}/"):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
    shutil.rmtree(directory, ignore_errors=True)


def busybox() -> bytes:
    """The file system of an image with busybox and a link to it for each of its programs."""
    program = Path(shutil.which("busybox") or "")
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(program, "bin/busybox")
        for name in sorted({*names} - {"busybox"}):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for directory in ("tmp", "var", "root", "etc"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            tar.addfile(entry)
        passwd = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
        for name, text in (("etc/passwd", passwd), ("etc/group", b"root:x:0:\nnogroup:x:65534:\n")):
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(text), 0o644
            tar.addfile(file, io.BytesIO(text))
    return out.getvalue()


def images(daemon: Daemon) -> list[str]:
    lines = daemon.docker("images", "--format", "{{json .}}").splitlines()
    return [f"{image['Repository']}:{image['Tag']}" for image in map(json.loads, lines)]
