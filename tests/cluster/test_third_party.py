"""A plugin as third parties ship it: two wheels in a fresh environment, a config that names the policy, a decision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcore.testing.running import RunningCluster, kcore_of, running

REPOSITORY = Path(__file__).parents[2]
PLUGIN = REPOSITORY / "contrib" / "kcore-policy-data-locality"
CONFIG = """
[cluster]
name = "locality"

[store]
use = "memory"

[api]
use = "http"

[controller_manager]
use = "default"

[scheduler]
use = "default"
policies = [
  "PrioritySort", "SchedulingGates", "NodeUnschedulable", "TaintToleration", "NodeAffinity", "NodeResourcesFit",
  { name = "DataLocality", weight = 10, args = { nearby_share = 0.25 } },
  "DefaultPreemption", "DefaultBinder",
]

[nodes]
use = "embedded"
count = 4
runtime = { use = "fake", sockets = false }
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment into which kcore and the plugin were installed as wheels.

    Their dependencies are those of the environment that runs the tests: nothing is downloaded.
    """
    wheels, home = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("fresh") / "venv"
    pip = [sys.executable, "-m", "pip"]
    offline = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", str(wheels)]
    succeed([*build, str(REPOSITORY), str(PLUGIN)])
    venv.create(home, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    # after the environment's own packages, and without the editable installs that .pth files there bring
    (packages / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")))
    python = str(home / "bin" / "python")
    succeed([*pip, "--python", python, "install", "--ignore-installed", *offline, *map(str, wheels.glob("*.whl"))])
    return python


@pytest.fixture(scope="module")
def cluster(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    config = tmp_path_factory.mktemp("conf") / "locality.toml"
    config.write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH", raising=False)
        patch.chdir(config.parent)
        with running(str(config), python=python) as cluster:
            yield cluster


def succeed(command: list[str]) -> str:
    # an environment of another Python must not leak in, and the current directory is no source of modules
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheels_carry_all_that_they_need(python: str) -> None:
    home = Path(python).parents[1]
    for module in ("kcore", "kcore_kinds", "kcore_policy_data_locality"):
        file = succeed([python, "-P", "-c", f"import {module}; print({module}.__file__)"])
        assert Path(file).is_relative_to(home)
    (package,) = home.glob("lib/python*/site-packages/kcore")
    built_in = {str(p.relative_to(REPOSITORY / "conf")) for p in (REPOSITORY / "conf").rglob("*.toml")}
    assert {str(p.relative_to(package / "conf")) for p in (package / "conf").rglob("*.toml")} == built_in
    assert succeed([*kcore_of(python), "config", "list"]).split() == sorted(p.removesuffix(".toml") for p in built_in)


def test_the_plugins_own_tests_pass_there(python: str) -> None:
    succeed([python, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN)])


def test_a_pod_goes_where_its_data_is(cluster: RunningCluster) -> None:
    cluster.kubectl("label", "node", "node-3", "dataset.kcore.dev/imagenet=150G")
    pods = [pod(f"reader-{n}", reads="imagenet") for n in range(3)]
    pods.append(pod("strict", reads="imagenet,coco", required="true"))
    cluster.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "-l", "data=imagenet", "--timeout=20s")
    placed = {p["metadata"]["name"]: p["spec"].get("nodeName") for p in cluster.get("pods")["items"]}
    assert placed == {"reader-0": "node-3", "reader-1": "node-3", "reader-2": "node-3", "strict": None}
    cluster.kubectl("wait", "--for=condition=PodScheduled=False", "pod/strict", "--timeout=20s")
    (condition,) = cluster.get("pod", "strict")["status"]["conditions"]
    assert "node(s) didn't hold all required datasets" in condition["message"]
    cluster.kubectl("label", "node", "node-2", "dataset.kcore.dev/imagenet=yes", "dataset.kcore.dev/coco=20G")
    cluster.kubectl("wait", "--for=jsonpath={.spec.nodeName}=node-2", "pod/strict", "--timeout=20s")


def test_it_is_listed_as_in_use(cluster: RunningCluster) -> None:
    listed = json.loads(cluster.kcore("plugins", "-o", "json").stdout)
    (policies,) = (s["installed"] for s in listed if s["seam"] == "policy")
    (ours,) = (p for p in policies if p["name"] == "DataLocality")
    assert ours["from"] == "kcore-policy-data-locality 0.1.0"
    assert ours["inUse"]


def test_its_settings_are_checked_before_anything_starts(python: str, tmp_path: Path) -> None:
    config = tmp_path / "bad.toml"
    config.write_text(CONFIG.replace("nearby_share", "nearby_shore"))
    command = [*kcore_of(python), "up", "-c", str(config), "--data-dir", str(tmp_path / "d")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'nearby_share'?" in done.stderr


def pod(name: str, reads: str, **more: str) -> dict[str, object]:
    annotations = {"datasets.kcore.dev/reads": reads} | {f"datasets.kcore.dev/{k}": v for k, v in more.items()}
    labels = {} if more else {"data": reads}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {"containers": [{"name": "c", "image": "reader:1"}], "automountServiceAccountToken": False},
    }
