"""Teams by REST."""

import asyncio
from typing import Any

import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group


async def make_team(client: Client, name: str, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await client.post("teams.create", **{"name": name, "type": 0, **fields}))["team"]
    return found


def names(found: list[dict[str, Any]]) -> list[str]:
    return [one["name"] for one in found]


async def test_teams_are_made_and_found(admin: Client, alice: Client, bob: Client) -> None:
    body: dict[str, Any] = {
        "members": [bob.user_id],
        "room": {"readOnly": True, "extraData": {"topic": "all of it"}},
        "sidepanel": {"items": ["channels", "discussions"]},
    }
    team = await make_team(alice, "crew", **body)
    assert team["type"] == 0
    assert team["createdBy"] == {"_id": alice.user_id, "username": "alice"}
    room = (await bob.get("rooms.info", roomId=team["roomId"]))["room"]
    assert (room["teamMain"], room["teamId"], room["ro"], room["topic"]) == (True, team["_id"], True, "all of it")
    assert room["sidepanel"] == {"items": ["channels", "discussions"]}
    for which in ({"teamId": team["_id"]}, {"teamName": "crew"}):
        assert (await bob.get("teams.info", **which))["teamInfo"]["_id"] == team["_id"]
    assert (await bob.get("teams.info", 400, teamName="nobody"))["error"] == "team-does-not-exist"
    assert (await bob.get("teams.info", 400))["errorType"] == "invalid-params"
    await make_team(alice, "secret", type=1)
    listed = await alice.get("teams.list", sort='{"name":-1}')
    assert (names(listed["teams"]), listed["total"], listed["count"], listed["offset"]) == (["secret", "crew"], 2, 2, 0)
    assert names((await alice.get("teams.list", query='{"name":"crew"}'))["teams"]) == ["crew"]
    assert names((await admin.get("teams.listAll", count=1))["teams"]) == ["crew"]
    assert await bob.get("teams.listAll", 403) == {"success": False, "error": "unauthorized"}
    assert names((await bob.get("users.listTeams", userId=alice.user_id))["teams"]) == ["crew"]
    assert (await bob.get("users.listTeams", 400, userId="nobody"))["error"] == "invalid-user"
    assert names((await bob.get("teams.autocomplete", name="CRE"))["teams"]) == ["crew"]
    assert (await bob.get("teams.autocomplete", name="secr"))["teams"] == []
    found = await bob.get("directory", query='{"type":"teams","text":""}', sort='{"usersCount":1}')
    assert [(one["name"], one["roomsCount"], one["usersCount"]) for one in found["result"]] == [("crew", 0, 2)]
    assert found["total"] == 1


async def test_what_is_wrong_with_a_team(alice: Client) -> None:
    await make_team(alice, "crew")
    await make_channel(alice, "dev")
    for body, error in (
        ({"type": 0}, "Match error: Missing key 'name'"),
        ({"name": "x"}, "Match error: Missing key 'type'"),
        ({"name": "crew", "type": 1}, "team-name-already-exists"),
        ({"name": "alice", "type": 1}, "team-name-already-exists"),
        ({"name": "dev", "type": 1}, "room-name-already-exists"),
        ({"name": "x", "type": 0, "owner": "nobody"}, "invalid-user"),
    ):
        assert (await alice.post("teams.create", 400, **body))["error"] == error
    await alice.post("teams.create", 400, name="x", type=2)
    await alice.post("teams.create", 400, name="x", type=0, sidepanel={"items": ["walls"]})


async def test_members_of_a_team(alice: Client, bob: Client, admin: Client) -> None:
    team = await make_team(alice, "crew")
    eve = await admin.make_user("eve")
    which = {"teamId": team["_id"]}
    members = [{"userId": bob.user_id, "roles": ["moderator"]}, {"userId": eve.user_id, "roles": ["member"]}]
    await alice.post("teams.addMembers", teamName="crew", members=members)
    found = await bob.get("teams.members", **which)
    assert [(one["user"]["username"], one["roles"]) for one in found["members"]] == [
        ("alice", ["owner"]),
        ("bob", ["moderator"]),
        ("eve", []),
    ]
    assert found["members"][1]["createdBy"]["username"] == "alice"
    assert (found["total"], found["count"]) == (3, 3)
    assert (await bob.get("teams.members", **which, username="ev"))["total"] == 1
    assert (await bob.get("teams.members", **which, **{"status[]": "online"}))["total"] == 0
    await alice.post("teams.updateMember", **which, member={"userId": eve.user_id, "roles": ["leader"]})
    await alice.post("teams.updateMember", **which, member={"userId": eve.user_id})
    assert (await bob.get("teams.members", **which, name="Eve"))["members"][0]["roles"] == ["leader"]
    room = await make_channel(alice, "dev", members=["bob", "eve"])
    await alice.post("teams.addRooms", **which, rooms=[room])
    await bob.post("teams.removeMember", **which, userId=eve.user_id, rooms=[room])
    for nobody in (eve.user_id, ""):
        assert (await bob.post("teams.removeMember", 400, **which, userId=nobody))["error"] == "invalid-user"
    assert (await alice.post("teams.leave", 400, **which))["error"] == "last-owner-can-not-be-removed"
    await bob.post("teams.leave", **which, rooms=[room])
    assert [one["username"] for one in (await alice.get("channels.members", roomId=room))["members"]] == ["alice"]
    kinds = [one.get("t") for one in (await alice.get("channels.messages", roomId=team["_id"]))["messages"]]
    assert set(kinds) == {
        "added-user-to-team",
        "removed-user-from-team",
        "ult",
        "subscription-role-added",
        "user-added-room-to-team",
    }


async def test_rooms_of_a_team(alice: Client, bob: Client) -> None:
    team = await make_team(alice, "crew", members=["bob"])
    which = {"teamId": team["_id"]}
    dev, inner = await make_channel(alice, "dev"), await make_group(alice, "inner")
    added = await alice.post("teams.addRooms", **which, rooms=[dev, inner])
    assert [room["teamId"] for room in added["rooms"]] == [team["_id"]] * 2
    made = await make_channel(alice, "made", extraData={"teamId": team["_id"]})
    listed = await alice.get("teams.listRooms", **which)
    assert (names(listed["rooms"]), listed["total"]) == (["dev", "inner", "made"], 3)
    assert names((await bob.get("teams.listRooms", **which))["rooms"]) == ["dev", "made"]
    assert names((await alice.get("teams.listRooms", **which, filter="EV", type="all"))["rooms"]) == ["dev"]
    room = (await alice.post("teams.updateRoom", roomId=dev, isDefault=True))["room"]
    assert room["teamDefault"] is True
    assert names((await alice.get("teams.listRooms", **which, type="autoJoin"))["rooms"]) == ["dev"]
    theirs = await alice.get("teams.listRoomsOfUser", **which, userId=bob.user_id)
    assert [(one["name"], one["isLastOwner"]) for one in theirs["rooms"]] == [("dev", False)]
    own = await alice.get("teams.listRoomsOfUser", **which, userId=alice.user_id, canUserDelete="true")
    assert names(own["rooms"]) == ["dev", "inner", "made"]
    await bob.post("rooms.createDiscussion", prid=team["roomId"], t_name="Lunch")
    children = await bob.get("teams.listChildren", roomId=team["roomId"], sort='{"fname":1}')
    assert [one["fname"] for one in children["data"]] == ["Lunch", "crew", "dev", "made"]
    for kind, expected in (("channels", ["crew", "dev", "made"]), ("discussions", ["Lunch"])):
        found = await bob.get("teams.listChildren", teamName="crew", type=kind)
        assert [one["fname"] for one in found["data"]] == expected
    await bob.get("teams.listChildren", 400, type="channels")
    info = await bob.get("rooms.info", roomId=made)
    assert (info["team"]["name"], info["parent"]["_id"]) == ("crew", team["roomId"])
    removed = (await alice.post("teams.removeRoom", **which, roomId=made))["room"]
    assert "teamId" not in removed
    assert (await alice.post("teams.removeRoom", 400, **which, roomId=made))["error"] == "room-not-on-that-team"
    free = await alice.get("rooms.autocomplete.availableForTeams", name="")
    assert names(free["items"]) == ["made"]


async def test_a_team_changes_and_ends(alice: Client, bob: Client) -> None:
    team = await make_team(alice, "crew")
    await alice.post("teams.update", teamId=team["_id"], data={"name": "gang", "type": 1})
    info = (await alice.get("teams.info", teamName="gang"))["teamInfo"]
    assert (info["_id"], info["type"]) == (team["_id"], 1)
    assert (await alice.get("groups.info", roomName="gang"))["group"]["fname"] == "gang"
    gone, stays = await make_channel(alice, "gone"), await make_channel(alice, "stays")
    await alice.post("teams.addRooms", teamName="gang", rooms=[gone, stays])
    await bob.get("channels.info", 400, roomId=stays)
    await alice.post("teams.delete", teamName="gang", roomsToRemove=[gone])
    assert "teamId" not in (await bob.get("channels.info", roomId=stays))["channel"]
    await alice.get("channels.info", 400, roomId=gone)
    converted = (await alice.post("channels.convertToTeam", channelName="stays"))["team"]
    assert (converted["roomId"], converted["type"]) == (stays, 0)
    await alice.post("teams.convertToChannel", teamId=converted["_id"])
    assert "teamMain" not in (await bob.get("channels.info", roomId=stays))["channel"]
    group = await make_group(alice, "inner")
    assert (await alice.post("groups.convertToTeam", roomId=group))["team"]["type"] == 1
    await bob.post("channels.convertToTeam", 403, channelId=stays)
    await alice.post("channels.convertToTeam", 400, channelId=group)


async def test_two_requests_for_one_name(alice: Client, bob: Client) -> None:
    async def make(client: Client) -> int:
        return (await client.request("POST", "teams.create", json={"name": "crew", "type": 0})).status_code

    assert sorted(await asyncio.gather(make(alice), make(bob))) == [200, 400]


# Each with its permission: (path, body besides the team, whether somebody outside every team may have it).
NEEDED: dict[str, tuple[str, dict[str, Any]]] = {
    "create-team": ("teams.create", {"name": "more", "type": 0}),
    "edit-team": ("teams.update", {"data": {"name": "gang"}}),
    "delete-team": ("teams.delete", {}),
    "convert-team": ("teams.convertToChannel", {}),
    "add-team-channel": ("teams.addRooms", {"rooms": ["ROOM"]}),
    "remove-team-channel": ("teams.removeRoom", {"roomId": "CHILD"}),
    "edit-team-channel": ("teams.updateRoom", {"roomId": "CHILD", "isDefault": True}),
    "edit-team-member": ("teams.removeMember", {"userId": "BOB"}),
    "add-team-member": ("teams.addMembers", {"members": [{"userId": "EVE"}]}),
}


@pytest.mark.parametrize("permission", NEEDED)
async def test_each_permission_decides(admin: Client, alice: Client, bob: Client, permission: str) -> None:
    """Whoever has it may; everybody else is told in one word, and nothing changes."""
    eve = await admin.make_user("eve")
    team = await make_team(alice, "crew", members=["bob"])
    child = await make_channel(alice, "child")
    await alice.post("teams.addRooms", teamId=team["_id"], rooms=[child])
    ids = {"ROOM": await make_channel(bob, "free"), "CHILD": child, "BOB": bob.user_id, "EVE": eve.user_id}
    path, extra = NEEDED[permission]

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: fill(one) for name, one in value.items()}
        return [fill(one) for one in value] if isinstance(value, list) else ids.get(value, value)

    body = fill(extra) if path in ("teams.create", "teams.updateRoom") else {"teamId": team["_id"], **fill(extra)}

    async def grant(name: str, *roles: str) -> None:
        await admin.post("permissions.update", permissions=[{"_id": name, "roles": list(roles)}])

    for name in ("add-team-member", "edit-team-member"):
        await grant(name)
    await grant(permission)
    assert await bob.post(path, 403, **body) == {"success": False, "error": "unauthorized"}
    await grant(permission, "user")
    await bob.post(path, **body)


async def test_a_channel_begins_with_who_is_in_a_team(admin: Client, alice: Client, bob: Client) -> None:
    carol = await admin.make_user("carol")
    await make_team(alice, "crew", members=[bob.user_id])
    await make_team(carol, "closed", type=1)
    room = (await alice.post("channels.create", name="all-of-us", teams=["crew"], members=["carol"]))["channel"]
    members = (await alice.get("channels.members", roomId=room["_id"]))["members"]
    assert {member["username"] for member in members} == {"alice", "bob", "carol"}
    assert "teamId" not in room
    for name in ("closed", "nobody"):
        answer = await alice.post("channels.create", 400, name="not-yet", teams=["crew", name])
        assert answer["errorType"] == "team-does-not-exist"
    await alice.post("channels.create", 400, name="not-yet", teams="crew")
    await alice.get("channels.info", 400, roomName="not-yet")
