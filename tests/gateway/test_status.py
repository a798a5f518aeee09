"""Status and presence over REST."""

from typing import Any

import pytest

from tests.gateway.rest import Client
from tests.services import ADMIN_ID


async def test_status(admin: Client) -> None:
    alice = await admin.make_user("alice")
    await alice.post("users.setStatus", status="busy", message="working")
    own = await alice.get("users.getStatus")
    assert own == {
        "_id": alice.user_id,
        "message": "working",
        "status": "offline",
        "connectionStatus": "offline",
        "success": True,
    }
    for which in ({"userId": alice.user_id}, {"username": "alice"}, {"user": "alice"}):
        seen = await admin.get("users.getStatus", **which)
        assert (seen["_id"], seen["message"], seen["status"]) == (alice.user_id, "working", "offline")
        assert "connectionStatus" not in seen
    await alice.post("users.setStatus", message="")
    assert (await alice.get("users.getStatus"))["message"] == ""
    assert (await admin.get("users.getStatus", 400, userId="unknown"))["errorType"] == "error-invalid-user"


async def test_status_of_others(admin: Client) -> None:
    alice = await admin.make_user("alice")
    await admin.post("users.setStatus", userId=alice.user_id, status="away", message="set for her")
    assert (await alice.get("users.getStatus"))["message"] == "set for her"
    answer = await alice.post("users.setStatus", 403, userId=ADMIN_ID, status="away")
    assert answer == {"success": False, "error": "unauthorized"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "Match error: Failed Match.OneOf, Match.Maybe or Match.Optional validation"),
        ({"status": {"$ne": ""}}, "Match error: Expected string, got object in field status"),
        (
            {"status": "gone"},
            "Valid status types include online, away, offline, and busy. [error-invalid-status]",
        ),
    ],
)
async def test_invalid_status(admin: Client, body: dict[str, Any], error: str) -> None:
    assert (await admin.post("users.setStatus", 400, **body))["error"] == error


async def test_status_text_is_a_setting(admin: Client) -> None:
    alice = await admin.make_user("alice")
    await admin.post("settings/Accounts_AllowUserStatusMessageChange", value=False)
    answer = await alice.post("users.setStatus", 400, message="x")
    assert answer["error"] == "Change status is not allowed [error-not-allowed]"
    await admin.post("settings/Accounts_AllowInvisibleStatusOption", value=False)
    answer = await alice.post("users.setStatus", 400, status="offline")
    assert answer["errorType"] == "error-status-not-allowed"


async def test_presence(admin: Client) -> None:
    alice = await admin.make_user("alice")
    own = await alice.get("users.getPresence")
    assert (own["presence"], own["connectionStatus"]) == ("offline", "offline")
    assert await alice.get("users.getPresence", username="boss") == {"presence": "offline", "success": True}
    for path in (
        f"users.presence?ids={alice.user_id},{ADMIN_ID}",
        f"users.presence?ids={alice.user_id}&ids={ADMIN_ID}",
        f"users.presence?ids[]={alice.user_id}&ids[]={ADMIN_ID}&ids[]=unknown",
    ):
        answer = await alice.get(path)
        assert answer["full"] is False
        assert [user["username"] for user in answer["users"]] == ["alice", "boss"]
        assert answer["users"][0]["status"] == "offline"
    answer = await alice.get("users.presence")
    assert answer == {"users": [], "full": True, "success": True}
    assert (await alice.get("users.presence", 400, **{"from": "yesterday"}))["errorType"] == "error-invalid-date"
