"""lightkube and kr8s, as their users use them."""

from __future__ import annotations

import pytest
from lightkube import ApiError, Client, KubeConfig, codecs
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import CascadeType, PatchType

from .conftest import MANIFESTS, Kubectl

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"app": "web"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1", "ports": [{"containerPort": 8080}]}]},
        },
    },
}


def test_lightkube(kubectl: Kubectl) -> None:
    configuration = KubeConfig.from_file(str(kubectl.cluster.kubeconfig))
    client = Client(configuration, namespace=kubectl.namespace, field_manager="lightkube")
    client.create(ConfigMap(metadata=ObjectMeta(name="settings"), data={"a": "1"}))
    client.patch(ConfigMap, "settings", {"data": {"b": "2"}}, patch_type=PatchType.MERGE)
    assert client.get(ConfigMap, "settings").data == {"a": "1", "b": "2"}
    with pytest.raises(ApiError) as conflict:
        client.create(ConfigMap(metadata=ObjectMeta(name="settings")))
    assert conflict.value.status.reason == "AlreadyExists"

    client.apply(codecs.from_dict(DEPLOYMENT), force=True)
    client.wait(Deployment, "web", for_conditions=["Available"])
    assert len(list(client.list(Pod, labels={"app": "web"}, chunk_size=1))) == 2
    scale = client.get(Deployment.Scale, "web")
    scale.spec.replicas = 3
    client.replace(scale, "web")
    for event, found in client.watch(Deployment, fields={"metadata.name": "web"}):
        assert event in ("ADDED", "MODIFIED")
        if found.status.readyReplicas == 3:
            break
    lines = (MANIFESTS / "shop.yaml").read_text()
    for each in codecs.load_all_yaml(lines):
        client.apply(each)
    assert len(list(client.list(Deployment))) > 1
    pod = next(iter(client.list(Pod, labels={"app": "web"})))
    assert isinstance("".join(client.log(pod.metadata.name)), str)
    client.delete(Deployment, "web", cascade=CascadeType.FOREGROUND)
    with pytest.raises(ApiError) as missing:
        client.get(Pod, "none")
    assert (missing.value.response.status_code, missing.value.status.reason) == (404, "NotFound")


@pytest.mark.filterwarnings("ignore:Kubernetes version v1.37.* is not supported:UserWarning")  # newer than kr8s knows
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # it leaves its connections to the garbage collector
def test_kr8s(kubectl: Kubectl) -> None:
    import kr8s
    from kr8s.objects import ConfigMap as Kr8sConfigMap
    from kr8s.objects import Deployment as Kr8sDeployment
    from kr8s.objects import new_class

    api = kr8s.api(kubeconfig=str(kubectl.cluster.kubeconfig), namespace=kubectl.namespace)
    assert api.version()["major"] == "1"
    deployment = Kr8sDeployment(
        {**DEPLOYMENT, "metadata": {**DEPLOYMENT["metadata"], "namespace": kubectl.namespace}}, api=api
    )
    deployment.create()
    deployment.wait("condition=Available", timeout=20)
    assert len(deployment.pods()) == 2
    deployment.scale(1)
    deployment.label(tier="front")
    deployment.annotate({"example.com/by": "kr8s"})
    deployment.refresh()
    assert (deployment.replicas, deployment.labels["tier"]) == (1, "front")
    settings = Kr8sConfigMap({"metadata": {"name": "s", "namespace": kubectl.namespace}, "data": {"a": "1"}}, api=api)
    settings.create()
    settings.patch({"data": {"a": "2"}})
    assert Kr8sConfigMap.get("s", namespace=kubectl.namespace, api=api).data["a"] == "2"
    pod = deployment.pods()[0]
    done = pod.exec(["echo", "here"])
    assert done.stdout == b"here\n"
    assert {n.name for n in api.get("nodes")} == {"node-1", "node-2", "node-3"}
    assert any(kind["kind"] == "Deployment" for kind in api.api_resources())
    lease = new_class("Lease", version="coordination.k8s.io/v1", namespaced=True, plural="leases")
    assert {x.name for x in api.get(lease, namespace="kube-node-lease")} >= {"node-1"}
    deployment.delete()
    deployment.wait("delete", timeout=20)
    assert not deployment.exists()
