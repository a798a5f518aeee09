"""Changing, archiving and deleting rooms, by REST."""

import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group, say


@pytest.mark.parametrize("face", ["channels", "groups"])
async def test_what_describes_a_room_can_be_changed(alice: Client, bob: Client, face: str) -> None:
    make = make_channel if face == "channels" else make_group
    room_id = await make(alice, "canvas", members=["bob"])
    key = face[:-1]
    for name, field in (
        ("topic", "topic"),
        ("description", "description"),
        ("purpose", "description"),
        ("announcement", "announcement"),
    ):
        path = f"{face}.set{name.title()}"
        answer = await alice.post(path, roomId=room_id, **{name: f"a {name}"})
        assert answer == {name: f"a {name}", "success": True}
        assert (await alice.get(f"{face}.info", roomId=room_id))[key][field] == f"a {name}"
        assert (await alice.post(path, roomId=room_id, **{name: ""}))[name] == ""
        await bob.post(path, 400, roomId=room_id, **{name: "mine"})
        await alice.post(path, 400, roomId=room_id)
        await alice.post(path, 400, roomId=room_id, **{name: {"$set": "x"}})
    renamed = await alice.post(f"{face}.rename", roomId=room_id, name="painting")
    assert renamed[key]["name"] == "painting"
    await alice.post(f"{face}.rename", 400, roomId=room_id, name="painting")
    await alice.post(f"{face}.rename", 400, roomId=room_id)
    fields = {"customFields": {"color": "red"}}
    assert (await alice.post(f"{face}.setCustomFields", roomId=room_id, **fields))[key]["customFields"] == {
        "color": "red"
    }
    await alice.post(f"{face}.setCustomFields", 400, roomId=room_id, customFields="red")


@pytest.mark.parametrize("face", ["channels", "groups"])
async def test_a_room_can_be_read_only(alice: Client, bob: Client, face: str) -> None:
    make = make_channel if face == "channels" else make_group
    room_id = await make(alice, "notices", members=["bob"])
    assert (await alice.post(f"{face}.setReadOnly", roomId=room_id, readOnly=True))[face[:-1]]["ro"] is True
    await bob.post("chat.sendMessage", 400, message={"rid": room_id, "msg": "no"})
    same = await alice.post(f"{face}.setReadOnly", 400, roomId=room_id, readOnly=True)
    noun = "channel" if face == "channels" else "private group"
    assert same["error"] == f"The {noun} read only setting is the same as what it would be changed to."
    await alice.post(f"{face}.setReadOnly", 400, roomId=room_id)
    await alice.post(f"{face}.setReadOnly", roomId=room_id, readOnly=False)
    await say(bob, room_id, "yes")


async def test_a_room_can_become_private_and_public(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "turncoat")
    assert (await alice.post("channels.setType", roomId=room_id, type="p"))["channel"]["t"] == "p"
    await bob.get("rooms.info", 400, roomId=room_id)
    assert (await alice.post("groups.setType", 400, roomId=room_id, type="p"))["error"].startswith("The private group")
    assert (await alice.post("groups.setType", roomId=room_id, type="c"))["group"]["t"] == "c"
    assert (await bob.get("rooms.info", roomId=room_id))["room"]["t"] == "c"


async def test_default_rooms_are_set_by_administrators(admin: Client, alice: Client) -> None:
    room_id = await make_channel(alice, "welcome")
    await alice.post("channels.setDefault", 400, roomId=room_id, default=True)
    assert (await admin.post("channels.setDefault", roomId=room_id, default="true"))["channel"]["default"] is True
    same = await admin.post("channels.setDefault", 400, roomId=room_id, default=True)
    assert same["errorType"] == "error-channels-setdefault-is-same"
    await admin.post("channels.setDefault", 400, roomId=room_id)
    carol = await admin.make_user("carol")
    assert (await carol.get("subscriptions.getOne", roomId=room_id))["subscription"]["rid"] == room_id


@pytest.mark.parametrize(("face", "noun"), [("channels", "channel"), ("groups", "private group")])
async def test_archived_rooms_say_so(admin: Client, alice: Client, face: str, noun: str) -> None:
    make = make_channel if face == "channels" else make_group
    room_id = await make(alice, "attic", members=["boss"])
    await alice.post(f"{face}.archive", roomId=room_id)
    refused = await alice.post(f"{face}.setTopic", 400, roomId=room_id, topic="x")
    assert refused["error"] == f"The {noun}, attic, is archived [error-room-archived]"
    assert (await alice.get(f"{face}.info", roomId=room_id))[face[:-1]]["archived"] is True
    assert (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"]["archived"] is True
    await alice.post("chat.sendMessage", 400, message={"rid": room_id, "msg": "x"})
    await admin.post(f"{face}.unarchive", roomId=room_id)
    again = await admin.post(f"{face}.unarchive", 400, roomId=room_id)
    assert again["error"] == f"The {noun}, attic, is not archived"
    await say(alice, room_id, "dust")
    await admin.post("rooms.changeArchivationState", rid=room_id, action="archive")
    await admin.post("rooms.changeArchivationState", rid=room_id, action="unarchive")


async def test_deleted_rooms_are_gone(admin: Client, alice: Client, bob: Client) -> None:
    for path, make in (("channels.delete", make_channel), ("groups.delete", make_group), ("rooms.delete", make_group)):
        room_id = await make(alice, "ashes", members=["bob"])
        assert (await bob.post(path, 400, roomId=room_id))["errorType"] == "error-not-allowed"
        await alice.post(path, roomId=room_id)
        await alice.get("rooms.info", 400, roomId=room_id)
    secret = await make_group(alice, "secret")
    await admin.post("rooms.delete", roomId=secret)
    assert (await alice.post("rooms.delete", 400))["error"] == "The 'roomId' param is required"


async def test_settings_of_a_room_are_saved_at_once(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "settings", members=["bob"])
    body = {"roomName": "renamed", "roomTopic": "t", "roomDescription": "d", "readOnly": True, "systemMessages": ["uj"]}
    assert await alice.post("rooms.saveRoomSettings", rid=room_id, **body) == {"rid": room_id, "success": True}
    room = (await alice.get("rooms.info", roomId=room_id))["room"]
    assert (room["name"], room["topic"], room["description"], room["ro"]) == ("renamed", "t", "d", True)
    assert room["sysMes"] == ["uj"]
    for path, refused in (
        ("rooms.saveRoomSettings", {"rid": room_id, "roomTopic": "x"}),
        ("channels.setTopic", {"roomId": room_id, "topic": "x"}),
        ("channels.rename", {"roomId": room_id, "name": "mine"}),
        ("channels.setType", {"roomId": room_id, "type": "p"}),
    ):
        assert await bob.post(path, 400, **refused) == {
            "success": False,
            "error": "Editing room is not allowed [error-action-not-allowed]",
            "errorType": "error-action-not-allowed",
            "details": {"action": "Editing_room"},
        }
    assert (await alice.post("channels.setType", 400, roomId=room_id, type="x"))[
        "errorType"
    ] == "error-invalid-room-type"


async def test_members_can_be_muted(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "choir", members=["bob"])
    await bob.post("rooms.muteUser", 400, roomId=room_id, username="alice")
    await alice.post("rooms.muteUser", roomId=room_id, username="bob")
    assert (await alice.get("rooms.info", roomId=room_id))["room"]["muted"] == ["bob"]
    refused = await bob.post("chat.sendMessage", 400, message={"rid": room_id, "msg": "la"})
    assert "You_have_been_muted" in refused["error"]
    await alice.post("rooms.unmuteUser", roomId=room_id, userId=bob.user_id)
    await say(bob, room_id, "la")
