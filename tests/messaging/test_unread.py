"""The truth table of unread counters (rules.py), as a table; then its laws, whatever happens in a room."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.messaging import rules
from palaver.messaging.rules import NO_THREADS, UnreadSettings, UnreadThreads

Document = dict[str, Any]

ALL = "all_messages"
BOTH = "user_and_group_mentions_only"
USER = "user_mentions_only"
GROUP = "group_mentions_only"
DM = "mentions_only"

# The messages that ann sees in a room, each as who wrote it and how: "bob" plain, "bob>ann" mentions her, "bob>all"
# mentions everybody, "bob/t" only in a thread, "bob/tshow" in a thread and the room, "bob/uj" a system message.
# Then: setting, and unread, userMentions, groupMentions, alert.
TABLE: list[tuple[str, str, tuple[int, int, int, bool]]] = [
    # nothing new, or nothing that counts
    ("", ALL, (0, 0, 0, False)),
    ("bob/uj", ALL, (0, 0, 0, False)),
    ("bob/t", ALL, (0, 0, 0, False)),
    ("bob/t>ann", ALL, (0, 0, 0, False)),
    ("bob/t>all", ALL, (0, 0, 0, False)),
    ("ann", ALL, (0, 0, 0, False)),
    ("ann>ann", BOTH, (0, 0, 0, False)),
    ("ann>all", BOTH, (0, 0, 0, False)),
    # one message of somebody else, for each setting
    ("bob", ALL, (1, 0, 0, True)),
    ("bob", BOTH, (0, 0, 0, True)),
    ("bob", USER, (0, 0, 0, True)),
    ("bob", GROUP, (0, 0, 0, True)),
    ("bob", DM, (0, 0, 0, True)),
    ("bob>ann", ALL, (1, 1, 0, True)),
    ("bob>ann", BOTH, (1, 1, 0, True)),
    ("bob>ann", USER, (1, 1, 0, True)),
    ("bob>ann", GROUP, (0, 1, 0, True)),
    ("bob>ann", DM, (1, 1, 0, True)),
    ("bob>all", ALL, (1, 0, 1, True)),
    ("bob>all", BOTH, (1, 0, 1, True)),
    ("bob>all", USER, (0, 0, 1, True)),
    ("bob>all", GROUP, (1, 0, 1, True)),
    ("bob>all", DM, (1, 0, 1, True)),
    # somebody else is meant
    ("bob>eve", ALL, (1, 0, 0, True)),
    ("bob>eve", BOTH, (0, 0, 0, True)),
    # a reply that the room shows counts like any other message
    ("bob/tshow", ALL, (1, 0, 0, True)),
    ("bob/tshow>ann", BOTH, (1, 1, 0, True)),
    # several
    ("bob bob eve", ALL, (3, 0, 0, True)),
    ("bob bob>ann eve>all", BOTH, (2, 1, 1, True)),
    ("bob>ann>all", BOTH, (1, 1, 1, True)),
    ("bob ann bob", ALL, (2, 0, 0, True)),
    ("ann>all bob", BOTH, (0, 0, 0, True)),
    ("ann>all bob>all ann>all", BOTH, (1, 0, 1, True)),
    # read, and what came after
    ("bob>ann READ", BOTH, (0, 0, 0, False)),
    ("bob>ann bob>all READ bob", BOTH, (0, 0, 0, True)),
    ("bob READ ann", ALL, (0, 0, 0, False)),
    ("ann bob READ ann bob>ann", ALL, (1, 1, 0, True)),
    ("ann>all READ ann>all bob", BOTH, (0, 0, 0, True)),
    ("ann>all bob>all READ ann>all bob>all", BOTH, (1, 0, 1, True)),
    # who joins late has read everything before
    ("bob>all bob JOIN", ALL, (0, 0, 0, False)),
    ("bob>all bob JOIN bob", ALL, (1, 0, 0, True)),
    ("bob>all JOIN eve>all", BOTH, (1, 0, 1, True)),
    # marked by hand
    ("UNREAD", BOTH, (0, 0, 0, True)),
    ("bob UNREAD READ", ALL, (0, 0, 0, False)),
    # muted and quiet subscriptions
    ("MUTE bob>all", BOTH, (0, 0, 0, True)),
    ("MUTE bob>all", ALL, (1, 0, 0, True)),
    ("MUTE bob>ann", BOTH, (1, 1, 0, True)),
    ("QUIET bob", ALL, (1, 0, 0, False)),
    ("QUIET bob>ann", BOTH, (1, 1, 0, True)),
    ("QUIET bob>all", BOTH, (1, 0, 1, True)),
    # hidden
    ("bob HIDE", ALL, (1, 0, 0, False)),
    ("bob HIDE bob", ALL, (2, 0, 0, True)),
    ("bob HIDE READ", ALL, (0, 0, 0, False)),
]


class Room:
    """A room as ann sees it: the ordinals that events write, moved as `messages.py` moves them."""

    def __init__(self) -> None:
        self.room: Document = {"t": "c", "counted": 0, "group_mentions": 0}
        self.ann: Document = {"own": 0, "mentioned": 0}
        self._join()

    def _join(self) -> None:
        self.ann = {"own": 0, "mentioned": 0, "read": rules.read_mark(self.room, {})}

    def happen(self, what: str) -> None:
        match what:
            case "READ":
                self.ann["read"] = rules.read_mark(self.room, self.ann)
                self.ann.pop("forced_alert", None)
                self.ann.pop("hidden_at_counted", None)
            case "JOIN":
                self._join()
            case "UNREAD":
                self.ann["forced_alert"] = True
            case "MUTE":
                self.ann["muteGroupMentions"] = True
            case "QUIET":
                self.ann["hideUnreadStatus"] = True
            case "HIDE":
                self.ann["hidden_at_counted"] = self.room["counted"]
            case _:
                self._message(what)

    def _message(self, what: str) -> None:
        words, *named = what.split(">")
        sender, _, kind = words.partition("/")
        message: Document = {}
        if kind in ("t", "tshow"):
            message = {"tmid": "root", "tshow": kind == "tshow"}
        elif kind:
            message = {"t": kind}
        if not rules.is_counted(message):
            return
        self.room["counted"] += 1
        if sender == "ann":
            self.ann["own"] += 1
        elif "ann" in named:
            self.ann["mentioned"] += 1
        if "all" in named:
            self.room["group_mentions"] += 1
            if sender == "ann":
                self.ann["own_group_mentions"] = self.ann.get("own_group_mentions", 0) + 1

    def count(self, setting: str, threads: UnreadThreads = NO_THREADS) -> tuple[int, int, int, bool]:
        counters = rules.count_unread(self.room, self.ann, UnreadSettings(rooms=setting), threads)
        return counters.unread, counters.user_mentions, counters.group_mentions, counters.alert


@pytest.mark.parametrize(("happens", "setting", "expected"), TABLE)
def test_the_truth_table(happens: str, setting: str, expected: tuple[int, int, int, bool]) -> None:
    room = Room()
    for what in happens.split():
        room.happen(what)
    assert room.count(setting) == expected


@pytest.mark.parametrize(
    ("room_type", "expected"), [("c", 0), ("p", 0), ("v", 0), ("d", 1), ("l", 1)], ids=lambda value: str(value)
)
def test_the_type_of_the_room_chooses_the_setting(room_type: str, expected: int) -> None:
    room = Room()
    room.happen("bob")
    counters = rules.count_unread({**room.room, "t": room_type}, room.ann, UnreadSettings(), NO_THREADS)
    assert counters.unread == expected


def test_unread_threads_alert_and_count_nothing() -> None:
    room = Room()
    assert room.count(BOTH, UnreadThreads(("t",), (), 5)) == (0, 0, 0, True)
    room.happen("QUIET")
    assert room.count(BOTH, UnreadThreads(("t",), (), 5)) == (0, 0, 0, False)
    assert room.count(BOTH, UnreadThreads(("t",), ("t",), 5)) == (0, 0, 0, True)


def test_a_hidden_room_opens_with_the_next_counted_message() -> None:
    room = Room()
    settings = UnreadSettings()
    for what, is_open in (("bob", True), ("HIDE", False), ("bob/uj", False), ("bob/t", False), ("bob", True)):
        room.happen(what)
        assert rules.count_unread(room.room, room.ann, settings, NO_THREADS).open is is_open, what


WHAT = st.sampled_from(
    [
        f"{who}{kind}{named}"
        for who in ("ann", "bob")
        for kind in ("", "/t", "/tshow", "/uj")
        for named in ("", ">ann", ">all")
    ]
    + ["READ", "JOIN", "MUTE", "QUIET", "HIDE", "UNREAD"]
)


@given(st.lists(WHAT, max_size=40))
def test_whatever_happens_the_counters_agree_with_the_messages(happens: list[str]) -> None:
    room = Room()
    others = direct = group = 0
    muted = False
    for what in happens:
        room.happen(what)
        if what in ("READ", "JOIN"):
            others = direct = group = 0
            muted = muted and what == "READ"
        muted = muted or what == "MUTE"
        if what.startswith("bob") and "/uj" not in what and not ("/t" in what and "/tshow" not in what):
            others += 1
            direct += ">ann" in what
            group += ">all" in what
    shown_group = 0 if muted else group
    assert room.count(ALL)[:3] == (others, direct, shown_group)
    assert room.count(BOTH)[:3] == (direct + shown_group, direct, shown_group)
    assert room.count(USER)[0] == direct
    assert room.count(GROUP)[0] == shown_group
    room.happen("READ")
    assert room.count(ALL) == (0, 0, 0, False)


@given(
    st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9),
    st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9),
)  # fmt: skip
def test_no_state_counts_below_zero_or_beyond_the_messages(
    counted: int, groups: int, own: int, mentioned: int, r_counted: int, r_groups: int, r_own: int, r_mentioned: int
) -> None:
    """Even where a crash or an import has left a state that no sequence of messages makes."""
    room = {"t": "c", "counted": counted, "group_mentions": groups}
    read = {"counted": r_counted, "own": r_own, "mentioned": r_mentioned, "group_mentions": r_groups}
    subscription = {"own": own, "mentioned": mentioned, "read": read}
    for setting in (ALL, BOTH, USER, GROUP, DM):
        found = rules.count_unread(room, subscription, UnreadSettings(rooms=setting), NO_THREADS)
        assert 0 <= found.unread <= found.others
        assert found.user_mentions >= 0
        assert found.group_mentions >= 0
