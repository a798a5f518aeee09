"""Pruning by REST and by DDP, and what listeners hear of it."""

from tests.gateway.ddp import RunningGateway
from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, say


async def test_history_is_cleaned(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "dev", members=["bob"])
    for text in ("one", "two", "three"):
        await say(alice, room_id, text)
    bounds = {"roomId": room_id, "oldest": "1970-01-01T00:00:00.000Z", "latest": "2999-01-01T00:00:00.000Z"}
    await bob.post("rooms.cleanHistory", 400, **bounds)
    await admin.post("rooms.cleanHistory", 400, roomId=room_id)
    await admin.post("rooms.cleanHistory", 400, **{**bounds, "latest": "soon"})
    answer = await admin.post("rooms.cleanHistory", **bounds, limit=1)
    assert answer == {"_id": room_id, "count": 1, "success": True}
    arguments = {"roomId": room_id, "oldest": {"$date": 0}, "latest": {"$date": 32503680000000}}
    assert (await admin.call("cleanRoomHistory", arguments))["result"] == 2
    found = await alice.get("channels.messages", roomId=room_id)
    assert (found["messages"], found["total"]) == ([], 0)


async def test_listeners_hear_which_messages_are_gone(gateway: RunningGateway) -> None:
    alice, bob = await gateway.make_user("alice", roles=["user", "admin"]), await gateway.make_user("bob")
    room = (await gateway.post("channels.create", alice, name="open", members=["bob"]))["channel"]["_id"]
    his = await gateway.client(bob)
    await his.sub("stream-notify-room", f"{room}/deleteMessageBulk", False)
    sent = await gateway.post("chat.postMessage", alice, roomId=room, text="old")
    await gateway.post(
        "rooms.cleanHistory", alice, roomId=room, oldest="2000-01-01T00:00:00Z", latest="2999-01-01T00:00:00Z"
    )
    (told,) = await his.wait_change("stream-notify-room", f"{room}/deleteMessageBulk", lambda args: True)
    assert (told["rid"], told["ids"], told["users"]) == (room, [sent["message"]["_id"]], [])
    assert told["ts"] == {"$gt": {"$date": 946684800000}, "$lt": {"$date": 32472144000000}}
