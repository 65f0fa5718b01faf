"""What containers find in their volumes, as whom they find it, and when it cannot be mounted."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import trio

from kcore.node import hostpaths
from kcore.node.images import matches
from kcore.node.volumes import Token, VolumeSource, token_owner
from kcore.objects import Object
from kcore.objects.resources import CONFIGMAPS, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, SECRETS
from tests.node.conftest import World, pod, ready, waiting


def mounting(volume: Object, mount: Object | None = None, **spec: Any) -> Object:
    app = {"name": "app", "image": "app:1", "volumeMounts": [{"name": "v", "mountPath": "/v", **(mount or {})}]}
    app |= {"env": spec.pop("env", []), "securityContext": spec.pop("container_security", {})}
    return pod(containers=[app], volumes=[{"name": "v", **volume}], **spec)


async def sh(cluster: World, script: str) -> str:
    worker = cluster.agent.find("default", "web")
    assert worker is not None
    assert worker.runs["app"].current is not None
    done = await cluster.agent.runtime.exec_sync(worker.runs["app"].current.id, ["sh", "-c", script], 5)
    return (done.stdout + done.stderr).decode()


async def secret(cluster: World) -> None:
    await cluster.client.create(SECRETS, {"metadata": {"name": "s"}, "data": {"a": "MQ==", "b": "Mg=="}}, "default")


async def test_group_of_the_pod_owns_and_reads_its_files(autojump_clock: Any, cluster: World) -> None:
    await secret(cluster)
    security = {"runAsUser": 1000, "fsGroup": 2000}
    volume = {"secret": {"secretName": "s", "defaultMode": 0o400, "items": [{"key": "a", "path": "x/y"}]}}
    await cluster.create(mounting(volume, securityContext=security))
    await cluster.until(ready)
    assert await sh(cluster, "stat -c '%a %g' /v/x/y; cat /v/x/y; id -u; id -G") == "440 2000\n11000\n0 2000\n"


async def test_without_the_group_another_user_may_not_read(autojump_clock: Any, cluster: World) -> None:
    await secret(cluster)
    volume = {"secret": {"secretName": "s", "items": [{"key": "a", "path": "a", "mode": 0o400}]}}
    await cluster.create(mounting(volume, securityContext={"runAsUser": 1000}))
    await cluster.until(ready)
    assert "Permission denied" in await sh(cluster, "cat /v/a")


async def test_mode_zero_is_a_mode(autojump_clock: Any, cluster: World) -> None:
    await secret(cluster)
    volume = {"secret": {"secretName": "s", "items": [{"key": "a", "path": "a", "mode": 0}]}}
    await cluster.create(mounting(volume))
    await cluster.until(ready)
    assert await sh(cluster, "stat -c %a /v/a") == "0\n"


async def test_empty_directory_is_for_everybody_and_in_memory_if_wanted(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(mounting({"emptyDir": {"medium": "Memory"}}, securityContext={"runAsUser": 1000}))
    await cluster.until(ready)
    assert await sh(cluster, "stat -c %a /v; echo x > /v/f && cat /v/f; grep /v /proc/mounts") == (
        "777\nx\ntmpfs /v tmpfs rw 0 0\n"
    )


async def test_root_file_system_may_be_read_only(autojump_clock: Any, cluster: World) -> None:
    locked = {"readOnlyRootFilesystem": True}
    await cluster.create(mounting({"emptyDir": {}}, container_security=locked))
    await cluster.until(ready)
    assert "Read-only file system" in await sh(cluster, "echo x > /f")
    assert await sh(cluster, "echo x > /v/f") == ""


async def test_labels_that_change_are_in_the_file(autojump_clock: Any, cluster: World) -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    await cluster.create(mounting({"downwardAPI": {"items": items}}))
    await cluster.until(ready)
    assert await sh(cluster, "cat /v/labels") == 'app="web"'
    await cluster.client.patch(PODS, "web", {"metadata": {"labels": {"more": "x"}}}, "default")
    await trio.sleep(1)
    assert await sh(cluster, "cat /v/labels") == 'app="web"\nmore="x"'


async def test_optional_source_that_appears_and_goes_is_seen(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(mounting({"configMap": {"name": "m", "optional": True}}))
    await cluster.until(ready)
    assert await sh(cluster, "ls /v") == ""
    await cluster.client.create(CONFIGMAPS, {"metadata": {"name": "m"}, "data": {"k": "1"}}, "default")
    await trio.sleep(1)
    assert await sh(cluster, "cat /v/k") == "1"
    await cluster.client.delete(CONFIGMAPS, "m", "default")
    await trio.sleep(1)
    assert await sh(cluster, "ls /v") == ""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/abs", "error SubPath `/abs` must not be an absolute path"),
        ("../up", "unable to provision SubPath `../up`: must not contain '..'"),
    ],
)
async def test_part_of_a_volume_stays_in_the_volume(
    autojump_clock: Any, cluster: World, value: str, message: str
) -> None:
    found = mounting({"emptyDir": {}}, {"subPathExpr": "$(P)"}, env=[{"name": "P", "value": value}])
    await cluster.create(found)
    got = await cluster.until(waiting("CreateContainerConfigError"))
    assert got["status"]["containerStatuses"][0]["state"]["waiting"]["message"] == message


async def test_expression_of_a_missing_variable_is_told_and_tried_again(autojump_clock: Any, cluster: World) -> None:
    field = {"fieldRef": {"fieldPath": "metadata.annotations['p']"}}
    env = [{"name": "P", "valueFrom": field}]
    await cluster.create(mounting({"emptyDir": {}}, {"subPathExpr": "$(P)/$(Q)"}, env=env))
    got = await cluster.until(waiting("CreateContainerConfigError"))
    assert got["status"]["containerStatuses"][0]["state"]["waiting"]["message"] == 'missing value for "Q"'


async def test_claim_of_another_pod_is_not_taken_for_ones_own(autojump_clock: Any, cluster: World) -> None:
    bound = {"metadata": {"name": "web-v"}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}
    await cluster.client.create(PERSISTENTVOLUMECLAIMS, bound, "default")
    await cluster.client.create(PERSISTENTVOLUMES, {"metadata": {"name": "pv"}, "spec": {}})
    await cluster.create(mounting({"ephemeral": {"volumeClaimTemplate": {}}}))
    await cluster.until(lambda p: p.get("status"))
    assert any("was not created for pod default/web" in m for _, m in await cluster.events())


async def test_who_must_not_be_root_is_not(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(mounting({"emptyDir": {}}, container_security={"runAsNonRoot": True, "runAsUser": 0}))
    got = await cluster.until(waiting("CreateContainerConfigError"))
    text = got["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    assert text.startswith("container's runAsUser breaks non-root policy (pod: \"web_default(")


async def test_image_volume_is_pulled_before_its_container_starts(autojump_clock: Any, cluster: World) -> None:
    await cluster.create(mounting({"image": {"reference": "artifact:1", "pullPolicy": "Always"}}))
    await cluster.until(ready)
    assert any(m.startswith('Successfully pulled image "artifact:1"') for _, m in await cluster.events())


# --- on a machine ----------------------------------------------------------------------------------------------------


def source(cluster: World, found: Object) -> VolumeSource:
    async def nothing(*key: Any) -> None:
        return None

    whole = {**found, "metadata": {**found["metadata"], "namespace": "default", "uid": "u"}}
    return VolumeSource(whole, nothing, cluster.client, (), "", {}, {}, real=True)


async def test_paths_of_the_machine_are_what_the_pod_says(tmp_path: Path) -> None:
    hostpaths.check(str(tmp_path / "made" / "deep"), "DirectoryOrCreate")
    assert (tmp_path / "made" / "deep").is_dir()
    hostpaths.check(str(tmp_path / "file"), "FileOrCreate")
    assert (tmp_path / "file").read_bytes() == b""
    for type, words in (
        ("Directory", "a directory"),
        ("Socket", "a socket file"),
        ("CharDevice", "a character device"),
    ):
        with pytest.raises(hostpaths.WrongPath, match=f"type check failed: .* is not {words}"):
            hostpaths.check(str(tmp_path / "file"), type)
    with pytest.raises(hostpaths.WrongPath, match="is not a file"):
        hostpaths.check(str(tmp_path / "missing"), "File")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
        hostpaths.check(str(tmp_path / "socket"), "Socket")
    hostpaths.check("/dev/null", "CharDevice")


async def test_provisioned_volume_is_a_directory_of_the_machine(cluster: World, tmp_path: Path) -> None:
    path = str(tmp_path / "volumes" / "pv")
    bound = {"metadata": {"name": "c"}, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}
    await cluster.client.create(PERSISTENTVOLUMECLAIMS, bound, "default")
    spec = {"hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    await cluster.client.create(PERSISTENTVOLUMES, {"metadata": {"name": "pv"}, "spec": spec})
    made = await source(cluster, pod()).volume({"name": "v", "persistentVolumeClaim": {"claimName": "c"}})
    assert (made.kind, made.source, made.group) == ("host", path, None)
    assert await trio.Path(path).is_dir()


async def test_token_is_renewed_at_four_fifths_of_its_life(autojump_clock: Any, cluster: World) -> None:
    made: list[int] = []

    class Client:
        async def create(self, *args: Any, **options: Any) -> Object:
            made.append(len(made))
            return {"status": {"token": f"token-{len(made)}"}}

    found: Any = source(cluster, pod())
    token = Token(type("Source", (), {"pod": found.pod, "client": Client(), "namespace": "default"})(), {"path": "t"})
    assert (await token.read(), token.due) == (b"token-1", False)
    await trio.sleep(0.8 * 3600 - 1)
    assert await token.read() == b"token-1"
    await trio.sleep(2)
    assert token.due
    assert await token.read() == b"token-2"


def test_token_belongs_to_the_one_user_of_the_pod() -> None:
    user = {"securityContext": {"runAsUser": 7}}
    assert token_owner({"spec": {"containers": [user, user]}}) == 7
    assert token_owner({"spec": {"containers": [user, {}]}}) is None
    assert token_owner({"spec": {"securityContext": {"runAsUser": 8}, "containers": [{}, {}]}}) == 8
    assert token_owner({"spec": {"containers": [{}]}}) is None


@pytest.mark.parametrize(
    ("server", "image", "fits"),
    [
        ("https://index.docker.io/v1/", "nginx", True),
        ("docker.io", "library/nginx:1", True),
        ("https://registry.example.com", "registry.example.com/team/app", True),
        ("*.example.com", "registry.example.com/app", True),
        ("*.example.com", "a.registry.example.com/app", False),
        ("registry.example.com:5000", "registry.example.com/app", False),
        ("registry.example.com/team", "registry.example.com/team/app", True),
        ("registry.example.com/team", "registry.example.com/teams/app", False),
        ("docker.io", "example.com/docker.io", False),
        ("", "nginx", False),
    ],
)
def test_credentials_are_for_the_registries_that_they_name(server: str, image: str, fits: bool) -> None:
    assert bool(matches(server, image)) == fits
