"""Webhooks and policies with the real kubectl, on a whole cluster."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kcore.errors import KcoreError
from kcore.pki import Pki
from kcore.testing.running import RunningCluster, running

REVIEW = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        response: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": True}
        if self.path.startswith("/deny"):
            response |= {
                "allowed": False,
                "status": {"message": "not on my watch", "code": 403, "reason": "Forbidden"},
            }
        else:
            operations = [{"op": "add", "path": "/metadata/annotations", "value": {"hooked": "yes"}}]
            patch = base64.b64encode(json.dumps(operations).encode()).decode()
            response |= {"patchType": "JSONPatch", "patch": patch, "warnings": ["hooked"]}
        body = json.dumps({**REVIEW, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def hooks(pki: Pki) -> Iterator[tuple[str, str]]:
    """(address, CA) of a webhook server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = pki.server_context(["127.0.0.1"]).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", base64.b64encode(pki.ca_pem).decode()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    with running("memory") as made:
        yield made


def configuration(kind: str, hooks: tuple[str, str], path: str, resource: str) -> str:
    address, ca = hooks
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}
    webhook = {
        "name": f"{path}.example.com",
        "clientConfig": {"url": f"{address}/{path}", "caBundle": ca},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchLabels": {"hooked": "yes"}},
    }
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": path},
        "webhooks": [webhook],
    }
    return json.dumps(body)


def eventually(what: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_webhooks_change_refuse_and_warn(cluster, hooks):
    cluster.kubectl("create", "namespace", "hooked")
    cluster.kubectl("label", "namespace", "hooked", "hooked=yes")
    cluster.kubectl("apply", "-f", "-", input=configuration("Mutating", hooks, "change.it", "configmaps"))
    cluster.kubectl("apply", "-f", "-", input=configuration("Validating", hooks, "deny.it", "secrets"))
    made = cluster.run_kubectl("create", "configmap", "a", "-n", "hooked")
    assert "Warning: hooked" in made.stderr
    assert cluster.get("configmap", "a", "-n", "hooked")["metadata"]["annotations"] == {"hooked": "yes"}
    with pytest.raises(
        KcoreError, match=r'admission webhook "deny.it.example.com" denied the request: not on my watch'
    ):
        cluster.kubectl("create", "secret", "generic", "s", "-n", "hooked")
    cluster.kubectl("create", "secret", "generic", "s", "-n", "default")
    cluster.kubectl("create", "configmap", "b", "-n", "hooked", "--dry-run=server")
    cluster.kubectl("delete", "mutatingwebhookconfiguration", "change.it")
    cluster.kubectl("delete", "validatingwebhookconfiguration", "deny.it")


POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: replicas}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: judged}}
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  validations:
  - expression: object.spec.replicas <= 2
    messageExpression: "'no more than 2, not ' + string(object.spec.replicas)"
  - expression: "!has(object.spec.nope)"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: replicas}
spec: {policyName: replicas, validationActions: [Deny]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: sidecar}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: judged}}
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'sidecar', image: 'sidecar'}]}}"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: sidecar}
spec: {policyName: sidecar}
"""


def test_policies_judge_and_change_what_controllers_write_too(cluster):
    cluster.kubectl("create", "namespace", "judged")
    cluster.kubectl("apply", "-f", "-", input=POLICY)
    with pytest.raises(KcoreError, match=r"with binding 'replicas' denied request: no more than 2, not 3"):
        cluster.kubectl("create", "deployment", "d", "--image=i", "--replicas=3", "-n", "judged")
    cluster.kubectl("create", "deployment", "d", "--image=i", "--replicas=2", "-n", "judged")
    cluster.kubectl("rollout", "status", "deployment/d", "-n", "judged", "--timeout=30s")
    for pod in cluster.get("pods", "-n", "judged")["items"]:
        assert [c["name"] for c in pod["spec"]["containers"]] == ["i", "sidecar"]


def test_the_status_says_what_does_not_fit(cluster):
    def checked() -> bool:
        status = cluster.get("validatingadmissionpolicy", "replicas").get("status") or {}
        return status.get("observedGeneration") == 1

    eventually(checked)
    status = cluster.get("validatingadmissionpolicy", "replicas")["status"]
    (warning,) = status["typeChecking"]["expressionWarnings"]
    assert warning["fieldRef"] == "spec.validations[1].expression"
    assert "undefined field 'nope'" in warning["warning"]


CUSTOM = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - &version
    name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {size: {type: integer}, kind: {type: string, default: plain}}
  - <<: *version
    name: v2
    storage: false
"""

CUSTOM_POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: widgets}
spec:
  paramKind: {apiVersion: example.com/v1, kind: Widget}
  matchConstraints:
    resourceRules:
    - {apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [widgets]}
  validations:
  - expression: object.spec.size <= params.spec.size
    messageExpression: "request.kind.version + ' ' + object.apiVersion + ' over ' + string(params.spec.size)"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: widgets}
spec:
  policyName: widgets
  validationActions: [Deny]
  paramRef: {name: limit, parameterNotFoundAction: Deny}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: widgets}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [widgets]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{spec: Object.spec{kind: object.spec.kind + '!'}}"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: widgets}
spec: {policyName: widgets}
"""


def widget(name: str, size: int, version: str) -> str:
    body = {
        "apiVersion": f"example.com/{version}",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": size},
    }
    return json.dumps(body)


def test_custom_resources_are_judged_and_changed_in_the_version_of_the_rules(cluster):
    cluster.kubectl("apply", "-f", "-", input=CUSTOM)
    cluster.kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=30s")
    cluster.kubectl("create", "-f", "-", input=widget("limit", 5, "v2"))
    cluster.kubectl("apply", "-f", "-", input=CUSTOM_POLICY)
    with pytest.raises(KcoreError, match=r"denied request: v1 example.com/v1 over 5"):
        cluster.kubectl("create", "-f", "-", input=widget("big", 6, "v2"))
    cluster.kubectl("create", "-f", "-", input=widget("small", 4, "v2"))
    made = cluster.get("widgets.v2.example.com", "small")
    assert (made["apiVersion"], made["spec"]) == ("example.com/v2", {"size": 4, "kind": "plain!"})
