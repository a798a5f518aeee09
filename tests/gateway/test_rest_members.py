"""Who is in a room, by REST."""

import json

from palaver.database import Put
from palaver.events import room_stream
from palaver.messaging.rules import new_subscription
from palaver.v1.event_pb2 import Event
from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group


async def test_people_come_and_go(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "plaza")
    assert (await bob.post("channels.join", roomId=room_id))["channel"]["usersCount"] == 2
    members = await alice.get("channels.members", roomId=room_id, sort='{"username":-1}')
    assert [member["username"] for member in members["members"]] == ["bob", "alice"]
    assert (members["count"], members["offset"], members["total"]) == (2, 0, 2)
    assert members["members"][0]["status"] == "offline"
    found = await alice.get("channels.members", roomId=room_id, filter="ali")
    assert [member["username"] for member in found["members"]] == ["alice"]
    assert (await alice.get("channels.members", roomId=room_id, **{"status[]": ["online"]}))["members"] == []
    assert (await bob.post("channels.leave", roomName="plaza"))["channel"]["usersCount"] == 1
    await alice.post("channels.invite", roomId=room_id, userId=bob.user_id)
    assert (await alice.get("rooms.isMember", roomId=room_id, username="bob"))["isMember"] is True
    kicked = await alice.post("channels.kick", roomId=room_id, userId=bob.user_id)
    assert kicked["channel"]["usersCount"] == 1
    assert (await alice.get("rooms.isMember", roomId=room_id, userId=bob.user_id))["isMember"] is False
    again = await alice.post("channels.kick", 400, roomId=room_id, userId=bob.user_id)
    assert again["errorType"] == "error-user-not-in-room"
    many = await alice.post("channels.invite", roomId=room_id, userIds=[bob.user_id, admin.user_id])
    assert many["channel"]["usersCount"] == 3
    await bob.post("rooms.leave", roomId=room_id)


async def test_who_is_kicked_is_named_by_id(alice: Client, bob: Client) -> None:
    room_id, group = await make_channel(alice, "out"), await make_group(alice, "away", members=["bob"])
    for path, room in (("channels.kick", room_id), ("groups.kick", group)):
        for more in ({}, {"username": "bob"}):
            answer = await alice.post(path, 400, roomId=room, **more)
            assert answer["error"] == "must have required property 'userId' [invalid-params]"
            assert answer["errorType"] == "invalid-params"
    await alice.post("groups.kick", roomId=group, userId=bob.user_id)


async def test_invitations_name_somebody(alice: Client) -> None:
    room_id, group = await make_channel(alice, "empty"), await make_group(alice, "lonely")
    answer = await alice.post("channels.invite", 400, roomId=room_id)
    assert answer["errorType"] == "invalid-user-invite-list"
    assert (await alice.post("groups.invite", 400, roomId=group))["errorType"] == "error-empty-invite-list"
    assert (await alice.post("groups.invite", 400, roomId=group, username="ghost"))["errorType"] == "error-invalid-user"
    assert (await alice.get("rooms.isMember", 400, roomId=room_id, username="ghost"))["error"] == "error-user-not-found"
    await alice.get("rooms.isMember", 400, roomId=room_id)


async def test_roles_in_a_room(alice: Client, bob: Client) -> None:
    room_id = await make_group(alice, "crew", members=["bob"])
    refused = await bob.post("groups.addModerator", 400, roomId=room_id, userId=bob.user_id)
    assert refused["errorType"] == "error-not-allowed"
    await alice.post("groups.addModerator", roomId=room_id, username="bob")
    assert (await alice.get("groups.moderators", roomId=room_id))["moderators"] == [
        {"_id": bob.user_id, "username": "bob", "name": "Bob"}
    ]
    roles = (await bob.get("groups.roles", roomName="crew"))["roles"]
    assert {role["u"]["username"]: role["roles"] for role in roles} == {"alice": ["owner"], "bob": ["moderator"]}
    await alice.post("groups.removeModerator", roomId=room_id, userId=bob.user_id)
    for role in ("Owner", "Leader"):
        await alice.post(f"groups.add{role}", roomId=room_id, userId=bob.user_id)
        twice = await alice.post(f"groups.add{role}", 400, roomId=room_id, userId=bob.user_id)
        assert twice["errorType"] == f"error-user-already-{role.lower()}"
        await alice.post(f"groups.remove{role}", roomId=room_id, userId=bob.user_id)
    last = await alice.post("groups.leave", 400, roomId=room_id)
    assert last["errorType"] == "error-you-are-last-owner"
    nobody = await alice.post("groups.addOwner", 400, roomId=room_id)
    assert nobody["errorType"] == "error-user-param-not-provided"


async def test_roles_are_listed_among_very_many_members(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "crowd", members=["bob"])
    database = alice.node.database
    room = await database.get("rooms", room_id)
    assert room is not None
    event = Event(stream_kind="room", stream_id=room_id, seq=room["applied_seq"] + 1, command_id="fill")
    event.room_changed.set = b"{}"
    people = [{"_id": f"aa{number}", "username": f"aa{number}"} for number in range(1100)]
    members = [new_subscription(f"s{number}", room, one, 1) for number, one in enumerate(people)]
    await database.commit(
        room_stream(room_id), [event], [[Put("subscriptions", one["_id"], insert=one) for one in members]]
    )
    await alice.post("channels.addModerator", roomId=room_id, userId=bob.user_id)
    roles = (await bob.get("channels.roles", roomId=room_id))["roles"]
    assert {role["u"]["username"]: role["roles"] for role in roles} == {"alice": ["owner"], "bob": ["moderator"]}
    assert (await alice.post("channels.leave", 400, roomId=room_id))["errorType"] == "error-you-are-last-owner"
    await alice.post("channels.addOwner", roomId=room_id, userId=bob.user_id)
    await alice.post("channels.leave", roomId=room_id)


async def test_everybody_can_be_added(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(admin, "assembly")
    await alice.post("channels.addAll", 400, roomId=room_id)
    room = (await admin.post("channels.addAll", roomId=room_id))["channel"]
    members = await admin.get("channels.members", roomId=room_id)
    assert room["usersCount"] == members["total"]
    assert {"alice", "bob", "boss"} <= {member["username"] for member in members["members"]}


async def test_a_join_code_keeps_people_out(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "club")
    room = (await alice.post("channels.setJoinCode", roomId=room_id, joinCode="open sesame"))["channel"]
    assert room["joinCodeRequired"] is True
    assert "open sesame" not in json.dumps(room)
    assert (await bob.post("channels.join", 400, roomId=room_id))["errorType"] == "error-code-invalid"
    await bob.post("channels.join", roomId=room_id, joinCode="open sesame")


async def test_broadcast_rooms_hide_their_members(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "radio", members=["bob"], extraData={"broadcast": True})
    assert await bob.get("channels.members", 403, roomId=room_id) == {"success": False, "error": "unauthorized"}
    assert (await alice.get("channels.members", roomId=room_id))["total"] == 2


async def test_who_is_online(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "lobby")
    for parameters in ({"_id": room_id}, {"query": json.dumps({"_id": room_id})}, {"query": '{"name":"lobby"}'}):
        assert (await bob.get("channels.online", **parameters))["online"] == []
    assert (await bob.get("channels.online", 400))["error"] == "Invalid query"
    await bob.get("channels.online", 400, query='{"_id":{"$ne":"x"}}')
