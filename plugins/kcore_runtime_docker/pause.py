"""The built-in image of sandboxes: a program that waits, and lets go of the processes that it inherits.

It ignores SIGCHLD, so that the kernel forgets ended children at once: where a pod shares its processes it is the init
of all. Made here, byte by byte, as there is no registry to take it from.
"""

from __future__ import annotations

import io
import platform
import struct
import tarfile

from kcore.runtime import RuntimeFailure

NAME = "kcore/pause:1"
PATH = "/pause"

# rt_sigaction(SIGCHLD, {SIG_IGN}, NULL, 8); for (;;) pause();
_X86_64 = bytes.fromhex(
    "b80d000000"  # mov eax, 13 (rt_sigaction)
    "bf11000000"  # mov edi, 17 (SIGCHLD)
    "488d3513000000"  # lea rsi, [rip + 19]: the action behind the code
    "31d2"  # xor edx, edx
    "41ba08000000"  # mov r10d, 8
    "0f05"  # syscall
    "b822000000"  # mov eax, 34 (pause)
    "0f05"  # syscall
    "ebf7"  # jmp to the mov before
)
_IGNORE = struct.pack("<QQQQ", 1, 0, 0, 0)  # struct sigaction: SIG_IGN, no flags, no restorer, empty mask
_BASE, _HEADERS = 0x400000, 64 + 56
_MACHINES = {"x86_64": 62}  # e_machine


def program() -> bytes:
    """A static ELF executable. Raises RuntimeFailure on machines that it was not written for."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise RuntimeFailure(
            f"there is no built-in pause image for {platform.machine()}; name one with nodes.runtime.pause_image"
        )
    code = _X86_64 + _IGNORE
    size = _HEADERS + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1, 0)) + bytes(8)  # 64 bits, little-endian, System V
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)  # loaded, readable, executable
    return header + segment + code


def image() -> bytes:
    """A tar with the program: the file system of the image."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        data = program()
        entry = tarfile.TarInfo(PATH.lstrip("/"))
        entry.size, entry.mode = len(data), 0o755
        tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
