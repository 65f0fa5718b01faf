"""Images that a pod needs: pull policies, back-off, credentials (Kubernetes docs, "Images")."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import attrs

from kcore import clock
from kcore.node.run import Backoff, Run
from kcore.objects import Object
from kcore.objects.resources import SECRETS
from kcore.runtime import ImageFailure

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker

DOCKER_HUB = "docker.io"
_HUB_NAMES = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io"))


@attrs.define
class Pull:
    """How pulling one image for one pod has gone."""

    backoff: Backoff = attrs.Factory(Backoff)
    failed_at: float = 0.0

    @property
    def held(self) -> float:
        """Seconds until it may be tried again."""
        return max(0.0, self.backoff.until(self.failed_at) - clock.now()) if self.failed_at else 0.0


def floating(image: str) -> bool:
    """The tag is latest, or there is none: what the API defaults to pulling always."""
    name = image.rpartition("/")[2]
    return "@" not in image and (":" not in name or name.endswith(":latest"))


async def ensure(worker: PodWorker, run: Run, image: str, policy: str) -> float:
    """Have the image, as the policy says. Returns 0.0, or the seconds to wait: `run.waiting` says for what then."""
    runtime, pull = worker.agent.runtime, worker.pulls.setdefault(image, Pull())
    policy = policy or ("Always" if floating(image) else "IfNotPresent")
    if policy != "Always" and await runtime.image(image) is not None:
        text = f'Container image "{image}" already present on machine and can be accessed by the pod'
        worker.event("Normal", "Pulled", text, run)
        return 0.0
    if policy == "Never":
        text = f'Container image "{image}" is not present with pull policy of Never'
        run.waiting = ("ErrImageNeverPull", text)
        worker.event("Warning", "ErrImageNeverPull", text, run)
        return 10.0
    if pull.held:
        text = f'Back-off pulling image "{image}"'
        run.waiting = ("ImagePullBackOff", text)
        worker.event("Normal", "BackOff", text, run)
        return max(0.1, pull.held)
    if await _pull(worker, run, image, pull):
        return 0.0
    return max(0.1, min(pull.held, 1.0))  # soon it is told that it backs off


async def _pull(worker: PodWorker, run: Run, image: str, pull: Pull) -> bool:
    worker.event("Normal", "Pulling", f'Pulling image "{image}"', run)
    began = clock.now()
    try:
        found = await credentials(worker, image)
        with worker.agent.measures.operation("pull_image"):
            pulled = await worker.agent.runtime.pull_image(image, found)
    except ImageFailure as error:
        pull.failed_at = clock.now()
        pull.backoff.next(pull.failed_at)
        run.waiting = (error.reason, str(error))
        worker.event("Warning", "Failed", f'Failed to pull image "{image}": {error}', run)
        return False
    seconds = clock.now() - began
    text = f'Successfully pulled image "{image}" in {seconds:.3f}s ({seconds:.3f}s including waiting). '
    worker.event("Normal", "Pulled", f"{text}Image size: {pulled.size} bytes.", run)
    pull.failed_at = 0.0
    return True


# --- credentials -----------------------------------------------------------------------------------------------------


async def credentials(worker: PodWorker, image: str) -> list[tuple[str, str]]:
    """(user, password) pairs of the pod's imagePullSecrets that are for the image, the most specific first."""
    found: list[tuple[int, str, str]] = []
    missing = []
    for ref in worker.pod["spec"].get("imagePullSecrets") or ():
        name = ref.get("name", "")
        secret = await worker.lookup(SECRETS, worker.pod["metadata"]["namespace"], name)
        if secret is None:
            missing.append(name)
            continue
        for server, user, password in _entries(secret):
            length = matches(server, image)
            if length:
                found.append((length, user, password))
    if missing:
        text = f"Unable to retrieve some image pull secrets ({', '.join(missing)}); attempting to pull the image may "
        worker.event("Warning", "FailedToRetrieveImagePullSecret", f"{text}not succeed.")
    found.sort(key=lambda row: -row[0])
    return list(dict.fromkeys((user, password) for _, user, password in found))


def _entries(secret: Object) -> Iterator[tuple[str, str, str]]:
    """(server, user, password) of a Secret of the types dockerconfigjson and dockercfg; what is broken is left out."""
    data = secret.get("data") or {}
    try:
        if ".dockerconfigjson" in data:
            servers: Any = json.loads(base64.b64decode(data[".dockerconfigjson"])).get("auths") or {}
        else:
            servers = json.loads(base64.b64decode(data.get(".dockercfg", ""))) if ".dockercfg" in data else {}
        for server, entry in servers.items():
            user, password = entry.get("username", ""), entry.get("password", "")
            if entry.get("auth"):
                user, _, password = base64.b64decode(entry["auth"]).decode(errors="replace").partition(":")
            yield server, str(user), str(password)
    except (ValueError, AttributeError):
        return


def matches(server: str, image: str) -> int:
    """How specifically an entry for `server` (``*.example.com:5000/team``) is for the image; 0: it is not."""
    wanted_host, _, wanted_path = (
        server.partition("://")[2].partition("/") if "://" in server else server.partition("/")
    )
    wanted_path = wanted_path.strip("/")
    if wanted_path in ("v1", "v2"):
        wanted_path = ""
    first, _, rest = image.partition("/")
    has_host = bool(rest) and ("." in first or ":" in first or first == "localhost")
    host, path = (first, rest) if has_host else (DOCKER_HUB, image)
    if wanted_host in _HUB_NAMES:
        wanted_host = DOCKER_HUB
    if host in _HUB_NAMES:
        host = DOCKER_HUB
    wanted, given = wanted_host.split("."), host.split(".")
    if len(wanted) != len(given) or not all(fnmatchcase(g, w) for g, w in zip(given, wanted, strict=True)):
        return 0
    if wanted_path and path != wanted_path and not path.startswith(wanted_path + "/"):
        return 0
    return 1 + len(wanted_host) + len(wanted_path)
