"""Who hears the rooms of a team over DDP."""

from tests.gateway.ddp import RunningGateway


async def test_who_leaves_a_private_team_hears_its_public_rooms_no_longer(gateway: RunningGateway) -> None:
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    room_id = (await gateway.post("channels.create", alice, name="open"))["channel"]["_id"]
    team = (await gateway.post("teams.create", alice, name="crew", type=1, members=[bob["X-User-Id"]]))["team"]
    his = await gateway.client(bob)
    assert (await his.sub("stream-room-messages", room_id, False))["msg"] == "ready"  # it is no team's yet
    await gateway.post("teams.addRooms", alice, teamId=team["_id"], rooms=[room_id])
    await his.wait_for(lambda frame: frame.get("msg") == "nosub")
    assert (await his.sub("stream-room-messages", room_id, False))["msg"] == "ready"
    his.frames.clear()
    await gateway.post("teams.removeMember", alice, teamId=team["_id"], userId=bob["X-User-Id"])
    await his.wait_for(lambda frame: frame.get("msg") == "nosub")
