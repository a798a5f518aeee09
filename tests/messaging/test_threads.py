"""Threads: replies, followers, what is unread of them."""

from palaver.v1.event_pb2 import Actor
from tests.messaging.helpers import ADMIN, Chat, loaded, refused


async def make_thread(chat: Chat) -> tuple[str, str, list[Actor]]:
    """A room of ann, bob and eve, in which ann has begun a thread to be."""
    actors = await chat.users("ann", "bob", "eve")
    room_id = (await chat.room(actors[0], "dev", "bob", "eve"))["_id"]
    root = await chat.send(actors[0], room_id, "root")
    for actor in actors:
        await chat.read(actor, room_id)
    return room_id, root["_id"], actors


async def unread(chat: Chat, actor: Actor, room_id: str) -> tuple[list[str], list[str]]:
    shown = await chat.subscription(actor, room_id)
    return shown.get("tunread", []), shown.get("tunreadUser", [])


async def test_a_reply_is_of_the_thread_and_not_of_the_room(chat: Chat) -> None:
    room_id, root, (ann, bob, eve) = await make_thread(chat)
    reply = await chat.send(bob, room_id, "reply", thread_id=root)
    assert reply["tmid"] == root
    first = await chat.message(ann, root)
    assert (first["tcount"], first["tlm"], first["replies"]) == (1, reply["ts"], ["annId", "bobId"])
    assert await chat.texts(ann, room_id) == ["root"]
    assert await chat.texts(ann, room_id, thread_messages=True) == ["root", "reply"]
    assert await chat.texts(ann, room_id, thread_id=root) == ["reply"]
    assert (await chat.get_room(ann, room_id))["lastMessage"]["msg"] == "root"
    assert await chat.counters(ann, room_id) == (0, 0, 0, True)
    assert await unread(chat, ann, room_id) == ([root], [])
    assert await unread(chat, bob, room_id) == ([], [])
    assert await chat.counters(eve, room_id) == (0, 0, 0, False)


async def test_a_reply_that_the_room_shows_counts_in_it(chat: Chat) -> None:
    room_id, root, (ann, bob, eve) = await make_thread(chat)
    shown = await chat.send(bob, room_id, "@eve reply", thread_id=root, show_in_room=True)
    assert shown["tshow"] is True
    assert await chat.texts(ann, room_id) == ["root", "@eve reply"]
    assert await chat.counters(eve, room_id) == (1, 1, 0, True)
    assert await unread(chat, eve, room_id) == ([root], [root])
    assert (await chat.get_room(ann, room_id))["lastMessage"]["_id"] == shown["_id"]


async def test_a_mention_in_a_thread_counts_for_the_thread(chat: Chat) -> None:
    room_id, root, (ann, bob, eve) = await make_thread(chat)
    await chat.send(bob, room_id, "@eve look", thread_id=root)
    assert await chat.counters(eve, room_id) == (0, 0, 0, True)
    assert await unread(chat, eve, room_id) == ([root], [root])
    assert (await chat.message(ann, root))["replies"] == ["annId", "bobId", "eveId"]
    await chat.read(eve, room_id, thread_id=root)
    assert await unread(chat, eve, room_id) == ([], [])
    await chat.send(bob, room_id, "and again", thread_id=root)
    assert await unread(chat, eve, room_id) == ([root], [])
    await chat.send(bob, room_id, "@eve again", thread_id=root)
    assert await unread(chat, eve, room_id) == ([root], [root])


async def test_reading_the_room_is_not_reading_its_threads(chat: Chat) -> None:
    room_id, root, (ann, bob, _) = await make_thread(chat)
    await chat.send(bob, room_id, "reply", thread_id=root)
    await chat.read(ann, room_id)
    assert await unread(chat, ann, room_id) == ([root], [])
    before = (await chat.subscription(ann, room_id))["_updatedAt"]["$date"]
    await chat.read(ann, room_id, with_threads=True)
    assert await unread(chat, ann, room_id) == ([], [])
    assert await chat.counters(ann, room_id) == (0, 0, 0, False)
    assert room_id in await chat.subscriptions(ann, before), "a client that asks since then hears of it"
    before = (await chat.subscription(ann, room_id))["_updatedAt"]["$date"]
    await chat.send(bob, room_id, "reply", thread_id=root)
    assert (await chat.subscriptions(ann, before))[room_id]["tunread"] == [root]
    await chat.send(ann, room_id, "my own reply reads the thread", thread_id=root)
    assert await unread(chat, ann, room_id) == ([], [])


async def test_following_and_not(chat: Chat) -> None:
    room_id, root, (ann, bob, eve) = await make_thread(chat)
    await chat.send(bob, room_id, "reply", thread_id=root)
    await chat.follow(eve, root)
    assert await unread(chat, eve, room_id) == ([], []), "what was said before is no news"
    await chat.follow(ann, root, False)
    assert (await chat.message(eve, root))["replies"] == ["bobId", "eveId"]
    await chat.send(bob, room_id, "second", thread_id=root)
    assert await unread(chat, eve, room_id) == ([root], [])
    assert await unread(chat, ann, room_id) == ([], [])
    await chat.follow(ann, root)
    assert await unread(chat, ann, room_id) == ([], [])
    await chat.send(bob, room_id, "third", thread_id=root)
    assert await unread(chat, ann, room_id) == ([root], [])
    await chat.follow(ann, root, False)
    await chat.send(bob, room_id, "@ann fourth", thread_id=root)
    assert await unread(chat, ann, room_id) == ([root], [root]), "a mention makes one follow again"
    outsider = await chat.user("joe")
    with refused("error-not-allowed"):
        await chat.follow(outsider, root)
    with refused("error-message-not-found"):
        await chat.follow(ann, "unknown")


async def test_a_reply_to_a_reply_is_of_the_same_thread(chat: Chat) -> None:
    room_id, root, (ann, bob, _) = await make_thread(chat)
    reply = await chat.send(bob, room_id, "reply", thread_id=root)
    assert (await chat.send(ann, room_id, "nested", thread_id=reply["_id"]))["tmid"] == root
    with refused("error-invalid-message"):
        await chat.send(ann, room_id, "x", thread_id="unknown")
    other = await chat.send(ADMIN, "GENERAL", "elsewhere")
    with refused("error-invalid-message"):
        await chat.send(ann, room_id, "x", thread_id=other["_id"])


async def test_a_deleted_reply_is_counted_no_more(chat: Chat) -> None:
    room_id, root, (ann, bob, _) = await make_thread(chat)
    reply = await chat.send(bob, room_id, "reply", thread_id=root)
    await chat.send(bob, room_id, "second", thread_id=root)
    await chat.delete(bob, reply["_id"])
    assert (await chat.message(ann, root))["tcount"] == 1
    assert await chat.texts(ann, room_id, thread_id=root) == ["second"]


async def test_lists_of_threads(chat: Chat) -> None:
    room_id, root, (ann, bob, eve) = await make_thread(chat)
    other = (await chat.send(bob, room_id, "another subject"))["_id"]
    await chat.send(bob, room_id, "reply", thread_id=root)
    await chat.send(bob, room_id, "reply", thread_id=other)
    assert await chat.threads(eve, room_id) == [other, root]
    assert await chat.threads(eve, room_id, offset=1, count=1) == [root]
    assert await chat.threads(eve, room_id, text="subj") == [other]
    with refused("error-search-text-too-long"):
        await chat.threads(eve, room_id, text="subject " * 1000)
    assert await chat.threads(ann, room_id, type="following") == [root]
    assert await chat.threads(ann, room_id, type="unread") == [root]
    await chat.read(ann, room_id, thread_id=root)
    assert await chat.threads(ann, room_id, type="unread") == []
    with refused("invalid-params"):
        await chat.threads(ann, room_id, type="x")
    await chat.set_setting("Threads_enabled", False)
    with refused("error-not-allowed"):
        await chat.threads(ann, room_id)
    with refused("error-not-allowed"):
        await chat.send(ann, room_id, "x", thread_id=root)
    assert loaded((await chat.page(ann, room_id, count=1)).messages[0])["_id"] == other
