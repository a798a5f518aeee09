"""What people do on a day besides talking (`day.py`): rooms, who is in them, and themselves."""

import asyncio

from tests.e2e.day_people import Room
from tests.e2e.day_team import Team
from tests.gateway.examples import PNG

MOST_ROOMS = 12
"""Rooms beyond these are deleted again."""


async def create(team: Team) -> None:
    """A public or private room; the other one is in it from the beginning, or not."""
    person = team.somebody()
    type = team.random.choice("cp")
    members = {team.other(person).name} if team.random.random() < 0.5 else set()
    team.number += 1
    name = f"room-{team.number}"
    face = {"c": "channels", "p": "groups"}[type]
    made = (await person.post(f"{face}.create", name=name, members=sorted(members)))[face[:-1]]
    room = Room(made["_id"], type, name, person.name, {person.name, *members})
    team.rooms.append(room)
    for member in team.members_of(room):
        await member.enter(room)
        assert (await member.get("subscriptions.getOne", roomId=room.id))["subscription"]["name"] == name
    await _tidy(team)


async def _tidy(team: Team) -> None:
    """Deletes a room where there are too many: nobody sees it any more."""
    if len(team.rooms) <= MOST_ROOMS:
        return
    gone = team.random.choice([room for room in team.rooms[1:] if room.type != "d"])
    owner = next(person for person in team.people if person.name == gone.owner)
    await owner.post("rooms.delete", roomId=gone.id)
    for room in [room for room in team.rooms if gone.id in (room.id, room.parent)]:
        team.rooms.remove(room)
        for person in team.people:
            person.starred -= room.messages.keys()
            # Its discussions follow a moment later.
            async with asyncio.timeout(30):
                while (await person.fetch("GET", "rooms.info", params={"roomId": room.id})).status_code == 200:
                    await asyncio.sleep(0.05)


async def discuss(team: Team) -> None:
    """A discussion below a room, for both."""
    person = team.somebody()
    both = {"alice", "bob"}
    parents = [room for room in team.rooms if room.members >= both and room.type in "cp" and not room.parent]
    parent = team.random.choice(parents)
    team.number += 1
    name, other = f"about {team.number}", team.other(person).name
    made = (await person.post("rooms.createDiscussion", prid=parent.id, t_name=name, users=[other]))["discussion"]
    topic = made.get("topic", "")
    room = Room(made["_id"], made["t"], made["name"], person.name, {person.name, other}, topic=topic, parent=parent.id)
    team.rooms.append(room)
    for member in team.members_of(room):
        await member.enter(room)
        listed = await member.get("rooms.getDiscussions", roomId=parent.id, count=0)
        assert room.id in [found["_id"] for found in listed["discussions"]]
    await _tidy(team)


async def write_directly(team: Team) -> None:
    """A direct room is one for both, however often it is opened."""
    person = team.somebody()
    other = team.other(person)
    id = (await person.post("im.create", username=other.name))["room"]["_id"]
    room = next((room for room in team.rooms if room.type == "d"), None)
    if room is None:
        room = Room(id, "d", "", "", {"alice", "bob"})
        team.rooms.append(room)
        for member in team.people:
            await member.enter(room)
    assert room.id == id
    text = team.words()
    found = (await person.post("chat.postMessage", channel=f"@{other.name}", text=text))["message"]
    await team.wrote(room, found, person.name, text)


async def invite(team: Team) -> None:
    """Whoever is not in a room comes by a link, or is asked in."""
    rooms = [room for room in team.rooms if room.type in "cp" and len(team.members_of(room)) == 1]
    if not rooms:
        return
    room = team.random.choice(rooms)
    person = team.members_of(room)[0]
    other = team.other(person)
    if room.type == "c" and team.random.random() < 0.3:
        await other.post("channels.join", roomId=room.id)
    elif person.name != room.owner and person is not team.alice:
        return  # only its owner may ask somebody in
    elif team.random.random() < 0.5:
        link = await person.post("findOrCreateInvite", rid=room.id, days=1, maxUses=0)
        await other.post("useInviteToken", token=link["_id"])
    else:
        await person.post(f"{room.face}.invite", roomId=room.id, userId=other.id)
    room.members.add(other.name)
    await other.enter(room)
    listed = await person.get(f"{room.face}.members", roomId=room.id, count=0)
    assert {member["username"] for member in listed["members"]} == room.members


async def leave(team: Team) -> None:
    """Whoever is no owner goes, and hears no more."""
    person = team.somebody()
    rooms = [r for r in team.rooms[1:] if r.type in "cp" and person.name in r.members and r.owner != person.name]
    if not rooms:
        return
    room = team.random.choice(rooms)
    await person.post(f"{room.face}.leave", roomId=room.id)
    room.members.remove(person.name)
    text = team.words()
    other = team.members_of(room)[0]
    found = (await other.post("chat.sendMessage", message={"rid": room.id, "msg": text}))["message"]
    await team.wrote(room, found, other.name, text)
    assert not [a for a in person.socket.changes("stream-room-messages", "__my_messages__") if a[0]["msg"] == text]


async def change_room(team: Team) -> None:
    """A topic or another name."""
    rooms = [room for room in team.rooms[1:] if room.type in "cp" and "alice" in room.members]
    if not rooms:
        return
    room = team.random.choice(rooms)
    if team.random.random() < 0.5:
        room.topic = team.words()
        await team.alice.post(f"{room.face}.setTopic", roomId=room.id, topic=room.topic)
    else:
        team.number += 1
        room.name = f"renamed-{team.number}"
        await team.alice.post(f"{room.face}.rename", roomId=room.id, name=room.name)
    for member in team.members_of(room):
        found = (await member.get("rooms.info", roomId=room.id))["room"]
        assert found.get("topic", "") == room.topic, (found, room.topic)
        assert room.name in (found["name"], found["fname"]), found


async def change_role(team: Team) -> None:
    """A moderator for a moment, whom everybody sees as one."""
    rooms = [room for room in team.rooms if room.owner and room.members >= {"alice", "bob"} and room.type in "cp"]
    if not rooms:
        return
    room = team.random.choice(rooms)
    owner = next(person for person in team.people if person.name == room.owner)
    other = team.other(owner)
    for verb, wanted in (("add", True), ("remove", False)):
        await owner.post(f"{room.face}.{verb}Moderator", roomId=room.id, userId=other.id)
        listed = (await other.get(f"{room.face}.roles", roomId=room.id))["roles"]
        assert any(row["u"]["_id"] == other.id and "moderator" in row["roles"] for row in listed) is wanted


async def read(team: Team) -> None:
    """A room that is read has nothing unread, until somebody else writes."""
    person = team.somebody()
    room = team.room_of(person)
    await person.post("subscriptions.read", rid=room.id, readThreads=True)
    found = (await person.get("subscriptions.getOne", roomId=room.id))["subscription"]
    assert (found["unread"], found["alert"], found["userMentions"]) == (0, False, 0), found
    counted = await person.get(f"{room.face}.counters", roomId=room.id)
    assert counted["unreads"] == 0, counted


async def favour(team: Team) -> None:
    person = team.somebody()
    room = team.room_of(person)
    for wanted in (True, False):
        await person.post("rooms.favorite", roomId=room.id, favorite=wanted)
        found = (await person.get("subscriptions.getOne", roomId=room.id))["subscription"]
        assert bool(found.get("f")) is wanted


async def set_status(team: Team) -> None:
    person = team.somebody()
    other, text = team.other(person), team.words()
    shown, number = team.random.choice([("online", 1), ("away", 2), ("busy", 3)])
    await person.post("users.setStatus", message=text, status=shown)
    await other.hears(
        "stream-notify-logged", "user-status", lambda args: args[0][0] == person.id and args[0][2:4] == [number, text]
    )
    # Their own gateway knows it, too: whether they want to be notified goes by it.
    await person.hears(
        "stream-notify-user", f"{person.id}/userData", lambda args: args[0].get("diff", {}).get("statusText") == text
    )
    person.is_busy = shown == "busy"
    assert (await other.get("users.getStatus", userId=person.id))["status"] == shown


async def set_avatar(team: Team) -> None:
    person = team.somebody()
    await person.ask("POST", "users.setAvatar", files={"image": ("me.png", PNG, "image/png")})
    answer = await team.other(person).fetch("GET", f"{team.url}/avatar/{person.name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.status_code
    await person.post("users.resetAvatar")
    answer = await team.other(person).fetch("GET", f"{team.url}/avatar/{person.name}")
    assert "svg" in answer.headers["content-type"]


async def set_preferences(team: Team) -> None:
    person = team.somebody()
    wanted = team.random.random() < 0.5
    await person.post("users.setPreferences", data={"useEmojis": wanted})
    assert (await person.get("me"))["settings"]["preferences"]["useEmojis"] is wanted


async def change_setting(team: Team) -> None:
    """The workspace's name, which every client asks for."""
    name = team.words()
    await team.alice.post("settings/Site_Name", value=name)
    found = await team.bob.get("settings.public", _id="Site_Name")
    assert [setting["value"] for setting in found["settings"]] == [name]


async def look_around(team: Team) -> None:
    """What a client asks for when it starts, by REST and on the socket."""
    person = team.somebody()
    rooms = await person.call("rooms/get")
    listed = {room["_id"] for room in (rooms["update"] if isinstance(rooms, dict) else rooms)}
    wanted = {room.id for room in team.rooms if person.name in room.members}
    assert listed == wanted, (listed - wanted, [room for room in team.rooms if room.id in wanted - listed])
    found = (await person.get("subscriptions.get"))["update"]
    assert {subscription["rid"] for subscription in found} == listed
    spotted = await person.get("spotlight", query=team.other(person).name)
    assert [user["username"] for user in spotted["users"]] == [team.other(person).name]
    users = await person.get("directory", query='{"text": "", "type": "users"}')
    assert {"alice", "bob"} <= {user["username"] for user in users["result"]}


async def go_and_come(team: Team) -> None:
    """Out and in again: what was said in between is there."""
    person = team.somebody()
    other = team.other(person)
    await person.log_out()
    await person.get("me", 401)
    general, text = team.rooms[0], team.words()
    found = (await other.post("chat.sendMessage", message={"rid": general.id, "msg": text}))["message"]
    await person.log_in([room for room in team.rooms if person.name in room.members])
    history = await person.get("channels.history", roomId=general.id, count=1)
    assert history["messages"][0]["_id"] == found["_id"]
    other.forget()
    text = team.words()
    again = (await other.post("chat.sendMessage", message={"rid": general.id, "msg": text}))["message"]
    await team.wrote(general, again, other.name, text)
    general.messages[found["_id"]] = type(general.messages[again["_id"]])(found["_id"], found["msg"], other.name)


STEPS = (
    *(create, discuss, write_directly, write_directly, invite, leave, change_room, change_role, read, favour),
    *(set_status, set_avatar, set_preferences, change_setting, look_around, go_and_come),
)
