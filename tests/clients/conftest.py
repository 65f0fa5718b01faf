"""One dev cluster for all tests of real clients, and a namespace of its own for each test."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest

from kcore.cli.kubectl import find_kubectl
from kcore.testing.running import RunningCluster, running

MANIFESTS = Path(__file__).parent / "manifests"
_LIST = {"apiVersion": "v1", "kind": "List"}
_numbers = count(1)


@attrs.define
class Background:
    """A kubectl that goes on while the test does: watches, logs -f, port-forward."""

    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def until(self, condition: Callable[[str], Any], seconds: float = 20) -> str:
        """All that it has said, as soon as it fulfils the condition."""
        return wait_until(self.said, condition, seconds)


@attrs.define
class Kubectl:
    """The real kubectl in one namespace; a call is what it prints."""

    cluster: RunningCluster
    namespace: str
    directory: Path

    def __call__(self, *arguments: str, input: str = "", timeout: float = 30) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, input=input, timeout=timeout)

    def run(
        self, *arguments: str, input: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same without a check of the exit code."""
        return self.cluster.run_kubectl(
            "-n", self.namespace, *arguments, input=input, check=False, timeout=30, env=env
        )

    def error(self, *arguments: str, input: str = "") -> str:
        """What it says of its failure."""
        done = self.run(*arguments, input=input)
        assert done.returncode != 0, done.stdout
        return done.stderr.strip()

    def get(self, *arguments: str) -> Any:
        return json.loads(self("get", *arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> str:
        """``kubectl apply`` of objects."""
        return self("apply", "-f", self.file(*objects))

    def file(self, *objects: dict[str, Any]) -> str:
        """A file with these objects."""
        path = self.directory / f"objects-{next(_numbers)}.json"
        path.write_text(json.dumps(objects[0] if len(objects) == 1 else {**_LIST, "items": objects}))
        return str(path)

    @contextmanager
    def background(self, *arguments: str) -> Iterator[Background]:
        program = find_kubectl()
        assert program is not None
        output = self.directory / f"output-{next(_numbers)}"
        command = [program, "--kubeconfig", str(self.cluster.kubeconfig), "-n", self.namespace, *arguments]
        with output.open("wb") as file:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield Background(process, output)
        finally:
            process.kill()
            process.wait()

    def deployment(self, name: str, *options: str, replicas: int = 2) -> None:
        """A deployment that has been rolled out."""
        self("create", "deployment", name, "--image=nginx:1", "--port=8080", f"--replicas={replicas}", *options)
        self("rollout", "status", f"deployment/{name}")

    def pod(self, name: str, *command: str, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """A pod that is ready, with one container named ``c``."""
        container = {"name": "c", "image": "busybox", "command": list(command), "ports": [{"containerPort": 8080}]}
        if not command:
            del container["command"]
        metadata = {"name": name, "labels": {"app": name}, "annotations": annotations or {}}
        wanted = {"containers": [container], **spec}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": wanted})
        self("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=20s")


def wait_until(look: Callable[[], Any], condition: Callable[[Any], Any], seconds: float = 20) -> Any:
    """What `look` sees, as soon as it fulfils the condition. Real clients have no virtual clock: this looks often."""
    until = time.monotonic() + seconds
    while not condition(seen := look()):
        assert time.monotonic() < until, f"not seen within {seconds} s; last: {seen!r}"
        time.sleep(0.05)
    return seen


@pytest.fixture(scope="package")
def cluster() -> Iterator[RunningCluster]:
    with running("dev") as cluster:
        yield cluster


@pytest.fixture
def kubectl(cluster: RunningCluster, tmp_path: Path) -> Iterator[Kubectl]:
    name = f"test-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    yield Kubectl(cluster, name, tmp_path)
    cluster.kubectl("delete", "namespace", name, "--wait=false")
