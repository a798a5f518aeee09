"""Searching messages, and the spotlight on people and rooms."""

from palaver.v1.auth_pb2 import ListUsersRequest, UpdateUserRequest
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


async def test_every_word_must_be_a_part_of_one_of_the_message(chat: Chat) -> None:
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
    assert await search(chat, ann, room_id, "uic") == ["Quickly done", "a quick answer", "the quick brown fox"]
    assert await search(chat, ann, room_id, "kly") == ["Quickly done"]
    assert await search(chat, ann, room_id, "uix") == []
    assert await search(chat, ann, room_id, " ") == []
    assert await search(chat, ann, room_id, '"* OR NEAR(') == []
    with refused("error-room-not-found"):
        await search(chat, bob, room_id, "quick")


async def test_texts_of_any_writing_are_found_as_they_stand_now(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    room_id = (await chat.room(ann, "dev", type="p"))["_id"]
    sent = await chat.send(ann, room_id, "明日の会議室を予約する")
    assert await search(chat, ann, room_id, "会議") == [sent["msg"]]
    await chat.edit(ann, sent["_id"], "Schöne Grüße 👍🏽")
    assert await search(chat, ann, room_id, "会議") == []
    for query in ("GRÜSSE", "russe", "schön", "👍"):
        assert await search(chat, ann, room_id, query) == ["Schöne Grüße 👍🏽"], query


async def test_what_is_hostile_or_no_text_is_refused_or_found_by_nothing(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    room_id = (await chat.room(ann, "dev", type="p"))["_id"]
    await chat.send(ann, room_id, "in usr/bin/env there is a*b\0c")
    assert await search(chat, ann, room_id, "/usr/bin/") == ["in usr/bin/env there is a*b\0c"]
    assert await search(chat, ann, room_id, "/ENV/i") == ["in usr/bin/env there is a*b\0c"]
    assert await search(chat, ann, room_id, "\0c") == ["in usr/bin/env there is a*b\0c"]
    for nothing in ("***", "%_%", "...", "\0", "\0\0", "(", '"', "\u200d", "\ufffe"):
        assert await search(chat, ann, room_id, nothing) == [], nothing
    for pattern in ("/(a+)+$/", "/.*/", "/[a-z]/i", "/\\d/"):
        with refused("error-regular-expression-not-supported"):
            await search(chat, ann, room_id, pattern)
    for long in ("x" * 100_000, "会" * 100_000, "/" + "a" * 99_998 + "/"):
        with refused("error-search-text-too-long"):
            await search(chat, ann, room_id, long)


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


async def test_people_and_rooms_are_found_by_the_names_that_they_have_now(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    room = await chat.room(ann, "annex", "bob", type="p")
    await chat.direct(ann, "bob")
    assert await spotlight(chat, ann, "bob") == (["bob"], [])  # direct rooms are no rooms of these
    changes = UpdateUserRequest(actor=ADMIN, user_id=bob.id, set=b'{"username":"rob","name":"Robert \xc3\x96zil"}')
    await chat.running.services.auth.update_user(changes)
    await chat.update_room(ann, room["_id"], name="lounge")
    assert await spotlight(chat, ann, "bob") == await spotlight(chat, ann, "nex") == ([], [])
    assert await spotlight(chat, ann, "özi") == (["rob"], [])
    assert await spotlight(chat, bob, "OUN") == ([], ["lounge"])


async def test_more_people_than_are_shown(chat: Chat) -> None:
    (ann,) = await chat.users("ann")
    await chat.users(*(f"person{number:02}" for number in range(12)))
    assert (await spotlight(chat, ann, "person"))[0] == [f"person{number:02}" for number in range(5)]
    request = ListUsersRequest(actor=ann, term="person", count=3)
    assert (await chat.running.services.auth.list_users(request)).total == 12
    request.without_total = True
    found = await chat.running.services.auth.list_users(request)
    assert (len(found.documents), found.total) == (3, 3)
