"""Discussions by REST and by DDP, and who hears them."""

import asyncio

from tests.gateway.ddp import SILENCE, RunningGateway
from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group, say


async def test_discussions_are_made_and_listed(alice: Client, bob: Client) -> None:
    parent = await make_channel(alice, "dev", members=["bob"])
    message = await say(bob, parent, "lunch")
    body = {"prid": parent, "t_name": "Lunch", "pmid": message["_id"], "reply": "yes", "users": ["bob"]}
    room = (await alice.post("rooms.createDiscussion", **body))["discussion"]
    assert (room["rid"], room["prid"], room["fname"]) == (room["_id"], parent, "Lunch")
    made = (await bob.call("createDiscussion", {"prid": parent, "t_name": "Dinner", "users": []}))["result"]
    found = await bob.get("rooms.getDiscussions", roomId=parent)
    assert [one["_id"] for one in found["discussions"]] == [made["rid"], room["_id"]]
    assert (found["total"], found["count"], found["offset"]) == (2, 2, 0)
    one = await bob.get("rooms.getDiscussions", roomName="dev", count=1, sort='{"fname":-1}')
    assert [shown["fname"] for shown in one["discussions"]] == ["Lunch"]
    told = await bob.get("chat.getDiscussions", roomId=parent)
    assert [shown["drid"] for shown in told["messages"]] == [made["rid"], room["_id"]]
    assert (await bob.get("chat.getDiscussions", roomId=parent, text="lunch"))["total"] == 1
    info = await bob.get("rooms.info", roomId=room["_id"])
    assert (info["room"]["fname"], info["parent"]["name"]) == ("Lunch", "dev")


async def test_what_is_wrong_with_a_discussion(alice: Client) -> None:
    parent = await make_channel(alice, "dev")
    for body, error in (
        ({"t_name": "x"}, 'Body parameter "prid" is required.'),
        ({"prid": parent}, 'Body parameter "t_name" is required.'),
        ({"prid": parent, "t_name": "x", "users": "bob"}, 'Body parameter "users" must be an array.'),
        (
            {"prid": parent, "t_name": "x", "encrypted": "yes"},
            'Body parameter "encrypted" must be a boolean when included.',
        ),
    ):
        assert (await alice.post("rooms.createDiscussion", 400, **body))["error"] == error
    unknown = await alice.post("rooms.createDiscussion", 400, prid="unknown", t_name="x")
    assert unknown["errorType"] == "error-invalid-room"
    assert (await alice.get("chat.getDiscussions", 400))["errorType"] == "error-invalid-params"
    await alice.get("rooms.getDiscussions", 400)


async def test_of_a_private_discussion_the_outside_knows_nothing(alice: Client, bob: Client) -> None:
    parent = await make_group(alice, "closed")
    room = (await alice.post("rooms.createDiscussion", prid=parent, t_name="Lunch"))["discussion"]
    for path in ("rooms.getDiscussions", "chat.getDiscussions"):
        await bob.get(path, 400, roomId=parent)
    await bob.get("rooms.info", 400, roomId=room["_id"])
    await bob.post("rooms.createDiscussion", 400, prid=parent, t_name="Lunch")


async def test_who_leaves_the_parent_hears_its_discussions_no_longer(gateway: RunningGateway) -> None:
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    parent = (await gateway.post("groups.create", alice, name="inner", members=["bob"]))["group"]["_id"]
    room = (await gateway.post("rooms.createDiscussion", alice, prid=parent, t_name="Lunch"))["discussion"]["_id"]
    his = await gateway.client(bob)
    assert (await his.sub("stream-room-messages", room, False))["msg"] == "ready"
    await gateway.post("chat.postMessage", alice, roomId=room, text="before")
    await his.wait_change("stream-room-messages", room, lambda args: args[0]["msg"] == "before")
    await gateway.post("groups.kick", alice, roomId=parent, userId=bob["X-User-Id"])
    await his.wait_for(lambda frame: frame.get("msg") == "nosub")
    await gateway.post("chat.postMessage", alice, roomId=room, text="after")
    await asyncio.sleep(SILENCE)
    assert [args[0]["msg"] for args in his.changes("stream-room-messages", room)] == ["before"]
    assert gateway.node.roles["gateway"].rooms.find(parent) is None  # type: ignore[attr-defined]


async def test_the_parent_s_listeners_hear_how_a_discussion_grows(gateway: RunningGateway) -> None:
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    parent = (await gateway.post("channels.create", alice, name="open", members=["bob"]))["channel"]["_id"]
    his = await gateway.client(bob)
    await his.sub("stream-room-messages", parent, False)
    room = (await gateway.post("rooms.createDiscussion", alice, prid=parent, t_name="Lunch"))["discussion"]["_id"]
    await his.wait_change("stream-room-messages", parent, lambda args: args[0].get("drid") == room)
    await gateway.post("chat.postMessage", alice, roomId=room, text="hello")
    await his.wait_change("stream-room-messages", parent, lambda args: args[0].get("dcount") == 1)
