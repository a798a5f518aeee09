"""The methods of presence on a connection, and what others then see of it."""

import asyncio

from tests.gateway.ddp import PATIENCE, RunningGateway


async def wait_status(gateway: RunningGateway, user_id: str, status: str) -> None:
    """Until the administrator sees this status of a user."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await gateway.http.get("users.getStatus", params={"userId": user_id}, headers=gateway.admin)
            if answer.json()["status"] == status:
                return
            await asyncio.sleep(0.02)


async def test_a_connection_goes_idle_and_comes_back(gateway: RunningGateway) -> None:
    headers = await gateway.make_user("alice")
    user_id = headers["X-User-Id"]
    await wait_status(gateway, user_id, "offline")
    client = await gateway.client(headers)
    await wait_status(gateway, user_id, "online")
    assert "error" not in await client.call("UserPresence:away", "")
    await wait_status(gateway, user_id, "away")
    assert "error" not in await client.call("UserPresence:online")
    await wait_status(gateway, user_id, "online")
    assert "error" not in await client.call("setUserStatus", "busy", "in a meeting")
    await wait_status(gateway, user_id, "busy")
    answer = await gateway.http.get("users.presence", headers=gateway.admin)
    seen = {user["_id"]: (user["status"], user["statusText"]) for user in answer.json()["users"]}
    assert seen[user_id] == ("busy", "in a meeting")
    own = (await gateway.http.get("users.getPresence", headers=headers)).json()
    assert (own["presence"], own["connectionStatus"]) == ("busy", "online")
    await client.close()
    await wait_status(gateway, user_id, "offline")


async def test_presence_needs_a_login(gateway: RunningGateway) -> None:
    client = await gateway.client()
    for method in ("UserPresence:away", "UserPresence:online", "UserPresence:setDefaultStatus", "setUserStatus"):
        assert (await client.call(method, "away"))["error"]["error"] == "error-invalid-user"


async def test_logout_of_other_clients_closes_their_sockets(gateway: RunningGateway) -> None:
    mine, other = await gateway.make_user("alice"), await gateway.login("alice", "secret of alice")
    client = await gateway.client(other)
    await gateway.post("users.logoutOtherClients", mine)
    async with asyncio.timeout(PATIENCE):
        await client.socket.wait_closed()
    assert (await gateway.http.get("me", headers=mine)).status_code == 200
