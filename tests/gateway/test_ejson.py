"""JSON at the edges."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.errors import InvalidInput
from palaver.gateway.ejson import MAX_DEPTH, dumps, iso, loads, parse_iso, rest_dumps

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)


def _with_iso(value: object) -> object:
    if isinstance(value, dict):
        if list(value) == ["$date"] and type(value["$date"]) is int and abs(value["$date"]) < 10**16:
            return iso(value["$date"])
        return {name: _with_iso(part) for name, part in value.items()}
    return [_with_iso(part) for part in value] if isinstance(value, list) else value


@given(_JSON | st.dictionaries(st.text(), st.fixed_dictionaries({"$date": st.integers(0, 4102444800000)})))
def test_dates_become_iso_and_nothing_else_changes(value: object) -> None:
    assert json.loads(rest_dumps(value)) == _with_iso(value)


def test_text_that_looks_like_a_date_stays_text() -> None:
    text = '{"$date":1}'
    assert json.loads(rest_dumps({"msg": text, "ts": {"$date": 1}})) == {"msg": text, "ts": "1970-01-01T00:00:00.001Z"}


@given(st.integers(0, 4102444800000))
def test_iso_dates_are_read_again(milliseconds: int) -> None:
    assert parse_iso(iso(milliseconds)) == milliseconds


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01", "9" * 400, '{"$gt":""}'])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_iso(text)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN", b'{"a":1,}'])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        loads(data)


@pytest.mark.parametrize("name", ["\0", "a\0b", "\0" * 3])
def test_no_field_has_a_nul_in_its_name(name: str) -> None:
    with pytest.raises(InvalidInput):
        loads(json.dumps({"a": [{"b": {name: 1}}]}))
    assert loads(json.dumps({"a": ["\0", {"b": name}]})) == {"a": ["\0", {"b": name}]}


@given(st.integers(-(2**70), 2**70) | st.integers(2**63 - 5, 2**64 + 5) | st.integers(-(2**63) - 5, -(2**63) + 5))
def test_numbers_beyond_64_bits_are_floats(number: int) -> None:
    for data in (f'[{{"a":{number}}}]', f'[{{"a":{number}}}]'.encode()):
        ((found,),) = (one.values() for one in loads(data))
        assert found == (number if -(2**63) <= number < 2**63 else float(number))
        assert isinstance(found, int) == (-(2**63) <= number < 2**63)


@given(_JSON, st.integers(0, 70))
def test_nesting_has_a_limit(value: object, more: int) -> None:
    for _ in range(more):
        value = {"a": value} if more % 2 else [value, '"[[{']
    for data in (json.dumps(value), json.dumps(value).encode()):
        if _depth(value) <= MAX_DEPTH:
            assert loads(data) == value
        else:
            with pytest.raises(InvalidInput):
                loads(data)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def test_fragments_are_passed_on() -> None:
    assert dumps({"a": 1}) == b'{"a":1}'
