"""Clients hear of a rename: everybody who is called what, and each user what it changes in their room list."""

from tests.gateway.ddp import RunningGateway


async def test_a_rename_is_heard(gateway: RunningGateway) -> None:
    alice, bob, carol = [await gateway.make_user(name) for name in ("alice", "bob", "carol")]
    direct = (await gateway.post("im.create", alice, username="bob"))["room"]["_id"]
    channel = (await gateway.post("channels.create", alice, name="open", members=["bob"]))["channel"]["_id"]
    his, stranger = await gateway.client(bob), await gateway.client(carol)
    for client, headers in ((his, bob), (stranger, carol)):
        await client.sub("stream-notify-logged", "Users:NameChanged", False)
        for event in ("subscriptions-changed", "rooms-changed"):
            await client.sub("stream-notify-user", f"{headers['X-User-Id']}/{event}", False)
    await gateway.post("users.updateOwnBasicInfo", alice, data={"username": "alicia", "name": "Alicia"})
    shown = {"_id": alice["X-User-Id"], "name": "Alicia", "username": "alicia"}
    for client in (his, stranger):
        await client.wait_change("stream-notify-logged", "Users:NameChanged", lambda args: args == [shown])
    mine = f"{bob['X-User-Id']}/"
    await his.wait_change(
        "stream-notify-user",
        mine + "subscriptions-changed",
        lambda args: (
            (args[0], args[1]["rid"], args[1]["name"], args[1]["fname"]) == ("updated", direct, "alicia", "Alicia")
        ),
    )
    await his.wait_change(
        "stream-notify-user",
        mine + "rooms-changed",
        lambda args: args[1]["_id"] == direct and sorted(args[1]["usernames"]) == ["alicia", "bob"],
    )
    await his.wait_change(
        "stream-notify-user",
        mine + "rooms-changed",
        lambda args: args[1]["_id"] == channel and args[1]["u"]["username"] == "alicia",
    )
    assert not stranger.changes("stream-notify-user")
