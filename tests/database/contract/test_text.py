"""Searching texts: compared with looking at each of them, and kept in step with what becomes of the documents."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.database import Database, Put
from palaver.database.text import SEARCHED_LENGTH, has_parts, keys_of, parts_of
from tests.database.contract.reference import matches, words_of
from tests.database.model import USER, commit, insert

LETTERS = "abst09 ABST ßẞ ıIİi çÇéẽñ ﬁ Ａｂ ς Σσ Ωω жЖйё"
DENSE = "会議室予約한국어かがカガｶไทยมีสุข😀👍🏽❤️🎉"
MARKS = ".,-_/*\"'()^$+:;\\\0\n　、。"
TEXTS = st.text(st.sampled_from(LETTERS + DENSE + MARKS), max_size=30)
"""Few letters, so that texts have much in common."""


@settings(max_examples=400, deadline=None)
@given(TEXTS, TEXTS)
def test_a_text_is_found_by_exactly_its_parts(text: str, query: str) -> None:
    keys, parts = keys_of(text), parts_of(query)
    found = bool(parts) and all(any(key.startswith(part) for key in keys) for part in parts)
    assert found == matches({"$text": query}, {"msg": text}, "msg")
    assert has_parts(text, parts) == found or not parts


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.data())
def test_whatever_stands_in_a_word_finds_its_text(text: str, data: st.DataObject) -> None:
    words = words_of(text)
    if not words:
        return
    word = data.draw(st.sampled_from(words))
    start = data.draw(st.integers(0, len(word) - 1))
    part = word[start : data.draw(st.integers(start + 1, len(word)))]
    keys = keys_of(text)
    assert all(any(key.startswith(piece) for key in keys) for piece in parts_of(part))


@given(st.text(), st.text())
def test_any_text_finds_itself(one: str, two: str) -> None:
    keys = keys_of(f"{one} {two}")
    assert len(set(keys)) == len(keys)
    assert set(keys_of(one)) <= set(keys)
    assert all(any(key.startswith(part) for key in keys) for part in parts_of(f"{one} {two}"))
    # Tokens to SQLite's index, plain patterns to MongoDB's.
    assert all(character.isalnum() or character > "\x7f" for key in keys for character in key)


@pytest.mark.parametrize("letter", ["{:x} ", "ж{:x} ", "ﷺ{:x} ", "会{:x}議"])
def test_of_a_very_long_text_the_beginning_is_searched(letter: str) -> None:
    """Its keys are not too many for one document, whatever it is made of."""
    text = "".join(letter.format(number) for number in range(200_000))
    keys = keys_of(text)
    assert len(keys) <= SEARCHED_LENGTH
    assert sum(len(key.encode()) + 16 for key in keys) < 8_000_000
    assert has_parts(text, parts_of(letter.format(1000)))
    assert not has_parts(text, parts_of(letter.format(199_999)))
    assert not any(key.startswith(part) for part in parts_of(f"{199_999:x}") for key in keys)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Straße", "STRASSE"),
        ("STRASSE", "straß"),
        ("İstanbul", "istanbul"),
        ("ISPARTA", "ısparta"),
        ("café", "cafe\u0301"),
        ("naïve", "NAIVE"),
        ("cryptography", "tograph"),
        ("明日の会議室を予約する", "会議"),
        ("明日の会議室を予約する", "室"),
        ("ｶﾞｷﾞｸﾞ", "ガギ"),
        ("서울에서 만나요", "만나"),
        ("ขอให้มีความสุข", "ความสุข"),
        ("हिन्दी भाषा", "हिन्दी"),
        ("done 👍🏽!", "👍"),
        ("I ❤️ it", "❤"),
        ("see https://example.org/a-page", "example.org/a-page"),
        ("x" * 5000, "x" * 100),
    ],
)
async def test_texts_are_found_in_many_writings(database: Database, text: str, query: str) -> None:
    await insert(database, "messages", {"_id": "m", "rid": "r", "msg": text}, {"_id": "n", "rid": "r", "msg": "other"})
    assert [found["_id"] for found in await database.find("messages", {"rid": "r", "$text": query})] == ["m"]


@pytest.mark.parametrize("rooms", [1, 3])
async def test_searches_agree_with_looking_at_every_text(database: Database, rooms: int) -> None:
    """Written, then changed, with searches between; in one room and in all."""
    random = Random(rooms)
    state: dict[str, dict[str, Any]] = {}

    def pick(longest: int) -> str:
        return "".join(random.choices(LETTERS + DENSE + MARKS, k=random.randrange(longest)))

    for seq in range(1, 120):
        id, text = f"m{random.randrange(40)}", pick(30)
        if id in state:
            state[id]["msg"] = text
            await commit(database, USER, seq, Put("messages", id, set={"msg": text}))
        else:
            state[id] = {"_id": id, "rid": f"r{len(state) % rooms}", "msg": text}
            await commit(database, USER, seq, Put("messages", id, insert=dict(state[id])))
        for query in (pick(4), text[2:5]):
            for where in ({"$text": query}, {"$text": query, "rid": "r0"}):
                expected = sorted(id for id, document in state.items() if matches(where, document, "msg"))
                found = await database.find("messages", where, sort=[("_id", 1)])
                assert [document["_id"] for document in found] == expected, where
                assert [
                    found["_id"] for found in await database.find("messages", where, sort=[("_id", 1)], limit=3)
                ] == (expected[:3])
                assert await database.count("messages", where) == len(expected)
