"""What the pure functions of the API machinery cost: ``python tests/benchmarks/bench_codec.py``.

Prints microseconds per call, the best of several rounds, for a pod of about 2 KB and a deployment.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

from kcore_kinds import bundle

from kcore.api import validation
from kcore.api.codec import json, protobuf, yaml
from kcore.api.patch import apply, json_patch, merge, strategic

CONTAINER = {
    "name": "web",
    "image": "registry.example.com/team/web:1.2.3",
    "args": ["--port=8080", "--log-level=info"],
    "env": [
        {"name": "A", "value": "1"},
        {"name": "POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
    ],
    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
    "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
    "livenessProbe": {
        "httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"},
        "periodSeconds": 10,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 3,
    },
    "volumeMounts": [{"name": "config", "mountPath": "/etc/web", "readOnly": True}],
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "IfNotPresent",
}
SPEC = {
    "containers": [CONTAINER, {**CONTAINER, "name": "side"}],
    "volumes": [{"name": "config", "configMap": {"name": "web", "defaultMode": 420}}],
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "serviceAccountName": "default",
    "nodeName": "node-1",
    "securityContext": {},
    "schedulerName": "default-scheduler",
    "tolerations": [
        {
            "key": "node.kubernetes.io/not-ready",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 300,
        }
    ],
}
META = {"name": "web-1", "namespace": "default", "labels": {"app": "web", "tier": "front"}, "annotations": {"a": "b"}}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": META, "spec": SPEC}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": META,
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": SPEC},
    },
}


def measure(name: str, call: Callable[[], Any], n: int = 500) -> None:
    call()
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(n):
            call()
        best = min(best, (time.perf_counter() - start) / n)
    print(f"{name:<55}{best * 1e6:8.1f} us")


def decode_and_check(body: bytes, schema: Any, kind: str) -> Any:
    obj = json.decode(body)
    json.duplicate_fields(body, obj)
    validation.prepare(obj, schema, kind)
    validation.metadata(obj, True)
    return obj


def main() -> None:
    for obj, definition in ((POD, "io.k8s.api.core.v1.Pod"), (DEPLOYMENT, "io.k8s.api.apps.v1.Deployment")):
        schema, body = bundle.schema(definition), json.encode(obj)
        codecs(body, schema, obj)
        patches(body, schema, obj)
        managed(body, schema, obj)


def codecs(body: bytes, schema: Any, obj: Any) -> None:
    wire, text = protobuf.encode(obj), yaml.encode(obj)
    print(f"--- {obj['kind']}: {len(body)} bytes of JSON, {len(wire)} of protobuf")
    measure("json decode", lambda: json.decode(body))
    measure("json decode, duplicates, type, metadata", lambda: decode_and_check(body, schema, obj["kind"]))
    measure("json encode", lambda: json.encode(obj))
    measure("protobuf decode", lambda: protobuf.decode(wire))
    measure("protobuf encode", lambda: protobuf.encode(obj))
    measure("yaml decode", lambda: yaml.decode(text), 50)


def patches(body: bytes, schema: Any, obj: Any) -> None:
    label = {"metadata": {"labels": {"x": "y"}}}
    operation = [{"op": "add", "path": "/metadata/labels/x", "value": "y"}]
    container = obj["spec"].get("template", obj)["spec"]["containers"][0]
    pod_spec = {"containers": [{"name": container["name"], "image": "new"}]}
    change = {"spec": {"template": {"spec": pod_spec}}} if "template" in obj["spec"] else {"spec": pod_spec}
    measure("merge patch, with decoding", lambda: merge.apply(json.decode(body), label))
    measure("json patch, with decoding", lambda: json_patch.apply(json.decode(body), operation))
    measure(
        "strategic patch, with decoding", lambda: strategic.apply(json.decode(body), copy.deepcopy(change), schema)
    )


def managed(body: bytes, schema: Any, obj: Any) -> None:
    at = {"api_version": obj["apiVersion"], "time": "2024-01-01T00:00:00Z"}
    live = json.decode(body)
    apply.update_managed_fields(None, live, schema, manager="m", **at)
    stored = json.encode(live)

    def create() -> None:
        apply.update_managed_fields(None, json.decode(body), schema, manager="m", **at)

    def status() -> None:
        new = json.decode(stored)
        new["status"] = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}
        apply.update_managed_fields(live, new, schema, manager="n", subresource="status", **at)

    def nothing() -> None:
        apply.update_managed_fields(live, json.decode(stored), schema, manager="m", **at)

    measure("managed fields of a create, with decoding", create)
    measure("managed fields of a status update, with decoding", status)
    measure("managed fields of no change, with decoding", nothing)
    measure("apply", lambda: apply.apply(live, obj, schema, manager="a", force=True, **at))


if __name__ == "__main__":
    main()
