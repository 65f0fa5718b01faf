"""The ordered index of keys answers like a sorted list."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcore.store.keys import SortedKeys, prefix_end

text = st.text("ab/\uffff\U0001f600\U0010ffff", max_size=4)


@given(st.lists(text), st.lists(text), text, text, st.integers(0, 5))
def test_between_finds_what_a_sorted_list_has(
    add: list[str], remove: list[str], low: str, high: str, limit: int
) -> None:
    keys = SortedKeys()
    for key in set(add):
        keys.add(key)
    for key in set(add) & set(remove):
        keys.remove(key)
    for end in (high, None):
        expected = [key for key in sorted(set(add) - set(remove)) if low <= key and (end is None or key < end)]
        assert keys.between(low, end, limit) == (expected[:limit] if limit else expected, len(expected))


@given(text, text)
def test_a_prefix_ends_where_its_last_key_has_passed(prefix: str, key: str) -> None:
    end = prefix_end(prefix)
    assert key.startswith(prefix) == (prefix <= key and (end is None or key < end))


@pytest.mark.parametrize("order", ["ascending", "random"])
def test_many_keys_come_and_go(order: str) -> None:
    names = [f"/{n:06}" for n in range(6000)]
    if order == "random":
        random.Random(0).shuffle(names)
    keys = SortedKeys(names[:2000])
    for name in names[2000:]:
        keys.add(name)
    assert keys.between("", None) == (sorted(names), 6000)
    for name in names[::3]:
        keys.remove(name)
    left = sorted(set(names) - set(names[::3]))
    for low in ("", "/0", "/000511", "/001024", "/003", "/005999", "/9"):
        for limit in (0, 1, 700, 5000):
            expected = [name for name in left if name >= low]
            assert keys.between(low, None, limit) == (expected[:limit] if limit else expected, len(expected))
    for name in left:
        keys.remove(name)
    assert keys.between("", None) == ([], 0)
    keys.add("/again")
    assert keys.between("", None) == (["/again"], 1)
