"""What counts as one of a user's words in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.gateway.highlights import Highlights, Text
from palaver.wishes import MAX_HIGHLIGHT_LENGTH, MAX_HIGHLIGHTS, Wishes, wishes_of


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [
        (["deploy"], "Deploy!", True),
        (["DEPLOY"], "(we deploy)", True),
        (["deploy"], "*deploy* or _deploy_", True),
        (["deploy"], "redeploy deploys deploy2", False),
        (["art"], "restart the art-house", True),
        (["art"], "restart", False),
        (["release train"], "a release\ttrain", True),
        (["release train"], "a release of a train", False),
        (["release train"], "prerelease train, release trains", False),
        (["c++"], "C++.", True),
        (["c++"], "c + b", False),
        (["#42", "v1.2"], "as of V1.2", True),
        (["v1.2"], "v1.23", False),
        (["straße"], "STRASSE", True),
        (["éclair"], "un Éclair", True),
        (["🚀"], "off🚀now", True),
        (["a", "b"], "only b", True),
        (["a"], "", False),
        ([".*"], "anything", False),
        (["", "  "], "nothing  chosen", False),
    ],
)
def test_words(words: list[str], text: str, found: bool) -> None:
    assert Highlights(words).are_in(Text(text)) is found


def test_no_words_are_none() -> None:
    assert not Highlights([])
    assert not Highlights(["", " \n"])
    assert Highlights(["+"])
    assert Highlights(["a b"])


@given(st.text(), st.text(), st.text())
def test_any_word_is_found_by_itself_and_between_others(before: str, word: str, after: str) -> None:
    chosen = Highlights([word])
    assert chosen.are_in(Text(f"{before} {word} {after}")) is bool(chosen)


def _user(highlights: object) -> dict[str, object]:
    return {"settings": {"preferences": {"highlights": highlights}}}


@pytest.mark.parametrize(
    ("stored", "taken"),
    [
        (["a", "b c"], ("a", "b c")),
        (None, ()),
        ("word", ()),
        ([{"a": "b"}, "c"], ("c",)),
        (["x" * (MAX_HIGHLIGHT_LENGTH + 1), "y"], ("y",)),
        (["a"] * (MAX_HIGHLIGHTS + 1), ("a",) * MAX_HIGHLIGHTS),
    ],
)
def test_what_is_taken_of_a_preference(stored: object, taken: tuple[str, ...]) -> None:
    assert wishes_of(_user(stored)).highlights == taken


def test_a_change_leaves_what_it_does_not_name() -> None:
    before = Wishes("mentions", ("a",), True)
    assert wishes_of({"name": "b"}, before) == before
    assert wishes_of({"statusDefault": "online"}, before) == Wishes("mentions", ("a",))
    assert wishes_of({"settings": {}}, before) == Wishes(is_busy=True)
    assert wishes_of({"settings": None, "statusDefault": "busy"}) == Wishes(is_busy=True)
