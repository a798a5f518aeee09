"""Invites: made once for the same limits, used as often as they allow and for as long, counted once a member."""

import asyncio
from typing import Any

import pytest

from palaver.errors import PalaverError
from palaver.messaging import invites
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import (
    FindOrCreateInviteRequest,
    InviteRequest,
    ListInvitesRequest,
    RoomRequest,
)
from tests.messaging.helpers import ADMIN, Chat, Document, loaded, refused

DAY = 86_400_000


async def make(chat: Chat, actor: Actor, room: Document, days: int = 1, max_uses: int = 5) -> Document:
    request = FindOrCreateInviteRequest(actor=actor, room_id=room["_id"], days=days, max_uses=max_uses)
    return loaded((await chat.messaging.find_or_create_invite(request)).invite)


async def use(chat: Chat, actor: Actor, invite_id: str) -> Document:
    return loaded((await chat.messaging.use_invite(InviteRequest(actor=actor, invite_id=invite_id))).room)


async def check(chat: Chat, invite_id: str) -> None:
    await chat.messaging.check_invite(InviteRequest(invite_id=invite_id))


async def uses(chat: Chat, invite: Document) -> int:
    reply = await chat.messaging.list_invites(ListInvitesRequest(actor=ADMIN))
    found: dict[str, int] = {shown["_id"]: shown["uses"] for shown in map(loaded, reply.documents)}
    return found[invite["_id"]]


async def test_an_invite_lets_people_into_a_private_room(chat: Chat) -> None:
    ann, bob, eve = await chat.users("ann", "bob", "eve")
    room = await chat.room(ann, "dev", "bob", type="p")
    invite = await make(chat, ann, room)
    assert invite["expires"]["$date"] - invite["createdAt"]["$date"] == DAY
    assert (invite["rid"], invite["userId"], invite["uses"]) == (room["_id"], "annId", 0)
    assert (await make(chat, ann, room))["_id"] == invite["_id"]
    forever = await make(chat, ann, room, 0, 0)
    assert (forever["_id"] != invite["_id"], forever["expires"]) == (True, None)
    with refused("not_authorized"):
        await make(chat, bob, room)
    with refused("error-room-not-found"):
        await make(chat, eve, room)
    for limits, code in (((2, 5), "days"), ((1, 6), "uses"), ((-1, 5), "days")):
        with refused(f"invalid-number-of-{code}"):
            await make(chat, ann, room, *limits)
    assert (await make(chat, ann, room, 7, 1))["maxUses"] == 1
    await check(chat, invite["_id"])
    assert (await use(chat, eve, invite["_id"]))["name"] == "dev"
    assert (await use(chat, eve, invite["_id"]))["usersCount"] == 3
    assert await chat.notices(eve, room["_id"]) == [("uj", "eve")]
    assert await uses(chat, invite) == 1
    with refused("error-not-authorized"):
        await chat.messaging.list_invites(ListInvitesRequest(actor=bob))


async def test_the_last_place_is_given_once(chat: Chat) -> None:
    ann = await chat.user("ann")
    people = await chat.users(*(f"user{number}" for number in range(9)))
    room = await chat.room(ann, "dev", type="p")
    invite = await make(chat, ann, room)
    outcomes: list[Any] = await asyncio.gather(
        *(use(chat, person, invite["_id"]) for person in people), return_exceptions=True
    )
    refusals = [outcome.error_code for outcome in outcomes if isinstance(outcome, PalaverError)]
    assert refusals == ["error-invite-expired"] * 4
    assert (await chat.get_room(ann, room["_id"]))["usersCount"] == 6
    assert await uses(chat, invite) == 5
    with refused("error-invite-expired"):
        await check(chat, invite["_id"])
    assert (await make(chat, ann, room))["_id"] != invite["_id"]


async def test_an_invite_ends(local: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = await local.users("ann", "bob")
    room = await local.room(ann, "dev")
    invite = await make(local, ann, room)
    later = invite["expires"]["$date"]
    monkeypatch.setattr(invites, "now", lambda: later - 1)
    await check(local, invite["_id"])
    monkeypatch.setattr(invites, "now", lambda: later)
    for work in (check(local, invite["_id"]), use(local, bob, invite["_id"])):
        with refused("error-invite-expired"):
            await work
    monkeypatch.undo()
    removal = InviteRequest(actor=bob, invite_id=invite["_id"])
    with refused("not_authorized"):
        await local.messaging.remove_invite(removal)
    removal.actor.CopyFrom(ann)
    await local.messaging.remove_invite(removal)
    with refused("invalid-invitation-id"):
        await local.messaging.remove_invite(removal)
    with refused("error-invalid-token"):
        await use(local, bob, invite["_id"])
    other = await make(local, ann, room)
    await local.messaging.delete_room(RoomRequest(actor=ADMIN, room_id=room["_id"]))
    for work in (check(local, other["_id"]), use(local, bob, other["_id"])):
        with refused("error-invalid-room"):
            await work
    with refused("error-invalid-token"):
        await check(local, "unknown")
    direct = await local.direct(ann, "bob")
    with refused("error-not-allowed"):
        await make(local, ann, direct)
