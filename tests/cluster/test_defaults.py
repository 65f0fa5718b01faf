"""What a cluster refuses and grants when nothing is configured, as kubeadm's would."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kcore.testing.running import RunningCluster, running


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    with running("memory", set={"nodes.count": 1}) as cluster:
        yield cluster


def test_a_namespace_that_asks_for_it_takes_no_privileged_pods(cluster: RunningCluster) -> None:
    cluster.kubectl("create", "namespace", "strict")
    cluster.kubectl("label", "namespace", "strict", "pod-security.kubernetes.io/enforce=baseline")
    refused = cluster.run_kubectl("run", "p", "--image=x", "--privileged", "-n", "strict", check=False)
    assert 'violates PodSecurity "baseline:latest": privileged' in refused.stderr
    cluster.kubectl("run", "p", "--image=x", "-n", "strict")


def test_a_quota_refuses_what_goes_beyond_it(cluster: RunningCluster) -> None:
    cluster.kubectl("create", "namespace", "small")
    cluster.kubectl("create", "quota", "q", "--hard=configmaps=2", "-n", "small")
    cluster.kubectl("wait", "--for=jsonpath={.status.used.configmaps}=1", "quota/q", "-n", "small", "--timeout=20s")
    cluster.kubectl("create", "configmap", "one", "-n", "small")
    refused = cluster.run_kubectl("create", "configmap", "two", "-n", "small", check=False)
    assert "exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2" in refused.stderr


def test_a_node_touches_only_itself(cluster: RunningCluster) -> None:
    told = cluster.kcore("kubeconfig", "--user", "system:node:other", "--group", "system:nodes").stdout
    (cluster.directory / "other.kubeconfig").write_text(told)
    other = ["--kubeconfig", str(cluster.directory / "other.kubeconfig")]
    refused = cluster.run_kubectl("label", "node", "node-1", "a=b", *other, check=False)
    assert "node 'other' cannot read 'node-1', only its own Node object" in refused.stderr


def test_claims_get_a_volume_from_the_default_class(cluster: RunningCluster) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}
    pod_spec = {
        "containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "d", "mountPath": "/data"}]}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "keeper"}, "spec": pod_spec}
    cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": [claim, pod]}))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/keeper", "--timeout=20s")
    assert cluster.get("pvc", "data")["status"]["phase"] == "Bound"
