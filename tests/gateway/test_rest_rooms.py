"""Rooms by REST: making, finding and listing them."""

import json
from typing import Any

import httpx
import pytest

from palaver.messaging import paging
from palaver.v1.presence_pb2 import ONLINE, ReportStatusesRequest, StatusReport
from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group

NO_CHANNEL = 'The required "roomId" or "roomName" param provided does not match any channel'
NO_GROUP = 'The required "roomId" or "roomName" param provided does not match any group'
NO_DIRECT = 'The required "roomId" or "username" param provided does not match any direct message'


async def test_a_new_channel_has_the_document_that_clients_expect(admin: Client, alice: Client) -> None:
    body = {
        "name": "news",
        "members": ["boss", "nobody"],
        "extraData": {"topic": "what is new", "teamMain": True},
        "customFields": {"k": 1},
    }
    room = (await alice.post("channels.create", **body))["channel"]
    assert room["t"] == "c"
    assert room["name"] == room["fname"] == "news"
    assert room["msgs"] == 0
    assert room["usersCount"] == 2
    assert room["ro"] is False
    assert room["u"] == {"_id": alice.user_id, "username": "alice", "name": "Alice"}
    assert room["topic"] == "what is new"
    assert room["customFields"] == {"k": 1}
    assert room["ts"].endswith("Z")
    assert not {"default", "sysMes", "muted", "teamMain", "applied_seq", "counted"} & set(room)
    assert (await admin.get("channels.info", roomName="news"))["channel"]["_id"] == room["_id"]


async def test_a_room_needs_a_name_that_is_free(admin: Client, alice: Client) -> None:
    assert (await alice.post("channels.create", 400))["error"] == 'Param "name" is required'
    assert (await alice.post("groups.create", 400))["error"] == 'Body param "name" is required'
    await make_channel(alice, "taken")
    for create in ("channels.create", "groups.create"):
        answer = await admin.post(create, 400, name="Taken")
        assert answer["errorType"] == "error-duplicate-channel-name"
    assert (await alice.post("channels.create", 400, name="not a name!"))["errorType"] == "error-invalid-room-name"


async def test_who_may_not_create_rooms_is_told_so(admin: Client, alice: Client) -> None:
    for permission in ("create-c", "create-p", "create-d"):
        await admin.post("permissions.update", permissions=[{"_id": permission, "roles": ["admin"]}])
    assert await alice.post("channels.create", 403, name="x") == {"success": False, "error": "unauthorized"}
    assert await alice.post("groups.create", 403, name="x") == {"success": False, "error": "unauthorized"}
    await alice.post("im.create", 400, username="boss")


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("channels.info", "error-roomid-param-not-provided", 'The parameter "roomId" or "roomName" is required'),
        ("groups.info", "error-room-param-not-provided", 'The parameter "roomId" or "roomName" is required'),
        ("rooms.info", "error-roomid-param-not-provided", 'The parameter "roomId" or "roomName" is required'),
        ("im.counters", "error-room-param-not-provided", 'Query param "roomId" is required'),
    ],
)
async def test_one_parameter_must_name_the_room(admin: Client, path: str, code: str, reason: str) -> None:
    for parameters in ({}, {"roomId": ""}, {"roomId": "  "}):
        answer = await admin.get(path, 400, **parameters)
        assert (answer["errorType"], answer["error"]) == (code, f"{reason} [{code}]")


async def test_strict_endpoints_want_exactly_one(admin: Client) -> None:
    nothing = await admin.post("channels.archive", 400)
    assert nothing["errorType"] == "invalid-params"
    assert nothing["error"] == (
        "must have required property 'roomId'\n must have required property 'roomName'\n"
        " must match exactly one schema in oneOf [invalid-params]"
    )
    both = await admin.post("channels.archive", 400, roomId="GENERAL", roomName="general")
    assert both["errorType"] == "invalid-params"
    surplus = await admin.post("channels.archive", 400, roomId="GENERAL", more=1)
    assert surplus["error"] == "must NOT have additional properties [invalid-params]"


async def test_each_face_shows_its_own_rooms_only(admin: Client, alice: Client) -> None:
    channel, group = await make_channel(alice, "open"), await make_group(alice, "closed")
    direct = (await alice.post("im.create", username="boss"))["room"]["_id"]
    for path, room_id, reason in (
        ("channels.info", group, NO_CHANNEL),
        ("channels.info", direct, NO_CHANNEL),
        ("groups.info", channel, NO_GROUP),
        ("groups.info", direct, NO_GROUP),
        ("im.messages", channel, NO_DIRECT),
        ("im.messages", group, NO_DIRECT),
    ):
        answer = await alice.get(path, 400, roomId=room_id)
        assert answer["error"] == f"{reason} [error-room-not-found]"
    assert (await alice.get("groups.info", roomName="closed"))["group"]["_id"] == group
    for room_id in (channel, group, direct):
        assert (await alice.get("rooms.info", roomId=room_id))["room"]["_id"] == room_id


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("GET", "groups.info", {}),
        ("GET", "groups.history", {}),
        ("GET", "groups.members", {}),
        ("GET", "groups.counters", {}),
        ("GET", "rooms.info", {}),
        ("GET", "subscriptions.getOne", {}),
        ("POST", "groups.leave", {}),
        ("POST", "groups.archive", {}),
        ("POST", "groups.delete", {}),
        ("POST", "groups.invite", {"userId": "rocket.cat"}),
        ("POST", "groups.kick", {"userId": "rocket.cat"}),
        ("POST", "groups.addOwner", {"userId": "rocket.cat"}),
        ("POST", "groups.setTopic", {"topic": "x"}),
        ("POST", "rooms.leave", {}),
        ("POST", "rooms.delete", {}),
        ("POST", "rooms.favorite", {"favorite": True}),
        ("POST", "rooms.saveNotification", {"notifications": {"hideUnreadStatus": "1"}}),
        ("POST", "subscriptions.read", {}),
        ("POST", "subscriptions.unread", {}),
        ("POST", "chat.postMessage", {"text": "x"}),
        ("GET", "chat.search", {"searchText": "x"}),
        ("GET", "chat.syncMessages", {"lastUpdate": "2020-01-01T00:00:00Z"}),
    ],
)
async def test_a_forbidden_room_answers_as_an_unknown_one(
    alice: Client, bob: Client, method: str, path: str, more: dict[str, Any]
) -> None:
    secret = await make_group(alice, "secret")

    async def ask(room_id: str) -> httpx.Response:
        parameters = {"roomId": room_id, **more}
        if method == "GET":
            return await bob.request(method, path, params=parameters)
        return await bob.request(method, path, json=parameters)

    forbidden, unknown = await ask(secret), await ask("q" * 17)
    assert (forbidden.status_code, forbidden.text) == (unknown.status_code, unknown.text)
    assert forbidden.status_code == (200 if path == "subscriptions.getOne" else 400)
    if path == "subscriptions.getOne":
        assert forbidden.json() == {"subscription": None, "success": True}


@pytest.mark.parametrize("value", [{"$ne": ""}, {"$gt": ""}, ["x"], 5, True])
async def test_operators_instead_of_strings_are_refused(admin: Client, value: Any) -> None:
    for path in ("channels.join", "channels.delete", "groups.delete", "rooms.leave", "im.open", "subscriptions.read"):
        answer = await admin.post(path, 400, roomId=value)
        assert "success" in answer, path
    await admin.post("channels.create", 400, name=value)
    await admin.post("im.create", 400, username=value)


async def test_channels_are_listed_in_pages(admin: Client, alice: Client, bob: Client) -> None:
    for name in ("delta", "beta", "gamma"):
        await make_channel(alice, name)
    await make_group(alice, "hidden")
    everything = await bob.get("channels.list")
    assert [room["name"] for room in everything["channels"]] == ["beta", "delta", "gamma", "general"]
    assert (everything["count"], everything["offset"], everything["total"]) == (4, 0, 4)
    part = await bob.get("channels.list", count=2, offset=1, sort='{"name":-1}', fields='{"name":1}')
    assert [room["name"] for room in part["channels"]] == ["gamma", "delta"]
    assert all(set(room) == {"_id", "name"} for room in part["channels"])
    assert (part["count"], part["offset"], part["total"]) == (2, 1, 4)
    assert (await bob.get("channels.list", count=2, offset=4))["total"] == 4
    found = await bob.get("channels.list", query='{"name":{"$regex":"et"}}')
    assert [room["name"] for room in found["channels"]] == ["beta"]
    joined = await bob.get("channels.list.joined")
    assert [room["name"] for room in joined["channels"]] == ["general"]
    assert [room["name"] for room in (await alice.get("groups.list"))["groups"]] == ["hidden"]
    assert (await bob.get("groups.list"))["groups"] == []
    assert [room["name"] for room in (await admin.get("groups.listAll"))["groups"]] == ["hidden"]
    assert await bob.get("groups.listAll", 403) == {"success": False, "error": "unauthorized"}


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"sort": '{"name":2}'}, "error-invalid-sort"),
        ({"sort": "name"}, "error-invalid-sort"),
        ({"query": "{"}, "error-invalid-query"),
        ({"query": '{"$where":"1"}'}, "error-invalid-query"),
        ({"query": '{"join_code":"x"}'}, "error-invalid-query"),
        ({"fields": '{"name":5}'}, "error-invalid-fields"),
    ],
)
async def test_what_clients_may_not_ask_of_lists(admin: Client, parameters: dict[str, str], code: str) -> None:
    assert (await admin.get("channels.list", 400, **parameters))["errorType"] == code


async def test_administrators_see_every_room(admin: Client, alice: Client, bob: Client) -> None:
    group = await make_group(alice, "vault")
    await alice.post("im.create", username="bob")
    listed = await admin.get("rooms.adminRooms", filter="vau")
    assert [room["_id"] for room in listed["rooms"]] == [group]
    assert (await admin.get("rooms.adminRooms", **{"types[]": ["d"]}))["total"] == 1
    await alice.post("teams.create", name="crew", type=1)
    await alice.post("rooms.createDiscussion", prid=group, t_name="locks")
    for types, names in (
        (["teams"], ["crew"]),
        (["p", "c", "teams", "discussions"], ["crew", "general", "locks", "vault"]),
        (["v"], []),
    ):
        listed = await admin.get("rooms.adminRooms", **{"types[]": types})
        assert sorted(room["fname"] for room in listed["rooms"]) == names
    assert (await admin.get("rooms.adminRooms.getRoom", rid=group))["name"] == "vault"
    assert (await admin.get("im.list.everyone"))["total"] == 1
    assert (await bob.get("rooms.adminRooms", 400))["error"] == "error-not-authorized"
    await bob.get("rooms.adminRooms.getRoom", 400, rid=group)
    await bob.get("im.list.everyone", 403)


async def test_the_directory_finds_rooms_and_people(alice: Client, bob: Client) -> None:
    await make_channel(alice, "astronomy")
    await make_group(alice, "astrology")
    found = await alice.get("directory", query=json.dumps({"text": "astro", "type": "channels"}))
    assert [room["name"] for room in found["result"]] == ["astronomy"]
    assert (found["count"], found["offset"], found["total"]) == (1, 0, 1)
    people = await alice.get("directory", text="bo", type="users", sort='{"username":1}')
    assert [user["username"] for user in people["result"]] == ["bob", "boss"]
    assert "emails" not in people["result"][0]
    await alice.get("directory", 400, type="everything")
    await alice.get("directory", 400, sort='{"name":1,"usersCount":1}')


async def test_spotlight_finds_users_and_rooms(alice: Client, bob: Client) -> None:
    await make_channel(alice, "bobsleigh")
    both = await alice.get("spotlight", query="bob")
    assert [user["username"] for user in both["users"]] == ["bob"]
    assert [room["name"] for room in both["rooms"]] == ["bobsleigh"]
    assert (await alice.get("spotlight", query="@bob"))["rooms"] == []
    assert (await alice.get("spotlight", query="#bob"))["users"] == []
    assert (await alice.get("spotlight", 400))["error"] == "must have required property 'query' [invalid-params]"


async def test_spotlight_shows_the_status_of_now(alice: Client, bob: Client) -> None:
    """As `users.info` does: what the document has stored may be of long ago."""
    reports = [StatusReport(user_id=bob.user_id, status=ONLINE, revision=1)]
    request = ReportStatusesRequest(node_id=bob.node.config.node_id, reports=reports)
    await bob.node.services.presence.report_statuses(request)
    assert (await alice.get("users.info", username="bob"))["user"]["status"] == "online"
    assert [user["status"] for user in (await alice.get("spotlight", query="bob"))["users"]] == ["online"]
    assert [user["status"] for user in (await alice.call("spotlight", "bob"))["result"]["users"]] == ["online"]


async def test_autocomplete_offers_own_rooms(alice: Client, bob: Client) -> None:
    await make_group(alice, "rockets")
    items = (await alice.get("rooms.autocomplete.channelAndPrivate", selector='{"name":"rock"}'))["items"]
    assert [room["name"] for room in items] == ["rockets"]
    page = await bob.get("rooms.autocomplete.channelAndPrivate.withPagination", selector='{"name":"rock"}')
    assert (page["items"], page["total"]) == ([], 0)
    await alice.get("rooms.autocomplete.channelAndPrivate", 400)
    await alice.get("rooms.autocomplete.channelAndPrivate", 400, selector='{"name":{"$ne":1}}')


async def test_room_lists_are_whole_however_large(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messaging answers in parts."""
    for number in range(5):
        await make_channel(alice, f"room{number}")
    names = ["general", *(f"room{number}" for number in range(5))]
    monkeypatch.setattr(paging, "MAX_BYTES", 600)
    joined = await alice.get("rooms.get")
    assert sorted(room["name"] for room in joined["update"]) == names
    since = "2020-01-01T00:00:00.000Z"
    assert len((await alice.get("rooms.get", updatedSince=since))["update"]) == 6
    for path, where, expected in (
        ("channels.list", {"count": 0}, names),
        ("channels.list", {"count": 3, "offset": 2}, names[2:5]),
        ("channels.list.joined", {"count": 4, "offset": 1}, names[1:5]),
        ("channels.list.joined", {"count": 10, "offset": 6}, []),
    ):
        page = await alice.get(path, 200, **where)
        assert ([room["name"] for room in page["channels"]], page["total"]) == (expected, 6)
