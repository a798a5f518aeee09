"""Users by REST: what they and administrators change of them."""

from tests.gateway.rest import PASSWORD, Client, new_user
from tests.services import ADMIN_ID


async def test_update(admin: Client, anybody: Client) -> None:
    alice = await admin.make_user("alice")
    changes = {
        "name": "Alice B.",
        "username": "alice.b",
        "email": "b@example.org",
        "password": "another password",
        "roles": ["user", "bot"],
        "statusText": "there",
        "verified": True,
        "joinDefaultChannels": True,
    }
    user = (await admin.post("users.update", userId=alice.user_id, data=changes))["user"]
    assert (user["name"], user["username"], user["statusText"]) == ("Alice B.", "alice.b", "there")
    assert user["emails"] == [{"address": "b@example.org", "verified": True}]
    assert user["roles"] == ["user", "bot"]
    await anybody.login("alice.b", "another password")
    user = (await admin.post("users.update", userId=alice.user_id, data={"active": False}))["user"]
    assert user["active"] is False
    await anybody.post("login", 401, user="alice.b", password="another password")


async def test_update_refuses(admin: Client) -> None:
    alice = await admin.make_user("alice")
    answer = await admin.post("users.update", 400, userId=alice.user_id, data={"services": {}})
    assert answer["error"] == "must NOT have additional properties [invalid-params]"
    answer = await admin.post("users.update", 400, userId=alice.user_id)
    assert answer["error"] == "must have required property 'data' [invalid-params]"
    for data in ({"name": "x"}, {"roles": ["admin"]}, {"password": "x" * 10}, {"active": False}, {}):
        assert (
            await alice.post("users.update", 400 if data != {"active": False} else 403, userId=ADMIN_ID, data=data)
        )["success"] is False
    answer = await admin.post("users.update", 400, userId="unknown", data={"name": "x"})
    assert answer["errorType"] == "error-invalid-user"


async def test_update_own(admin: Client, anybody: Client) -> None:
    alice = await admin.make_user("alice")
    answer = await alice.post(
        "users.updateOwnBasicInfo", data={"name": "Al", "bio": "me", "statusText": "out", "statusType": "busy"}
    )
    assert (answer["user"]["name"], answer["user"]["bio"], answer["user"]["statusText"]) == ("Al", "me", "out")
    assert answer["user"]["statusDefault"] == "busy"
    answer = await alice.post(
        "users.updateOwnBasicInfo", 400, data={"newPassword": "another one", "currentPassword": "wrong"}
    )
    assert answer["errorType"] == "error-invalid-password"
    await alice.post("users.updateOwnBasicInfo", data={"newPassword": "another one", "currentPassword": PASSWORD})
    await anybody.login("alice", "another one")
    answer = await alice.post("users.updateOwnBasicInfo", 400, data={"roles": ["admin"]})
    assert answer["errorType"] == "invalid-params"


async def test_own_password_by_second_factor(admin: Client, anybody: Client) -> None:
    """Clients also prove the current password in the headers of a second factor."""
    alice = await admin.make_user("alice")
    other = await anybody.login("alice", PASSWORD)
    alice.headers |= {"X-2fa-Code": PASSWORD, "X-2fa-Method": "password"}
    await alice.post("users.updateOwnBasicInfo", data={"newPassword": "another one"})
    await alice.get("me")
    await other.get("me", 401)
    await anybody.login("alice", "another one")


async def test_active_status(admin: Client) -> None:
    alice = await admin.make_user("alice")
    answer = await admin.post("users.setActiveStatus", userId=alice.user_id, activeStatus=False)
    assert answer["user"] == {"_id": alice.user_id, "active": False}
    await alice.get("me", 401)
    bob = await admin.make_user("bob")
    answer = await bob.post("users.setActiveStatus", 403, userId=alice.user_id, activeStatus=True)
    assert answer == {"success": False, "error": "unauthorized"}
    answer = await admin.post("users.setActiveStatus", 400, userId=ADMIN_ID, activeStatus=False)
    assert answer["errorType"] == "error-action-not-allowed"
    answer = await admin.post("users.setActiveStatus", 400, userId=alice.user_id, activeStatus="no")
    assert answer["errorType"] == "invalid-params"


async def test_who_is_activated_enters_the_default_rooms(admin: Client, anybody: Client) -> None:
    async def list_members() -> set[str]:
        members = (await admin.get("channels.members", roomId="GENERAL"))["members"]
        return {member["username"] for member in members} & {"ann", "bob", "eve"}

    await admin.post("settings/Accounts_ManuallyApproveNewUsers", value=True)
    form = {"username": "ann", "email": "ann@example.org", "pass": PASSWORD, "name": "Ann", "reason": "please"}
    made = [await anybody.post("users.register", **form)]
    made += [await admin.post("users.create", **new_user(name), active=False) for name in ("bob", "eve")]
    ids = [answer["user"]["_id"] for answer in made]
    assert await list_members() == set()
    for user_id in ids[:2]:
        await admin.post("users.setActiveStatus", userId=user_id, activeStatus=True)
    await admin.post("users.update", userId=ids[2], data={"active": True})
    assert await list_members() == {"ann", "bob", "eve"}
    ann = await anybody.login("ann", PASSWORD)
    await ann.post("channels.leave", roomId="GENERAL")
    await admin.post("users.setActiveStatus", userId=ids[0], activeStatus=True)
    assert await list_members() == {"bob", "eve"}, "nothing was to be activated"


async def test_preferences(admin: Client) -> None:
    alice = await admin.make_user("alice")
    assert (await alice.get("users.getPreferences"))["preferences"] == {}
    answer = await alice.post("users.setPreferences", data={"hideRoles": True, "language": "de"})
    assert answer["user"]["_id"] == alice.user_id
    assert answer["user"]["settings"]["preferences"] == {"hideRoles": True, "language": "de"}
    assert (await alice.get("users.getPreferences"))["preferences"] == {"hideRoles": True, "language": "de"}
    await admin.post("users.setPreferences", userId=alice.user_id, data={"hideFlexTab": True})
    preferences = (await alice.get("users.getPreferences"))["preferences"]
    assert (preferences["hideRoles"], preferences["hideFlexTab"]) == (True, True)
    answer = await alice.post("users.setPreferences", 400, userId=ADMIN_ID, data={"hideRoles": True})
    assert answer["errorType"] == "error-action-not-allowed"
    assert (await alice.post("users.setPreferences", 400, data="x"))["errorType"] == "invalid-params"
