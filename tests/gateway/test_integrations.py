"""Integrations and incoming webhooks as clients and other programs meet them."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.gateway.rest import Client

BODY = {
    "type": "webhook-incoming",
    "name": "CI",
    "enabled": True,
    "username": "boss",
    "channel": "#general",
    "scriptEnabled": False,
}


async def make(admin: Client, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await admin.post("integrations.create", **{**BODY, **fields}))["integration"]
    return found


async def hook(client: Client, path: str, method: str = "POST", **options: Any) -> httpx.Response:
    return await client.http.request(method, f"http://chat.example.org/hooks/{path}", **options)


async def last(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("channels.history", roomId="GENERAL", count=1))["messages"][0]
    return found


async def test_kept(admin: Client, alice: Client) -> None:
    made = await make(admin, alias="Builder")
    assert made["_createdAt"].endswith("Z")
    shown = await admin.get("integrations.get", integrationId=made["_id"])
    assert shown["integration"] == made
    await admin.get("integrations.get", 400, integrationId="unknown")
    await admin.get("integrations.get", 400)
    await admin.get("integrations.get", 400, integrationId=made["_id"], createdBy=alice.user_id)
    listed = await admin.get("integrations.list", query='{"type": "webhook-incoming"}', sort='{"name": 1}')
    assert [found["_id"] for found in listed["integrations"]] == [made["_id"]]
    assert (listed["count"], listed["items"], listed["total"], listed["offset"]) == (1, 1, 1, 0)
    answer = await admin.request(
        "PUT", "integrations.update", json={**BODY, "integrationId": made["_id"], "name": "CD"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["integration"]["name"] == "CD"
    assert answer.json()["integration"]["alias"] == "Builder"
    await admin.post("integrations.remove", 400, type="webhook-incoming")
    await admin.post("integrations.remove", 400, type="webhook-outgoing", integrationId=made["_id"])
    removed = await admin.post("integrations.remove", type="webhook-incoming", integrationId=made["_id"])
    assert removed["integration"]["_id"] == made["_id"]
    assert (await admin.get("integrations.list"))["total"] == 0


async def test_an_outgoing_one_is_known_by_its_address(admin: Client) -> None:
    own = {"type": "webhook-outgoing", "event": "sendMessage", "urls": ["http://hooks.example.org/one"]}
    made = await make(admin, **own)
    body = {**BODY, **own, "name": "CD", "target_url": "http://hooks.example.org/one"}
    answer = await admin.request("PUT", "integrations.update", json=body)
    assert answer.status_code == 200, answer.text
    shown = answer.json()["integration"]
    assert (shown["_id"], shown["name"]) == (made["_id"], "CD")
    unknown = {**body, "target_url": "http://hooks.example.org/two"}
    for wrong in (unknown, {**body, "integrationId": "unknown"}, {**body, **BODY}):
        answer = await admin.request("PUT", "integrations.update", json=wrong)
        assert (answer.status_code, answer.json()["error"]) == (400, "No integration found.")
    refused = await admin.post("integrations.remove", 400, type="webhook-outgoing", integrationId="unknown")
    assert refused == {"success": False, "error": "No integration found."}
    await admin.post("integrations.remove", type="webhook-outgoing", target_url="http://hooks.example.org/one")


async def test_who_may_not(admin: Client, alice: Client) -> None:
    made = await make(admin)
    assert (await alice.post("integrations.create", 403, **BODY))["success"] is False
    await alice.get("integrations.list", 403)
    await alice.get("integrations.get", 400, integrationId=made["_id"])
    await alice.post("integrations.remove", 403, type="webhook-incoming", integrationId=made["_id"])
    await alice.get("channels.getIntegrations", 403, roomId="GENERAL")


async def test_what_is_refused(admin: Client) -> None:
    refused = await admin.post("integrations.create", 501, **{**BODY, "scriptEnabled": True})
    assert "scriptEnabled" in refused["error"]
    refused = await admin.post("integrations.create", 400, **{**BODY, "channel": "general"})
    assert refused["errorType"] == "error-invalid-channel-start-with-chars"
    await admin.post("integrations.create", 400, **{**BODY, "type": "webhook-strange"})
    await admin.post("integrations.create", 400, type="webhook-incoming")


async def test_of_a_room(admin: Client) -> None:
    group = (await admin.post("groups.create", name="secret"))["group"]
    await make(admin, name="one")
    await make(admin, name="two", channel="#secret")
    listed = await admin.get("channels.getIntegrations", roomId="GENERAL")
    assert [found["name"] for found in listed["integrations"]] == ["one"]
    listed = await admin.get("groups.getIntegrations", roomName="secret", includeAllPrivateGroups="false")
    assert [found["name"] for found in listed["integrations"]] == ["two"]
    await admin.get("groups.getIntegrations", 400, roomId="GENERAL")
    await admin.get("channels.getIntegrations", 400, roomId=group["_id"])


async def test_methods(admin: Client) -> None:
    fields = {name: value for name, value in BODY.items() if name != "type"}
    made = (await admin.call("addIncomingIntegration", fields))["result"]
    changed = await admin.call("updateIncomingIntegration", made["_id"], {**made, "name": "CD"})
    assert changed["result"]["name"] == "CD"
    assert (await admin.call("deleteIncomingIntegration", made["_id"]))["result"] is True
    error = (await admin.call("deleteIncomingIntegration", made["_id"]))["error"]
    assert error["error"] == "error-integration-not-found"
    out = {**fields, "event": "sendMessage", "urls": ["http://hooks.example.org/"], "token": "chosen"}
    made = (await admin.call("addOutgoingIntegration", out))["result"]
    assert (made["type"], made["token"]) == ("webhook-outgoing", "chosen")
    changed = await admin.call("updateOutgoingIntegration", made["_id"], {**made, "triggerWords": ["hey"]})
    assert changed["result"]["triggerWords"] == ["hey"]
    assert (await admin.call("deleteOutgoingIntegration", made["_id"]))["result"] is True


async def test_a_post(admin: Client) -> None:
    made = await make(admin)
    path = f"{made['_id']}/{made['token']}"
    answer = await hook(admin, path, json={"text": "hello", "icon_emoji": ":wave:", "username": "CI"})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert answer.headers["content-type"] == "application/json"
    message = await last(admin)
    assert (message["msg"], message["emoji"], message["alias"]) == ("hello", ":wave:", "CI")
    assert message["bot"] == {"i": made["_id"]}
    payload = json.dumps({"msg": "by form", "attachments": [{"title": "T", "text": "more"}]})
    assert (await hook(admin, path, data={"payload": payload})).status_code == 200
    message = await last(admin)
    assert (message["msg"], message["attachments"]) == ("by form", [{"title": "T", "text": "more"}])
    assert (await hook(admin, path, data={"text": "plain form"})).status_code == 200
    assert (await last(admin))["msg"] == "plain form"
    with_user = f"{made['_id']}/{made['userId']}/{made['token']}"
    assert (await hook(admin, with_user, "PUT", json={"text": "longer address"})).status_code == 200
    assert (await last(admin))["msg"] == "longer address"
    assert (await hook(admin, path, "GET")).json() == {"success": True}
    assert (await hook(admin, path)).json() == {"success": True}
    assert (await hook(admin, path, json={})).json() == {"success": True}
    assert (await last(admin))["msg"] == "longer address"
    answer = await hook(admin, f"{made['_id']}/wrong", json={})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"text": {"$ne": ""}}, "Match error"),
        ({"text": "x", "channel": "#nowhere"}, "overriding destination channel"),
        ({"text": "x", "attachments": [{"title_link": "javascript:1"}]}, "Match error"),
        ({"text": "  "}, "The message is empty"),
        ([1], "Match error"),
    ],
)
async def test_posts_that_are_refused(admin: Client, body: Any, said: str) -> None:
    made = await make(admin)
    answer = await hook(admin, f"{made['_id']}/{made['token']}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"].startswith(said)


async def test_a_post_to_a_user(admin: Client, alice: Client) -> None:
    made = await make(admin, overrideDestinationChannelEnabled=True)
    for target in ("@alice", f"@{alice.user_id}", alice.user_id):
        body = {"text": target, "channel": target, "attachments": [{"msg": "more"}]}
        answer = await hook(admin, f"{made['_id']}/{made['token']}", json=body)
        assert answer.status_code == 200, answer.text
    direct = "".join(sorted([admin.user_id, alice.user_id]))
    messages = (await alice.get("im.history", roomId=direct))["messages"]
    assert {message["msg"] for message in messages} == {"@alice", f"@{alice.user_id}", alice.user_id}
    assert messages[0]["attachments"] == [{"text": "more"}]
    answer = await hook(admin, f"{made['_id']}/{made['token']}", json={"text": "x", "channel": "nobody"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid-channel")


async def test_posts_to_what_is_not_there(admin: Client) -> None:
    made = await make(admin, enabled=False)
    answer = await hook(admin, f"{made['_id']}/wrong", json={"text": "x"})
    assert answer.status_code == 404
    assert answer.json() == {"success": False, "error": "Invalid integration id or token provided."}
    assert (await hook(admin, f"unknown/{made['token']}", json={"text": "x"})).status_code == 404
    assert (await hook(admin, f"{made['_id']}/{made['token']}", json={"text": "x"})).status_code == 503
    enabled = await make(admin)
    path = f"{enabled['_id']}/{enabled['token']}"
    assert (await hook(admin, path, content=b"{nonsense")).status_code == 400
    assert (await hook(admin, path, content=b'"x"' * 3_000_000)).status_code == 400
    assert (await hook(admin, path, data={"payload": "{nonsense"})).status_code == 400


async def test_the_history_of_an_outgoing_one(admin: Client, alice: Client) -> None:
    out = {"type": "webhook-outgoing", "event": "userCreated", "urls": ["http://127.0.0.1:9/"], "channel": ""}
    made = await make(admin, **out)
    await admin.make_user("carol")
    found: dict[str, Any] = {}
    for _ in range(500):
        found = await admin.get("integrations.history", id=made["_id"])
        if found["history"] and found["history"][0]["finished"]:
            break
        await asyncio.sleep(0.02)
    (delivery,) = found["history"]
    assert (found["total"], found["count"], found["items"]) == (1, 1, 1)
    assert (delivery["event"], delivery["url"], delivery["error"]) == ("userCreated", "http://127.0.0.1:9/", True)
    assert delivery["data"]["user_name"] == "carol"
    assert delivery["_createdAt"].endswith("Z")
    chosen = {"integrationId": made["_id"], "historyId": delivery["_id"]}
    assert (await admin.call("replayOutgoingIntegration", chosen))["result"] is True
    assert (await admin.call("clearIntegrationHistory", made["_id"]))["result"] is True
    assert (await admin.get("integrations.history", id=made["_id"]))["total"] == 0
    error = (await admin.call("replayOutgoingIntegration", chosen))["error"]
    assert error["error"] == "error-invalid-integration-history"
    await admin.get("integrations.history", 400)
    await admin.get("integrations.history", 400, id="unknown")
    await alice.get("integrations.history", 403, id=made["_id"])
