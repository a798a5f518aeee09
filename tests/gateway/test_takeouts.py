"""Users' own data to take away, by REST and by DDP."""

import asyncio
import io
import zipfile

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, say
from tests.gateway.test_methods_rooms import result


async def test_asked_for_and_taken_away(alice: Client, bob: Client, anybody: Client) -> None:
    room_id = await make_channel(alice, "street")
    await say(alice, room_id, "hello street")
    asked = await alice.get("users.requestDataDownload", fullExport="false")
    assert (asked["requested"], asked["url"], asked["pendingOperationsBeforeMyRequest"]) == (True, None, 0)
    asked_for = {"_id", "userId", "status", "fullExport", "createdAt", "_updatedAt"}
    assert (asked["exportOperation"].keys(), asked["exportOperation"]["userId"]) == (asked_for, alice.user_id)
    async with asyncio.timeout(60):
        while (again := await alice.get("users.requestDataDownload"))["url"] is None:
            await asyncio.sleep(0.05)
    assert (again["requested"], again["exportOperation"]["status"]) == (False, "completed")
    assert again["url"] == f"http://chat.example.org/data-export/{asked['exportOperation']['_id']}"
    answer = await alice.request("GET", again["url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["content-disposition"].startswith("attachment")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert any("hello street" in archive.read(name).decode() for name in archive.namelist())
    for other in (bob, anybody):
        assert (await other.request("GET", again["url"])).status_code in (403, 404)
    assert (await result(alice, "requestDataDownload", {"fullExport": False}))["requested"] is False
    assert (await result(alice, "requestDataDownload", {"fullExport": True}))["requested"] is True


async def test_not_where_the_setting_forbids_it(admin: Client, alice: Client, anybody: Client) -> None:
    await admin.post("settings/UserData_EnableDownload", value=False)
    assert (await alice.get("users.requestDataDownload", 400))["errorType"] == "error-not-allowed"
    await anybody.get("users.requestDataDownload", 401)
