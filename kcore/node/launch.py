"""Starting containers: everything between "this one should run" and its program running.

One task per pod that is being started, for as long as that takes: volumes, sandbox, image, environment, the container
itself, its postStart hook; one container after the other, in the order of the spec.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kcore import clock
from kcore.errors import KcoreError
from kcore.node import hooks
from kcore.node.env import environment
from kcore.node.expansion import expand
from kcore.node.fields import BadReference
from kcore.node.ports import probe_ports
from kcore.node.qos import oom_score_adj
from kcore.node.run import INIT, MAIN, SIDECAR, Run
from kcore.node.sandboxes import declared_ports, hostname, sandbox_config
from kcore.node.volumes import MountFailed, VolumeSource, plugin
from kcore.objects import Object, meta, quantity
from kcore.objects.resources import SECRETS
from kcore.runtime import (
    ContainerConfig,
    ImageFailure,
    Mount,
    Resources,
    RuntimeFailure,
    Volume,
)

if TYPE_CHECKING:
    from kcore.node.pod import PodWorker


class NotYet(KcoreError):
    """The pod cannot go on now; its worker tries again after `seconds`, or when something changes."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"again in {seconds} s")


async def set_up(worker: PodWorker) -> None:
    """Volumes and sandbox. Raises NotYet."""
    await mount_volumes(worker)
    if worker.sandbox is None:
        try:
            config = await sandbox_config(worker)
            with worker.agent.measures.operation("run_podsandbox"):
                worker.sandbox = await worker.agent.runtime.run_sandbox(config)
        except (RuntimeFailure, BadReference) as error:
            worker.event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            raise NotYet(worker.next_delay()) from error
        worker.sandbox_ready(worker.sandbox)


async def mount_volumes(worker: PodWorker) -> None:
    """Make the pod's volumes from the present state of what they name. Raises NotYet."""
    source = VolumeSource(
        worker.pod,
        worker.lookup,
        worker.agent.host.client,
        worker.ips,
        worker.host_ip,
        worker.agent.allocatable,
    )
    volumes: dict[str, Volume] = {}
    try:
        for spec in worker.pod["spec"].get("volumes") or ():
            with worker.agent.measures.mount(plugin(spec)):
                volumes[spec["name"]] = await source.volume(spec)
    except (MountFailed, BadReference) as error:
        worker.event("Warning", "FailedMount", str(error))
        raise NotYet(worker.next_delay()) from error
    worker.volumes = volumes


async def refresh_volumes(worker: PodWorker) -> None:
    """Give running containers the new content of changed ConfigMaps and Secrets."""
    before = worker.volumes
    try:
        await mount_volumes(worker)
    except NotYet:
        worker.volumes = before  # what was deleted stays mounted as it was
        return
    for name, volume in worker.volumes.items():
        old = before.get(name)
        if volume.kind == "files" and old is not None and _content(old) != _content(volume):
            await worker.agent.runtime.update_volume(worker.uid, volume)


def _content(volume: Volume) -> dict[str, tuple[bytes, int]]:
    return {k: (f.data, f.mode) for k, f in volume.files.items() if f.load is None}


async def launch(worker: PodWorker, run: Run) -> None:
    """Start one container; what goes wrong becomes the reason that it waits with. Raises NotYet."""
    if not await _image_present(worker, run):
        left = max(0.1, run.pull_backoff.until(run.pull_failed_at) - clock.now())
        backing_off = run.waiting is not None and run.waiting[0] == "ImagePullBackOff"
        raise NotYet(left if backing_off else min(left, 1.0))
    try:
        config = await container_config(worker, run)
    except (BadReference, MountFailed) as error:
        run.waiting = ("CreateContainerConfigError", str(error))
        worker.event("Warning", "Failed", f"Error: {error}", run)
        raise NotYet(10.0) from error
    assert worker.sandbox is not None
    runtime = worker.agent.runtime
    try:
        with worker.agent.measures.operation("create_container"):
            id = await runtime.create_container(worker.sandbox.id, config)
    except RuntimeFailure as error:
        run.waiting = ("CreateContainerError", str(error))
        worker.event("Warning", "Failed", f"Error: {error}", run)
        raise NotYet(worker.next_delay()) from error
    dropped = run.begin(await runtime.container(id))
    if dropped is not None and dropped.sandbox_id:
        await runtime.remove_container(dropped.id)
    worker.event("Normal", "Created", f"Container created: {run.name}", run)
    try:
        with worker.agent.measures.operation("start_container"):
            await runtime.start_container(id)
    except RuntimeFailure as error:
        worker.event("Warning", "Failed", f"Error: {error}", run)
        run.current = await runtime.container(id)
        return
    run.current = await runtime.container(id)
    worker.event("Normal", "Started", f"Container started: {run.name}", run)
    worker.agent.measures.container_started(worker, run)
    await hooks.post_start(worker, run)
    worker.watch_health(run)


# --- images ----------------------------------------------------------------------------------------------------------


async def _image_present(worker: PodWorker, run: Run) -> bool:
    """Pull the image as the policy says. False: it is not there and the container has to wait."""
    image, runtime = run.spec["image"], worker.agent.runtime
    policy = run.spec.get("imagePullPolicy") or ("Always" if _floating(image) else "IfNotPresent")
    present = await runtime.image(image) is not None
    if present and policy != "Always":
        text = f'Container image "{image}" already present on machine and can be accessed by the pod'
        worker.event("Normal", "Pulled", text, run)
        return True
    if policy == "Never":
        text = f'Container image "{image}" is not present with pull policy of Never'
        run.waiting = ("ErrImageNeverPull", text)
        worker.event("Warning", "ErrImageNeverPull", text, run)
        return False
    now = clock.now()
    if run.pull_failed_at and run.pull_backoff.until(run.pull_failed_at) > now:
        text = f'Back-off pulling image "{image}"'
        run.waiting = ("ImagePullBackOff", text)
        worker.event("Normal", "BackOff", text, run)
        return False
    worker.event("Normal", "Pulling", f'Pulling image "{image}"', run)
    try:
        credentials = await _credentials(worker, image)
        with worker.agent.measures.operation("pull_image"):
            pulled = await runtime.pull_image(image, credentials)
    except ImageFailure as error:
        run.pull_failed_at = clock.now()
        run.pull_backoff.next(run.pull_failed_at)
        run.waiting = (error.reason, str(error))
        worker.event("Warning", "Failed", f'Failed to pull image "{image}": {error}', run)
        return False
    seconds = clock.now() - now
    text = f'Successfully pulled image "{image}" in {seconds:.3f}s ({seconds:.3f}s including waiting). '
    worker.event("Normal", "Pulled", f"{text}Image size: {pulled.size} bytes.", run)
    run.pull_failed_at = 0.0
    return True


def _floating(image: str) -> bool:
    """The tag is latest, or there is none: what the API defaults to pulling always."""
    name = image.rpartition("/")[2]
    return "@" not in image and (":" not in name or name.endswith(":latest"))


async def _credentials(worker: PodWorker, image: str) -> list[tuple[str, str]]:
    """(user, password) pairs from the pod's imagePullSecrets for the image's registry."""
    first = image.split("/")[0]
    registry = first if "/" in image and ("." in first or ":" in first) else "docker.io"
    found: list[tuple[str, str]] = []
    for ref in worker.pod["spec"].get("imagePullSecrets") or ():
        secret = await worker.lookup(SECRETS, worker.pod["metadata"]["namespace"], ref.get("name", ""))
        data = (secret or {}).get("data", {}).get(".dockerconfigjson")
        if not data:
            continue
        try:
            entries = json.loads(base64.b64decode(data)).get("auths") or {}
        except ValueError:
            continue
        for server, entry in entries.items():
            if registry in server:
                user, password = entry.get("username"), entry.get("password")
                if entry.get("auth"):
                    user, _, password = base64.b64decode(entry["auth"]).decode(errors="replace").partition(":")
                found.append((str(user), str(password)))
    return found


# --- configuration ---------------------------------------------------------------------------------------------------


async def container_config(worker: PodWorker, run: Run) -> ContainerConfig:
    """What the runtime needs to know. Raises BadReference, MountFailed."""
    pod, spec, agent = worker.pod, run.spec, worker.agent
    env = await environment(
        pod,
        spec,
        worker.lookup,
        agent.host.services.of(pod["metadata"]["namespace"]),
        ips=worker.ips or (worker.host_ip,),
        host_ip=worker.host_ip,
        allocatable=agent.allocatable,
    )
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": hostname(worker), **env}
    labels = {
        "io.kubernetes.pod.name": pod["metadata"]["name"],
        "io.kubernetes.pod.namespace": pod["metadata"]["namespace"],
        "io.kubernetes.pod.uid": worker.uid,
        "io.kubernetes.container.name": run.name,
        "io.kubernetes.container.restartCount": str(run.attempt),
    }
    return ContainerConfig(
        name=run.name,
        image=spec["image"],
        attempt=run.attempt,
        command=tuple(expand(c, env) for c in spec.get("command") or ()),
        args=tuple(expand(a, env) for a in spec.get("args") or ()),
        working_dir=spec.get("workingDir", ""),
        env=tuple(env.items()),
        mounts=tuple(_mounts(worker, spec, env)),
        ports=probe_ports(spec, declared_ports(spec)),
        labels=labels,
        annotations=dict(meta.annotations(pod)),
        resources=resources(spec),
        security={**(pod["spec"].get("securityContext") or {}), **(spec.get("securityContext") or {})},
        tty=bool(spec.get("tty")),
        stdin=bool(spec.get("stdin")),
        stdin_once=bool(spec.get("stdinOnce")),
        restart_policy=_policy(worker, run),
        termination_message_path=spec.get("terminationMessagePath", "/dev/termination-log"),
        termination_message_policy=spec.get("terminationMessagePolicy", "File"),
        stop_signal=(spec.get("lifecycle") or {}).get("stopSignal", ""),
        target=_target(worker, spec),
        oom_score_adj=oom_score_adj(pod, spec, agent.node["status"].get("capacity") or {}),
    )


def _target(worker: PodWorker, spec: Object) -> str:
    """The id of the container that an ephemeral container looks into. Raises BadReference."""
    name = spec.get("targetContainerName")
    if not name:
        return ""
    run = worker.runs.get(name)
    if run is None or run.current is None or not run.running:
        raise BadReference(f"unable to find target container {name}")
    return run.current.id


def _policy(worker: PodWorker, run: Run) -> str:
    if run.kind in (SIDECAR, MAIN):
        return "Always" if run.kind == SIDECAR else str(run.spec.get("restartPolicy") or worker.policy)
    return "OnFailure" if run.kind == INIT else "Always"


def _mounts(worker: PodWorker, spec: Object, env: dict[str, str]) -> Iterable[Mount]:
    for m in spec.get("volumeMounts") or ():
        volume = worker.volumes.get(m["name"])
        if volume is None:
            raise MountFailed(f'volume "{m["name"]}" is not mounted')
        sub = expand(m["subPathExpr"], env) if m.get("subPathExpr") else m.get("subPath", "")
        recursive = m.get("recursiveReadOnly") in ("Enabled", "IfPossible")
        yield Mount(m["mountPath"], volume, sub, bool(m.get("readOnly")), m.get("mountPropagation", ""), recursive)


def resources(spec: Object) -> Resources:
    found = spec.get("resources") or {}
    requests, limits = found.get("requests") or {}, found.get("limits") or {}
    return Resources(
        cpu_request=quantity.milli(requests.get("cpu", 0)),
        cpu_limit=quantity.milli(limits.get("cpu", 0)),
        memory_request=quantity.value(requests.get("memory", 0)),
        memory_limit=quantity.value(limits.get("memory", 0)),
    )
