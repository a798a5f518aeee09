"""What follows from an event of a team happens once, whatever dies on the way."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from palaver.errors import Unavailable
from palaver.events import room_stream
from palaver.messaging.teams import following
from palaver.v1.event_pb2 import Event
from tests.messaging.crashing import dying
from tests.messaging.helpers import Chat, until
from tests.messaging.teams import Teams
from tests.services import Transport, service_nodes


async def test_an_event_that_is_handled_twice_does_nothing_twice(inside: Chat) -> None:
    teams = Teams(inside)
    ann, bob = await inside.users("ann", "bob")
    team_id = await teams.create(ann, "crew")
    room = (await inside.room(ann, "dev"))["_id"]
    await teams.add_rooms(ann, team_id, room)
    await teams.set_default(ann, room)
    await teams.add(ann, team_id, bob)
    await teams.remove(ann, team_id, bob.id, room)
    following = inside.running.nodes["messaging"].roles["messaging"]._teams  # type: ignore[attr-defined]
    handle = following.teams._following.on_room_event
    streams = [room_stream(id) for id in (team_id, room)]
    before = [await inside.database.get_head(stream) for stream in streams]
    for stream in streams:
        for event in await inside.database.list_events(stream, 0):
            await handle(event)
    assert [await inside.database.get_head(stream) for stream in streams] == before


async def test_what_can_not_follow_at_once_is_no_error_of_what_was_done(
    inside: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    teams = Teams(inside)
    ann, bob = await inside.users("ann", "bob")
    team_id = await teams.create(ann, "crew", "bob")
    room = (await inside.room(ann, "dev", "bob"))["_id"]
    await teams.add_rooms(ann, team_id, room)
    service = inside.running.nodes["messaging"].roles["messaging"]._teams  # type: ignore[attr-defined]
    tried: list[Event] = []

    async def is_unavailable(event: Event) -> None:
        tried.append(event)
        raise Unavailable

    # The follower has its handler already: only what is done at once fails.
    monkeypatch.setattr(service.teams._following, "on_room_event", is_unavailable)
    await teams.remove(ann, team_id, bob.id, room)
    assert [event.WhichOneof("fact") for event in tried] == ["member_left"]

    async def has_left() -> bool:
        where = {"u._id": bob.id, "left_at": None, "rid": {"$in": [team_id, room]}}
        return not await inside.database.find("subscriptions", where)

    await until(has_left)


@pytest.mark.parametrize("what", ["deleted", "converted", "left", "joined"])
async def test_a_crash_on_the_way_leaves_nothing_undone(
    tmp_path: Path, transport: Transport, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(following, "_AT_ONCE", 1)
    roles = ("auth", "presence", "messaging")
    async with service_nodes(tmp_path, roles, transport) as running:
        chat, teams = Chat(running), Teams(Chat(running))
        ann, bob = await chat.users("ann", "bob")
        team_id = await teams.create(ann, "crew", *(["bob"] if what != "joined" else []))
        rooms = [(await chat.room(ann, f"room{number}"))["_id"] for number in range(5)]
        for room_id in rooms:
            await teams.add_rooms(ann, team_id, room_id)
            if what in ("joined", "left"):
                await teams.set_default(ann, room_id)
        match what:
            case "left":
                work: Coroutine[Any, Any, Any] = teams.remove(bob, team_id, "", *rooms)
            case "joined":
                work = chat.join(bob, team_id)
            case _:
                work = teams.end(ann, team_id, *rooms[:3], keeps_room=what == "converted")
        async with dying("team.between_rooms", spared=1, seconds=60):
            caller = asyncio.ensure_future(work)
        await asyncio.wait({caller}, timeout=5)
        if caller.done() and not caller.cancelled():
            caller.exception()
        caller.cancel()
    async with service_nodes(tmp_path, roles, transport) as running:
        chat = Chat(running)

        async def is_done() -> bool:
            stored = await chat.database.get_many("rooms", rooms)
            gone = [room_id for room_id in rooms if "deleted_at" in stored[room_id]]
            free = [room_id for room_id in rooms[3:] if "teamId" not in stored[room_id]]
            where = {"u._id": bob.id, "left_at": None, "rid": {"$in": rooms}}
            members = len(await chat.database.find("subscriptions", where))
            if what in ("deleted", "converted"):
                return (gone, free) == (rooms[:3], rooms[3:])
            return members == (5 if what == "joined" else 0)

        await until(is_done)
