"""``tar cf -`` and ``tar xf -``: what ``kubectl cp`` runs in a container."""

from __future__ import annotations

import io as bytesio
import posixpath
import tarfile

from kcore_runtime_fake.files import FILE_MOST, FileError
from kcore_runtime_fake.shell import Io, Session


async def tar(sh: Session, argv: list[str], io: Io) -> int:
    """``tar {c|x}[mvz...]f FILE [-C DIR] [NAMES]``; options may be bundled or apart."""
    letters, names, directory, archive = "", [], sh.cwd, "-"
    words = iter(argv[1:])
    for i, word in enumerate(words):
        if word in ("-C", "--directory"):
            directory = sh.path(next(words, "."))
        elif word.startswith("--"):
            continue
        elif (word.startswith("-") and word != "-") or (i == 0 and not letters):
            letters += word.lstrip("-")
            if word.endswith("f"):
                archive = next(words, "-")
            elif word.endswith("C"):
                directory = sh.path(next(words, "."))
        else:
            names.append(word)
    try:
        if "c" in letters:
            return await _create(sh, names, directory, archive, io)
        return await _extract(sh, directory, archive, io)
    except (FileError, tarfile.TarError) as error:
        await io.err(f"tar: {error}\n".encode())
        return 1


async def _create(sh: Session, names: list[str], directory: str, archive: str, io: Io) -> int:
    buffer, code = bytesio.BytesIO(), 0
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name in names:
            root = posixpath.normpath(posixpath.join(directory, name))
            try:
                for path, entry in sh.files.walk(root):
                    shown = posixpath.join(name, posixpath.relpath(path, root)) if path != root else name
                    info = tarfile.TarInfo(posixpath.normpath(shown).lstrip("/"))
                    data = b"" if entry.directory else await sh.files.read(path)
                    info.mode, info.mtime, info.size = entry.mode, int(entry.changed), len(data)
                    info.type = tarfile.DIRTYPE if entry.directory else tarfile.REGTYPE
                    out.addfile(info, bytesio.BytesIO(data))
            except FileError as error:
                await io.err(f"tar: {name}: {error.message}\n".encode())
                code = 1
    data = buffer.getvalue()
    if archive != "-":
        sh.files.write(sh.path(archive), data)
        return code
    for at in range(0, len(data), 65536):
        await io.out(data[at : at + 65536])
    return code


async def _extract(sh: Session, directory: str, archive: str, io: Io) -> int:
    data = bytearray()
    if archive == "-":
        while piece := await io.read():
            data += piece
            if len(data) > 4 * FILE_MOST:
                raise FileError("archive too large")
    else:
        data += await sh.files.read(sh.path(archive))
    if not sh.files.exists(directory):
        raise FileError(f"can't change directory to '{directory}': No such file or directory")
    with tarfile.open(fileobj=bytesio.BytesIO(bytes(data)), mode="r:*") as found:
        for member in found:
            path = posixpath.normpath(posixpath.join(directory, member.name.lstrip("/")))
            if path != directory and not path.startswith(directory.rstrip("/") + "/"):
                raise FileError(f"{member.name}: path outside the directory")
            if member.isdir():
                sh.files.make_directory(path, parents=True)
            elif member.isreg():
                parent = posixpath.dirname(path)
                if not sh.files.exists(parent):
                    sh.files.make_directory(parent, parents=True)
                content = found.extractfile(member)
                sh.files.write(path, content.read() if content else b"", mode=member.mode & 0o777)
    return 0
