"""Reports and moderation by REST."""

import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, say
from tests.gateway.test_methods_rooms import result


async def test_reported_messages(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "street", members=["bob"])
    message = await say(alice, room_id, "you fool")
    await bob.post("chat.reportMessage", messageId=message["_id"], description="rude")
    assert await result(bob, "reportMessage", message["_id"], "still rude") is True
    listed = await admin.get("moderation.reportsByUsers", oldest="2020-01-01T00:00:00.000Z", count=10)
    assert (listed["count"], listed["offset"], listed["total"]) == (1, 0, 1)
    assert (listed["reports"][0]["username"], listed["reports"][0]["count"]) == ("alice", 2)
    of_user = await admin.get("moderation.user.reportedMessages", userId=alice.user_id)
    assert (of_user["user"]["username"], of_user["messages"][0]["message"]["_id"]) == ("alice", message["_id"])
    of_message = await admin.get("moderation.reports", msgId=message["_id"])
    assert [report["description"] for report in of_message["reports"]] == ["still rude", "rude"]
    report = await admin.get("moderation.reportInfo", reportId=of_message["reports"][0]["_id"])
    assert report["report"]["reportedBy"]["username"] == "bob"
    await admin.post("moderation.dismissReports", msgId=message["_id"], reason="a joke", action="None")
    assert (await admin.get("moderation.reports", msgId=message["_id"]))["total"] == 0
    await bob.post("chat.reportMessage", messageId=message["_id"], description="no joke")
    await admin.post("moderation.user.deleteReportedMessages", userId=alice.user_id, reason="rude")
    await alice.get("chat.getMessage", 400, msgId=message["_id"])
    assert (await admin.get("moderation.reportsByUsers"))["total"] == 0


async def test_reported_users(admin: Client, alice: Client, bob: Client) -> None:
    await alice.post("moderation.reportUser", userId=bob.user_id, description="spam")
    listed = await admin.get("moderation.userReports", selector="bo")
    assert listed["reports"][0]["reportedUser"]["username"] == "bob"
    of_user = await admin.get("moderation.user.reportsByUserId", userId=bob.user_id)
    assert (of_user["user"]["_id"], of_user["reports"][0]["description"]) == (bob.user_id, "spam")
    await admin.post("moderation.dismissUserReports", userId=bob.user_id)
    assert (await admin.get("moderation.userReports"))["total"] == 0


@pytest.mark.parametrize(
    "path",
    [
        "moderation.reportsByUsers",
        "moderation.userReports",
        "moderation.reports?msgId=x",
        "moderation.reportInfo?reportId=x",
        "moderation.user.reportedMessages?userId=x",
        "moderation.user.reportsByUserId?userId=x",
    ],
)
async def test_moderators_alone_look(alice: Client, path: str) -> None:
    await alice.get(path, 403)


async def test_what_moderation_needs(admin: Client, alice: Client) -> None:
    for path in ("dismissReports", "dismissUserReports", "user.deleteReportedMessages"):
        await alice.post(f"moderation.{path}", 403, userId="x")
    assert (await admin.post("moderation.dismissReports", 400))["error"] == "User ID or Message ID is required"
    missing = await admin.post("moderation.dismissUserReports", 400)
    assert missing["errorType"] == "error-user-id-param-not-provided"
    assert (await admin.get("moderation.reportInfo", 400, reportId="x"))["errorType"] == "error-report-not-found"
    assert (await alice.post("chat.reportMessage", 400, messageId="x"))["errorType"] == "invalid-params"
    unknown = await alice.post("chat.reportMessage", 400, messageId="x", description="y")
    assert unknown["errorType"] == "error-invalid-message_id"
