"""Which test shows which of the behaviours that certify a cluster as Kubernetes.

A test says so with ``@pytest.mark.conformance("name", ...)``. The names are those of the conformance programme of
Kubernetes 1.36, without the tags for how its own tests are run.

    python -m tests.conformance.coverage      lists every behaviour with the tests that show it
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent

REAL_CONTAINERS = {
    "Kubectl client Guestbook application should create and stop a working application": (
        "the guestbook is three images that keep what visitors write"
    ),
    "Security Context When creating a pod with privileged should run the container as unprivileged when false "
    "(LinuxOnly)": "only a kernel refuses what a process may not do",
    "Security Context when creating containers with AllowPrivilegeEscalation should not allow privilege escalation "
    "when false (LinuxOnly)": "only a kernel refuses what a process may not do",
}
"""Behaviours that only processes of real containers can show, each with what it would take."""


MISSING = {
    "VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a "
    "VolumeAttributesClass": "nothing removes the finalizer that protects a class",
    "Pods should support retrieving logs from the container over websockets": "logs are not served over WebSockets",
    "CSIInlineVolumes should support CSIVolumeSource in Pod API": "there is no CSI",
}
"""Behaviours that the cluster does not have, each with what is missing."""


def behaviours() -> dict[str, list[str]]:
    """The names of the behaviours of each special interest group."""
    found: dict[str, list[str]] = {}
    for line in (HERE / "behaviours.txt").read_text().splitlines():
        if line.startswith("# "):
            names = found.setdefault(line[2:], [])
        elif line:
            names.append(line)
    return found


def shown() -> dict[str, list[str]]:
    """The tests ("room/test_file.py::test_name") that show each behaviour."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if "mark.conformance" not in text and '"behaviour", ' not in text:
            continue
        for test, name in _marks(ast.parse(text)):
            found.setdefault(name, []).append(f"{path.relative_to(TESTS)}::{test}")
    return found


def _marks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(test, behaviour) of each decorator, and of each case of a parametrized one."""
    tables = {  # a test with a parameter `behaviour` has its cases in a dictionary of the file
        node.target.id: [k.value for k in node.value.keys if isinstance(k, ast.Constant)]
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict) and isinstance(node.target, ast.Name)
    }
    for test in tree.body:
        if not isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in test.decorator_list:
            call = ast.unparse(decorator)
            for name, cases in tables.items():
                if call.startswith("pytest.mark.parametrize('behaviour', ") and call.endswith(f" {name})"):
                    yield from ((test.name, case) for case in cases)
            for node in ast.walk(decorator):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.conformance":
                    yield from ((test.name, ast.literal_eval(name)) for name in node.args)


def main() -> None:
    tests = shown()
    for group, names in behaviours().items():
        covered = [name for name in names if name in tests]
        print(f"\n{group}: {len(covered)} of {len(names)}")
        for name in names:
            print(f"  {name}")
            for where in tests.get(name) or [f"-- {REAL_CONTAINERS.get(name) or MISSING.get(name, 'not tested')}"]:
                print(f"      {where}")


if __name__ == "__main__":
    main()
