"""Figures of the workspace, shields, and suggestions of usernames."""

import pytest

from tests.gateway.rest import Client, new_user


async def test_figures_are_counted(admin: Client, alice: Client) -> None:
    await admin.post("users.create", **new_user("gone", active=False))
    channel = (await alice.post("channels.create", name="open"))["channel"]["_id"]
    group = (await alice.post("groups.create", name="closed"))["group"]["_id"]
    await alice.post("im.create", username="boss")
    for room_id in (channel, channel, group):
        await alice.post("chat.postMessage", roomId=room_id, text="hello")
    found = await admin.get("statistics")
    assert (found["totalUsers"], found["activeUsers"], found["nonActiveUsers"]) == (4, 3, 1)
    assert (found["totalRooms"], found["totalChannels"], found["totalPrivateGroups"], found["totalDirect"]) == (
        4,
        2,
        1,
        1,
    )
    assert (found["totalPrivateGroupMessages"], found["totalDirectMessages"]) == (1, 0)
    assert found["totalMessages"] == found["totalChannelMessages"] + 1
    assert (found["onlineUsers"], found["offlineUsers"]) == (0, 4)
    # What was counted stays so for the moment.
    await alice.post("channels.create", name="another")
    again = await admin.get("statistics", refresh="true")
    assert (again["_id"], again["totalChannels"]) == (found["_id"], 2)
    assert (await admin.call("getStatistics"))["result"]["_id"] == found["_id"]
    listed = await admin.get("statistics.list")
    assert [one["_id"] for one in listed["statistics"]] == [found["_id"]]
    assert (listed["count"], listed["offset"], listed["total"]) == (1, 0, 1)
    assert (await admin.get("statistics.list", offset=1))["statistics"] == []


async def test_figures_are_the_administrators(alice: Client) -> None:
    for path in ("statistics", "statistics.list"):
        assert (await alice.get(path, 400))["errorType"] == "error-not-allowed"
    assert (await alice.call("getStatistics"))["error"]["error"] == "error-not-allowed"
    await alice.post("statistics.telemetry", params=[{"eventName": "updateCounter", "settingsId": "x"}])
    await alice.post("statistics.telemetry", 400, params="x")


async def test_shields(admin: Client, alice: Client, anybody: Client) -> None:
    async def shown(client: Client, **query: str) -> str:
        answer = await client.request("GET", "shield.svg", params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/svg+xml;charset=utf-8"
        return answer.text

    assert ">0 online<" in await shown(anybody, type="online", name="Palaver")
    hostile = await shown(anybody, type="channel", channel="<script>", name='"><x')
    assert "<script" not in hostile
    assert "&lt;script&gt;" in hostile
    assert ">@alice<" in await shown(alice, type="user")
    assert ">Join Chat<" in await shown(anybody, channel="general", name="Palaver")
    await anybody.get("shield.svg", 400, type="nonsense")
    await admin.post("settings/API_Shield_user_require_auth", value=True)
    await anybody.get("shield.svg", 400, type="user")
    await admin.post("settings/API_Shield_Types", value="channel,user")
    answer = await anybody.get("shield.svg", 400, type="online")
    assert answer["errorType"] == "error-shield-disabled"
    await admin.post("settings/API_Enable_Shields", value=False)
    assert (await anybody.get("shield.svg", 400, type="channel"))["errorType"] == "error-endpoint-disabled"


@pytest.mark.parametrize(
    ("name", "taken", "suggested"),
    [
        ("Ada Lovelace", (), "ada.lovelace"),
        ("Ada Lovelace", ("ada.lovelace", "ada.lovelace-1"), "ada.lovelace-2"),
        ("Zoë Žižek", (), "zoe.zizek"),
        ("中村", (), "newcomer"),  # of the e-mail address
        ("System", (), "system-1"),  # nobody may choose "system"
    ],
)
async def test_a_username_is_suggested(admin: Client, name: str, taken: tuple[str, ...], suggested: str) -> None:
    for username in taken:
        await admin.post("users.create", **new_user(username))
    client = await admin.make_user("newcomer", name=name)
    assert (await client.get("users.getUsernameSuggestion"))["result"] == suggested
    assert (await client.call("getUsernameSuggestion"))["result"] == suggested
