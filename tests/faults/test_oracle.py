"""The oracle says nothing of a chat in order, and finds each way in which one can be broken."""

from collections.abc import Callable

import pytest

from tests.faults.oracle import Counters, Ledger, Stored, violations

ROOM = "room"


def _chat() -> tuple[Ledger, Stored]:
    """Five messages; one client that heard all, one that lost its socket after two, came back and asked."""
    ledger = Ledger()
    steady = ledger.subscribe("steady", ROOM)
    moving = ledger.subscribe("moving", ROOM)
    messages = [f"m{number}" for number in range(5)]
    for number, message in enumerate(messages):
        ledger.sent[message] = ROOM
        ledger.hear(steady, message)
        if number != 2:
            ledger.hear(moving, message)
        ledger.acknowledge(message)
        if number == 2:
            moving.open = False
            moving = ledger.subscribe("moving", ROOM)
            ledger.learn("moving", ROOM, ["m2"])
    counters = Counters(5, "m4", {"ann": 3, "bob": 2})
    senders = {message: "ann" if number < 3 else "bob" for number, message in enumerate(messages)}
    return ledger, Stored({ROOM: messages}, {ROOM: list(messages)}, senders, {ROOM: counters})


def _of(ledger: Ledger, client: str, index: int = -1) -> list[str]:
    return [heard for heard in ledger.heard if heard.client == client][index].messages


def test_a_chat_in_order() -> None:
    ledger, stored = _chat()
    assert violations(ledger, stored) == []
    assert ledger.waiting() == 0
    assert ledger.unknown == set()


def test_what_nobody_answered_for_may_be_there_or_not() -> None:
    ledger, stored = _chat()
    ledger.sent.update({"there": ROOM, "not there": ROOM})
    assert ledger.unknown == {"there", "not there"}
    for heard in ledger.heard:
        if heard.open:
            ledger.hear(heard, "there")
    found = [*stored.events[ROOM], "there"]
    assert violations(ledger, Stored({ROOM: found}, {ROOM: found})) == []


def test_a_subscription_need_not_hear_what_was_before_it() -> None:
    ledger, stored = _chat()
    ledger.learn("late", ROOM, [f"m{number}" for number in range(5)])
    ledger.subscribe("late", ROOM)
    assert violations(ledger, stored) == []


def test_who_is_away_need_not_know() -> None:
    ledger, stored = _chat()
    for heard in ledger.heard:
        if heard.client == "moving":
            heard.open = False
    ledger.known["moving", ROOM].discard("m4")
    assert violations(ledger, stored) == []


def _lose(ledger: Ledger, stored: Stored) -> None:
    stored.events[ROOM].remove("m2")  # type: ignore[attr-defined]
    stored.documents[ROOM].remove("m2")  # type: ignore[attr-defined]


def _double(ledger: Ledger, stored: Stored) -> None:
    stored.events[ROOM].append("m1")  # type: ignore[attr-defined]
    stored.documents[ROOM].append("m1")  # type: ignore[attr-defined]


def _invent(ledger: Ledger, stored: Stored) -> None:
    stored.events[ROOM].append("invented")  # type: ignore[attr-defined]
    stored.documents[ROOM].append("invented")  # type: ignore[attr-defined]


def _not_projected(ledger: Ledger, stored: Stored) -> None:
    stored.documents[ROOM].remove("m3")  # type: ignore[attr-defined]


def _document_alone(ledger: Ledger, stored: Stored) -> None:
    stored.documents[ROOM].append("m3")  # type: ignore[attr-defined]


def _refused_and_there(ledger: Ledger, stored: Stored) -> None:
    ledger.acknowledged[ROOM].remove("m4")
    ledger.refused.add("m4")


def _wrong_room(ledger: Ledger, stored: Stored) -> None:
    ledger.sent["m4"] = "another room"


def _heard_twice(ledger: Ledger, stored: Stored) -> None:
    _of(ledger, "steady").append("m4")


def _heard_late(ledger: Ledger, stored: Stored) -> None:
    messages = _of(ledger, "steady")
    messages[2], messages[3] = messages[3], messages[2]


def _left_out(ledger: Ledger, stored: Stored) -> None:
    _of(ledger, "steady").remove("m2")  # it still knows it, from asking


def _left_out_before_it_went(ledger: Ledger, stored: Stored) -> None:
    _of(ledger, "moving", 0).append("m3")


def _never_told(ledger: Ledger, stored: Stored) -> None:
    _of(ledger, "moving").remove("m4")
    ledger.known["moving", ROOM].discard("m4")


def _never_told_what_nobody_answered_for(ledger: Ledger, stored: Stored) -> None:
    ledger.acknowledged[ROOM].remove("m4")
    _of(ledger, "steady").remove("m4")


def _not_told_after_coming_back(ledger: Ledger, stored: Stored) -> None:
    ledger.known["moving", ROOM].discard("m2")


def _not_stored_there(ledger: Ledger, stored: Stored) -> None:
    _of(ledger, "steady").append("from nowhere")


def _not_published(ledger: Ledger, stored: Stored) -> None:
    stored.unpublished = 3


def _not_counted(ledger: Ledger, stored: Stored) -> None:
    stored.counters = {ROOM: Counters(4, "m4", {"ann": 3, "bob": 2})}


def _not_last(ledger: Ledger, stored: Stored) -> None:
    stored.counters = {ROOM: Counters(5, "m3", {"ann": 3, "bob": 2})}


def _not_own(ledger: Ledger, stored: Stored) -> None:
    stored.counters = {ROOM: Counters(5, "m4", {"ann": 3})}


def _misnamed(ledger: Ledger, stored: Stored) -> None:
    stored.misnamed = ["bob in room"]


def _surprise(ledger: Ledger, stored: Stored) -> None:
    ledger.surprises.append("sendMessage answered 500")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (_lose, "m2 was acknowledged, and is lost"),
        (_double, "m1 is stored 2 times"),
        (_invent, "invented is stored in room, and nobody sent it"),
        (_not_projected, "m3 has an event and no document"),
        (_document_alone, "m3 has a document and no event"),
        (_refused_and_there, "m4 was refused, and is stored"),
        (_wrong_room, "m4 is stored in room, and was sent to another room"),
        (_heard_twice, "steady heard m4 twice on one socket"),
        (_heard_late, "steady heard m2 late: after what came behind it"),
        (_left_out, "steady heard m3, and not the 1 before it"),
        (_left_out_before_it_went, "moving heard m3, and not the 1 before it"),
        (_never_told, "moving was never told of m4"),
        (_never_told_what_nobody_answered_for, "steady heard m3 last in room, and m4 came after it"),
        (_not_told_after_coming_back, "moving missed 1 messages of room, the first of them m2"),
        (_not_stored_there, "steady heard from nowhere in room, where it is not stored"),
        (_not_published, "3 events were never told to anybody"),
        (_not_counted, "room counts 4 messages, and has 5"),
        (_not_last, "room shows m3 as its last message, which is m4"),
        (_not_own, "bob has 0 messages of their own in room, and sent 2"),
        (_misnamed, "bob in room shows an old name"),
        (_surprise, "sendMessage answered 500"),
    ],
)
def test_each_violation_is_found(break_it: Callable[[Ledger, Stored], None], said: str) -> None:
    ledger, stored = _chat()
    break_it(ledger, stored)
    assert said in violations(ledger, stored)


def test_what_has_not_come_yet_is_counted() -> None:
    ledger, _ = _chat()
    ledger.sent["m5"] = ROOM
    ledger.acknowledge("m5")
    assert ledger.waiting() == 2


def test_many_of_a_kind_are_said_briefly() -> None:
    ledger, stored = _chat()
    ledger.surprises += [f"surprise {number}" for number in range(100)]
    said = violations(ledger, stored)
    assert said[:5] == [f"surprise {number}" for number in range(5)]
    assert said[5] == "… and 95 more of these"
    assert len(said) == 6
