"""kubectl apply on either side, diff, edit, patch of each type, replace, label, annotate, delete."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import Kubectl


def config_map(name: str = "cm", **data: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"app": "web"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def data(kubectl: Kubectl, name: str = "cm") -> dict[str, str]:
    found: dict[str, str] = kubectl.get("configmap", name).get("data", {})
    return found


def test_apply_creates_leaves_alone_changes_and_removes(kubectl: Kubectl) -> None:
    assert kubectl.apply(config_map(a="1", b="2")) == "configmap/cm created\n"
    assert kubectl.apply(config_map(a="1", b="2")) == "configmap/cm unchanged\n"
    kubectl("patch", "configmap", "cm", "--type=merge", "-p", '{"data":{"c":"3"}}')
    assert kubectl.apply(config_map(a="9")) == "configmap/cm configured\n"
    assert data(kubectl) == {"a": "9", "c": "3"}  # b was applied before and is not any more; c is somebody else's
    shown = json.loads(kubectl("apply", "view-last-applied", "configmap/cm", "-o", "json"))
    assert shown["data"] == {"a": "9"}
    assert kubectl("apply", "--dry-run=server", "-f", kubectl.file(config_map(a="0"))) == (
        "configmap/cm configured (server dry run)\n"
    )
    assert data(kubectl)["a"] == "9"


def test_apply_prunes_what_is_not_in_the_files_any_more(kubectl: Kubectl) -> None:
    kubectl.apply(config_map("one", a="1"), config_map("two"))
    allow = "--prune-allowlist=core/v1/ConfigMap"
    said = kubectl("apply", "--prune", "-l", "app=web", allow, "-f", kubectl.file(config_map("one", a="1")))
    assert said == "configmap/one unchanged\nconfigmap/two pruned\n"


def test_a_kustomization_is_built_and_applied(kubectl: Kubectl) -> None:
    (kubectl.directory / "cm.json").write_text(json.dumps(config_map(a="1")))
    settings = {
        "resources": ["cm.json"],
        "namePrefix": "my-",
        "configMapGenerator": [{"name": "g", "literals": ["b=2"]}],
    }
    (kubectl.directory / "kustomization.yaml").write_text(json.dumps(settings))
    first, second = sorted(kubectl("apply", "-k", str(kubectl.directory)).splitlines())
    assert first == "configmap/my-cm created"
    assert re.fullmatch(r"configmap/my-g-\w{10} created", second)


def test_dry_runs_store_nothing(kubectl: Kubectl) -> None:
    shown = kubectl("create", "deployment", "web", "--image=nginx", "--dry-run=server", "-o", "json")
    assert json.loads(shown)["spec"]["progressDeadlineSeconds"] == 600  # the server's defaults
    shown = kubectl("create", "deployment", "web", "--image=nginx", "--dry-run=client", "-o", "json")
    assert "progressDeadlineSeconds" not in json.loads(shown)["spec"]
    assert kubectl("get", "deployments").strip() == ""


def test_appliers_on_the_server_own_their_fields(kubectl: Kubectl) -> None:
    server = ("apply", "--server-side", "-f")
    mine = kubectl.file(config_map(a="1"))
    assert kubectl(*server, mine) == "configmap/cm serverside-applied\n"
    other = ("--field-manager=other",)
    assert kubectl(*server, kubectl.file(config_map(b="2")), *other) == "configmap/cm serverside-applied\n"
    conflict = kubectl.error(*server, kubectl.file(config_map(a="5")), *other)
    assert conflict.startswith('error: Apply failed with 1 conflict: conflict with "kubectl": .data.a\n')
    assert data(kubectl) == {"a": "1", "b": "2"}
    kubectl(*server, kubectl.file(config_map(a="5")), *other, "--force-conflicts")
    assert data(kubectl) == {"a": "5"}  # b has lost its only manager
    shown = kubectl("get", "configmap", "cm", "-o", "json", "--show-managed-fields")
    managers = {m["manager"]: m for m in json.loads(shown)["metadata"]["managedFields"]}
    assert managers["other"]["fieldsV1"]["f:data"] == {"f:a": {}}
    assert "f:data" not in managers["kubectl"]["fieldsV1"] or managers["kubectl"]["fieldsV1"]["f:data"] == {}


def test_applying_on_the_server_takes_over_what_was_applied_by_the_client(kubectl: Kubectl) -> None:
    kubectl.apply(config_map(a="1", b="2"))
    kubectl("apply", "--server-side", "-f", kubectl.file(config_map(a="2")))
    assert data(kubectl) == {"a": "2"}


@pytest.mark.parametrize("side", [(), ("--server-side",)], ids=["client", "server"])
def test_diff_shows_what_apply_would_change(kubectl: Kubectl, side: tuple[str, ...]) -> None:
    kubectl("apply", *side, "-f", kubectl.file(config_map(a="old")))
    assert kubectl.run("diff", *side, "-f", kubectl.file(config_map(a="old"))).returncode == 0
    done = kubectl.run("diff", *side, "-f", kubectl.file(config_map(a="new"), config_map("added")))
    assert done.returncode == 1, done.stderr
    assert "-  a: old\n+  a: new\n" in done.stdout
    assert "+  name: added\n" in done.stdout
    assert data(kubectl) == {"a": "old"}


def test_edit_sends_what_the_editor_leaves(kubectl: Kubectl) -> None:
    kubectl.apply(config_map(a="old"))
    editor = kubectl.directory / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/a: old/a: new/" "$1"\n')
    editor.chmod(0o755)
    done = kubectl.run("edit", "configmap", "cm", env={"KUBE_EDITOR": str(editor)})
    assert (done.returncode, done.stdout) == (0, "configmap/cm edited\n")
    assert data(kubectl) == {"a": "new"}
    done = kubectl.run("edit", "configmap", "cm", env={"KUBE_EDITOR": "true"})
    assert done.stderr + done.stdout == "Edit cancelled, no changes made.\n"


def test_patches_of_every_type(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    env = {"spec": {"template": {"spec": {"containers": [{"name": "nginx", "env": [{"name": "A", "value": "1"}]}]}}}}
    assert kubectl("patch", "deployment", "web", "-p", json.dumps(env)) == "deployment.apps/web patched\n"
    (container,) = kubectl.get("deployment", "web")["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["env"]) == ("nginx:1", [{"name": "A", "value": "1"}])  # merged by name
    assert kubectl("patch", "deployment", "web", "-p", json.dumps(env)) == "deployment.apps/web patched (no change)\n"
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"labels":{"x":"y","app":null}}}')
    assert kubectl.get("deployment", "web")["metadata"]["labels"] == {"x": "y"}
    steps = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 2},
        {"op": "remove", "path": "/metadata/labels/x"},
    ]
    kubectl("patch", "deployment", "web", "--type=json", "-p", json.dumps(steps))
    changed = kubectl.get("deployment", "web")
    assert changed["spec"]["replicas"] == 2
    assert "labels" not in changed["metadata"]
    refused = kubectl.error("patch", "deployment", "web", "--type=json", "-p", json.dumps(steps))
    assert refused == "The request is invalid: the server rejected our request due to an error in our request"
    said = kubectl(
        "patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", '{"spec":{"replicas":1}}'
    )
    assert said == "scale.autoscaling/web patched\n"
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 1


def test_replace_wants_the_newest_version_or_none(kubectl: Kubectl) -> None:
    kubectl("create", "-f", kubectl.file(config_map(a="1")))
    old = kubectl("get", "configmap", "cm", "-o", "json")
    assert kubectl("replace", "-f", "-", input=old.replace('"1"', '"2"')) == "configmap/cm replaced\n"
    stale = kubectl.error("replace", "-f", "-", input=old)
    assert "Error from server (Conflict)" in stale
    assert "the object has been modified" in stale
    assert kubectl("replace", "-f", kubectl.file(config_map(b="3"))) == "configmap/cm replaced\n"
    assert data(kubectl) == {"b": "3"}
    uid = kubectl.get("configmap", "cm")["metadata"]["uid"]
    kubectl("replace", "--force", "-f", kubectl.file(config_map(b="4")))
    assert kubectl.get("configmap", "cm")["metadata"]["uid"] != uid


def test_labels_and_annotations_come_change_and_go(kubectl: Kubectl) -> None:
    kubectl("create", "-f", kubectl.file(config_map()))
    assert kubectl("label", "configmap", "cm", "x=1") == "configmap/cm labeled\n"
    assert kubectl.error("label", "configmap", "cm", "x=2") == (
        "error: 'x' already has a value (1), and --overwrite is false"
    )
    kubectl("label", "configmap", "-l", "x=1", "x=2", "--overwrite")
    assert kubectl("label", "configmap", "cm", "app-") == "configmap/cm unlabeled\n"
    assert kubectl("annotate", "configmap", "cm", "why=because") == "configmap/cm annotated\n"
    metadata = kubectl.get("configmap", "cm")["metadata"]
    assert (metadata["labels"], metadata["annotations"]) == ({"x": "2"}, {"why": "because"})
    kubectl("annotate", "configmap", "cm", "why-")
    assert "annotations" not in kubectl.get("configmap", "cm")["metadata"]
    bad = kubectl.error("label", "configmap", "cm", "x=a b")
    assert "a valid label must be an empty string or consist of alphanumeric characters" in bad


def test_mistakes_are_told_as_upstream_tells_them(kubectl: Kubectl) -> None:
    typo = {**config_map(), "dato": {}}
    said = kubectl.error("create", "-f", kubectl.file(typo))
    assert 'strict decoding error: unknown field "dato"' in said
    kubectl("create", "--validate=false", "-f", kubectl.file(typo))
    empty = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "Bad Name"}]},
    }
    said = kubectl.error("apply", "-f", kubectl.file(empty))
    assert 'The Pod "p" is invalid' in said
    assert "spec.containers[0].image: Required value" in said
    assert "spec.containers[0].name: Invalid value" in said


def test_delete_by_name_file_and_selector(kubectl: Kubectl) -> None:
    namespace = kubectl.namespace
    kubectl("create", "-f", kubectl.file(*(config_map(n) for n in "abcd")))
    assert kubectl("delete", "configmap", "a") == f'configmap "a" deleted from {namespace} namespace\n'
    kubectl("delete", "-f", kubectl.file(config_map("b")))
    kubectl("delete", "configmap", "-l", "app=web")
    assert kubectl("get", "configmap", "-l", "app=web").strip() == ""
    assert kubectl.error("delete", "configmap", "a").endswith('configmaps "a" not found')
    assert kubectl("delete", "configmap", "a", "--ignore-not-found").strip() == ""


def test_delete_gives_pods_their_grace(kubectl: Kubectl) -> None:
    kubectl.pod("slow", "sleep", "1000", annotations={"kcore.dev/stop-delay": "100s"})
    kubectl("delete", "pod", "slow", "--grace-period=60", "--wait=false")
    pod = kubectl.get("pod", "slow")
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 60
    assert pod["metadata"]["deletionTimestamp"]
    assert re.search(r"slow +1/1 +Terminating", kubectl("get", "pods"))
    forced = kubectl("delete", "pod", "slow", "--grace-period=0", "--force")
    assert forced == f'pod "slow" force deleted from {kubectl.namespace} namespace\n'
    assert kubectl("get", "pods").strip() == ""


def test_delete_cascades_as_asked(kubectl: Kubectl) -> None:
    kubectl.deployment("web", replicas=1)
    kubectl("delete", "deployment", "web", "--cascade=orphan")
    (left,) = kubectl.get("replicasets")["items"]
    assert "ownerReferences" not in left["metadata"]
    assert left["status"]["readyReplicas"] == 1
    kubectl("delete", "replicaset", left["metadata"]["name"], "--cascade=foreground")
    assert kubectl("get", "replicasets,pods").strip() == ""
    kubectl.deployment("web", replicas=1)
    kubectl("delete", "deployment", "web")  # in the background
    kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=20s")


def test_a_namespace_goes_with_everything_in_it(kubectl: Kubectl) -> None:
    name = f"{kubectl.namespace}-more"
    kubectl("create", "namespace", name)
    kubectl("-n", name, "create", "deployment", "web", "--image=nginx")
    kubectl("-n", name, "create", "configmap", "cm")
    assert kubectl("delete", "namespace", name, timeout=30) == f'namespace "{name}" deleted\n'
    assert kubectl.error("get", "namespace", name) == f'Error from server (NotFound): namespaces "{name}" not found'
    assert kubectl("get", "all", "-n", name).strip() == ""


def managers(kubectl: Kubectl, name: str = "cm") -> dict[str, dict[str, Any]]:
    """What each manager holds, by "name operation"."""
    shown = json.loads(kubectl("get", "configmap", name, "-o", "json", "--show-managed-fields"))
    return {f"{m['manager']} {m['operation']}": m["fieldsV1"] for m in shown["metadata"]["managedFields"]}


def test_who_applied_on_the_client_may_go_on_on_the_server_and_back(kubectl: Kubectl) -> None:
    kubectl.apply(config_map(a="1", b="2"))
    kubectl("apply", "--server-side", "-f", kubectl.file(config_map(a="1")))
    assert data(kubectl) == {"a": "1"}  # what the client had applied, and is not applied now, goes
    found = managers(kubectl)
    assert set(found) == {"kubectl Apply", "kubectl-last-applied Apply"}
    assert found["kubectl Apply"]["f:data"] == {"f:a": {}}
    assert kubectl.apply(config_map(a="3", c="4")) == "configmap/cm configured\n"
    assert data(kubectl) == {"a": "3", "c": "4"}
    assert kubectl.apply(config_map(c="4")) == "configmap/cm configured\n"
    assert data(kubectl) == {"c": "4"}


def test_another_manager_takes_over_from_the_client_by_force_alone(kubectl: Kubectl) -> None:
    kubectl.apply(config_map(a="1", b="2"))
    other = ("apply", "--server-side", "--field-manager=other", "-f", kubectl.file(config_map(a="9")))
    said = kubectl.error(*other)
    assert 'conflict with "kubectl-client-side-apply" using v1: .data.a' in said
    kubectl(*other, "--force-conflicts")
    assert data(kubectl) == {"a": "9"}
    assert set(managers(kubectl)) == {"other Apply"}


def test_what_was_applied_last_is_set_and_edited(kubectl: Kubectl) -> None:
    made = kubectl.file(config_map(a="1"))
    kubectl("create", "-f", made)
    assert "no last-applied-configuration annotation" in kubectl.error("apply", "set-last-applied", "-f", made)
    kubectl("apply", "set-last-applied", "--create-annotation", "-f", made)
    editor = kubectl.directory / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/a: "1"/a: "7"/\' "$1"\n')
    editor.chmod(0o755)
    assert kubectl.run("apply", "edit-last-applied", "configmap/cm", env={"EDITOR": str(editor)}).returncode == 0
    shown = json.loads(kubectl("apply", "view-last-applied", "configmap/cm", "-o", "json"))
    assert (shown["data"], data(kubectl)) == ({"a": "7"}, {"a": "1"})
    assert kubectl.run("edit", "configmap", "cm", env={"EDITOR": str(editor)}).stdout == "configmap/cm edited\n"
    assert data(kubectl) == {"a": "7"}
    assert managers(kubectl)["kubectl-edit Update"] == {"f:data": {"f:a": {}}}


def test_the_status_is_applied_by_itself_and_a_scale_has_columns(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=nginx:1", "--replicas=0")
    meta = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    condition = {"type": "Mine", "status": "True", "reason": "Tried"}
    file = kubectl.file({**meta, "status": {"conditions": [condition]}, "spec": {"replicas": 9}})
    kubectl("apply", "--server-side", "--subresource=status", "--field-manager=me", "-f", file)
    found = kubectl.get("deployment", "web")
    assert "Mine" in [c["type"] for c in found["status"]["conditions"]]
    assert found["spec"]["replicas"] == 0
    table = kubectl("get", "deployment", "web", "--subresource=scale").splitlines()
    assert (table[0].split(), table[1].split()[:3]) == (["NAME", "DESIRED", "AVAILABLE", "AGE"], ["web", "0", "0"])
    wrong = kubectl.error("patch", "deployment", "web", "-p", '{"spec":{"replicas":"x"}}')
    assert wrong.endswith('patch: Invalid value: "map[spec:map[replicas:x]]": unrecognized type: int32')
