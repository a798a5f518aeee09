"""What people do with messages on a day (`day.py`). Each step does one thing, and sees that everybody sees it."""

import asyncio
import hashlib
from itertools import islice

import httpx

from palaver.ids import new_id
from tests.e2e.day_team import Team

EMOJIS = (":smile:", ":tada:", ":+1:", ":eyes:")


async def say(team: Team) -> None:
    person = team.somebody()
    room, text = team.room_of(person), team.words()
    if team.random.random() < 0.5:
        found = (await person.post("chat.sendMessage", message={"rid": room.id, "msg": text}))["message"]
    else:
        found = await person.call("sendMessage", {"_id": new_id(), "rid": room.id, "msg": text})
    await team.wrote(room, found, person.name, text)


async def reply(team: Team) -> None:
    person = team.somebody()
    if (chosen := team.message_of(person)) is None:
        return
    room, root = chosen
    thread, text = root.thread or root.id, team.words()
    found = (await person.post("chat.sendMessage", message={"rid": room.id, "msg": text, "tmid": thread}))["message"]
    await team.wrote(room, found, person.name, text, thread)
    for reader in team.members_of(room):
        listed = await reader.get("chat.getThreadMessages", tmid=thread, count=100, sort='{"ts": -1}')
        assert found["_id"] in [message["_id"] for message in listed["messages"]], f"{reader.name}: {listed}"


async def mention(team: Team) -> None:
    """The other one is notified, unless they are busy, or look at it that moment: nobody here says that they do."""
    person = team.somebody()
    other = team.other(person)
    rooms = [room for room in team.rooms if {person.name, other.name} <= room.members and room.type != "d"]
    room = team.random.choice(rooms)
    text = f"@{other.name} {team.words()}"
    before = await other.get("subscriptions.getOne", roomId=room.id)
    found = (await person.post("chat.postMessage", roomId=room.id, text=text))["message"]
    message = await team.wrote(room, found, person.name, text)
    event = f"{other.id}/notification"
    if not other.is_busy:
        await other.hears("stream-notify-user", event, lambda args: args[0]["payload"]["_id"] == message.id)
    after = await other.get("subscriptions.getOne", roomId=room.id)
    assert after["subscription"]["userMentions"] == before["subscription"]["userMentions"] + 1
    assert after["subscription"]["unread"] > before["subscription"]["unread"]
    told = [args[0]["payload"]["_id"] for args in other.socket.changes("stream-notify-user", event)]
    assert (message.id in told) is not other.is_busy


async def react(team: Team) -> None:
    person = team.somebody()
    if (chosen := team.message_of(person)) is None:
        return
    room, message = chosen
    emoji = team.random.choice(EMOJIS)
    if team.random.random() < 0.5:
        await person.post("chat.react", messageId=message.id, emoji=emoji)
    else:
        await person.call("setReaction", emoji, message.id)
    names = message.reactions.setdefault(emoji, set())
    names ^= {person.name}
    if not names:
        del message.reactions[emoji]
    await team.everybody_sees(room, message)


async def edit(team: Team) -> None:
    person = team.somebody()
    if (chosen := team.message_of(person, own=True)) is None:
        return
    room, message = chosen
    message.text = f"{team.words()} (edited)"
    if team.random.random() < 0.5:
        await person.post("chat.update", roomId=room.id, msgId=message.id, text=message.text)
    else:
        await person.call("updateMessage", {"_id": message.id, "rid": room.id, "msg": message.text})
    await team.everybody_sees(room, message)


async def delete(team: Team) -> None:
    person = team.somebody()
    chosen = team.message_of(person, own=True)
    # A root that is gone leaves its replies, which is another story than this one tells.
    if chosen is None or any(other.thread == chosen[1].id for other in chosen[0].messages.values()):
        return
    room, message = chosen
    await person.post("chat.delete", roomId=room.id, msgId=message.id)
    del room.messages[message.id]
    for reader in team.people:
        reader.starred.discard(message.id)
    for reader in team.members_of(room):
        event = f"{room.id}/deleteMessage"
        await reader.hears("stream-notify-room", event, lambda args: args[0]["_id"] == message.id)


async def upload(team: Team) -> None:
    """A file goes to those who are in the room, and to nobody else."""
    person = team.somebody()
    room, text = team.room_of(person), team.words()
    data = team.random.randbytes(team.random.randint(1, 20_000))
    files = {"file": (f"report {team.number}.bin", data, "application/octet-stream")}
    found = (await person.ask("POST", f"rooms.upload/{room.id}", files=files, data={"msg": text}))["message"]
    await team.wrote(room, found, person.name, text)
    link = team.url + found["attachments"][0]["title_link"]
    for reader in team.people:
        answer = await reader.fetch("GET", link)
        if reader.name in room.members:
            assert hashlib.sha256(answer.content).digest() == hashlib.sha256(data).digest(), answer.status_code
        elif room.type != "c":
            assert answer.status_code == 403, f"{reader.name} gets the file of a room of others"


async def pin(team: Team) -> None:
    """Alice alone: it takes an administrator, or an owner."""
    if (chosen := team.message_of(team.alice)) is None:
        return
    room, message = chosen
    await team.alice.post("chat.unPinMessage" if message.pinned else "chat.pinMessage", messageId=message.id)
    message.pinned = not message.pinned
    await team.everybody_sees(room, message)
    for reader in team.members_of(room):
        listed = await reader.get("chat.getPinnedMessages", roomId=room.id, count=0)
        assert {found["_id"] for found in listed["messages"]} == {
            other.id for other in room.messages.values() if other.pinned
        }


async def star(team: Team) -> None:
    """One's own mark, which nobody else sees."""
    person = team.somebody()
    if (chosen := team.message_of(person)) is None:
        return
    room, message = chosen
    starred = message.id in person.starred
    await person.post("chat.unStarMessage" if starred else "chat.starMessage", messageId=message.id)
    person.starred ^= {message.id}
    listed = await person.get("chat.getStarredMessages", roomId=room.id, count=0)
    assert {found["_id"] for found in listed["messages"]} == person.starred & room.messages.keys()


async def search(team: Team) -> None:
    """By the number that each text has."""
    person = team.somebody()
    if (chosen := team.message_of(person)) is None:
        return
    room, message = chosen
    number = message.text.removesuffix(" (edited)").rpartition(" ")[2]
    found = await person.get("chat.search", roomId=room.id, searchText=number)
    assert message.id in [other["_id"] for other in found["messages"]], f"{message} is not found by {number}: {found}"


async def hear_incoming(team: Team) -> None:
    """What a build server posts is said in #general."""
    text = team.words()
    async with httpx.AsyncClient(timeout=60) as http:
        answer = await http.post(team.hook, json={"text": text, "alias": "Builds"})
        assert (answer.status_code, answer.json()) == (200, {"success": True}), answer.text
        assert (await http.post(f"{team.hook}x", json={"text": text})).status_code == 404
    general = team.rooms[0]
    found = (await team.alice.hears("stream-room-messages", "__my_messages__", lambda args: args[0]["msg"] == text))[0]
    assert (found["rid"], found["alias"]) == (general.id, "Builds")
    await team.wrote(general, found, "alice", text)


async def ask_outgoing(team: Team) -> None:
    """What begins with the trigger is posted to the other server, whose answer is said in the room."""
    person = team.somebody()
    general, question = team.rooms[0], team.words()
    found = (await person.post("chat.sendMessage", message={"rid": general.id, "msg": f"!ask {question}"}))["message"]
    await team.wrote(general, found, person.name, f"!ask {question}")
    answer = f"you asked: {question}"
    said = (await team.bob.hears("stream-room-messages", "__my_messages__", lambda args: args[0]["msg"] == answer))[0]
    await team.wrote(general, said, "alice", answer)


async def ask_bot(team: Team) -> None:
    """The bot answers what it finds in the history, in a thread below it."""
    person = team.somebody()
    general, question = team.rooms[0], f"robot: {team.words()}"
    found = await person.call("sendMessage", {"_id": new_id(), "rid": general.id, "msg": question})
    await team.wrote(general, found, person.name, question)
    history = await asyncio.to_thread(lambda: list(islice(team.bot.channels_history(general.id, count=5), 5)))
    asked = next(message for message in history if message["_id"] == found["_id"])
    text = f"pong to {asked['msg']}"
    said = await asyncio.to_thread(team.bot.chat_post_message, text, room_id=general.id, tmid=asked["_id"])
    await team.wrote(general, said["message"], "robot", text, found["_id"])


STEPS = (
    say,
    say,
    say,
    reply,
    mention,
    react,
    edit,
    delete,
    upload,
    pin,
    star,
    search,
    hear_incoming,
    ask_outgoing,
    ask_bot,
)
