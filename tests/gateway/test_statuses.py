"""The workspace's own kinds of status, lists of users by theirs, and what administers presence."""

from pathlib import Path
from typing import Any

import pytest

from palaver.errors import Unavailable
from tests.gateway.ddp import running_gateway
from tests.gateway.rest import Client, new_user


async def test_kinds_of_status_come_change_and_go(admin: Client, alice: Client) -> None:
    lunch = (await admin.post("custom-user-status.create", name="lunch", statusType="away"))["customUserStatus"]
    assert (lunch["name"], lunch["statusType"]) == ("lunch", "away")
    train = (await admin.call("insertOrUpdateUserStatus", {"name": "on a train", "statusType": "busy"}))["result"]
    listed = await alice.get("custom-user-status.list")
    assert [status["name"] for status in listed["statuses"]] == ["lunch", "on a train"]
    assert (listed["count"], listed["offset"], listed["total"]) == (2, 0, 2)
    assert [status["_id"] for status in (await alice.call("listCustomUserStatus"))["result"]] == [lunch["_id"], train]
    assert (await alice.get("custom-user-status.list", name="lunch"))["total"] == 1
    assert (await alice.get("custom-user-status.list", _id=train, count=1, offset=1))["statuses"] == []
    backwards = (await alice.get("custom-user-status.list", sort='{"name": -1}', count=1))["statuses"]
    assert [status["name"] for status in backwards] == ["on a train"]
    changed = await admin.post("custom-user-status.update", _id=lunch["_id"], name="dinner")
    assert (changed["customUserStatus"]["name"], changed["customUserStatus"]["statusType"]) == ("dinner", "away")
    # The name is free again.
    assert (await admin.call("insertOrUpdateUserStatus", {"_id": train, "name": "lunch"}))["result"] is True
    await admin.post("custom-user-status.delete", customUserStatusId=lunch["_id"])
    assert (await admin.call("deleteCustomUserStatus", train))["result"] is True
    assert (await alice.get("custom-user-status.list"))["total"] == 0
    await admin.post("custom-user-status.create", name="lunch")


async def test_what_is_no_kind_of_status(admin: Client, alice: Client) -> None:
    for body in ({"name": "lunch", "statusType": "sleeping"}, {"name": "<b>"}, {"name": "x" * 200}):
        answer = await admin.post("custom-user-status.create", 400, **body)
        assert answer["errorType"] == "error-input-is-not-a-valid-field"
    assert (await admin.post("custom-user-status.create", 400, name=" "))["errorType"] == "error-the-field-is-required"
    await admin.post("custom-user-status.create", 400, name={"$ne": ""})
    await admin.post("custom-user-status.create", name="lunch")
    answer = await admin.post("custom-user-status.create", 400, name="lunch")
    assert answer["errorType"] == "Custom_User_Status_Error_Name_Already_In_Use"
    await admin.post("custom-user-status.update", 400, _id="unknown", name="x")
    answer = await admin.post("custom-user-status.delete", 400, customUserStatusId="unknown")
    assert answer["errorType"] == "Custom_User_Status_Error_Invalid_User_Status"
    await admin.post("custom-user-status.delete", 400)
    answer = await alice.post("custom-user-status.create", 400, name="mine")
    assert answer["errorType"] == "not_authorized"
    status_id = (await admin.get("custom-user-status.list"))["statuses"][0]["_id"]
    for method, argument in (("insertOrUpdateUserStatus", {"name": "x"}), ("deleteCustomUserStatus", status_id)):
        assert (await alice.call(method, argument))["error"]["error"] == "not_authorized"


async def test_changes_are_heard(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path) as gateway:
        boss = await gateway.login("boss", "an admin's password")
        client = await gateway.client(await gateway.make_user("alice"))
        for event in ("updateCustomUserStatus", "deleteCustomUserStatus"):
            await client.sub("stream-notify-logged", event, False)
        made = await gateway.post("custom-user-status.create", boss, name="lunch", statusType="away")
        status_id = made["customUserStatus"]["_id"]
        await gateway.post("custom-user-status.delete", boss, customUserStatusId=status_id)
        for event in ("updateCustomUserStatus", "deleteCustomUserStatus"):
            args = await client.wait_change("stream-notify-logged", event, lambda args: True)
            assert (args[0]["userStatusData"]["_id"], args[0]["userStatusData"]["name"]) == (status_id, "lunch")


async def test_users_by_their_status(admin: Client, alice: Client) -> None:
    for name in ("never", "gone"):
        await admin.post("users.create", **new_user(name))
    gone = (await admin.get("users.info", username="gone"))["user"]["_id"]
    await admin.post("users.setActiveStatus", userId=gone, activeStatus=False)

    async def names(client: Client, **query: str) -> list[str]:
        return [user["username"] for user in (await client.get("users.listByStatus", **query))["users"]]

    assert await names(admin, status="deactivated") == ["gone"]
    assert await names(admin, status="active", type="user") == ["alice", "boss", "never"]
    assert await names(admin, hasLoggedIn="true") == ["alice", "boss"]
    assert await names(admin, hasLoggedIn="false", type="user") == ["gone", "never"]
    assert await names(admin, roles="admin,bot") == ["boss", "rocket.cat"]
    assert await names(admin, searchTerm="ev", status="active") == ["never"]
    page = await admin.get("users.listByStatus", status="active", type="user", offset=1, count=1)
    assert (page["count"], page["offset"], page["total"], page["users"][0]["username"]) == (1, 1, 3, "boss")
    assert "emails" not in (await alice.get("users.listByStatus", searchTerm="boss"))["users"][0]
    assert await names(admin, searchTerm="alice@example.org") == ["alice"]
    assert await names(alice, searchTerm="boss@example.org") == []
    await admin.get("users.listByStatus", 400, status="sleeping")


@pytest.mark.parametrize("path", ["presence.getConnections", "presence.enableBroadcast"])
async def test_presence_is_the_administrators(alice: Client, path: str) -> None:
    await (alice.get if path == "presence.getConnections" else alice.post)(path, 403)


async def test_connections_are_counted(admin: Client) -> None:
    gateway: Any = admin.node.roles["gateway"]
    await gateway.presence.keep_lease()
    found = await admin.get("presence.getConnections")
    assert (found["current"], found["max"]) == (len(gateway.ddp), 0)


async def test_presence_can_be_told_again(admin: Client) -> None:
    await admin.post("settings/Troubleshoot_Disable_Presence_Broadcast", value=True)
    await admin.post("presence.enableBroadcast")
    setting = await admin.get("settings/Troubleshoot_Disable_Presence_Broadcast")
    assert setting["value"] is False


async def test_what_is_stored_is_answered_though_nobody_can_be_told(
    tmp_path: Path, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_gateway(tmp_path) as gateway:
        bob = await gateway.make_user("bob")

        async def publish(subject: str, payload: bytes) -> None:
            raise Unavailable("NATS is away")

        monkeypatch.setattr(gateway.node.live, "publish", publish)
        await gateway.post("custom-user-status.create", gateway.admin, name="lunch", statusType="away")
        await gateway.post("channels.addModerator", gateway.admin, roomId="GENERAL", userId=bob["X-User-Id"])
        await gateway.post("users.resetAvatar", bob)
