"""Every behaviour is shown by a test, or it is said why none can; the page on compatibility has the numbers."""

from __future__ import annotations

import re

from tests.conformance.coverage import MISSING, REAL_CONTAINERS, TESTS, behaviours, shown

PAGE = (TESTS.parent / "docs" / "compatibility.md").read_text()


def test_every_behaviour_is_shown_or_needs_real_containers() -> None:
    names = {name for group in behaviours().values() for name in group}
    assert names - set(shown()) == set(REAL_CONTAINERS) | set(MISSING)


def test_no_test_claims_what_is_no_behaviour() -> None:
    assert set(shown()) <= {name for group in behaviours().values() for name in group}


def test_the_page_on_compatibility_says_how_many_of_each_group_are_shown() -> None:
    tests = shown()
    for group, names in behaviours().items():
        row = re.search(rf"^\| {group} \| (\d+) of (\d+) \|", PAGE, re.MULTILINE)
        assert row is not None, group
        assert (int(row[1]), int(row[2])) == (sum(name in tests for name in names), len(names)), group
    assert all(f"`{name}`" in PAGE for name in (*REAL_CONTAINERS, *MISSING))
