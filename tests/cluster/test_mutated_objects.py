"""Good bodies with something in them changed: taken or refused, and nothing else."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import CONFIGMAPS, Api, refused
from .test_hostile_objects import PROTOBUF

pytestmark = pytest.mark.usefixtures("unharmed")

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "bags.hostile.example"},
    "spec": {
        "group": "hostile.example",
        "scope": "Namespaced",
        "names": {"plural": "bags", "singular": "bag", "kind": "Bag"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes((n & 127 | 128,))
        n >>= 7
    return out + bytes((n,))


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(kind: str, message: bytes) -> bytes:
    return b"k8s\x00" + field(1, field(1, b"v1") + field(2, kind.encode())) + field(2, message)


GOOD_PROTOBUF = envelope("ConfigMap", field(1, field(1, b"mutant")) + field(2, field(1, b"a") + field(2, b"b")))


def mutants(good: bytes, seed: int, count: int, first: int = 0) -> Iterator[bytes]:
    """Bytes changed, left out, put in and repeated."""
    chance = random.Random(seed)
    for _ in range(count):
        body = bytearray(good)
        for _ in range(chance.randint(1, 5)):
            at = chance.randrange(first, len(body))
            how = chance.randrange(4)
            if how == 0:
                body[at] = chance.randrange(256)
            elif how == 1 and len(body) > first + 10:
                del body[at : at + chance.randrange(1, 6)]
            elif how == 2:
                body[at:at] = chance.randbytes(chance.randrange(6))
            else:
                body[at:at] = body[at : at + 20]
        yield bytes(body)


def test_mutations_of_protobuf_are_taken_or_refused(api: Api) -> None:
    assert api.call("POST", f"{CONFIGMAPS}?dryRun=All", GOOD_PROTOBUF, PROTOBUF)[0] == 201
    nested = b""
    for _ in range(2000):
        nested = field(1, nested)
    special = [
        b"",
        b"k8s\x00",
        envelope("ConfigMap", nested),
        envelope("\0", b"\x0b" * 1000),
        b"k8s\x00" + b"\xff" * 20,
    ]
    for body in [*special, *mutants(GOOD_PROTOBUF, 1, 300, first=4)]:
        code, text = api.call("POST", f"{CONFIGMAPS}?dryRun=All", body, PROTOBUF)
        assert code in (201, 400, 415, 422), (code, text, body)


OBJECTS: dict[str, Any] = {
    "/api/v1/namespaces/default/pods": {
        "metadata": {"name": "m", "labels": {"a": "b"}},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "ports": [{"containerPort": 80, "name": "p"}],
                    "resources": {"requests": {"cpu": "100m"}},
                    "livenessProbe": {"httpGet": {"port": "p", "path": "/"}},
                    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                }
            ],
            "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "x"}}]}}],
            "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 5, "effect": "NoExecute"}],
            "affinity": {
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "topologyKey": "k",
                            "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                        }
                    ]
                }
            },
        },
    },
    "/api/v1/namespaces/default/services": {
        "metadata": {"name": "m"},
        "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "x", "name": "p"}]},
    },
    "/apis/apps/v1/namespaces/default/deployments": {
        "metadata": {"name": "m"},
        "spec": {
            "replicas": 1,
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    },
    "/apis/batch/v1/namespaces/default/cronjobs": {
        "metadata": {"name": "m"},
        "spec": {
            "schedule": "* * * * *",
            "timeZone": "Etc/UTC",
            "jobTemplate": {
                "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}
            },
        },
    },
    "/apis/rbac.authorization.k8s.io/v1/clusterroles": {
        "metadata": {"name": "m"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    },
    "/apis/networking.k8s.io/v1/namespaces/default/ingresses": {
        "metadata": {"name": "m"},
        "spec": {
            "rules": [
                {
                    "host": "a.example",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "s", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ]
        },
    },
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": CRD,
    "/apis/authorization.k8s.io/v1/subjectaccessreviews": {
        "spec": {"user": "u", "groups": ["g"], "resourceAttributes": {"verb": "get", "resource": "pods"}}
    },
    "/apis/authentication.k8s.io/v1/tokenreviews": {"spec": {"token": "a.b.c", "audiences": ["x"]}},
    "/api/v1/namespaces/default/serviceaccounts/default/token": {
        "spec": {"audiences": ["a"], "expirationSeconds": 600}
    },
    "/api/v1/namespaces/default/pods/web/eviction": {
        "metadata": {"name": "web"},
        "deleteOptions": {"preconditions": {"uid": "x"}, "dryRun": ["All"]},
    },
    "/api/v1/namespaces/default/pods/web/binding": {"target": {"kind": "Node", "name": "node-1"}},
    "/apis/policy/v1/namespaces/default/poddisruptionbudgets": {
        "metadata": {"name": "m"},
        "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}},
    },
    "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers": {
        "metadata": {"name": "m"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "m", "apiVersion": "apps/v1"},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}},
                }
            ],
        },
    },
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies": {
        "metadata": {"name": "m"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": ["x"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["x"]}
                ]
            },
            "validations": [{"expression": "object.spec.replicas <= 5", "message": "m"}],
        },
    },
}
ODD: list[Any] = [
    None, True, -1, 0, 2**31, 2**63, 2**70, 1.5, "", "x", "-", "\0", "%", "²", "9" * 400, "1e999", "a/b/c", [], {},
    [None], [[]], {"": ""}, {"x": None}, "x" * 70, "Infinity", "NaN", "0x1",
]  # fmt: skip


def twisted(value: Any, chance: random.Random) -> Any:
    """A copy with some value, anywhere, replaced by an odd one, left out, or doubled."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.randint(1, 2)):
        at: Any = value
        while True:
            key = chance.choice(list(at) if isinstance(at, dict) else range(len(at)))
            if isinstance(at[key], dict | list) and at[key] and chance.random() < 0.8:
                at = at[key]
                continue
            how = chance.randrange(6)
            if how == 0:
                del at[key]
            elif how == 1 and isinstance(at, list):
                at.append(at[key])
            else:
                at[key] = chance.choice(ODD)
            break
        if not value:
            break
    return value


@pytest.mark.parametrize("path", OBJECTS)
def test_mutations_of_an_object_are_taken_or_refused(api: Api, path: str) -> None:
    chance = random.Random(path)
    good = json.dumps(OBJECTS[path]).encode()
    for body in mutants(good, 7, 25):
        code, text = api.call("POST", f"{path}?dryRun=All", body)
        assert code < 500, (code, text, body)
    for _ in range(120):
        odd = twisted(OBJECTS[path], chance)
        code, text = api.call("POST", f"{path}?dryRun=All", json.dumps(odd).encode())
        assert code < 500 or refused(code, text), (code, text, odd)
