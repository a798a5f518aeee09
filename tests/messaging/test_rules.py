"""The other pure rules: times, reactions, threads, mentions, and names in a text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.messaging import mentions, rules

NAMES = st.text("abcdefgh.-_", min_size=1, max_size=8)
USERS = st.sampled_from(["ann", "bob", "eve"])
EMOJI = st.sampled_from([":+1:", ":smile:", ":x:"])


@given(st.integers(0, 10**13), st.integers(0, 10**13))
def test_a_rooms_events_rise_in_time_unless_its_clock_is_far_ahead(last: int, now: int) -> None:
    at = rules.event_time({"_updatedAt": {"$date": last}}, now)
    assert at >= now
    assert at - now <= 86_400_000
    if last < now + 86_400_000:
        assert at > last


@pytest.mark.parametrize(
    ("message", "counted"),
    [
        ({}, True),
        ({"t": "uj"}, False),
        ({"t": "e2e"}, True),
        ({"tmid": "x"}, False),
        ({"tmid": "x", "tshow": True}, True),
        ({"t": "uj", "tshow": True}, False),
    ],
)
def test_what_counts(message: dict[str, Any], counted: bool) -> None:
    assert rules.is_counted(message) is counted


@given(st.lists(st.tuples(USERS, EMOJI, st.sampled_from([None, True, False])), max_size=30))
def test_reactions_are_sets_of_users(steps: list[tuple[str, str, bool | None]]) -> None:
    stored: dict[str, dict[str, list[str]]] = {}
    model: dict[str, set[str]] = {}
    for user, emoji, should in steps:
        before = {name: {"usernames": list(value["usernames"])} for name, value in stored.items()}
        changed = rules.react(stored, emoji, user, should)
        assert stored == before, "the given reactions are left alone"
        having = model.setdefault(emoji, set())
        wanted = (user not in having) if should is None else should
        assert (changed is None) == (wanted == (user in having))
        (having.add if wanted else having.discard)(user)
        stored = stored if changed is None else changed
        assert {name: set(value["usernames"]) for name, value in stored.items()} == {
            k: v for k, v in model.items() if v
        }
        assert all(len(set(value["usernames"])) == len(value["usernames"]) for value in stored.values())


@pytest.mark.parametrize(
    ("emoji", "name"),
    [
        (":smile:", ":smile:"),
        ("smile", ":smile:"),
        (":+1:", ":+1:"),
        ("-1", ":-1:"),
        ("", None),
        (":", None),
        ("::", None),
        ("a b", None),
        ("$set", None),
        ("a.b", None),
        ("x" * 65, None),
    ],
)
def test_names_of_reactions(emoji: str, name: str | None) -> None:
    assert rules.reaction_name(emoji) == name


def test_the_first_reply_makes_the_roots_author_follow() -> None:
    root = {"_id": "r", "u": {"_id": "ann"}}
    reply = rules.reply_to(root, "bob", ["eve", "bob"], 5)
    assert reply.root["replies"] == ["ann", "bob", "eve"]
    assert reply.new_followers == ["ann", "eve"]
    assert (reply.root["tcount"], reply.root["tlm"]) == (1, {"$date": 5})
    again = rules.reply_to({**reply.root, "replies": ["bob"]}, "bob", [], 6)
    assert again.new_followers == []
    assert again.root["replies"] == ["bob"], "who stopped following is not made to follow again"
    assert again.root["tcount"] == 2


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.booleans(), st.integers(0, 100))
def test_a_thread_is_unread_after_what_was_read_and_written(
    head: int, read: int, replied: int, following: bool, mentioned: int
) -> None:
    record = {
        "rid": "room",
        "thread_id": "t",
        "following": following,
        "read_at": {"$date": read},
        "replied_at": {"$date": replied},
        "mentioned_at": {"$date": mentioned},
    }
    found = rules.find_unread_threads([record], {"t": {"tlm": {"$date": head}}})
    unread = following and head > max(read, replied)
    assert bool(found) == unread
    if unread:
        assert found["room"].all == ("t",)
        assert bool(found["room"].mentioning) == (mentioned > max(read, replied))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("no sign", []),
        ("@ann", ["ann"]),
        ("hi @ann, and @bob!", ["ann", "bob"]),
        ("(@ann) *@bob* \n@eve", ["ann", "bob", "eve"]),
        ("> @ann", ["ann"]),
        ("mail me at ann@example.org", []),
        ("@ann.smith", ["ann.smith"]),
        ("ask @ann.", ["ann.", "ann"]),
        ("@ann @ann", ["ann"]),
        ("@", []),
        ("@@ann", []),
        ("@all @here", ["all", "here"]),
        ("`@ann` @bob `x @eve`", ["bob"]),
        ("```\n@ann\n```\n@bob", ["bob"]),
        ("```py\n@property\ndef f(): `@x`\n``` @bob", ["bob"]),
        ("` @ann", ["ann"]),
        ("```\n@ann", ["ann"]),
        ("\\`@ann` `", ["ann"]),
    ],
)
def test_names_in_a_text(text: str, names: list[str]) -> None:
    assert mentions.usernames(text) == names
    assert mentions.room_names(text.replace("@", "#")) == [name for name in names if "@" not in name]


@given(NAMES, st.text(" \n", min_size=1, max_size=3))
def test_a_name_between_spaces_is_found(name: str, space: str) -> None:
    assert name in mentions.usernames(f"x{space}@{name}{space}y")


def test_a_text_has_a_limit_of_names() -> None:
    assert len(mentions.usernames(" ".join(f"@u{index}" for index in range(1000)))) == 100


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see http://a.org and https://b.org/x?y=1#z.", ["http://a.org", "https://b.org/x?y=1#z"]),
        ("nothing://here http:/x", []),
        ("http://a.org http://a.org", ["http://a.org"]),
        ("(http://a.org)", ["http://a.org"]),
    ],
)
def test_links_in_a_text(text: str, found: list[str]) -> None:
    assert mentions.links(text) == found


@pytest.mark.parametrize(
    ("hidden", "sys_mes", "shown"),
    [
        ([], None, True),
        (["uj"], None, False),
        (["mute_unmute"], None, True),
        ([], ["uj"], False),
        ([], True, True),
        ([], False, False),
    ],
)
def test_rooms_may_hide_system_messages(hidden: list[str], sys_mes: Any, shown: bool) -> None:
    room = {} if sys_mes is None else {"sysMes": sys_mes}
    assert rules.is_shown("uj", room, hidden) is shown
    assert rules.is_shown("user-muted", {}, ["mute_unmute"]) is False
