"""A few rooms by a part of their names, for administrators and for teams to be."""

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group


async def test_administrators_find_every_room(admin: Client, alice: Client) -> None:
    await make_group(alice, "closed-door")
    await make_channel(alice, "open-door")
    found = await admin.get("rooms.autocomplete.adminRooms", selector='{"name":"door"}')
    assert [room["name"] for room in found["items"]] == ["closed-door", "open-door"]
    await alice.get("rooms.autocomplete.adminRooms", 403, selector='{"name":"door"}')
    await admin.get("rooms.autocomplete.adminRooms", 400)
    await admin.get("rooms.autocomplete.adminRooms", 400, selector="door")


async def test_rooms_for_teams_are_one_s_own(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "open-door", members=["bob"])
    await make_group(bob, "closed-door")
    await alice.post("rooms.createDiscussion", prid=room_id, t_name="door")
    for client, names in ((alice, ["open-door"]), (bob, ["closed-door"])):
        found = await client.get("rooms.autocomplete.availableForTeams", name="door")
        assert [room["name"] for room in found["items"]] == names
    assert (await alice.get("rooms.autocomplete.availableForTeams", name="window"))["items"] == []
