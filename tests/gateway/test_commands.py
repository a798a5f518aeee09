"""Slash commands, as clients give them: what they do, who may, and what only their giver is told."""

from typing import Any

import pytest

from tests.gateway.ddp import RunningGateway
from tests.gateway.rest import Client

NAMES = (
    "archive create gimme help hide invite invite-all-from invite-all-to join kick leave lennyface me msg mute open "
    "part shrug status tableflip topic unarchive unflip unmute"
)


async def make_room(by: Client, name: str, *members: str, kind: str = "channels") -> str:
    answer = await by.post(f"{kind}.create", name=name, members=list(members))
    return str(answer["channel" if kind == "channels" else "group"]["_id"])


async def run(by: Client, command: str, room_id: str, params: str = "", status: int = 200, **more: Any) -> Any:
    return await by.post("commands.run", status, command=command, params=params, roomId=room_id, **more)


async def info(by: Client, room_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await by.get("rooms.info", roomId=room_id))["room"]
    return found


async def members(by: Client, room_id: str) -> set[str]:
    answer = await by.get("channels.members", roomId=room_id)
    return {member["username"] for member in answer["members"]}


async def texts(by: Client, room_id: str) -> list[str]:
    found = (await by.get("channels.history", roomId=room_id))["messages"]
    return [message["msg"] for message in reversed(found) if "t" not in message]


async def test_the_list(alice: Client) -> None:
    answer = await alice.get("commands.list", count=0)
    assert [entry["command"] for entry in answer["commands"]] == NAMES.split()
    assert answer["total"] == answer["count"] == len(NAMES.split())
    answer = await alice.get("commands.list", count=2, offset=1, sort='{"command": -1}')
    assert [entry["command"] for entry in answer["commands"]] == ["unflip", "unarchive"]
    answer = await alice.get("commands.list", query='{"command": {"$regex": "^inv"}}', fields='{"params": 1}')
    assert answer["commands"] == [{"params": "@username"}, {"params": "#room"}, {"params": "#room"}]
    assert (answer["count"], answer["total"]) == (3, 3)
    shown = (await alice.get("commands.get", command="TOPIC"))["command"]
    assert shown == {
        "command": "topic",
        "params": "Slash_Topic_Params",
        "description": "Slash_Topic_Description",
        "clientOnly": False,
        "providesPreview": False,
        "permission": ["edit-room"],
    }
    assert "no command" in (await alice.get("commands.get", 400, command="nonsense"))["error"]
    assert "must be provided" in (await alice.get("commands.get", 400))["error"]


async def test_every_permission_of_a_command_exists(admin: Client) -> None:
    known = admin.node.access.policy.permissions
    for entry in (await admin.get("commands.list", count=0))["commands"]:
        assert set(entry.get("permission", ())) <= known.keys(), entry


async def test_what_is_no_command(alice: Client, bob: Client) -> None:
    room = await make_room(bob, "secret", kind="groups")
    own = await make_room(alice, "own")
    assert (await run(alice, "nonsense", own, status=400))["error"].startswith("The command provided does not exist")
    assert (await run(alice, "", own, status=400))["error"] == "You must provide a command to run."
    assert (await run(alice, "me", "", status=400))["error"].startswith("The room's id")
    assert (await run(alice, "me", room, "x", status=403))["error"] == "unauthorized"
    assert (await run(alice, "me", own, "x", status=400, tmid="nowhere"))["error"] == "Invalid thread."
    await run(alice, "me", own, "y" * 20_000, status=400)
    await alice.post("commands.run", 400, command={"$ne": ""}, roomId=own)
    error = (await alice.call("slashCommand", {"cmd": "nonsense", "params": "", "msg": {"rid": own}}))["error"]
    assert error["error"] == "error-invalid-command"
    error = (await alice.call("slashCommand", {"cmd": "me", "params": "x", "msg": {"rid": room}}))["error"]
    assert error["error"] == "error-invalid-room"
    assert await texts(alice, own) == []


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("me", "sighs", "_sighs_"),
        ("shrug", "so", "so ¯\\\\_(ツ)_/¯"),
        ("shrug", "", "¯\\\\_(ツ)_/¯"),
        ("tableflip", "", "(╯°□°）╯︵ ┻━┻"),
        ("unflip", "calm", "calm ┬─┬ ノ( ゜-゜ノ)"),
        ("lennyface", "", "( ͡° ͜ʖ ͡°)"),
        ("gimme", "cake", "༼ つ ◕_◕ ༽つ cake"),
    ],
)
async def test_made_up_texts(alice: Client, command: str, text: str, said: str) -> None:
    room = await make_room(alice, "fun")
    assert (await run(alice, command, room, text))["result"] is None
    assert await texts(alice, room) == [said]


async def test_by_ddp_the_message_has_the_clients_id_and_thread(alice: Client) -> None:
    room = await make_room(alice, "fun")
    first = (await alice.post("chat.postMessage", roomId=room, text="first"))["message"]["_id"]
    message = {"_id": "aChosenIdOfAClien", "rid": room, "tmid": first}
    frame = await alice.call("slashCommand", {"cmd": "me", "params": "nods", "msg": message, "triggerId": "x"})
    assert "error" not in frame
    sent = (await alice.get("chat.getMessage", msgId="aChosenIdOfAClien"))["message"]
    assert (sent["msg"], sent["tmid"]) == ("_nods_", first)


async def test_rooms_are_made_entered_and_left(alice: Client, bob: Client) -> None:
    room = await make_room(alice, "base")
    await run(alice, "create", room, "#fresh")
    await run(alice, "create", room, "hidden private")
    fresh = (await bob.get("rooms.info", roomName="fresh"))["room"]
    assert fresh["t"] == "c"
    assert (await alice.get("rooms.info", roomName="hidden"))["room"]["t"] == "p"
    general = "GENERAL"
    await run(bob, "join", general, "#fresh")
    assert await members(alice, fresh["_id"]) == {"alice", "bob"}
    await run(bob, "leave", fresh["_id"])
    assert await members(alice, fresh["_id"]) == {"alice"}
    await run(bob, "join", general, "fresh")
    await run(bob, "part", fresh["_id"])
    assert await members(alice, fresh["_id"]) == {"alice"}


async def test_what_a_room_is(admin: Client, alice: Client, bob: Client) -> None:
    room = await make_room(alice, "base", "bob")
    await run(alice, "topic", room, "what we do")
    assert (await info(alice, room))["topic"] == "what we do"
    await run(bob, "topic", room, "mine", status=403)
    await run(alice, "archive", room)
    assert (await info(alice, room))["archived"] is True
    await run(alice, "unarchive", room, "#base", status=403)
    await run(admin, "unarchive", "GENERAL", "#base")
    assert not (await info(alice, room)).get("archived")
    await run(bob, "archive", room, status=403)
    await run(alice, "hide", room)
    shown = (await alice.get("subscriptions.getOne", roomId=room))["subscription"]
    assert shown["open"] is False
    await run(alice, "open", "GENERAL", "#base")
    assert (await alice.get("subscriptions.getOne", roomId=room))["subscription"]["open"] is True


async def test_who_is_in_a_room(admin: Client, alice: Client, bob: Client) -> None:
    carol = await admin.make_user("carol")
    room = await make_room(alice, "base")
    await run(alice, "invite", room, "@bob, carol")
    assert await members(alice, room) == {"alice", "bob", "carol"}
    await run(alice, "mute", room, "@bob")
    await bob.post("chat.postMessage", 400, roomId=room, text="hm")
    await run(bob, "unmute", room, "@bob", status=403)
    await run(alice, "unmute", room, "bob")
    await bob.post("chat.postMessage", roomId=room, text="thanks")
    await run(bob, "kick", room, "@carol", status=403)
    await run(alice, "kick", room, "@carol")
    assert await members(alice, room) == {"alice", "bob"}
    other = await make_room(alice, "other", "carol")
    await run(alice, "invite-all-from", room, "#other")
    assert await members(alice, room) == {"alice", "bob", "carol"}
    await run(alice, "invite-all-to", room, "#other")
    assert await members(alice, other) == {"alice", "bob", "carol"}
    await run(alice, "invite-all-to", room, "#brandnew")
    made = (await carol.get("rooms.info", roomName="brandnew"))["room"]
    assert await members(alice, made["_id"]) == {"alice", "bob", "carol"}


async def test_a_direct_message_and_a_status(alice: Client, bob: Client) -> None:
    await run(alice, "msg", "GENERAL", "@bob  see you at   noon")
    found = (await bob.get("im.list"))["ims"]
    assert [room["lastMessage"]["msg"] for room in found] == ["see you at   noon"]
    await run(alice, "status", "GENERAL", "at lunch")
    assert (await bob.get("users.getStatus", userId=alice.user_id))["message"] == "at lunch"


async def test_nothing_has_previews(alice: Client, bob: Client) -> None:
    room = await make_room(alice, "own")
    answer = await alice.get("commands.preview", command="shrug", params="x", roomId=room)
    assert answer["preview"]["items"] == []
    await alice.get("commands.preview", 400, command="nonsense", roomId=room)
    secret = await make_room(bob, "secret", kind="groups")
    await alice.get("commands.preview", 403, command="shrug", roomId=secret)
    item = {"id": "1", "type": "text", "value": "x"}
    answer = await alice.post("commands.preview", 400, command="shrug", roomId=room, previewItem=item)
    assert answer["error"] == "The preview item is not one of the command's."
    given = {"cmd": "shrug", "params": "", "msg": {"rid": room}}
    assert "error" not in await alice.call("getSlashCommandPreviews", given)
    error = (await alice.call("executeSlashCommandPreview", given, item))["error"]
    assert error["error"] == "error-invalid-command-preview"
    error = (await alice.call("getSlashCommandPreviews", {**given, "cmd": "nonsense"}))["error"]
    assert error["error"] == "error-invalid-command"


async def test_answers_are_for_who_asked_alone(gateway: RunningGateway) -> None:
    headers = {name: await gateway.make_user(name) for name in ("alice", "bob")}
    alice, other = await gateway.client(headers["alice"]), await gateway.client(headers["alice"])
    bob = await gateway.client(headers["bob"])
    for client in (alice, other, bob):
        await client.sub("stream-notify-user", f"{client.user_id}/message", False)
        await client.sub("stream-room-messages", "GENERAL", False)
    event = f"{alice.user_id}/message"

    async def given(command: str, params: str = "", **message: Any) -> dict[str, Any]:
        """The ephemeral message that answers a command; both connections get it."""
        before = len(alice.changes("stream-notify-user", event))
        result = await alice.call(
            "slashCommand", {"cmd": command, "params": params, "msg": {"rid": "GENERAL", **message}}
        )
        assert "error" not in result
        for client in (alice, other):
            await client.wait_for(lambda _: len(client.changes("stream-notify-user", event)) > before)  # noqa: B023
        found = alice.changes("stream-notify-user", event)[before]
        assert found == other.changes("stream-notify-user", event)[before]
        told: dict[str, Any] = found[0]
        return told

    told = await given("join", "#nowhere", tmid="aThread")
    assert told["msg"] == "No channel with name `#nowhere` was found!"
    assert (told["rid"], told["private"], told["tmid"]) == ("GENERAL", True, "aThread")
    assert told["u"] == {"_id": "rocket.cat", "username": "rocket.cat"}
    assert set(told["ts"]) == {"$date"}
    assert (await given("join", "#general"))["msg"] == "You are already in that channel."
    assert "`/shrug`" in (await given("help"))["msg"]
    assert (await given("msg", "@nobody hi"))["msg"] == "No user with username `nobody` was found!"
    assert (await given("msg", "@bob"))["msg"].startswith("Usage")
    # What an operation refuses is told, too.
    assert "general" in (await given("create", "#general"))["msg"]
    assert bob.changes("stream-notify-user") == []
    assert bob.changes("stream-room-messages") == []
    await gateway.post("chat.postMessage", headers["bob"], roomId="GENERAL", text="all quiet")
    await bob.wait_change("stream-room-messages", "GENERAL")
    assert len(bob.changes("stream-room-messages")) == 1
