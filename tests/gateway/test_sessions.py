"""The logins that stand, as clients list and end them."""

from tests.gateway.rest import Client


async def test_ones_own(anybody: Client, alice: Client) -> None:
    other = await anybody.login("alice")
    found = await alice.get("sessions/list", sort='{"loginAt":1}')
    assert (found["count"], found["total"], found["offset"]) == (2, 2, 0)
    session = found["sessions"][1]
    assert session["loginAt"].endswith("Z")
    assert session["instanceId"] == alice.node.config.node_id
    shown = await alice.get("sessions/info", sessionId=session["sessionId"])
    assert shown["device"] == session["device"]
    ended = await alice.post("sessions/logout.me", sessionId=session["sessionId"])
    assert ended["sessionId"] == session["sessionId"]
    await other.get("me", 401)
    await alice.get("me")
    await alice.post("sessions/logout.me", 404, sessionId=session["sessionId"])
    await alice.post("sessions/logout.me", 400)
    for sort in ('{"ip":1}', '{"loginAt":1,"device.name":1}'):
        assert (await alice.get("sessions/list", 400, sort=sort))["errorType"] == "error-invalid-sort-keys"


async def test_everybodys(admin: Client, alice: Client) -> None:
    for path in ("sessions/list.all", "sessions/info.admin?sessionId=x"):
        assert (await alice.request("GET", path)).status_code == 403
    await alice.post("sessions/logout", 403, sessionId="x")
    found = await admin.get("sessions/list.all", filter="alice", count=10)
    (session,) = found["sessions"]
    assert (session["_user"]["username"], found["total"]) == ("alice", 1)
    assert (await admin.get("sessions/info.admin", sessionId=session["sessionId"]))["userId"] == alice.user_id
    await admin.post("sessions/logout", sessionId=session["sessionId"])
    await alice.get("me", 401)
    await admin.get("sessions/info.admin", 404, sessionId=session["sessionId"])
