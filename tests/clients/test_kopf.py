"""A kopf operator: handlers, timers, daemons and its own admission webhooks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kcore.pki import Pki
from kcore.testing.running import free_port

from .conftest import Background, Kubectl, wait_until

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "tunes.jukebox.example.com"},
    "spec": {
        "group": "jukebox.example.com",
        "scope": "Namespaced",
        "names": {"plural": "tunes", "singular": "tune", "kind": "Tune", "shortNames": ["tn"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["title"],
                                "properties": {
                                    "title": {"type": "string"},
                                    "artist": {"type": "string"},
                                    "seconds": {"type": "integer", "default": 180},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def keys(directory: Path) -> Path:
    """A directory with a CA of the operator's own and a certificate for loopback."""
    pki = Pki.open(directory / "pki")
    certificate, key = pki.server_certificate(["127.0.0.1"])
    (directory / "ca.pem").write_bytes(pki.ca_pem)
    (directory / "server.pem").write_bytes(certificate)
    (directory / "server-key.pem").write_bytes(key)
    return directory


@pytest.fixture
def operator(kubectl: Kubectl) -> Iterator[Background]:
    """The operator in the test's namespace, as soon as its webhooks are registered."""
    kubectl.apply(CRD)
    kubectl("wait", "--for=condition=established", "crd/tunes.jukebox.example.com")
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubectl.cluster.kubeconfig),
        "JUKEBOX_PORT": str(free_port()),
        "JUKEBOX_KEYS": str(keys(kubectl.directory)),
    }
    log = kubectl.directory / "operator.log"
    module = Path(__file__).with_name("jukebox_operator.py")
    command = [sys.executable, "-m", "kopf", "run", str(module), "--namespace", kubectl.namespace, "--standalone"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        background = Background(process, log)
        for kind in ("validating", "mutating"):
            configurations = partial(kubectl.get, f"{kind}webhookconfigurations")
            wait_until(configurations, lambda found: found["items"] and found["items"][0].get("webhooks"))
        yield background
        process.terminate()
        assert process.wait(15) == 0, background.said()
    finally:
        process.kill()
        process.wait()
        kubectl("delete", "crd/tunes.jukebox.example.com", "--wait=false")


def tune(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "jukebox.example.com/v1", "kind": "Tune", "metadata": {"name": name}, "spec": spec}


def test_an_operator_handles_its_kind(kubectl: Kubectl, operator: Background) -> None:
    kubectl.apply(tune("one", title="So What"))
    made = wait_until(lambda: kubectl.run("get", "cm", "one", "-o", "json"), lambda done: done.returncode == 0)
    assert '"artist": "unknown"' in made.stdout  # the mutating webhook was there before
    one = wait_until(lambda: kubectl.get("tune", "one"), lambda o: o.get("status", {}).get("plays") == 3)
    assert one["spec"] == {"title": "So What", "artist": "unknown", "seconds": 180}
    assert "stopped turning" not in operator.said()
    assert one["status"]["created"] == {"config-map": "one"}
    assert one["metadata"]["finalizers"] == ["jukebox.example.com/stylus"]

    kubectl("patch", "tune", "one", "--type=merge", "-p", '{"spec": {"title": "Blue in Green"}}')
    wait_until(lambda: kubectl.get("cm", "one")["data"]["title"], lambda title: title == "Blue in Green")

    assert "silence is no tune" in kubectl.error(
        "patch", "tn", "one", "--type=merge", "-p", '{"spec":{"title":"silence"}}'
    )
    assert 'admission webhook "no-silence.' in kubectl.error("apply", "-f", kubectl.file(tune("two", title="silence")))
    assert kubectl.run("get", "tune", "two").returncode == 1
    warned = kubectl.run("apply", "-f", kubectl.file(tune("long", title="Dark Star", seconds=1400)))
    assert "Warning: a long tune" in warned.stderr
    wait_until(lambda: kubectl("events", "--for", "tune/one"), lambda events: "on the turntable: So What" in events)

    kubectl("delete", "tune", "one", "long")  # waits until the operator has let them go
    assert kubectl.get("tunes")["items"] == []
    assert kubectl.get("cm", "one-was-here")["kind"] == "ConfigMap"
    wait_until(lambda: kubectl.run("get", "cm", "one").returncode, lambda code: code == 1)  # its owner is gone
    assert "stopped turning" in operator.said()
    assert "Traceback" not in operator.said()
