"""The compatibility page tells the truth: about every kind, controller, policy and command."""

from __future__ import annotations

import re
from pathlib import Path

from kcore.plugins import Plugins

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "compatibility.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| `([\w./]+)` \| (acted on|answered|stored) \| (.*)\|$", re.MULTILINE)


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def names(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_every_kind_that_is_served_is_in_the_table_and_no_other() -> None:
    rows = [(plural, version) for plural, version, _, _ in ROW.findall(section("Kinds"))]
    served = [(kind.plural, kind.api_version) for kind in Plugins().offers("kinds")]
    assert len(rows) == section("Kinds").count("\n| `"), "a row has another form"
    assert sorted(rows) == sorted(served)


def test_what_is_never_stored_is_said_to_be_answered() -> None:
    said = {(plural, version): what for plural, version, what, _ in ROW.findall(section("Kinds"))}
    for kind in Plugins().offers("kinds"):
        assert (said[kind.plural, kind.api_version] == "answered") == kind.virtual, kind.resource


def test_every_controller_is_named_and_none_is_missing_that_is_here() -> None:
    here, _, missing = section("Controllers").partition("Not there:")
    offered = {provider.name for provider in Plugins().offers("controller")}
    assert names(here) == offered
    assert not names(missing) & offered


def test_every_scheduling_policy_is_named_and_none_is_missing_that_is_here() -> None:
    here, _, missing = section("Scheduler").partition("Not there:")
    offered = {provider.name for provider in Plugins().offers("policy", "builtin")}
    assert {name for name in offered if name[0].isupper()} <= names(here) | {"DataLocality"}
    assert not names(missing) & offered


def test_every_kubectl_command_is_tried() -> None:
    tried = "".join(path.read_text() for path in (REPOSITORY / "tests").glob("cl*/test_*.py"))
    commands = {word for name in names(section("kubectl")) if "/" not in name for word in name.split()}
    assert [word for word in sorted(commands) if f'"{word}"' not in tried] == []
