"""Pods that are made to show a behaviour of their node, on whatever runtime the cluster has.

Only what every runtime does is used: an image with busybox in it, the API over HTTP, and the clock on the wall.
"""

from __future__ import annotations

import json
import time
from itertools import count
from typing import Any

import attrs
import msgspec
from kubernetes.client import ApiClient

from kcore.testing.running import RunningCluster

IMAGE = "busybox"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_numbers = count(1)


@attrs.define
class Pods:
    """One namespace of a running cluster."""

    cluster: RunningCluster
    client: ApiClient
    namespace: str

    @property
    def ns(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}"

    def call(self, method: str, path: str, body: Any = None, expect: int = 0, type: str = "") -> Any:
        """The decoded answer. `path` is below the namespace if it does not begin with a slash."""
        content = type or (MERGE if method == "PATCH" else "application/json")
        url = self.client.configuration.host + (path if path.startswith("/") else f"{self.ns}/{path}")
        raw = None if body is None else msgspec.json.encode(body)
        pool = self.client.rest_client.pool_manager
        got = pool.request(method, url, body=raw, headers={"Content-Type": content}, retries=False)
        found = json.loads(got.data) if got.data[:1] == b"{" else got.data.decode()
        assert got.status == expect if expect else got.status < 300, (got.status, found)
        return found

    def name(self, word: str = "pod") -> str:
        return f"{word}-{next(_numbers)}"

    def create(self, spec: Any, **metadata: Any) -> str:
        """A pod; `spec` needs no more than containers."""
        name = metadata.pop("name", None) or self.name()
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}
        self.call("POST", "pods", pod, 201)
        return str(name)

    def get(self, name: str) -> Any:
        return self.call("GET", f"pods/{name}")

    def until(self, name: str, condition: Any, seconds: float = 30) -> Any:
        """The pod, as soon as it fulfils the condition."""
        end = time.monotonic() + seconds
        while not condition(found := self.get(name)):
            assert time.monotonic() < end, f"not within {seconds} s: {found.get('status')}"
            time.sleep(0.05)
        return found

    def ready(self, name: str) -> Any:
        return self.until(name, is_ready)

    def phase(self, name: str, wanted: str, seconds: float = 30) -> Any:
        return self.until(name, lambda p: p["status"].get("phase") == wanted, seconds)

    def log(self, name: str, container: str = "", query: str = "") -> str:
        return str(self.call("GET", f"pods/{name}/log?container={container or 'c'}{query}"))

    def output(self, script: str, container: Any = None, **spec: Any) -> str:
        """What a pod prints that runs the script and ends well."""
        metadata = spec.pop("metadata", {})
        name = self.create({"restartPolicy": "Never", **spec, "containers": [shell(script, **(container or {}))]},
                           **metadata)  # fmt: skip
        self.phase(name, "Succeeded")
        return self.log(name)

    def says(self, name: str, wanted: str, seconds: float = 30) -> str:
        """The log of a running pod, as soon as the text is in it."""
        end = time.monotonic() + seconds
        while wanted not in (text := self.log(name)):
            assert time.monotonic() < end, text
            time.sleep(0.05)
        return text

    def delete(self, name: str, grace: int = 0) -> None:
        self.call("DELETE", f"pods/{name}?gracePeriodSeconds={grace}")

    def gone(self, name: str, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while self.call("GET", f"pods?fieldSelector=metadata.name%3D{name}")["items"]:
            assert time.monotonic() < end
            time.sleep(0.05)

    def exec(self, name: str, *command: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, "exec", name, "--", *command)


def shell(script: str, **more: Any) -> Any:
    """A container that runs the script."""
    return {"name": "c", "image": IMAGE, "command": ["sh", "-c", script], **more}


def server(port: int = 8080, **more: Any) -> Any:
    """A container that answers HTTP."""
    script = f"mkdir -p /tmp/www; echo ok > /tmp/www/index.html; httpd -f -p {port} -h /tmp/www"
    return {"name": "c", "image": IMAGE, "command": ["sh", "-c", script], "ports": [{"containerPort": port}], **more}


def is_ready(pod: Any) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def status_of(pod: Any, name: str = "c") -> Any:
    """The status of a container."""
    members = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    every = [c for m in members for c in pod.get("status", {}).get(m) or ()]
    return next((c for c in every if c["name"] == name), {})


def restarts(pod: Any, name: str = "c") -> int:
    return int(status_of(pod, name).get("restartCount", 0))
