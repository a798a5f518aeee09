"""Two gateways over real servers: what one of them brings about, the other obeys and tells, with NATS and without."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from palaver.errors import Unavailable
from palaver.gateway import following
from palaver.gateway.following import Following
from palaver.gateway.role import Gateway
from palaver.log.jetstream import JetStreamLog
from palaver.node import Node
from palaver.sweeping import Sweeping
from palaver.telling import Telling
from tests.gateway.ddp import PATIENCE, ROLES, SILENCE, DdpClient, RunningGateway, served
from tests.gateway.proxy import Proxy, proxy_to
from tests.servers import NatsServer, nats_server
from tests.services import cluster_parts, cluster_servers, service_nodes
from tests.waiting import eventually

pytestmark = pytest.mark.needs_servers

Headers = dict[str, str]


@dataclass
class TwoGateways:
    """`first` is asked to change things, `second` has the sockets."""

    nats: NatsServer
    first: RunningGateway
    second: RunningGateway
    nodes: list[Node]  # of every role

    @property
    def node(self) -> Node:
        """The second gateway's."""
        return self.second.node

    @property
    def gateway(self) -> Gateway:
        return cast(Gateway, self.node.roles["gateway"])

    async def make_room(self, owner: Headers, name: str, *members: str) -> str:
        """A private room."""
        room = await self.first.post("groups.create", owner, name=name, members=list(members))
        return str(room["group"]["_id"])

    async def say(self, sender: Headers, room: str, text: str) -> None:
        await self.first.post("chat.postMessage", sender, roomId=room, text=text)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is followed is compared all the time. To be named before `two`, as `never`."""
    monkeypatch.setattr(following, "COMPARE_SECONDS", 0.3)
    monkeypatch.setattr(following, "_GRACE_SECONDS", 0.05)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compared, unless the log says that it has lost something."""
    monkeypatch.setattr(following, "COMPARE_SECONDS", 1000)


@pytest.fixture
async def nats() -> AsyncIterator[NatsServer]:
    async with nats_server() as server:
        yield server


@pytest.fixture
async def proxy(nats: NatsServer) -> AsyncIterator[Proxy]:
    """The second gateway's way to NATS, for who names it before `two`."""
    async with proxy_to(nats.port) as proxy:
        yield proxy


@pytest.fixture
async def two(
    request: pytest.FixtureRequest, nats: NatsServer, tmp_path: Path, cheap_hashes: None
) -> AsyncIterator[TwoGateways]:
    way = request.getfixturevalue("proxy").url if "proxy" in request.fixturenames else nats.url
    async with AsyncExitStack() as stack:
        options: dict[str, Any] = {"port": 0, "host": "127.0.0.1", "drain_seconds": 2.0}
        running = await stack.enter_async_context(
            service_nodes(tmp_path, ROLES, "cluster", nats_url=nats.url, **options)
        )
        first = await stack.enter_async_context(served(running.node))
        parts = cluster_parts((cluster_servers.urls()[0], way), tmp_path)
        node = await stack.enter_async_context(running.another("gateway", "test-gateway-2", parts))
        second = await stack.enter_async_context(served(node))
        second.admin = first.admin
        yield TwoGateways(nats, first, second, [*running.nodes.values(), node])


def texts(client: DdpClient, room: str) -> list[str]:
    return [args[0]["msg"] for args in client.changes("stream-room-messages", room) if "t" not in args[0]]


async def hear(client: DdpClient, room: str) -> None:
    assert (await client.sub("stream-room-messages", room, False))["msg"] == "ready"


async def hear_own(client: DdpClient, name: str) -> str:
    """Subscribes to an event of stream-notify-user."""
    event = f"{client.user_id}/{name}"
    assert (await client.sub("stream-notify-user", event, False))["msg"] == "ready"
    return event


class Revocations:
    """Everything that can be taken from somebody, and sockets of the second gateway that must notice."""

    def __init__(self, two: TwoGateways) -> None:
        self._two = two

    async def prepare(self) -> None:
        two = self._two
        self.owner = await two.first.make_user("owner")
        self.ann, self.bob = await two.first.make_user("ann"), await two.first.make_user("bob")
        self.eve, self.guest = await two.first.make_user("eve"), await two.first.make_user("guest")
        self.room = await two.make_room(self.owner, "inner", "eve", "ann", "bob")
        channel = await two.first.post("channels.create", self.owner, name="open")
        self.channel = str(channel["channel"]["_id"])
        self.owners = await two.second.client(self.owner)
        self.revoked, self.deactivated = await two.second.client(self.ann), await two.second.client(self.bob)
        self.removed, self.refused = await two.second.client(self.eve), await two.second.client(self.guest)
        for client in (self.owners, self.revoked, self.deactivated, self.removed):
            await hear(client, self.room)
        for client in (self.owners, self.refused):
            await hear(client, self.channel)

    async def take_away(self) -> None:
        """By the first gateway: a login, an account, a membership and a permission.

        Returns when each has been obeyed: at the end of the socket, or of the subscription.
        """
        admin = self._two.first.admin
        deactivation = {"userId": self.bob["X-User-Id"], "activeStatus": False}
        removal = {"roomId": self.room, "userId": self.eve["X-User-Id"]}
        permissions = [{"_id": "view-c-room", "roles": ["admin"]}]
        changes: list[tuple[Coroutine[Any, Any, Any], str, Headers, dict[str, Any]]] = [
            (self.revoked.wait_closed(), "users.logout", admin, {"userId": self.ann["X-User-Id"]}),
            (self.deactivated.wait_closed(), "users.setActiveStatus", admin, deactivation),
            (self.removed.wait_for(_is_nosub), "groups.kick", self.owner, removal),
            (self.refused.wait_for(_is_nosub), "permissions.update", admin, {"permissions": permissions}),
        ]
        async with asyncio.timeout(PATIENCE):
            obeyed = [asyncio.create_task(end) for end, *_ in changes]
            for _, path, headers, body in changes:
                await self._two.first.post(path, headers, **body)
            await asyncio.gather(*obeyed)

    async def check_obeyed(self) -> None:
        """Each of them hears nothing any more; a member does."""
        await self._two.say(self.owner, self.room, "secret")
        await self._two.say(self.owner, self.channel, "for members")
        await eventually(lambda: "secret" in texts(self.owners, self.room))
        await eventually(lambda: "for members" in texts(self.owners, self.channel))
        await asyncio.sleep(SILENCE)
        for client in (self.revoked, self.deactivated, self.removed):
            assert "secret" not in texts(client, self.room)
        assert texts(self.refused, self.channel) == []


async def test_the_other_gateway_obeys_at_once(never: None, two: TwoGateways, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is told: nothing is compared before they are obeyed. The policy is read again because it was told of."""
    # A machine that stands still for a moment is no reason to compare.
    monkeypatch.setattr(following, "TICK_SECONDS", 10.0)
    monkeypatch.setattr(following, "TRUST_SECONDS", 60.0)
    revocations = Revocations(two)
    await revocations.prepare()

    def other_ways() -> tuple[float, float]:
        return _repaired(), _counted("palaver_comparisons_total", outcome="complete")

    before = other_ways()
    await revocations.take_away()
    assert other_ways() == before
    await revocations.check_obeyed()


async def test_without_nats_revocations_are_obeyed_all_the_same(never: None, two: TwoGateways) -> None:
    revocations = Revocations(two)
    await revocations.prepare()
    await two.nats.stop()
    await revocations.take_away()
    await revocations.check_obeyed()
    await two.nats.start()
    await two.say(revocations.owner, revocations.room, "all is well")
    await revocations.owners.wait_change(
        "stream-room-messages", revocations.room, lambda args: args[0]["msg"] == "all is well"
    )
    assert texts(revocations.owners, revocations.room) == ["secret", "all is well"]


async def test_a_gateway_that_is_cut_off_from_nats_obeys(never: None, proxy: Proxy, two: TwoGateways) -> None:
    revocations = Revocations(two)
    await revocations.prepare()
    proxy.silence()
    await revocations.take_away()
    await revocations.check_obeyed()
    proxy.cut()
    await eventually(lambda: two.gateway.following.is_current)


async def test_what_gets_lost_without_a_sign_is_found(
    often: None, two: TwoGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    revocations = Revocations(two)
    await revocations.prepare()
    later = await two.second.client(revocations.owner)
    event = await hear_own(later, "subscriptions-changed")
    log = cast(JetStreamLog, two.node.log)
    monkeypatch.setattr(log, "_deliver", lambda message, event, find: None)
    await revocations.take_away()
    await revocations.check_obeyed()
    room = await two.make_room(revocations.owner, "new")
    await later.wait_change("stream-notify-user", event, lambda args: args[0] == "inserted" and args[1]["rid"] == room)
    left = [args for args in later.changes("stream-notify-user", event) if args[0] == "inserted"]
    assert len(left) == 1


async def test_a_login_ends_although_nobody_tells_of_it(
    never: None, two: TwoGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies that has revoked it, and who would sweep died with it."""

    async def do_not_sweep(self: Sweeping, older_than: int, go_on: object = None) -> None:
        """Nothing."""

    ann, bob = await two.first.make_user("ann"), await two.first.make_user("bob")
    revoked, deactivated = await two.second.client(ann), await two.second.client(bob)
    monkeypatch.setattr(Sweeping, "sweep", do_not_sweep)
    monkeypatch.setattr(Telling, "tell", lambda self, events: None)
    await two.first.post("users.logout", two.first.admin, userId=ann["X-User-Id"])
    await two.first.post("users.setActiveStatus", two.first.admin, userId=bob["X-User-Id"], activeStatus=False)
    async with asyncio.timeout(PATIENCE):
        await revoked.socket.wait_closed()
        await deactivated.socket.wait_closed()


async def test_messages_arrive_without_nats_once_and_in_order(two: TwoGateways) -> None:
    alice = await two.first.make_user("alice")
    room = await two.make_room(alice, "talk")
    hers = await two.second.client(alice)
    await hear(hers, room)
    said: list[str] = []

    async def say(count: int) -> None:
        for _ in range(count):
            said.append(f"message {len(said)}")
            await two.say(alice, room, said[-1])

    await say(3)
    await two.nats.stop()
    for _ in range(3):
        await say(2)
        await eventually(lambda: texts(hers, room) == said)
    talking = asyncio.create_task(say(60))
    await asyncio.sleep(0.1)
    await two.nats.start()
    await talking
    await say(2)
    await eventually(lambda: len(texts(hers, room)) >= len(said))
    await asyncio.sleep(SILENCE)
    assert texts(hers, room) == said


async def test_rooms_joined_and_left_without_nats_appear_and_disappear(two: TwoGateways) -> None:
    alice, bob = await two.first.make_user("alice"), await two.first.make_user("bob")
    old = await two.make_room(alice, "old", "bob")
    his = await two.second.client(bob)
    event = await hear_own(his, "subscriptions-changed")
    await two.nats.stop()
    await two.first.post("groups.kick", alice, roomId=old, userId=bob["X-User-Id"])
    new = await two.make_room(alice, "new", "bob")
    await his.wait_change("stream-notify-user", event, lambda args: args[0] == "removed" and args[1]["rid"] == old)
    await two.nats.start()
    await his.wait_change("stream-notify-user", event, lambda args: args[0] == "inserted" and args[1]["rid"] == new)
    await two.say(alice, new, "welcome")
    await his.wait_change("stream-notify-user", event, lambda args: args[0] == "updated" and args[1]["rid"] == new)
    inserted = [args for args in his.changes("stream-notify-user", event) if args[0] == "inserted"]
    assert len(inserted) == 1


async def test_who_can_ask_nobody_says_so(proxy: Proxy, two: TwoGateways, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await two.first.make_user("alice")
    hers = await two.second.client(alice)
    assert "error" not in await hers.call("getUserRoles")
    away = True

    def unreachable(method: Any) -> Any:
        async def call(request: Any) -> Any:
            if away:
                raise Unavailable
            return await method(request)

        return call

    auth = two.node.services.auth
    for name in ("check_login", "get_user_heads", "get_policy", "get_users", "authenticate"):
        monkeypatch.setattr(auth, name, unreachable(getattr(auth, name)))
    proxy.silence()
    await eventually(lambda: not two.gateway.following.is_current)
    assert (await hers.call("getUserRoles"))["error"]["error"] == Unavailable.code
    assert (await hers.sub("stream-notify-logged", "user-status", False))["msg"] == "nosub"
    answer = await two.second.http.get("me", headers=alice)
    assert answer.status_code == 503
    away = False
    await eventually(lambda: two.gateway.following.is_current)
    assert "error" not in await hers.call("getUserRoles")
    proxy.resume()


async def test_a_revoked_login_is_refused_while_nothing_is_known(
    two: TwoGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first thing that somebody asks for after a stand-still is not answered from memory."""
    alice = await two.first.make_user("alice")
    hers = await two.second.client(alice)
    event = await hear_own(hers, "force_logout")
    monkeypatch.setattr(cast(JetStreamLog, two.node.log), "_deliver", lambda message, event, find: None)
    await two.first.post("users.logout", two.first.admin, userId=alice["X-User-Id"])
    assert "error" not in await hers.call("getUserRoles")
    monkeypatch.setattr(Following, "is_current", False)
    await hers.send(msg="method", method="getUserRoles", id="late", params=[])
    async with asyncio.timeout(PATIENCE):
        await hers.socket.wait_closed()
    assert len(hers.changes("stream-notify-user", event)) == 1
    assert not any(frame.get("id") == "late" for frame in hers.frames)


async def test_a_gateway_follows_what_its_sockets_hold_and_no_more(two: TwoGateways) -> None:
    alice, bob = await two.first.make_user("alice"), await two.first.make_user("bob")
    rooms = [await two.make_room(alice, f"room{number}", "bob") for number in range(3)]
    interests = cast(JetStreamLog, two.node.log)._interests

    def followed() -> set[str]:
        return {stream[1] for stream in interests if stream[0] == "room"}

    assert followed() == set()
    hers, his = await two.second.client(alice), await two.second.client(bob)
    assert followed() == set()
    assert {stream[1] for stream in interests if stream[0] == "user"} == {hers.user_id, his.user_id}
    await hear(hers, rooms[0])
    await hear(his, rooms[0])
    assert followed() == {rooms[0]}
    await hear_own(his, "rooms-changed")
    assert followed() == {"GENERAL", *rooms}
    new = await two.make_room(alice, "new", "bob")
    await eventually(lambda: followed() == {"GENERAL", new, *rooms})
    await two.first.post("groups.kick", alice, roomId=rooms[1], userId=bob["X-User-Id"])
    await eventually(lambda: followed() == {"GENERAL", new, rooms[0], rooms[2]})
    await his.close()
    await eventually(lambda: followed() == {rooms[0]})
    await hers.close()
    await eventually(lambda: followed() == set())
    assert {stream[0] for stream in interests} == {"workspace"}


async def test_a_message_that_nats_does_not_carry_arrives(often: None, two: TwoGateways) -> None:
    alice = await two.first.make_user("alice")
    room = await two.make_room(alice, "talk")
    hers = await two.second.client(alice)
    await hear(hers, room)
    await two.first.post("settings/Message_MaxAllowedSize", two.first.admin, value=3_000_000)
    await eventually(lambda: all(node.access.setting("Message_MaxAllowedSize") == 3_000_000 for node in two.nodes))
    await two.say(alice, room, "x" * 2_000_000)
    await eventually(lambda: [len(text) for text in texts(hers, room)] == [2_000_000])


def _repaired() -> float:
    return sum(_counted("palaver_events_repaired_total", stream_kind=kind) for kind in ("room", "user"))


def _counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def _is_nosub(frame: dict[str, Any]) -> bool:
    return frame.get("msg") == "nosub"
