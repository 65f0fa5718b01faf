"""Run schemathesis over the documents that a server publishes of itself.

It makes requests that the documents allow and requests that they do not, and finds any 5xx, any status, content type
or header that is not documented, and any answer that is not as its schema says.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from kcore.testing.running import running

HERE = Path(__file__).resolve().parent
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
CUSTOM = "apis/fuzz.kcore.dev/v1"
"""The document of a custom kind whose schema has something of everything."""
_SCHEMA = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["title"],
            "properties": {
                "title": {"type": "string", "minLength": 1, "maxLength": 20, "pattern": "^[a-z]+$"},
                "pages": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9999, "default": 100},
                "price": {"type": "number", "nullable": True},
                "port": {"x-kubernetes-int-or-string": True},
                "language": {"type": "string", "enum": ["de", "en", "fr"]},
                "printed": {"type": "string", "format": "date-time"},
                "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "notes": {"type": "object", "additionalProperties": {"type": "string"}},
                "authors": {
                    "type": "array",
                    "maxItems": 5,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "born": {"type": "integer", "format": "int64"}},
                    },
                },
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer", "format": "int32"}}},
    },
}
_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "books.fuzz.kcore.dev"},
    "spec": {
        "group": "fuzz.kcore.dev",
        "scope": "Namespaced",
        "names": {"plural": "books", "singular": "book", "kind": "Book"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": _SCHEMA},
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.pages", "statusReplicasPath": ".status.replicas"},
                },
            }
        ],
    },
}
_GENERATED = re.compile(r"(\d+) generated")


@attrs.frozen
class Outcome:
    """What a run over one document has come to."""

    document: str
    requests: int
    report: str
    passed: bool


@attrs.define
class Fuzzer:
    """A server to be fuzzed, and the files with which its administrator is known to it."""

    directory: Path
    server: str
    certificate: Path
    key: Path

    def documents(self) -> list[str]:
        """The names of all that the server publishes."""
        return list(json.loads(self._get("/openapi/v3"))["paths"])

    def run(self, document: str, *, examples: int, seconds: float) -> Outcome:
        """Fuzz one document; `examples` is how many requests are drawn at random for each operation."""
        path = self.directory / (document.replace("/", "_") + ".json")
        path.write_bytes(self._get(f"/openapi/v3/{document}"))
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", str(path), "--url", self.server, "--tls-verify", "false", "--no-color", "--workers", "1"),
            *("--request-cert", str(self.certificate), "--request-cert-key", str(self.key)),
            *("--checks", ",".join(_CHECKS), "--phases", "coverage,fuzzing", "--max-examples", str(examples)),
            *("--exclude-path-regex", "/watch/", "--continue-on-failure", "--no-shrink"),
            *("--request-timeout", "30", "--generation-deterministic"),
            *("--suppress-health-check", "all"),
        ]
        env = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "COLUMNS": "200"}
        done = subprocess.run(
            command, env=env, cwd=self.directory, capture_output=True, text=True, timeout=seconds, check=False
        )
        generated = _GENERATED.search(done.stdout)
        requests = int(generated.group(1)) if generated else 0
        return Outcome(document, requests, done.stdout + done.stderr, done.returncode == 0 and requests > 0)

    def _get(self, path: str) -> bytes:
        import http.client
        import ssl

        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(self.certificate, self.key)
        connection = http.client.HTTPSConnection(self.server.removeprefix("https://"), context=context, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            return body
        finally:
            connection.close()


@contextmanager
def fuzzer(config: str = "api-only") -> Iterator[Fuzzer]:
    """A fuzzer of a server of its own."""
    with running(config) as cluster:
        cluster.kubectl("apply", "-f", "-", input=json.dumps(_CRD))
        cluster.kubectl("wait", "--for=condition=Established", "crd/books.fuzz.kcore.dev")
        kubeconfig = json.loads(cluster.kubeconfig.read_text())
        user = kubeconfig["users"][0]["user"]
        files = {}
        for name in ("client-certificate", "client-key"):
            files[name] = cluster.directory / f"{name}.pem"
            files[name].write_bytes(base64.b64decode(user[f"{name}-data"]))
        server = kubeconfig["clusters"][0]["cluster"]["server"]
        yield Fuzzer(cluster.directory, server, files["client-certificate"], files["client-key"])
        assert cluster.process.poll() is None, cluster.said
        assert "Traceback" not in cluster.said, cluster.said
