"""YAML bodies are read as kubectl reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcore.api.codec import yaml
from kcore.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("on", True),
        ("y", True),
        ("Off", False),
        ("n", False),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("0644", 420),
        ("0o644", 420),
        ("0x1a4", 420),
        ("0b11", 3),
        ("-010", -8),
        ("089", 89),
        ("1_000", 1000),
        ("+3", 3),
        ("1.0", 1),
        ("1.5", 1.5),
        ("1e3", 1000),
        (".5", 0.5),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ("~", None),
        ("Null", None),
        ('"yes"', "yes"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ('!!int "5"', 5),
        ("!!float 1", 1),
        ("!custom 5", 5),
        ("!!binary YWI=", "ab"),
        ("1.2.3", "1.2.3"),
        ("1Gi", "1Gi"),
        ("-", "-"),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616.0),
        ("{}", {}),
        ("[]", []),
    ],
)
def test_a_value_reads_as_kubectl_reads_it(text: str, value: Any) -> None:
    if text in ("-",):
        text = f'"{text}"'
    read = yaml.decode(f"a: {text}\n".encode())["a"]
    assert read == value
    assert type(read) is type(value)


def test_keys_are_strings() -> None:
    assert yaml.decode(b"1: a\ntrue: b\n1.5: c\n") == {"1": "a", "true": "b", "1.5": "c"}


def test_of_two_equal_keys_the_last_counts_and_the_first_is_reported() -> None:
    assert yaml.decode(b"a: 1\nb: 2\na: 3\n") == {"a": 3, "b": 2}
    assert yaml.duplicate_fields(b"a: 1\nb: 2\na: 3\n") == ['line 3: key "a" already set in map']


def test_merge_keys_are_resolved() -> None:
    text = b"base: &b {x: 1, z: 1}\nother: &o {z: 2, w: 3}\nd:\n  <<: [*b, *o]\n  x: 9\n"
    assert yaml.decode(text)["d"] == {"x": 9, "z": 1, "w": 3}


def test_aliases_are_copies() -> None:
    obj = yaml.decode(b"p: &a {k: [v]}\nq: *a\n")
    obj["p"]["k"].append("w")
    assert obj["q"] == {"k": ["v"]}


def test_documents_are_read_one_by_one_and_empty_ones_left_out() -> None:
    assert yaml.decode_all(b"---\na: 1\n---\n# nothing\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]
    assert yaml.decode(b"a: 1\n---\nb: 2\n") == {"a": 1}
    assert yaml.decode(b"") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: b: c", "yaml: mapping values are not allowed in this context"),
        (b"a: 1\nb: c: d", "yaml: line 2: mapping values are not allowed in this context"),
        (b"\tfoo: 1", "yaml: found character that cannot start any token"),
        (b"a: \x00", "yaml: invalid Unicode character"),
        (b"a: *x", "yaml: found undefined alias"),
        (b"a: &a [*a]", "yaml: anchor value contains itself"),
        (b"a: .inf", "yaml: json: unsupported value: Inf"),
        (b"{a: 1}: b", "yaml: invalid map key: mapping"),
        (b"<<: 1", "yaml: map merge requires map or sequence of maps as the value"),
    ],
)
def test_a_malformed_document_is_refused_in_the_words_of_go(text: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as e:
        yaml.decode(text)
    assert e.value.message == message


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b"{a: " * 10_000,
        b"- " * 50_000,
        b"? " * 50_000,
        b"\n".join(b" " * i + b"a:" for i in range(2000)),
    ],
)
def test_deep_nesting_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequest, match="exceeded max depth"):
        yaml.decode(text)


def test_aliases_cannot_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(BadRequest, match="excessive aliasing"):
        yaml.decode("\n".join(lines).encode())


SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["Cs", "Cc"]))
)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True).filter(
            lambda k: k not in ("y", "n", "yes", "no", "on", "off", "null", "true", "false", "kind")
        ),
        st.recursive(
            SCALARS,
            lambda i: (
                st.lists(i, max_size=3) | st.dictionaries(st.from_regex(r"x[a-z]{1,5}", fullmatch=True), i, max_size=3)
            ),
            max_leaves=10,
        ),
        max_size=4,
    )
)
def test_what_is_encoded_is_decoded_again(obj: dict[str, Any]) -> None:
    assert yaml.decode(yaml.encode(obj)) == obj


@given(st.binary(max_size=80))
def test_no_body_raises_anything_but_bad_request(body: bytes) -> None:
    try:
        yaml.decode(body)
    except BadRequest:
        pass


def test_encoding_sorts_keys_and_quotes_what_would_read_as_something_else() -> None:
    obj = {
        "kind": "ConfigMap",
        "data": {"k": "v", "b": "yes", "n": "12", "t": "2020-01-01T00:00:00Z"},
        "apiVersion": "v1",
    }
    assert yaml.encode(obj).decode() == (
        'apiVersion: v1\ndata:\n  b: "yes"\n  k: v\n  "n": "12"\n  t: "2020-01-01T00:00:00Z"\nkind: ConfigMap\n'
    )
