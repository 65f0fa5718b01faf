"""The documents keep their promises: what they show runs, where they point there is something, nothing is left out."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import attrs
import kcore_runtime_fake.behaviour
import pytest
import yaml

from kcore import cli, config, hookspecs
from kcore.config import SLOTS, TABLES
from kcore.errors import ConfigError
from kcore.plugins import Plugins, seams

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "contrib/*/*.md")
    for path in REPOSITORY.glob(pattern)
    if ".tox" not in path.parts
)
PLUGIN_GUIDE = REPOSITORY / "docs" / "plugins.md"
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
ids = [str(path.relative_to(REPOSITORY)) for path in DOCUMENTS]


@attrs.frozen
class Block:
    """A fenced block of a document. `line` is that of its first line, from 1."""

    language: str
    text: str
    line: int


def blocks(document: Path, language: str) -> list[Block]:
    text = document.read_text()
    return [
        Block(found[1], textwrap.dedent(found[2]), text.count("\n", 0, found.start(2)) + 1)
        for found in FENCE.finditer(text)
        if found[1] == language
    ]


def as_module(document: Path) -> str:
    """All Python of a document, each line where it stands there: failures name the document's own lines."""
    lines = [""] * len(document.read_text().splitlines())
    for block in blocks(document, "python"):
        for number, line in enumerate(block.text.splitlines(), block.line):
            lines[number - 1] = line
    return "\n".join(lines) + "\n"


# --- Python ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if blocks(d, "python")], ids=lambda d: d.name)
def test_the_python_of_a_document_runs(document: Path, tmp_path: Path) -> None:
    module = tmp_path / f"test_{document.stem}.py"
    module.write_text(as_module(document))
    settings = ["-o", "trio_mode=true", "-W", "error", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", "-q", *settings, str(module)]
    env = {**os.environ, "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


# --- hooks -----------------------------------------------------------------------------------------------------------


def section(seam: str) -> str:
    """What the guide says about a hook: from its heading to the next one."""
    found = re.search(rf"^## kcore_{seam}$(.*?)(?=^#+ |\Z)", _without_code(PLUGIN_GUIDE), re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/plugins.md has no section '## kcore_{seam}'"
    return found[1]


def _without_code(document: Path) -> str:
    return FENCE.sub("", document.read_text())


@pytest.mark.parametrize("seam", seams())
def test_every_hook_is_documented_with_its_signature(seam: str) -> None:
    returns = getattr(hookspecs, f"kcore_{seam}").__annotations__["return"].replace("Any]", "")
    assert f"`kcore_{seam}() -> {returns}"[:-3] in section(seam)


@pytest.mark.parametrize("seam", seams())
def test_every_hook_is_used_by_a_plugin_of_a_test(seam: str) -> None:
    """In the guide, whose Python runs as a test: a plugin implements the hook, and a test is about it."""
    tree = ast.parse(as_module(PLUGIN_GUIDE))
    functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert f"kcore_{seam}" in functions
    strings = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    tested = any(name.startswith(f"test_{seam}") for name in functions)
    assert (
        tested
        or any(c.name.startswith("Test") and seam in c.name.lower() for c in _classes(tree))
        or (
            f"{seam}s" in strings  # named in the config of the cluster at the end of the page
        )
    )


def _classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))


# --- configs and commands --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_configs_in_documents_are_good(document: Path) -> None:
    """A block that is a whole config is checked as one; of a part of one, those tables whose plugins are here."""
    plugins = Plugins()
    for block in blocks(document, "toml"):
        tables = tomllib.loads(block.text)
        if not tables.keys() <= set(TABLES):
            continue  # a pyproject.toml
        for slot in SLOTS:
            if "use" not in tables.get(slot, {}):
                continue
            try:
                plugins.choose(slot, tables[slot]["use"], tables[slot], f"{document.name}:{block.line}: {slot}")
            except ConfigError as e:
                pytest.fail(str(e))


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_yaml_in_documents_is_yaml(document: Path) -> None:
    for block in blocks(document, "yaml"):
        assert list(yaml.safe_load_all(block.text)), f"{document.name}:{block.line}"


def test_every_annotation_of_fake_pods_is_documented() -> None:
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    assert kcore_runtime_fake.behaviour.__doc__ is not None
    names = re.findall(r"^([a-z]+(?:-[a-z]+)*) {2,}\S", kcore_runtime_fake.behaviour.__doc__, re.MULTILINE)
    assert len(names) > 10
    assert [name for name in names if f"`kcore.dev/{name}`" not in text] == []


def test_every_built_in_config_is_documented() -> None:
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    assert [n for n in config.built_in_names() if "/" not in n and f"| `{n}` |" not in text] == []


COMMANDS = [(d, b) for d in DOCUMENTS for b in (*blocks(d, "sh"), *blocks(d, "console"))]


@pytest.mark.parametrize(("document", "block"), COMMANDS, ids=lambda v: v.name if isinstance(v, Path) else str(v.line))
def test_kcore_commands_in_documents_are_understood(document: Path, block: Block) -> None:
    parser = cli.parser(cli.commands())
    for words in kcore_commands(block.text):
        try:
            parsed = parser.parse_args(words)
        except SystemExit as e:
            if e.code:
                pytest.fail(f"{document.name}:{block.line}: kcore {shlex.join(words)}")
            continue
        if words[0] in ("up", "config") and not (name := getattr(parsed, "config", "dev")).endswith(".toml"):
            config.find(name)


def kcore_commands(text: str) -> Iterator[list[str]]:
    """The arguments of each call of kcore in a piece of shell."""
    for line in text.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|\|\||[|;]|\$\(|>", line.partition(" #")[0]):
            words = re.sub(r"[)<].*$", "", command).split()
            while words and ("=" in words[0] or words[0] in ("$", "sudo")):
                words = words[1:]
            if words[:1] == ["kcore"] and len(words) > 1:
                yield shlex.split(" ".join(words[1:]))


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    dead = []
    for target in LINK.findall(_without_code(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(target)
    assert not dead


def anchors(document: Path) -> set[str]:
    """The fragments that a document's headings get."""
    headings = re.findall(r"^#+ (.+)$", _without_code(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
