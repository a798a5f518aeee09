"""Searching messages, and the spotlight on people and rooms."""

from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import SearchMessagesRequest, SpotlightRequest
from tests.messaging.helpers import ADMIN, Chat, loaded, refused


async def search(chat: Chat, actor: Actor, room_id: str, text: str, **fields: int) -> list[str]:
    request = SearchMessagesRequest(actor=actor, room_id=room_id, text=text, **fields)
    return [loaded(data)["msg"] for data in (await chat.messaging.search_messages(request)).documents]


async def spotlight(chat: Chat, actor: Actor, text: str, **fields: object) -> tuple[list[str], list[str]]:
    request = SpotlightRequest(actor=actor, text=text, **fields)  # type: ignore[arg-type]
    reply = await chat.messaging.spotlight(request)
    return [loaded(data)["username"] for data in reply.users], [loaded(data)["name"] for data in reply.rooms]


async def test_every_word_must_begin_one_of_the_message(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", type="p"))["_id"]
    for text in ("the quick brown fox", "a quick answer", "Quickly done"):
        await chat.send(ann, room_id, text)
    gone = await chat.send(ann, room_id, "quick and gone")
    await chat.delete(ann, gone["_id"])
    await chat.send(ADMIN, "GENERAL", "quick elsewhere")
    assert await search(chat, ann, room_id, "quick") == ["Quickly done", "a quick answer", "the quick brown fox"]
    assert await search(chat, ann, room_id, "fo quick") == ["the quick brown fox"]
    assert await search(chat, ann, room_id, "quick", offset=1, count=1) == ["a quick answer"]
    assert await search(chat, ann, room_id, "uick") == []
    assert await search(chat, ann, room_id, " ") == []
    assert await search(chat, ann, room_id, '"* OR NEAR(') == []
    with refused("error-room-not-found"):
        await search(chat, bob, room_id, "quick")


async def test_people_and_rooms_by_a_part_of_their_names(chat: Chat) -> None:
    ann, bob, _ = await chat.users("ann", "bob", "anton")
    await chat.room(ann, "annex")
    await chat.room(ann, "plans-of-ann", type="p")
    assert await spotlight(chat, ann, "ann") == (["ann"], ["annex", "plans-of-ann"])
    assert await spotlight(chat, bob, "an", exclude_usernames=["ann"]) == (["anton"], ["annex"])
    assert await spotlight(chat, bob, "AN", users=True) == (["ann", "anton"], [])
    assert await spotlight(chat, bob, "AN", rooms=True) == ([], ["annex"])
    assert await spotlight(chat, bob, "", rooms=True) == ([], [])
    await chat.grant("view-outside-room", "admin")
    assert (await spotlight(chat, bob, "an"))[0] == []
    room_id = (await chat.room(bob, "dev", "anton"))["_id"]
    assert (await spotlight(chat, bob, "an", room_id=room_id))[0] == ["anton"]
    await chat.grant("view-c-room", "admin")
    assert (await spotlight(chat, bob, "e"))[1] == ["dev"]
