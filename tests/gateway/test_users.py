"""Users over REST: creating, registering, finding and changing them."""

import json
from typing import Any

import pytest

from palaver.v1.messaging_pb2 import ListMembershipsRequest
from tests.gateway.rest import PASSWORD, Client, new_user
from tests.services import ADMIN_PASSWORD


async def memberships(client: Client, user_id: str) -> list[str]:
    request = ListMembershipsRequest(user_id=user_id)
    return list((await client.node.services.messaging.list_memberships(request)).room_ids)


# -- creating --------------------------------------------------------------------------------------------------------


async def test_create(admin: Client) -> None:
    answer = await admin.post(
        "users.create",
        **new_user("alice", roles=["user", "bot"], bio="me", nickname="al", statusText="here"),
        requirePasswordChange=False,
        sendWelcomeEmail=False,
    )
    user = answer["user"]
    assert user["username"] == "alice"
    assert user["emails"] == [{"address": "alice@example.org", "verified": True}]
    assert user["roles"] == ["user", "bot"]
    assert (user["bio"], user["nickname"], user["statusText"]) == ("me", "al", "here")
    assert (user["active"], user["type"], user["status"]) == (True, "user", "offline")
    assert "services" not in user
    assert await memberships(admin, user["_id"]) == ["GENERAL"]


async def test_create_outside_the_default_rooms(admin: Client) -> None:
    user = (await admin.post("users.create", **new_user("alice", joinDefaultChannels=False)))["user"]
    assert await memberships(admin, user["_id"]) == []


async def test_create_with_a_random_password(admin: Client, anybody: Client) -> None:
    await admin.post("users.create", **new_user("alice", setRandomPassword=True))
    await anybody.post("login", 401, user="alice", password=PASSWORD)


async def test_create_needs_the_permission(admin: Client) -> None:
    user = await admin.make_user("alice")
    answer = await user.post("users.create", 400, **new_user("bob"))
    assert answer["errorType"] == "error-action-not-allowed"


@pytest.mark.parametrize("missing", ["email", "name", "password", "username"])
async def test_create_needs_every_field(admin: Client, missing: str) -> None:
    body = new_user("alice")
    del body[missing]
    answer = await admin.post("users.create", 400, **body)
    assert answer["error"] == f"must have required property '{missing}' [invalid-params]"


@pytest.mark.parametrize(
    "change",
    [
        {"username": {"$ne": ""}},
        {"email": ["a@example.org"]},
        {"roles": "admin"},
        {"roles": [{"$ne": ""}]},
        {"active": "yes"},
        {"surplus": 1},
        {"customFields": "x"},
    ],
)
async def test_create_with_wrong_types(admin: Client, change: dict[str, Any]) -> None:
    assert (await admin.post("users.create", 400, **new_user("alice", **change)))["errorType"] == "invalid-params"


async def test_create_twice(admin: Client) -> None:
    await admin.post("users.create", **new_user("alice"))
    answer = await admin.post("users.create", 400, **new_user("Alice", email="other@example.org"))
    assert answer["errorType"] == "error-field-unavailable"
    answer = await admin.post("users.create", 400, **new_user("bob", email="Alice@Example.org"))
    assert answer["errorType"] == "error-field-unavailable"


async def test_register(anybody: Client) -> None:
    answer = await anybody.post(
        "users.register", username="alice", email="alice@example.org", **{"pass": PASSWORD}, name="Alice"
    )
    assert answer["user"]["username"] == "alice"
    assert answer["user"]["roles"] == ["user"]
    alice = await anybody.login("alice")
    assert await memberships(alice, alice.user_id) == ["GENERAL"]
    answer = await anybody.post(
        "users.register", 400, username="Alice", email="two@example.org", **{"pass": PASSWORD}, name="Alice"
    )
    assert answer == {"success": False, "error": "Username is already in use"}
    for username, email, error in (
        ("b ob", "b@example.org", "The username provided is not valid"),
        ("bob", "ALICE@example.org", "Email already exists. [403]"),
    ):
        answer = await anybody.post("users.register", 400, username=username, email=email, **{"pass": "x"}, name="B")
        assert answer["error"] == error
    answer = await alice.post("users.register", 400, username="bob", email="b@example.org", **{"pass": PASSWORD})
    assert answer == {"success": False, "error": "Logged in users can not register again."}
    answer = await anybody.post("users.register", 400, username="bob", email="b@example.org")
    assert answer["error"] == "must have required property 'pass' [invalid-params]"


async def test_register_is_a_setting(anybody: Client, admin: Client) -> None:
    await admin.post("settings/Accounts_RegistrationForm", value="Disabled")
    answer = await anybody.post(
        "users.register", 400, username="alice", email="alice@example.org", **{"pass": PASSWORD}, name="Alice"
    )
    assert answer["errorType"] == "error-user-registration-disabled"


# -- finding ---------------------------------------------------------------------------------------------------------


async def test_info(admin: Client) -> None:
    alice = await admin.make_user("alice")
    bob = await admin.make_user("bob")
    for which in ({"userId": alice.user_id}, {"username": "alice"}):
        user = (await admin.get("users.info", **which))["user"]
        assert (user["_id"], user["emails"][0]["address"]) == (alice.user_id, "alice@example.org")
        assert user["services"] == {"password": {"exists": True}, "email2fa": {"enabled": True}}
        shown = (await bob.get("users.info", **which))["user"]
        assert "services" not in shown
        assert shown["username"] == "alice"
        assert "emails" not in shown
    own = (await alice.get("users.info", userId=alice.user_id))["user"]
    assert own["emails"][0]["address"] == "alice@example.org"
    assert own["services"] == {"password": {"exists": True}, "email2fa": {"enabled": True}}
    assert "services" not in (await admin.get("users.info", username="rocket.cat"))["user"]


async def test_info_of_nobody(admin: Client) -> None:
    assert await admin.get("users.info", 400, userId="unknown") == {"success": False, "error": "User not found."}
    assert (await admin.get("users.info", 400))["error"] == (
        "must have required property 'userId'\n must have required property 'username'\n "
        "must have required property 'importId'\n must match exactly one schema in oneOf [invalid-params]"
    )
    assert (await admin.get("users.info", 400, userId="a", username="b"))["errorType"] == "invalid-params"
    assert (await admin.get("users.info?userId[$ne]=", 400))["errorType"] == "invalid-params"


async def test_info_with_rooms(admin: Client) -> None:
    alice = await admin.make_user("alice")
    bob = await admin.make_user("bob")
    fields = '{"userRooms":1}'
    for client in (admin, alice):
        user = (await client.get("users.info", userId=alice.user_id, fields=fields))["user"]
        assert [(room["rid"], room["name"], room["t"]) for room in user["rooms"]] == [("GENERAL", "general", "c")]
        assert user["username"] == "alice"
    assert "rooms" not in (await bob.get("users.info", userId=alice.user_id, fields=fields))["user"]
    await admin.post("users.setActiveStatus", userId=alice.user_id, activeStatus=False)
    gone = (await admin.get("users.info", userId=alice.user_id, fields=fields))["user"]
    assert [room["rid"] for room in gone["rooms"]] == ["GENERAL"]


async def test_list(admin: Client) -> None:
    for name in ("carol", "alice", "bob"):
        await admin.post("users.create", **new_user(name))
    answer = await admin.get("users.list", count=2, offset=1)
    assert (answer["count"], answer["offset"], answer["total"]) == (2, 1, 5)
    assert [user["username"] for user in answer["users"]] == ["bob", "boss"]
    answer = await admin.get("users.list", sort='{"username":-1}', count=1)
    assert answer["users"][0]["username"] == "rocket.cat"
    answer = await admin.get("users.list", query='{"username":{"$in":["alice","bob"]}}')
    assert answer["total"] == 2
    answer = await admin.get("users.list", query='{"$or":[{"username":{"$regex":"^al"}},{"name":{"$regex":"CAR"}}]}')
    assert [user["username"] for user in answer["users"]] == ["alice", "carol"]
    answer = await admin.get("users.list", query='{"emails.address":"alice@example.org"}')
    assert [user["username"] for user in answer["users"]] == ["alice"]
    await admin.login("bob")
    answer = await admin.get("users.list", sort='{"lastLogin":-1}', count=2)
    assert [user["username"] for user in answer["users"]] == ["bob", "boss"]
    recent = {"lastLogin": {"$gt": {"$date": answer["users"][1]["lastLogin"]}}}
    answer = await admin.get("users.list", query=json.dumps(recent))
    assert [user["username"] for user in answer["users"]] == ["bob"]
    answer = await admin.get("users.list", query='{"emails.address":{"$eq":"BOB@example.org"}}')
    assert [user["username"] for user in answer["users"]] == ["bob"]
    answer = await admin.get("users.list", fields='{"username":1}', count=1)
    assert answer["users"][0].keys() == {"_id", "username"}


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"query": '{"services.password.bcrypt":{"$regex":"^a"}}'}, "error-invalid-query"),
        ({"query": '{"$where":"sleep(1)"}'}, "error-invalid-query"),
        ({"query": "{"}, "error-invalid-query"),
        ({"sort": '{"username":2}'}, "error-invalid-sort"),
        ({"sort": "username"}, "error-invalid-sort"),
        ({"fields": "{"}, "error-invalid-fields"),
    ],
)
async def test_list_refuses(admin: Client, parameters: dict[str, str], error: str) -> None:
    assert (await admin.get("users.list", 400, **parameters))["errorType"] == error


async def test_list_shows_no_secrets(admin: Client) -> None:
    alice = await admin.make_user("alice")
    assert all("services" not in user for user in (await admin.get("users.list"))["users"])
    for user in (await alice.get("users.list"))["users"]:
        assert user["_id"] == alice.user_id or "emails" not in user
    for query in ('{"emails.address":"boss@example.org"}', '{"lastLogin":{"$exists":true}}'):
        assert (await alice.get("users.list", 400, query=query))["errorType"] == "error-invalid-query"


async def test_list_needs_the_permission(admin: Client) -> None:
    alice = await admin.make_user("alice")
    await admin.post("permissions.update", permissions=[{"_id": "view-d-room", "roles": ["admin"]}])
    assert await alice.get("users.list", 403) == {"success": False, "error": "unauthorized"}


async def test_autocomplete(admin: Client) -> None:
    for name in ("alice", "alina", "bob"):
        await admin.post("users.create", **new_user(name))
    items = (await admin.get("users.autocomplete", selector='{"term":"AL"}'))["items"]
    assert [item["username"] for item in items] == ["alice", "alina"]
    assert items[0].keys() <= {"_id", "username", "name", "nickname", "status", "avatarETag"}
    items = (await admin.get("users.autocomplete", selector='{"term":"al","exceptions":["alina"]}'))["items"]
    assert [item["username"] for item in items] == ["alice"]
    items = (await admin.get("users.autocomplete", selector='{"conditions":{"type":"bot"}}'))["items"]
    assert [item["username"] for item in items] == ["rocket.cat"]
    for selector in ("", "{", "[]", '{"term":{"$ne":""}}', '{"conditions":{"services":1}}'):
        assert (await admin.get("users.autocomplete", 400, selector=selector))["success"] is False
    alice = await admin.login("alice")
    await admin.post("permissions.update", permissions=[{"_id": "view-outside-room", "roles": ["admin"]}])
    assert (await alice.get("users.autocomplete", selector='{"term":"al"}'))["items"] == []


async def test_username_availability(admin: Client) -> None:
    alice = await admin.make_user("alice")
    await admin.post("settings/Accounts_BlockedUsernameList", value="root, nobody")
    free_names = (("bob", True), ("boss", False), ("BOSS", False), ("alice", True))
    for name, free in (*free_names, ("Root", False), ("system", False), ("here", False)):
        assert (await alice.get("users.checkUsernameAvailability", username=name))["result"] is free
    assert (await alice.get("users.checkUsernameAvailability", 400))["errorType"] == "invalid-params"


# -- logins ----------------------------------------------------------------------------------------------------------


async def test_logout_of_others(admin: Client) -> None:
    alice = await admin.make_user("alice")
    bob = await admin.make_user("bob")
    assert await bob.post("users.logout", 403, userId=alice.user_id) == {"success": False, "error": "unauthorized"}
    answer = await admin.post("users.logout", userId=alice.user_id)
    assert answer["message"] == f"User {alice.user_id} has been logged out!"
    await alice.get("me", 401)
    assert (await admin.post("users.logout", 400, userId="unknown"))["errorType"] == "error-invalid-user-id"
    await bob.post("users.logout")
    await bob.get("me", 401)


async def test_logout_of_other_clients(anybody: Client, admin: Client) -> None:
    other = await anybody.login("boss", ADMIN_PASSWORD)
    answer = await admin.post("users.logoutOtherClients")
    assert answer["token"] == admin.headers["X-Auth-Token"]
    assert answer["tokenExpires"].endswith("Z")
    await other.get("me", 401)
    await admin.get("me")
    other = await anybody.login("boss", ADMIN_PASSWORD)
    await admin.post("users.removeOtherTokens")
    await other.get("me", 401)
    await admin.get("me")


async def test_what_only_old_clients_call(admin: Client, alice: Client, anybody: Client) -> None:
    assert (await alice.call("setEmail", "new@example.org"))["result"] == "new@example.org"
    assert (await alice.get("me"))["emails"][0]["address"] == "new@example.org"
    await admin.post("settings/Accounts_AllowEmailChange", value=False)
    assert (await alice.call("setEmail", "x@example.org"))["error"]["error"] == "error-action-not-allowed"
    assert "error" not in await alice.call("afterVerifyEmail")
    assert "error" in await anybody.call("afterVerifyEmail", anonymous=True)
    await admin.post("settings/Accounts_CustomFields", value='{"team": {"type": "text", "maxLength": 5}}')
    assert "error" not in await alice.call("saveCustomFields", {"team": "blue", "other": 1})
    assert (await alice.get("me"))["customFields"] == {"team": "blue"}
    assert "error" in await alice.call("saveCustomFields", {"team": "magenta"})
    assert (await alice.call("setAdminStatus", alice.user_id, True))["error"]["error"] == "error-not-allowed"
    for granted in (True, True, False, False):
        assert "error" not in await admin.call("setAdminStatus", alice.user_id, granted)
        assert ("admin" in (await alice.get("me"))["roles"]) == granted
    assert (await admin.call("setAdminStatus", "ghost", True))["error"]["error"] == "error-invalid-user"
    assert (await anybody.call("getServerInfo", anonymous=True))["result"]["version"].count(".") == 1
    assert (await admin.call("getServerInfo"))["result"]["info"]["server"]["name"] == "Palaver"
    wizard = (await admin.call("getSetupWizardParameters"))["result"]
    assert {"Organization_Name", "Country"} <= {setting["_id"] for setting in wizard["settings"]}
    assert wizard["serverAlreadyRegistered"] is False
    assert (await alice.call("getSetupWizardParameters"))["error"]["error"] == "error-not-allowed"


async def test_whether_a_secret_link_lets_somebody_register(admin: Client, anybody: Client) -> None:
    async def is_right(secret: str) -> bool:
        return bool((await anybody.call("checkRegistrationSecretURL", secret, anonymous=True))["result"])

    await admin.post("settings/Accounts_RegistrationForm_SecretURL", value="s3cret")
    assert not await is_right("s3cret")
    await admin.post("settings/Accounts_RegistrationForm", value="Secret URL")
    assert await is_right("s3cret")
    assert not await is_right("")
    assert not await is_right("secret")
    invite = await admin.post("findOrCreateInvite", rid="GENERAL", days=1, maxUses=5)
    assert await is_right(invite["_id"])
