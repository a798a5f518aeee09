"""Ids and subject tokens: whatever the text, the token is one token, and it is nobody else's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.ids import ALPHABET, decode_subject_token, direct_room_id, encode_subject_token, new_id, new_token

# Text as it may come from outside: everything but lone surrogates, which are no text.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
AWKWARD = st.text(st.sampled_from("aA0_-.*>$/ \t\r\n\0äß中😀5f2e"))
TOKEN = re.compile(r"[A-Za-z0-9_-]+")


@given(TEXT | AWKWARD)
def test_a_token_is_one_token_and_is_decoded_to_its_text(text: str) -> None:
    token = encode_subject_token(text)
    assert TOKEN.fullmatch(token)
    assert decode_subject_token(token) == text


@given(TEXT | AWKWARD, TEXT | AWKWARD)
def test_two_texts_have_two_tokens(one: str, two: str) -> None:
    assert (encode_subject_token(one) == encode_subject_token(two)) == (one == two)


@given(st.text(st.sampled_from("aZ09-_5f2eG."), max_size=12))
def test_what_is_no_token_is_refused(token: str) -> None:
    try:
        text = decode_subject_token(token)
    except ValueError:
        return
    assert encode_subject_token(text) == token


@pytest.mark.parametrize("token", ["", "a.b", "_5", "_", "__", "_zz", "_61", "a_2E", "_ff", "*", "a b", "_+1"])
def test_tokens_that_nobody_encoded(token: str) -> None:
    if token == "_":
        assert decode_subject_token(token) == ""
        return
    with pytest.raises(ValueError):
        decode_subject_token(token)


@pytest.mark.parametrize(
    ("text", "token"),
    [("", "_"), ("GENERAL", "GENERAL"), ("rocket.cat", "rocket_2ecat"), ("a_b", "a_5fb"), ("ä", "_c3_a4")],
)
def test_tokens_stay_what_they_are(text: str, token: str) -> None:
    assert encode_subject_token(text) == token


def test_ids_are_of_the_alphabet_and_differ() -> None:
    ids = {new_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(len(id) == 17 and set(id) <= set(ALPHABET) for id in ids)
    assert len({new_token() for _ in range(100)}) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", new_token()) for _ in range(10))


@given(TEXT, TEXT)
def test_the_direct_room_of_two_is_the_same_from_both_sides(one: str, two: str) -> None:
    assert direct_room_id([one, two]) == direct_room_id([two, one])
    assert direct_room_id([one]) == one + one
