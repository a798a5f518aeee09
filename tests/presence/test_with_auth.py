"""Presence beside the real auth service, in this process and over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.api import Presence
from palaver.errors import InvalidInput, NotAllowed
from palaver.events import user_actor
from palaver.v1.presence_pb2 import (
    AWAY,
    BUSY,
    OFFLINE,
    ONLINE,
    GetPresenceRequest,
    ListGatewaysRequest,
    PresenceChanged,
    ReportStatusesRequest,
    SetStatusRequest,
    Status,
    StatusReport,
    UserPresence,
)
from tests.auth.helpers import create_user, set_setting, update_user
from tests.services import ADMIN_ID, TRANSPORTS, RunningServices, Transport, service_nodes
from tests.waiting import eventually


class Told:
    """What was told on the live port."""

    def __init__(self) -> None:
        self.users: list[UserPresence] = []
        self._changed = asyncio.Event()

    def __call__(self, message: bytes) -> None:
        self.users.extend(PresenceChanged.FromString(message).users)
        self._changed.set()

    async def next(self) -> tuple[str, Status.ValueType, str]:
        async with asyncio.timeout(30):
            while not self.users:
                self._changed.clear()
                await self._changed.wait()
        user = self.users.pop(0)
        return user.username, user.status, user.status_text


@pytest.fixture(params=TRANSPORTS)
async def running(tmp_path: Path, request: pytest.FixtureRequest, cheap_hashes: None) -> AsyncIterator[RunningServices]:
    transport: Transport = request.param
    async with service_nodes(tmp_path, ("auth", "presence"), transport) as services:
        yield services


@pytest.fixture
async def told(running: RunningServices) -> Told:
    told = Told()
    await running.node.live.subscribe("presence", told)
    return told


@pytest.fixture
def presence(running: RunningServices) -> Presence:
    return running.services.presence


async def see(presence: Presence, user_id: str) -> UserPresence:
    (user,) = (await presence.get_presence(GetPresenceRequest(user_ids=[user_id]))).users
    return user


async def report(presence: Presence, user_id: str, status: Status.ValueType, revision: int) -> None:
    reports = [StatusReport(user_id=user_id, status=status, revision=revision)]
    await presence.report_statuses(ReportStatusesRequest(node_id="gateway", reports=reports))


async def test_a_day_of_a_user(running: RunningServices, presence: Presence, told: Told) -> None:
    user_id = (await create_user(running.services.auth, "alice"))["_id"]
    me = user_actor(user_id)
    assert (await see(presence, user_id)).status == OFFLINE
    await report(presence, user_id, ONLINE, 1)
    assert (await see(presence, user_id)).status == ONLINE
    assert await told.next() == ("alice", ONLINE, "")
    await report(presence, user_id, AWAY, 2)
    assert await told.next() == ("alice", AWAY, "")
    await presence.set_status(SetStatusRequest(actor=me, status="busy", status_text="in a meeting"))
    assert await told.next() == ("alice", BUSY, "in a meeting")
    seen = await see(presence, user_id)
    assert (seen.name, seen.status_default, seen.connection_status, list(seen.roles)) == (
        "Alice",
        "busy",
        AWAY,
        ["user"],
    )
    await update_user(running.services.auth, ADMIN_ID, user_id, {"statusText": "of the admin"})
    assert await told.next() == ("alice", BUSY, "of the admin")
    await presence.set_status(SetStatusRequest(actor=user_actor(ADMIN_ID), user_id=user_id, status="online"))
    assert await told.next() == ("alice", AWAY, "of the admin")
    await running.node.live.put("presence.nodes.gateway", b"3", 60)
    reply = await presence.list_gateways(ListGatewaysRequest(actor=user_actor(ADMIN_ID)))
    assert [(node.node_id, node.connections) for node in reply.nodes] == [("gateway", 3)]
    assert reply.users == 1
    await report(presence, user_id, OFFLINE, 3)
    assert await told.next() == ("alice", OFFLINE, "of the admin")
    assert list((await presence.get_presence(GetPresenceRequest())).users) == []
    assert told.users == []


async def test_what_is_refused(running: RunningServices, presence: Presence) -> None:
    user_id = (await create_user(running.services.auth, "alice"))["_id"]
    me = user_actor(user_id)
    for request, error, code in (
        (SetStatusRequest(actor=me, status="asleep"), InvalidInput, "error-invalid-status"),
        (SetStatusRequest(actor=me, user_id=ADMIN_ID, status="away"), NotAllowed, "error-not-allowed"),
    ):
        with pytest.raises(error) as caught:
            await presence.set_status(request)
        assert caught.value.error_code == code
    await set_setting(running.services.auth, "Accounts_AllowInvisibleStatusOption", False)
    with pytest.raises(NotAllowed) as refused:
        await presence.set_status(SetStatusRequest(actor=me, status="offline"))
    assert refused.value.error_code == "error-status-not-allowed"


async def test_an_admin_may_stop_the_telling(running: RunningServices, presence: Presence, told: Told) -> None:
    user_id = (await create_user(running.services.auth, "alice"))["_id"]
    await set_setting(running.services.auth, "Troubleshoot_Disable_Presence_Broadcast", True)
    node = running.nodes["presence"]
    await eventually(lambda: bool(node.access.setting("Troubleshoot_Disable_Presence_Broadcast")))
    await report(presence, user_id, ONLINE, 1)
    await asyncio.sleep(0.1)
    assert told.users == []
    assert (await see(presence, user_id)).status == ONLINE
