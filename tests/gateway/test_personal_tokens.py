"""Personal access tokens as clients handle them."""

import dataclasses

from tests.gateway.rest import Client
from tests.services import ADMIN_PASSWORD


def by(client: Client, token: str) -> Client:
    """The same user, with a token of theirs."""
    found = Client(client.http, client.node)
    found.headers = {"X-Auth-Token": token, "X-User-Id": client.user_id}
    found.user_id = client.user_id
    return found


async def test_made_listed_replaced_and_removed(alice: Client) -> None:
    token = (await alice.post("users.generatePersonalAccessToken", tokenName="robot"))["token"]
    robot = by(alice, token)
    assert (await robot.get("me"))["username"] == "alice"
    (shown,) = (await alice.get("users.getPersonalAccessTokens"))["tokens"]
    assert shown.pop("createdAt").endswith("Z")
    assert shown == {"name": "robot", "lastTokenPart": token[-6:], "bypassTwoFactor": False}
    again = await alice.post("users.generatePersonalAccessToken", 400, tokenName="robot")
    assert again["errorType"] == "error-token-already-exists"
    new = (await alice.post("users.regeneratePersonalAccessToken", tokenName="robot"))["token"]
    await robot.get("me", 401)
    await by(alice, new).get("me")
    await alice.post("users.removePersonalAccessToken", tokenName="robot")
    await by(alice, new).get("me", 401)
    gone = await alice.post("users.removePersonalAccessToken", 400, tokenName="robot")
    assert gone["errorType"] == "error-token-does-not-exists"
    assert (await alice.get("users.getPersonalAccessTokens"))["tokens"] == []


async def test_a_name_is_needed(alice: Client) -> None:
    for path in ("generate", "regenerate", "remove"):
        answer = await alice.post(f"users.{path}PersonalAccessToken", 400)
        assert answer["error"] == "The 'tokenName' param is required"


async def test_methods(alice: Client) -> None:
    made = await alice.call("personalAccessTokens:generateToken", {"tokenName": "robot", "bypassTwoFactor": False})
    robot = by(alice, made["result"])
    frame = await robot.call("login", {"resume": made["result"]})
    assert frame["result"]["id"] == alice.user_id
    assert frame["result"]["tokenExpires"]["$date"] > 0
    new = await alice.call("personalAccessTokens:regenerateToken", {"tokenName": "robot"})
    await robot.get("me", 401)
    assert "error" not in await alice.call("personalAccessTokens:removeToken", {"tokenName": "robot"})
    await by(alice, new["result"]).get("me", 401)
    error = (await alice.call("personalAccessTokens:removeToken", {"tokenName": "robot"}))["error"]
    assert error["error"] == "error-token-does-not-exists"


async def test_it_gets_past_the_second_factor_if_it_was_made_so(admin: Client) -> None:
    ask = dataclasses.replace(admin.node.config, test_mode=False)
    admin.node.config = ask
    refused = await admin.post("users.generatePersonalAccessToken", 400, tokenName="weak")
    assert refused["errorType"] == "totp-required"
    factor = {"X-2fa-Code": ADMIN_PASSWORD, "X-2fa-Method": "password"}
    tokens = []
    for name, bypass in (("weak", False), ("strong", True)):
        body = {"tokenName": name, "bypassTwoFactor": bypass}
        answer = await admin.request("POST", "users.generatePersonalAccessToken", json=body, headers=factor)
        tokens.append(answer.json()["token"])
    weak, strong = (by(admin, token) for token in tokens)
    await weak.post("settings/Site_Name", 400, value="Weak")
    await strong.post("settings/Site_Name", value="Strong")
    assert admin.node.access.setting("Site_Name") == "Strong"


async def test_a_login_for_somebody_else(admin: Client, alice: Client) -> None:
    for who in ({"userId": alice.user_id}, {"username": "alice"}, {"user": "alice"}):
        data = (await admin.post("users.createToken", **who))["data"]
        assert data["userId"] == alice.user_id
        assert (await by(alice, data["authToken"]).get("me"))["username"] == "alice"
    await admin.post("users.createToken", 400)
    await alice.post("users.createToken", 400, username="boss")
    assert (await admin.call("createToken", alice.user_id))["result"]["userId"] == alice.user_id
    assert (await alice.call("createToken", admin.user_id))["error"]["error"] == "error-not-authorized"
    await admin.post("users.setActiveStatus", userId=alice.user_id, activeStatus=False)
    refused = await admin.post("users.createToken", 400, userId=alice.user_id)
    assert refused["errorType"] == "error-user-is-not-activated"
