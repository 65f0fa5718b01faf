"""Images of the engine."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from kcore.runtime import Image, ImageFailure, NoSuch, RuntimeFailure
from kcore_runtime_docker import pause
from kcore_runtime_docker.api import DockerApi, path

_PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(  # the grammar of the distribution project: host, path, tag, digest
    rf"(?:(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::\w[\w.-]{0,127})?(?:@[A-Za-z][\w.+-]*:[0-9A-Fa-f]{32,})?"
)


def split(image: str) -> tuple[str, str]:
    """(repository, tag or digest); the tag of one that names none is latest."""
    if "@" in image:
        name, _, digest = image.partition("@")
        return name, digest
    head, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}", tag or "latest"


async def find(api: DockerApi, image: str) -> Image | None:
    if not _REFERENCE.fullmatch(image):
        return None
    try:
        found = await api.call("GET", path("images", image, "json"))
    except NoSuch:
        return None
    except RuntimeFailure as error:
        raise ImageFailure(f"Failed to inspect image {image!r}: {error}", "InvalidImageName") from error
    return _image(found)


async def pull(api: DockerApi, image: str, credentials: Sequence[tuple[str, str]]) -> Image:
    """Raises ImageFailure. Of the credentials those are used that the registry takes; without any, none."""
    if not _REFERENCE.fullmatch(image):
        text = f'Failed to apply default image tag "{image}": couldn\'t parse image name: invalid reference format'
        raise ImageFailure(text, "InvalidImageName")
    name, tag = split(image)
    last = ""
    for user, password in [*credentials, ("", "")]:
        headers = {}
        if user:
            said = json.dumps({"username": user, "password": password}).encode()
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(said).decode()
        try:
            answer = await api.send(
                "POST",
                "/images/create",
                b"",
                "application/json",
                query={"fromImage": name, "tag": tag},
                headers=headers,
                patient=True,
            )
        except RuntimeFailure as error:
            last = str(error)
            continue
        last = _error(answer)
        if not last:
            break
    found = await find(api, image)
    if found is not None:  # what was imported by hand is in no registry, and good enough
        return found
    raise ImageFailure(f'failed to pull image "{image}": {last or "not found"}')


async def list_all(api: DockerApi) -> list[Image]:
    return [_image(entry) for entry in await api.call("GET", "/images/json") or ()]


async def remove(api: DockerApi, image: str) -> None:
    try:
        await api.call("DELETE", path("images", image))
    except NoSuch:
        pass


async def load(api: DockerApi, archive: bytes) -> list[str]:
    """Images of an archive as `docker save` makes them; returns their names. Raises RuntimeFailure."""
    answer = await api.send("POST", "/images/load", archive, "application/x-tar", patient=True)
    if problem := _error(answer):
        raise RuntimeFailure(problem)
    said = "".join(json.loads(line).get("stream", "") for line in str(answer).splitlines() if line.startswith("{"))
    if isinstance(answer, dict):
        said = answer.get("stream", "")
    return [line.partition(": ")[2] for line in said.splitlines() if line.startswith("Loaded image")]


async def pause_image(api: DockerApi, wanted: str) -> str:
    """The name of the image of sandboxes, which is there on return. Raises RuntimeFailure."""
    if wanted:
        if await find(api, wanted) is None:
            await pull(api, wanted, ())
        return wanted
    if await find(api, pause.NAME) is None:
        name, tag = split(pause.NAME)
        query = {"fromSrc": "-", "repo": name, "tag": tag, "changes": f'ENTRYPOINT ["{pause.PATH}"]'}
        await api.send("POST", "/images/create", pause.image(), "application/x-tar", query=query)
    return pause.NAME


def _error(answer: Any) -> str:
    """What went wrong, if a line of an answer's progress says so."""
    for line in str(answer if not isinstance(answer, dict) else json.dumps(answer)).splitlines():
        if '"error"' in line:
            return str(json.loads(line).get("error", line))
    return ""


def _image(found: dict[str, Any]) -> Image:
    names = (*(found.get("RepoTags") or ()), *(found.get("RepoDigests") or ()))
    names = tuple(n for n in names if "<none>" not in n)
    user = (found.get("Config") or {}).get("User")  # what a listing does not tell
    return Image(found["Id"], names, int(found.get("Size") or 0), user, pinned=pause.NAME in names)
