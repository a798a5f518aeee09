"""Retention: which rooms lose what, when it is done, and what a process that dies leaves to the next one."""

from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from palaver.commit import now
from palaver.errors import InvalidInput, Unavailable
from palaver.messaging import retention
from palaver.messaging.retention import ROOMS, RUNS, Policy, Retention, find_policy, find_schedule
from palaver.messaging.role import MessagingService
from palaver.messaging.schedule import parse_schedule
from palaver.v1.messaging_pb2 import PruneMessagesReply, PruneMessagesRequest
from tests.messaging.crashing import Crash, dying
from tests.messaging.helpers import ADMIN, Chat

DAY = 86_400_000
DEFAULTS: dict[str, Any] = {
    "RetentionPolicy_Precision": "0",
    "RetentionPolicy_Advanced_Precision": False,
    "RetentionPolicy_Advanced_Precision_Cron": "*/30 * * * *",
    "RetentionPolicy_AppliesToChannels": True,
    "RetentionPolicy_TTL_Channels": 30 * DAY,
    "RetentionPolicy_AppliesToGroups": False,
    "RetentionPolicy_TTL_Groups": 30 * DAY,
    "RetentionPolicy_AppliesToDMs": True,
    "RetentionPolicy_TTL_DMs": 0,
    "RetentionPolicy_DoNotPrunePinned": True,
    "RetentionPolicy_FilesOnly": False,
    "RetentionPolicy_DoNotPruneDiscussion": True,
    "RetentionPolicy_DoNotPruneThreads": False,
}


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("expression", "at", "last"),
    [
        ("*/30 * * * *", "2026-11-21T23:48:33", "2026-11-21T23:30:00"),
        ("*/30 * * * *", "2026-11-21T23:30:00", "2026-11-21T23:30:00"),
        ("0 * * * *", "2026-11-21T00:59:59", "2026-11-21T00:00:00"),
        ("0 */6 * * *", "2026-11-21T05:00:00", "2026-11-21T00:00:00"),
        ("0 0 * * *", "2026-11-21T23:48:33", "2026-11-21T00:00:00"),
        ("15 3 * * *", "2026-11-21T03:14:00", "2026-11-20T03:15:00"),
        ("10,50 8-10 * * *", "2026-11-21T09:30:00", "2026-11-21T09:10:00"),
        ("0 0 * * 0", "2026-11-21T12:00:00", "2026-11-15T00:00:00"),
        ("0 0 * * 7", "2026-11-21T12:00:00", "2026-11-15T00:00:00"),
        ("0 0 1 * 5", "2026-11-21T12:00:00", "2026-11-20T00:00:00"),
        ("0 0 29 2 *", "2026-11-21T12:00:00", "2024-02-29T00:00:00"),
        ("5/20 0 31 1-3/2 *", "2026-11-21T12:00:00", "2026-03-31T00:45:00"),
    ],
)
def test_when_something_was_due_last(expression: str, at: str, last: str) -> None:
    assert parse_schedule(expression).find_last(moment(at)) == moment(last)


def test_what_is_never_due() -> None:
    assert parse_schedule("0 0 30 2 *").find_last(moment("2026-11-21T12:00:00")) is None


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* * 0 * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "x * * * *",
        "0-99999999999999999999 * * * *",  # which nobody counts
    ],
)
def test_what_is_no_schedule(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        parse_schedule(wrong)


def test_the_settings_say_how_often() -> None:
    at = moment("2026-11-21T23:48:33")

    def last(**settings: Any) -> int | None:
        return find_schedule({**DEFAULTS, **settings}.__getitem__).find_last(at)

    expected = ["23:30:00", "23:00:00", "18:00:00", "00:00:00"]
    for precision, time in enumerate(expected):
        assert last(RetentionPolicy_Precision=str(precision)) == moment(f"2026-11-21T{time}")
    own: dict[str, Any] = {"RetentionPolicy_Advanced_Precision": True}
    assert last(**own, RetentionPolicy_Advanced_Precision_Cron="7 7 * * *") == moment("2026-11-21T07:07:00")
    assert last(**own, RetentionPolicy_Advanced_Precision_Cron="often") == moment("2026-11-21T23:30:00")


@pytest.mark.parametrize(
    ("room", "policy"),
    [
        ({"t": "c"}, Policy(30 * DAY, False, True, False, True)),
        ({"t": "c", "retention": {"enabled": True}}, Policy(30 * DAY, False, True, False, True)),
        ({"t": "c", "retention": {"enabled": False}}, None),
        ({"t": "c", "retention": {"enabled": False, "overrideGlobal": True}}, None),
        (
            {"t": "p", "retention": {"enabled": True, "overrideGlobal": True, "maxAge": 2, "filesOnly": True}},
            Policy(2 * DAY, True, False, False, True),
        ),
        (
            {"t": "d", "retention": {"enabled": True, "overrideGlobal": True, "ignoreThreads": True}},
            Policy(30 * DAY, False, False, True, True),
        ),
        ({"t": "p"}, None),
        ({"t": "p", "retention": {"enabled": True}}, None),
        ({"t": "d"}, None),
        ({"t": "l"}, None),
    ],
)
def test_what_a_room_keeps(room: dict[str, Any], policy: Policy | None) -> None:
    assert find_policy(room, DEFAULTS.__getitem__) == policy


def task_of(chat: Chat) -> Retention:
    service = chat.running.nodes["messaging"].roles["messaging"]
    assert isinstance(service, MessagingService)
    return service._retention


def failed() -> float:
    return REGISTRY.get_sample_value("palaver_retention_rooms_pruned_total", {"outcome": "failed"}) or 0


async def prepare(chat: Chat, **settings: Any) -> None:
    """Retention is on for channels, and has seen a first time at which it did nothing."""
    await chat.set_setting("RetentionPolicy_AppliesToChannels", True)
    for name, value in settings.items():
        await chat.set_setting(name, value)
    await task_of(chat).prune_due(now())


async def test_what_is_old_goes_at_its_time(chat: Chat) -> None:
    ann, _ = await chat.users("ann", "bob")
    room_id, group = [(await chat.room(ann, name, type=kind))["_id"] for name, kind in (("dev", "c"), ("in", "p"))]
    direct = (await chat.direct(ann, "bob"))["_id"]
    for id in (room_id, group, direct):
        await chat.send(ann, id, "old")
    kept = await chat.send(ann, room_id, "pinned")
    await chat.pin(ann, kept["_id"])
    await prepare(chat, RetentionPolicy_DoNotPrunePinned=True)
    await task_of(chat).prune_due(now() + DAY)
    assert "old" in await chat.texts(ann, room_id)
    later = now() + 31 * DAY
    await task_of(chat).prune_due(later)
    assert await chat.texts(ann, room_id) == ["pinned"]
    assert [await chat.texts(ann, id) for id in (group, direct)] == [["old"], ["old"]]
    assert (await chat.get_room(ann, room_id))["lastMessage"]["msg"] == "pinned"
    await chat.update_room(ADMIN, group, retention={"enabled": True, "overrideGlobal": True, "maxAge": 1})
    await task_of(chat).prune_due(later)  # it is not due again
    assert await chat.texts(ann, group) == ["old"]
    await task_of(chat).prune_due(later + DAY)
    assert await chat.texts(ann, group) == []


async def test_the_first_time_nothing_is_pruned(inside: Chat) -> None:
    ann = await inside.user("ann")
    room_id = (await inside.room(ann, "dev"))["_id"]
    await inside.send(ann, room_id, "old")
    await inside.set_setting("RetentionPolicy_AppliesToChannels", True)
    at = moment("2099-01-01T00:00:00")
    await task_of(inside).prune_due(at)
    await task_of(inside).prune_due(at + 1000)
    assert await inside.texts(ann, room_id) == ["old"]
    await task_of(inside).prune_due(at + 1_800_000)
    assert await inside.texts(ann, room_id) == []


async def test_another_process_goes_on_where_one_died(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_ROOMS_AT_ONCE", 2)
    ann = await inside.user("ann")
    rooms = [(await inside.room(ann, f"room-{number}"))["_id"] for number in range(6)]
    for room_id in rooms:
        await inside.send(ann, room_id, "old")
    await prepare(inside)
    later = now() + 31 * DAY
    async with dying("retention.after_room", spared=3):
        with pytest.raises(Crash):
            await task_of(inside).prune_due(later)
    run = await inside.database.find_record(RUNS, "run")
    assert run is not None
    assert (run["finished"], run["at"], bool(run["after"])) == (False, later, True)
    assert 0 < sum([len(await inside.texts(ann, room_id)) for room_id in rooms]) < len(rooms) + 1
    await task_of(inside).prune_due(later + 60_000)
    assert [await inside.texts(ann, room_id) for room_id in rooms] == [[]] * len(rooms)
    run = await inside.database.find_record(RUNS, "run")
    assert run is not None
    assert (run["finished"], run["at"]) == (True, later)


async def test_what_was_looked_through_is_left_alone_for_a_week(inside: Chat) -> None:
    ann = await inside.user("ann")
    room_id = (await inside.room(ann, "dev"))["_id"]
    pinned = await inside.send(ann, room_id, "pinned")
    await inside.pin(ann, pinned["_id"])
    await prepare(inside, RetentionPolicy_DoNotPrunePinned=True)
    at = now() + 31 * DAY
    await task_of(inside).prune_due(at)
    known = await inside.database.find_record(ROOMS, room_id)
    assert known == {"until": at - 30 * DAY, "whole_at": at, "spares": [False, True, True, True]}
    await inside.pin(ann, pinned["_id"], False)
    await task_of(inside).prune_due(at + 6 * DAY)
    assert await inside.texts(ann, room_id) == ["pinned"]
    await task_of(inside).prune_due(at + 7 * DAY)
    assert await inside.texts(ann, room_id) == []


async def test_a_change_of_what_is_spared_counts_at_once(inside: Chat) -> None:
    ann = await inside.user("ann")
    room_id = (await inside.room(ann, "dev"))["_id"]
    root = await inside.send(ann, room_id, "root")
    await inside.send(ann, room_id, "reply", thread_id=root["_id"])
    await prepare(inside)
    at = now() + 31 * DAY
    await task_of(inside).prune_due(at)
    assert await inside.texts(ann, room_id) == ["root"]
    await inside.set_setting("RetentionPolicy_DoNotPruneThreads", False)
    await task_of(inside).prune_due(at + DAY)
    assert await inside.texts(ann, room_id) == []


async def test_a_room_that_fails_keeps_no_other_waiting(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await inside.user("ann")
    rooms = [(await inside.room(ann, f"room-{number}"))["_id"] for number in range(2)]
    for room_id in rooms:
        await inside.send(ann, room_id, "old")
    await prepare(inside)
    await inside.database.put_record(ROOMS, rooms[0], {"nonsense": True})
    before = failed()
    await task_of(inside).prune_due(now() + 31 * DAY)
    assert [await inside.texts(ann, room_id) for room_id in rooms] == [["old"], []]
    assert failed() == before + 1


async def test_a_room_that_takes_too_long_ends_one_round(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await inside.user("ann")
    rooms = [(await inside.room(ann, f"room-{number}"))["_id"] for number in range(2)]
    for room_id in rooms:
        await inside.send(ann, room_id, "old")
    await prepare(inside)
    task = task_of(inside)
    prune = task._pruning.prune

    async def takes_too_long(request: PruneMessagesRequest) -> PruneMessagesReply:
        if request.room_id == rooms[0]:
            raise Unavailable
        return await prune(request)

    monkeypatch.setattr(task._pruning, "prune", takes_too_long)
    before, at = failed(), now() + 31 * DAY
    with pytest.raises(Unavailable):
        await task.prune_due(at)
    await task.prune_due(at + 60_000)
    assert [await inside.texts(ann, room_id) for room_id in rooms] == [["old"], []]
    assert failed() == before + 1
