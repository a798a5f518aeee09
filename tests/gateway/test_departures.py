"""Deactivating and deleting accounts, as clients do it."""

from pathlib import Path

from tests.gateway.ddp import running_gateway
from tests.gateway.rest import PASSWORD, Client
from tests.services import ADMIN_ID


async def test_the_last_owner_confirms(admin: Client, alice: Client, bob: Client) -> None:
    await alice.post("channels.create", name="shared", members=["bob"])
    await alice.post("groups.create", name="alone")
    details = {"shouldChangeOwner": ["shared"], "shouldBeRemoved": ["alone"]}
    for path, body in (
        ("users.delete", {}),
        ("users.setActiveStatus", {"activeStatus": False}),
        ("users.update", {"data": {"active": False}}),
    ):
        answer = await admin.post(path, 400, userId=alice.user_id, **body)
        assert (answer["errorType"], answer["details"]) == ("user-last-owner", details)
    frame = await admin.call("setUserActiveStatus", alice.user_id, False)
    assert (frame["error"]["error"], frame["error"]["details"]) == ("user-last-owner", details)
    assert (await admin.call("setUserActiveStatus", alice.user_id, False, True))["result"] is True
    await admin.post("users.delete", userId=alice.user_id, confirmRelinquish=True)
    await admin.get("users.info", 400, userId=alice.user_id)


async def test_who_may_not_learns_nothing(admin: Client, alice: Client, bob: Client) -> None:
    await alice.post("channels.create", name="shared")
    await bob.post("users.delete", 403, userId=alice.user_id)
    await bob.post("users.setActiveStatus", 403, userId=alice.user_id, activeStatus=False)
    await bob.post("users.deactivateIdle", 403, daysIdle=1)
    assert (await bob.call("deleteUser", alice.user_id))["error"]["error"] == "error-not-allowed"
    assert (await admin.post("users.delete", 400, userId="nobody"))["errorType"] == "error-invalid-user"
    assert (await admin.post("users.delete", 400))["errorType"] == "error-user-param-not-provided"
    assert (await admin.post("users.delete", 400, userId=ADMIN_ID))["errorType"] == "error-action-not-allowed"


async def test_ones_own_account(admin: Client, alice: Client, bob: Client) -> None:
    assert (await alice.post("users.deleteOwnAccount", 400, password=PASSWORD))["errorType"] == "error-not-allowed"
    await admin.post("settings/Accounts_AllowDeleteOwnAccount", value=True)
    assert (await alice.post("users.deleteOwnAccount", 400))["error"] == 'Body parameter "password" is required.'
    answer = await alice.post("users.deleteOwnAccount", 400, password="wrong")
    assert answer["errorType"] == "error-invalid-password"
    await alice.post("users.deleteOwnAccount", password=PASSWORD)
    await alice.get("me", 401)
    assert (await bob.call("deleteUserOwnAccount", PASSWORD))["result"] is True
    await bob.get("me", 401)


async def test_idle_users(admin: Client, alice: Client) -> None:
    assert (await admin.post("users.deactivateIdle", daysIdle=1))["count"] == 0
    for days in (0, -1, 10**12):
        assert (await admin.post("users.deactivateIdle", 400, daysIdle=days))["errorType"] == "error-invalid-days"
    await admin.post("users.deactivateIdle", 400, daysIdle="1")


async def test_a_deletion_is_heard(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path) as gateway:
        boss = await gateway.login("boss", "an admin's password")
        alice, bob = [await gateway.make_user(name) for name in ("alice", "bob")]
        room_id = (await gateway.post("channels.create", bob, name="open", members=["alice"]))["channel"]["_id"]
        said = (await gateway.post("chat.postMessage", alice, roomId=room_id, text="hello"))["message"]["_id"]
        hers, his = await gateway.client(alice), await gateway.client(bob)
        await his.sub("stream-notify-logged", "Users:Deleted", False)
        await his.sub("stream-notify-room", f"{room_id}/deleteMessage", False)
        await gateway.post("users.delete", boss, userId=alice["X-User-Id"])
        await hers.wait_closed()
        shown = {"userId": alice["X-User-Id"], "messageErasureType": "Delete"}
        await his.wait_change("stream-notify-logged", "Users:Deleted", lambda args: args == [shown])
        await his.wait_change("stream-notify-room", f"{room_id}/deleteMessage", lambda args: args == [{"_id": said}])
