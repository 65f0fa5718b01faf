"""Starting containers: everything between "this one should run" and its program running.

One task per pod that is being started, for as long as that takes: volumes, sandbox, image, environment, the container
itself, its postStart hook; one container after the other, in the order of the spec.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kcore.errors import KcoreError
from kcore.node import hooks, images
from kcore.node.env import environment
from kcore.node.expansion import expand
from kcore.node.fields import BadReference
from kcore.node.ports import probe_ports
from kcore.node.qos import oom_score_adj
from kcore.node.resize import of_spec, resources
from kcore.node.run import INIT, MAIN, SIDECAR, Run
from kcore.node.sandboxes import declared_ports, hostname, sandbox_config
from kcore.node.volumes import MountFailed, VolumeSource, plugin, read_only_volumes, sub_path
from kcore.objects import Object, meta
from kcore.runtime import (
    ContainerConfig,
    Mount,
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


def wanted_images(worker: PodWorker, run: Run) -> list[tuple[str, str]]:
    """(image, pull policy) of the container and of the image volumes that it mounts."""
    names = {m["name"] for m in run.spec.get("volumeMounts") or ()}
    volumes = [v["image"] for v in worker.pod["spec"].get("volumes") or () if v["name"] in names and v.get("image")]
    rows = [(run.spec["image"], run.spec.get("imagePullPolicy", ""))]
    return rows + [(v["reference"], v.get("pullPolicy", "")) for v in volumes if v.get("reference")]


async def mount_volumes(worker: PodWorker) -> None:
    """Make the pod's volumes from the present state of what they name. Raises NotYet."""
    source = VolumeSource(
        worker.pod,
        worker.lookup,
        worker.agent.host.client,
        worker.ips,
        worker.host_ip,
        worker.agent.allocatable,
        worker.tokens,
        real=worker.agent.real,
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
    worker.renew_tokens()


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
        if volume.kind != "files" or old is None:
            continue
        due = any(token.due for (of, _), token in worker.tokens.items() if of == name)
        if due or _content(old) != _content(volume):
            await worker.agent.runtime.update_volume(worker.uid, volume)
    worker.renew_tokens()


def _content(volume: Volume) -> dict[str, tuple[bytes, int] | None]:
    return {k: None if f.load is not None else (f.data, f.mode) for k, f in volume.files.items()}


async def launch(worker: PodWorker, run: Run) -> None:
    """Start one container; what goes wrong becomes the reason that it waits with. Raises NotYet."""
    for image, policy in wanted_images(worker, run):
        wait = await images.ensure(worker, run, image, policy)
        if wait:
            raise NotYet(wait)
    runtime = worker.agent.runtime
    if run.current is not None and run.half_made:
        await runtime.remove_container(run.current.id)
        run.forget()
    if run.allocated is None:
        run.allocated = of_spec(run)
    try:
        config = await container_config(worker, run)
        await verify_user(worker, run, config)
    except (BadReference, MountFailed) as error:
        run.waiting = ("CreateContainerConfigError", str(error))
        worker.event("Warning", "Failed", f"Error: {error}", run)
        raise NotYet(10.0) from error
    assert worker.sandbox is not None
    try:
        with worker.agent.measures.operation("create_container"):
            id = await runtime.create_container(worker.sandbox.id, config)
    except RuntimeFailure as error:
        run.waiting = ("CreateContainerError", str(error))
        worker.event("Warning", "Failed", f"Error: {error}", run)
        raise NotYet(worker.next_delay()) from error
    dropped = run.begin(await runtime.container(id))
    run.applied = run.allocated
    if dropped is not None and dropped.sandbox_id:
        await runtime.remove_container(dropped.id)
    worker.event("Normal", "Created", f"Container created: {run.name}", run)
    try:
        with worker.agent.measures.operation("start_container"):
            await runtime.start_container(id)
    except RuntimeFailure as error:
        worker.event("Warning", "Failed", f"Error: {error}", run)
        run.current = await runtime.container(id)
        if run.half_made:
            raise NotYet(worker.next_delay()) from error
        return
    run.current = await runtime.container(id)
    worker.event("Normal", "Started", f"Container started: {run.name}", run)
    worker.agent.measures.container_started(worker, run)
    await hooks.post_start(worker, run)
    worker.watch_health(run)


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
        resources=resources(run.allocated or {}),
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


async def verify_user(worker: PodWorker, run: Run, config: ContainerConfig) -> None:
    """What must not run as root does not. Raises BadReference, with upstream's texts."""
    security = config.security
    if not security.get("runAsNonRoot"):
        return
    who = f'(pod: "{meta.name(worker.pod)}_{meta.namespace(worker.pod)}({worker.uid})", container: {run.name})'
    if security.get("runAsUser") is not None:
        if security["runAsUser"] == 0:
            raise BadReference(f"container's runAsUser breaks non-root policy {who}")
        return
    image = await worker.agent.runtime.image(config.image)
    if image is None or image.user is None:
        return  # nobody knows
    user = image.user.partition(":")[0]
    if not user or (user.isdigit() and int(user) == 0) or user == "root":
        raise BadReference(f"container has runAsNonRoot and image will run as root {who}")
    if not user.isdigit():
        text = f"container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
        raise BadReference(f"{text} {who}")


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
    """Raises MountFailed."""
    locked = read_only_volumes(worker.pod)
    for m in spec.get("volumeMounts") or ():
        volume = worker.volumes.get(m["name"])
        if volume is None:
            raise MountFailed(f'volume "{m["name"]}" is not mounted')
        recursive = m.get("recursiveReadOnly") in ("Enabled", "IfPossible")
        read_only = bool(m.get("readOnly")) or m["name"] in locked
        yield Mount(m["mountPath"], volume, sub_path(m, env), read_only, m.get("mountPropagation", ""), recursive)
