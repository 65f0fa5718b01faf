"""JSON bodies: what is accepted, and what is said of what is not."""

from __future__ import annotations

import json as stdlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcore.api import codec
from kcore.api.codec import json
from kcore.errors import BadRequest

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1).filter(lambda k: k not in ("kind", "apiVersion")), VALUES))
def test_what_is_encoded_is_decoded_again(obj: dict[str, object]) -> None:
    assert json.decode(json.encode(obj)) == obj


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"apiVersion": "v1",', "unexpected end of JSON input"),
        (b"", "unexpected end of JSON input"),
        (b'{"a":1}x', "invalid character 'x' after top-level value"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":tru}', "invalid character '}' in literal true (expecting 'e')"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b'{"a":01}', "invalid character '1' after object key:value pair"),
        (b'{"a":-x}', "invalid character 'x' in numeric literal"),
        (b'{"a":"\\q"}', "invalid character 'q' in string escape code"),
        (b'{"a":"\n"}', r"invalid character '\n' in string literal"),
        (b'{"a":NaN}', "invalid character 'N' looking for beginning of value"),
        (b'{"a":1e400}', "json: cannot unmarshal number 1e400 into Go value of type float64"),
        (b"[" * 100_000, "exceeded max depth"),
        (b'{"a":' * 100_000, "exceeded max depth"),
        (b'{"kind":1}', "json: cannot unmarshal number into Go struct field .kind of type string"),
    ],
)
def test_a_malformed_body_is_refused_in_the_words_of_go(body: bytes, problem: str) -> None:
    with pytest.raises(BadRequest) as e:
        json.decode(body)
    assert e.value.message == f"couldn't get version/kind; json parse error: {problem}"


@given(st.binary(max_size=60) | VALUES.map(lambda v: stdlib.dumps(v).encode()[:-1]))
def test_no_body_raises_anything_but_bad_request(body: bytes) -> None:
    try:
        json.decode(body)
    except BadRequest:
        pass


@given(VALUES)
def test_valid_json_is_never_a_syntax_error(value: object) -> None:
    assert json.loads(stdlib.dumps(value).encode()) == value


def test_a_list_is_no_object() -> None:
    with pytest.raises(BadRequest, match="cannot unmarshal array into Go value of type struct"):
        json.decode(b"[]")


def test_null_is_an_empty_object() -> None:
    assert json.decode(b"null") == {}


def test_bytes_that_are_no_utf8_and_lone_surrogates_become_replacement_characters() -> None:
    assert json.decode(b'{"a":"\xff"}') == {"a": "\ufffd"}
    assert json.decode(rb'{"a":"\ud800"}') == {"a": "\ufffd"}


def test_an_integer_beyond_64_bits_survives() -> None:
    body = b'{"a":123456789012345678901234567890}'
    assert json.encode(json.decode(body)) == body


def test_a_patch_may_be_any_value_and_says_that_it_is_a_patch_when_malformed() -> None:
    assert json.decode_patch(b'[{"op":"test"}]') == [{"op": "test"}]
    with pytest.raises(BadRequest, match=r"^error decoding patch: unexpected end of JSON input$"):
        json.decode_patch(b"[{")


def test_duplicate_fields_are_named_with_their_paths() -> None:
    body = b'{"data":{"a":"1","a":"2"},"spec":{"containers":[{"name":"a"},{"name":"b","name":"c"}]},"data":{}}'
    assert json.duplicate_fields(body) == [
        'duplicate field "data.a"',
        'duplicate field "spec.containers[1].name"',
        'duplicate field "data"',
    ]


@pytest.mark.parametrize("body", [b'{"a": {"b" : "x\\":y"}}', b'{"a":"\\":"}', b'{"a":[{"b":1},{"b":2}]}', b"{}"])
def test_colons_and_spaces_are_no_duplicates(body: bytes) -> None:
    assert json.duplicate_fields(body) == []


def test_an_unrecognized_body_is_shown_as_text_or_in_hex() -> None:
    problem = "couldn't get version/kind; json parse error: unexpected end of JSON input"
    error = codec.unrecognized("ConfigMap", problem, b'{"apiVersion": "v1",')
    assert error.message == (
        f'the object provided is unrecognized (must be of type ConfigMap): {problem} ({{"apiVersion": "v1",)'
    )
    assert codec.unrecognized("Pod", "x", b"abc").message.endswith("(616263)")
    assert codec.unrecognized("Pod", "x", b"{" * 31).message.endswith("{{{ ...)")
    assert codec.unrecognized("Pod", "x", b"").message.endswith("(<empty>)")
