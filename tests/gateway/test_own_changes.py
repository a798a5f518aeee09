"""Who is told that it is done finds it done with the next request to the same gateway: two replicas of each service,
and no news at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from palaver import access
from palaver.api import Auth, Messaging
from palaver.auth import tokens
from palaver.events import room_stream, user_actor
from palaver.gateway.role import Gateway
from palaver.ids import new_id
from palaver.messaging import renames
from palaver.messaging.integrations.deliveries import Deliveries
from palaver.messaging.integrations.outgoing import Outgoing
from palaver.node import Node, make_rpc_server
from palaver.presence import role as presence_role
from palaver.presence import sharing, telling
from palaver.roles import ROLES as ALL_ROLES
from palaver.v1.auth_pb2 import AuthenticateRequest
from palaver.v1.event_pb2 import Event
from palaver.v1.integration_pb2 import SaveIntegrationRequest
from palaver.v1.messaging_pb2 import SendMessageRequest
from tests.gateway.ddp import PATIENCE, ROLES, RunningGateway, served
from tests.services import service_nodes
from tests.waiting import eventually

SERVICES = ("auth", "presence", "messaging")
TIMES = 6  # replicas take turns


class Late:
    """While it is set, no process hears anything by the live port or the log."""

    on = False


@dataclass
class Replicated:
    gateway: RunningGateway
    nodes: dict[str, list[Node]]
    late: Late


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    switch = Late()

    def make_late(owner: Any, name: str) -> None:
        hear = getattr(owner, name)

        def hear_unless_late(self: Any, message: Any) -> None:
            if not switch.on:
                hear(self, message)

        monkeypatch.setattr(owner, name, hear_unless_late)

    make_late(access.Access, "_on_told")
    make_late(access.Access, "_on_user_changed")
    make_late(tokens.Tokens, "on_user_changed")
    make_late(presence_role.PresenceService, "_on_user_changed")
    make_late(telling.Telling, "_on_told")
    make_late(sharing.Sharing, "_on_marks")
    return switch


@pytest.fixture
async def both(late: Late, tmp_path: Path, cheap_hashes: None) -> AsyncIterator[Replicated]:
    async with AsyncExitStack() as stack:
        options: dict[str, Any] = {"port": 0, "host": "127.0.0.1", "drain_seconds": 2.0}
        running = await stack.enter_async_context(service_nodes(tmp_path, ROLES, "grpc", **options))
        addresses: dict[str, Any] = {}
        nodes: dict[str, list[Node]] = {}
        for name in SERVICES:
            other = await stack.enter_async_context(running.another(name, f"test-{name}-2", **addresses))
            server = await stack.enter_async_context(make_rpc_server(other, [ALL_ROLES[name]]))
            addresses[f"{name}_address"] = f"{running.addresses[name]},127.0.0.1:{server.port}"
            nodes[name] = [running.nodes[name], other]
        node = await stack.enter_async_context(running.another("gateway", "test-gateway-2", **addresses))
        yield Replicated(await stack.enter_async_context(served(node)), nodes, late)


async def warm_logins(both: Replicated, headers: dict[str, str]) -> None:
    """Each replica of auth has just been asked about this login, as any two requests of a client have them."""
    for node in both.nodes["auth"]:
        request = AuthenticateRequest(token=headers["X-Auth-Token"], user_id=headers["X-User-Id"])
        await cast(Auth, node.roles["auth"]).authenticate(request)
    both.late.on = True


async def statuses(gateway: RunningGateway, path: str, headers: dict[str, str], **params: Any) -> list[int]:
    return [(await gateway.http.get(path, headers=headers, params=params)).status_code for _ in range(TIMES)]


async def got(gateway: RunningGateway, path: str, headers: dict[str, str], **params: Any) -> list[Any]:
    return [(await gateway.http.get(path, headers=headers, params=params)).json() for _ in range(TIMES)]


async def test_a_role_counts(both: Replicated) -> None:
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    role = (await gateway.post("roles.create", gateway.admin, name="pilot"))["role"]["_id"]
    permissions = [{"_id": "view-statistics", "roles": ["admin", role]}, {"_id": "create-c", "roles": ["admin", role]}]
    await gateway.post("permissions.update", gateway.admin, permissions=permissions)
    assert set(await statuses(gateway, "instances.get", alice)) == {403}
    await gateway.http.post("channels.create", headers=alice, json={"name": "no-1"})
    await gateway.http.post("channels.create", headers=alice, json={"name": "no-2"})
    both.late.on = True
    await gateway.post("roles.addUserToRole", gateway.admin, roleId="pilot", username="alice")
    seen = await statuses(gateway, "instances.get", alice)
    made = [
        (await gateway.http.post("channels.create", headers=alice, json={"name": f"r-{n}"})).status_code
        for n in range(TIMES)
    ]
    assert (seen, made) == ([200] * TIMES, [200] * TIMES)


async def test_a_logout_counts(both: Replicated) -> None:
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    await warm_logins(both, alice)
    await gateway.post("logout", alice)
    assert await statuses(gateway, "me", alice) == [401] * TIMES


async def test_a_password_change_ends_other_logins(both: Replicated) -> None:
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    await warm_logins(both, alice)
    await gateway.post("users.update", gateway.admin, userId=alice["X-User-Id"], data={"password": "another one"})
    assert await statuses(gateway, "me", alice) == [401] * TIMES


async def test_a_deactivation_counts(both: Replicated) -> None:
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    room = (await gateway.post("channels.create", alice, name="dev"))["channel"]["_id"]
    await gateway.post("chat.postMessage", alice, roomId=room, text="one")
    await warm_logins(both, alice)
    await gateway.post(
        "users.setActiveStatus", gateway.admin, userId=alice["X-User-Id"], activeStatus=False, confirmRelinquish=True
    )
    body = {"roomId": room, "text": "two"}
    seen = [(await gateway.http.post("chat.postMessage", headers=alice, json=body)).status_code for _ in range(TIMES)]
    assert seen == [401] * TIMES


async def test_a_message_bears_the_new_name(both: Replicated) -> None:
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    room = (await gateway.post("channels.create", alice, name="dev"))["channel"]["_id"]
    await gateway.post("chat.postMessage", alice, roomId=room, text="one")
    both.late.on = True
    await gateway.post("users.updateOwnBasicInfo", alice, data={"username": "alicia", "name": "Alicia"})
    sent = (await gateway.post("chat.postMessage", alice, roomId=room, text="two"))["message"]
    assert (sent["u"]["username"], sent["u"].get("name")) == ("alicia", "Alicia")


async def test_a_status_is_seen(both: Replicated) -> None:
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    await gateway.client(alice)
    id = alice["X-User-Id"]
    async with asyncio.timeout(PATIENCE):
        while [one["status"] for one in await got(gateway, "users.getStatus", alice)] != ["online"] * TIMES:
            await asyncio.sleep(0.02)
    both.late.on = True
    await gateway.post("users.setStatus", alice, status="busy", message="in a meeting")
    found = await got(gateway, "users.getStatus", alice)
    info = await got(gateway, "users.info", alice, userId=id)
    assert [(one["status"], one["message"]) for one in found] == [("busy", "in a meeting")] * TIMES
    assert [one["user"]["status"] for one in info] == ["busy"] * TIMES


async def test_presence_shows_the_new_name(both: Replicated) -> None:
    """One replica of presence is enough for this one: what it knows of somebody connected has no end."""
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    await gateway.client(alice)
    id = alice["X-User-Id"]
    async with asyncio.timeout(PATIENCE):
        while not all(one["users"] for one in await got(gateway, "users.presence", alice, ids=id)):
            await asyncio.sleep(0.02)
    both.late.on = True
    await gateway.post("users.updateOwnBasicInfo", alice, data={"username": "alicia", "name": "Alicia"})
    found = await got(gateway, "users.presence", alice, ids=id)
    assert [(one["users"][0]["username"], one["users"][0]["name"]) for one in found] == [("alicia", "Alicia")] * TIMES


async def test_preferences_of_before_a_session(both: Replicated) -> None:
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    both.late.on = True
    await gateway.post("users.setPreferences", alice, data={"desktopNotifications": "nothing"})
    socket = await gateway.client(alice)
    await socket.sub("stream-notify-user", f"{socket.user_id}/notification", False)
    session = cast(Gateway, gateway.node.roles["gateway"]).people.find(socket.user_id)
    assert session is not None
    assert session.wishes.desktop == "nothing"


@pytest.mark.parametrize("what", ["follower", "users"])
async def test_who_is_muted_stays_muted(both: Replicated, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    gateway = both.gateway
    if what == "follower":
        monkeypatch.setattr(renames.Renames, "_rename_in", _late_rename(renames.Renames._rename_in))
    alice = await gateway.make_user("alice")
    room = (await gateway.post("channels.create", gateway.admin, name="dev", members=["alice"]))["channel"]["_id"]
    await gateway.post("chat.postMessage", alice, roomId=room, text="one")
    await gateway.post("rooms.muteUser", gateway.admin, roomId=room, username="alice")
    body = {"roomId": room, "text": "no"}
    assert (await gateway.http.post("chat.postMessage", headers=alice, json=body)).status_code != 200
    both.late.on = what == "users"
    await gateway.post("users.updateOwnBasicInfo", alice, data={"username": "alicia"})
    if what == "users":
        await asyncio.sleep(0.7)
    answer = await gateway.http.post("chat.postMessage", headers=alice, json=body)
    assert "You_have_been_muted" in answer.text


async def test_who_is_let_speak_by_a_new_name_may(both: Replicated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the room knows them by the old one for a moment more."""
    monkeypatch.setattr(renames.Renames, "_rename_in", _late_rename(renames.Renames._rename_in))
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    room = (await gateway.post("channels.create", gateway.admin, name="dev", members=["alice"]))["channel"]["_id"]
    await gateway.post("rooms.muteUser", gateway.admin, roomId=room, username="alice")
    await gateway.post("users.updateOwnBasicInfo", alice, data={"username": "alicia"})
    await gateway.post("rooms.unmuteUser", gateway.admin, roomId=room, username="alicia")
    await gateway.post("chat.postMessage", alice, roomId=room, text="I may")
    async with asyncio.timeout(PATIENCE):
        while True:
            [one, *_] = await got(gateway, "subscriptions.getOne", alice, roomId=room)
            if one["subscription"]["u"]["username"] == "alicia":
                break
            await asyncio.sleep(0.05)
    await gateway.post("chat.postMessage", alice, roomId=room, text="still")


async def test_a_room_entered_after_a_rename_shows_the_new_name(both: Replicated) -> None:
    """Nothing mends this later: the follower has passed by."""
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    for number in range(4):
        await gateway.post("channels.create", alice, name=f"warm-{number}")
    both.late.on = True
    await gateway.post("users.updateOwnBasicInfo", alice, data={"username": "alicia"})
    await asyncio.sleep(0.7)
    names = []
    for number in range(4):
        room = (await gateway.post("channels.create", alice, name=f"new-{number}"))["channel"]
        one = (await got(gateway, "subscriptions.getOne", alice, roomId=room["_id"]))[0]["subscription"]
        names.append((room["u"]["username"], one["u"]["username"]))
    assert names == [("alicia", "alicia")] * 4


async def test_who_is_deleted_is_invited_nowhere(both: Replicated) -> None:
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    for number in range(4):
        await gateway.post("channels.create", alice, name=f"warm-{number}")
    rooms = [(await gateway.post("channels.create", gateway.admin, name=f"r{n}"))["channel"]["_id"] for n in range(4)]
    id = alice["X-User-Id"]
    both.late.on = True
    await gateway.post("users.delete", gateway.admin, userId=id, confirmRelinquish=True)
    await asyncio.sleep(0.7)
    seen = []
    for room in rooms:
        answer = await gateway.http.post("channels.invite", headers=gateway.admin, json={"roomId": room, "userId": id})
        seen.append(answer.status_code)
    members = [
        (await got(gateway, "channels.info", gateway.admin, roomId=r))[0]["channel"]["usersCount"] for r in rooms
    ]
    assert (seen, members) == ([400] * 4, [1] * 4)


async def test_who_is_let_in_again_may_call(both: Replicated) -> None:
    """The gateway has itself just read that they may not."""
    gateway = both.gateway
    alice = await gateway.make_user("alice")
    body = {"userId": alice["X-User-Id"], "confirmRelinquish": True}
    await gateway.post("users.setActiveStatus", gateway.admin, activeStatus=False, **body)
    await asyncio.sleep(0.3)
    both.late.on = True
    await gateway.post("users.setActiveStatus", gateway.admin, activeStatus=True, **body)
    alice = await gateway.login("alice", "secret of alice")
    socket = await gateway.client(alice)
    answer = await socket.call("getRoomRoles", "GENERAL")
    rest = await statuses(gateway, "me", alice)
    assert ("error" not in answer, rest) == (True, [200] * TIMES), answer


async def test_a_new_webhook_hears_the_next_message(both: Replicated) -> None:
    """Whichever process follows the room: an event that it passed over would never come again."""
    gateway = both.gateway
    room = (await gateway.post("channels.create", gateway.admin, name="dev"))["channel"]["_id"]
    events: list[Event] = []
    await both.nodes["messaging"][0].log.follow(room_stream(room), events.append)
    followers = [Outgoing(node, Deliveries(node.database)) for node in both.nodes["messaging"]]
    await gateway.post("chat.postMessage", gateway.admin, roomId=room, text="before")
    await eventually(lambda: events)
    for follower in followers:
        await follower.on_event(events[-1])
    both.late.on = True
    fields = {"name": "hook", "event": "sendMessage", "enabled": True, "username": "boss", "channel": "#dev"}
    about = orjson.dumps({"urls": ["http://example.org/"], **fields})
    messaging, actor = cast(Messaging, both.nodes["messaging"][0].roles["messaging"]), user_actor("theAdmin")
    request = SaveIntegrationRequest(actor=actor, type="webhook-outgoing", set=about)
    made = orjson.loads((await messaging.save_integration(request)).integration)["_id"]
    heard = len(events)
    await messaging.send_message(SendMessageRequest(actor=actor, room_id=room, message_id=new_id(), text="hear me"))
    await eventually(lambda: len(events) > heard)
    for follower in followers:
        assert follower.make_follower()._follower.concerns(events[-1])
        await follower.on_event(events[-1])
        assert [integration["_id"] for integration in follower._known] == [made]


def _late_rename(handled: Any) -> Any:
    async def late(self: Any, *arguments: Any) -> None:
        await asyncio.sleep(2)
        await handled(self, *arguments)

    return late
