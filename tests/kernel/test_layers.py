"""Imports only ever point down: the floors of the house, from docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# every room of kcore/ and the floor it stands on; rooms of one floor may not import each other unless named below
FLOORS = {
    **dict.fromkeys(
        [
            "errors",
            "clock",
            "objects",
            "metrics",
            "http",
            "pki",
            "filewatch",
            "kubeconfig",
            "datadir",
            "registry",
            "timers",
            "loopback",
        ],
        1,
    ),
    **dict.fromkeys(["client", "store", "runtime", "cel", "linux"], 2),
    **dict.fromkeys(["scheduler", "controller", "node", "proxy", "dns", "api"], 3),
    **dict.fromkeys(["hookspecs", "config", "plugins"], 4),
    **dict.fromkeys(["kernel", "operations", "control"], 6),
    **dict.fromkeys(["cli", "__main__"], 7),
    "testing": 8,  # suites may use anything
    "__init__": 4,
}
SIDEWAYS = {
    ("metrics", "clock"),
    ("objects", "clock"),
    ("objects", "errors"),
    ("clock", "errors"),
    ("pki", "errors"),
    ("pki", "clock"),
    ("pki", "datadir"),
    ("kubeconfig", "errors"),
    ("kubeconfig", "pki"),
    ("datadir", "errors"),
    ("http", "errors"),
    ("http", "metrics"),
    ("http", "clock"),
    ("loopback", "errors"),
    ("linux", "runtime"),
    ("plugins", "config"),
    ("plugins", "hookspecs"),
    ("plugins", "registry"),
    ("__init__", "hookspecs"),
    ("__init__", "registry"),
    ("operations", "kernel"),
    ("operations", "control"),
    ("__main__", "cli"),
}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, those for type checkers alone left out."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(n for child in node.body for n in ast.walk(child))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "kcore":
                for alias in node.names:
                    yield node.lineno, f"kcore.{alias.name}"
            else:
                yield node.lineno, node.module


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else "__init__"


def files(top: str) -> list[Path]:
    return sorted((ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("path", files("kcore"), ids=lambda p: str(p.relative_to(ROOT)))
def test_an_import_points_down(path: Path) -> None:
    parts = path.relative_to(ROOT / "kcore").parts
    room = parts[0].removesuffix(".py")
    assert room in FLOORS, f"{room}: give this room a floor"
    for line, module in imported(path):
        if not module.startswith("kcore"):
            continue
        assert not module.startswith("kcore_"), f"{path}:{line} kcore never imports a plugin ({module})"
        target = room_of(module)
        if target == room or (target == "__init__" and room in ("cli", "testing")):
            continue
        down = FLOORS[target] < FLOORS[room] or (room, target) in SIDEWAYS
        assert down, f"{path}:{line} {room} (floor {FLOORS[room]}) imports {target} (floor {FLOORS[target]})"


@pytest.mark.parametrize("path", files("plugins"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_plugin_imports_no_other_plugin(path: Path) -> None:
    own = path.relative_to(ROOT / "plugins").parts[0]
    for line, module in imported(path):
        if module.startswith("kcore_"):
            assert module.split(".")[0] == own, f"{path}:{line} imports {module}"
        elif module.startswith("kcore"):
            above = room_of(module) in ("cli", "kernel", "operations")
            assert not above or module == "kcore.cli", f"{path}:{line} imports {module}"  # for its Command alone
