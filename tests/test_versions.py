"""Processes of two versions beside each other, as a rolling upgrade has them: N and N-1 understand each other.

The contract is compared with that of the release before. And today's code meets a newer one, made up from today's
contract with more in every place: it is the older one of the two then.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from google.protobuf.message_factory import GetMessageClass

from palaver.commit import now
from palaver.database import Put
from palaver.errors import NotBuilt, PalaverError
from palaver.events import SYSTEM, WORKSPACE, room_stream
from palaver.ids import new_id
from palaver.node import Node
from palaver.roles import ROLES
from palaver.rpc import RpcServer, method_name
from palaver.v1.auth_pb2 import Empty
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import ListRoomEventsRequest
from tests.contract import NEW_FACT, NewerContract, describe, list_breaks, list_released, read_released
from tests.gateway.ddp import DdpClient, RunningGateway, served
from tests.rpc.harness import calling
from tests.services import RunningServices, Transport, make_config, service_nodes

SERVICES = ("auth", "presence", "messaging")

# -- the contract ------------------------------------------------------------------------------------------------------


def test_the_contract_bears_the_release_before() -> None:
    released = list_released()
    assert released, "proto/released is empty: `make contract`"
    assert list_breaks(read_released(released[-1]), describe()) == []


def message(files: FileDescriptorSet, name: str) -> Any:
    return next(found for file in files.file for found in file.message_type if found.name == name)


def method(files: FileDescriptorSet, name: str) -> Any:
    return next(
        found for file in files.file for service in file.service for found in service.method if found.name == name
    )


def remove(parts: Any, name: str) -> Any:
    return parts.pop([part.name for part in parts].index(name))


def field(files: FileDescriptorSet, owner: str, name: str) -> Any:
    return next(found for found in message(files, owner).field if found.name == name)


def service(files: FileDescriptorSet, name: str) -> Any:
    return next(found for file in files.file for found in file.service if found.name == name)


BREAKS: dict[str, tuple[Callable[[FileDescriptorSet], Any], str]] = {
    "field": (
        lambda files: remove(message(files, "MessageSent").field, "counted"),
        "palaver.v1.MessageSent.counted = 4 is gone",
    ),
    "number": (
        lambda files: setattr(field(files, "LoginRequest", "address"), "number", 77),
        "palaver.v1.LoginRequest.address = 4 is gone",
    ),
    "type": (
        lambda files: setattr(field(files, "MessageSent", "counts"), "type", 9),
        "palaver.v1.MessageSent.counts = 6 is another one",
    ),
    "repeated": (
        lambda files: setattr(field(files, "MessageSent", "counts"), "label", 3),
        "palaver.v1.MessageSent.counts = 6 is another one",
    ),
    "out of a union": (
        lambda files: field(files, "Event", "message_sent").ClearField("oneof_index"),
        "palaver.v1.Event.message_sent = 26 is another one",
    ),
    "fact": (
        lambda files: remove(message(files, "Event").field, "room_read"),
        "palaver.v1.Event.room_read = 45 is gone",
    ),
    "message": (
        lambda files: [remove(file.message_type, "RoomRead") for file in files.file if "event" in file.name],
        "palaver.v1.RoomRead is gone",
    ),
    "enum": (
        lambda files: remove(message(files, "Actor").enum_type[0].value, "VISITOR"),
        "palaver.v1.Actor.Kind.VISITOR = 2 is gone or another one",
    ),
    "method": (
        lambda files: remove(service(files, "Auth").method, "CheckLogin"),
        "palaver.v1.Auth.CheckLogin is gone",
    ),
    "reply": (
        lambda files: setattr(method(files, "CheckLogin"), "output_type", ".palaver.v1.Empty"),
        "palaver.v1.Auth.CheckLogin takes or gives something else",
    ),
    "repeating": (
        lambda files: method(files, "CheckLogin").options.ClearField("idempotency_level"),
        "palaver.v1.Auth.CheckLogin may not be repeated any more, and older callers repeat it",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_would_break_is_found(name: str) -> None:
    change, said = BREAKS[name]
    changed = describe()
    change(changed)
    assert list_breaks(describe(), changed) == [said]


def test_what_adds_breaks_nothing() -> None:
    changed = describe()
    message(changed, "LoginRequest").field.add(name="more", number=99, type=9, label=1)
    message(changed, "Actor").enum_type[0].value.add(name="ROBOT", number=9)
    service(changed, "Auth").method.add(name="More", input_type=".palaver.v1.Empty", output_type=".palaver.v1.Empty")
    method(changed, "Login").options.idempotency_level = MethodOptions.IDEMPOTENT
    assert list_breaks(describe(), changed) == []


def test_what_was_deprecated_goes_a_release_later_and_leaves_its_number_free() -> None:
    before, changed = describe(), describe()
    field(before, "LoginRequest", "address").options.deprecated = True
    method(before, "CheckLogin").options.deprecated = True
    remove(message(changed, "LoginRequest").field, "address")
    remove(service(changed, "Auth").method, "CheckLogin")
    said = "palaver.v1.LoginRequest.address = 4 is gone, and its name or number is not reserved"
    assert list_breaks(before, changed) == [said]
    message(changed, "LoginRequest").reserved_name.append("address")
    assert list_breaks(before, changed) == [said]
    message(changed, "LoginRequest").reserved_range.add(start=4, end=5)
    assert list_breaks(before, changed) == []


# -- a newer caller ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def newer() -> NewerContract:
    return NewerContract()


@pytest.fixture
async def services(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[RunningServices]:
    async with service_nodes(tmp_path, SERVICES, "grpc") as running:
        yield running


METHODS = [(role, found.name) for role in SERVICES for found in ROLES[role].service.methods]  # type: ignore[union-attr]


async def outcome(call: Callable[[Any], Any], request: Any) -> Any:
    """What an error says, or what there is in the reply."""
    try:
        reply = await call(request)
    except PalaverError as error:
        return type(error), error.error_code, error.error_reason
    return [field.name for field, _ in reply.ListFields()]


@pytest.mark.parametrize("role", SERVICES)
async def test_a_newer_caller_is_understood(role: str, services: RunningServices, newer: NewerContract) -> None:
    """Every method, with nothing in the request but what is unknown here: the answer is the same as without that."""
    descriptor = ROLES[role].service
    assert descriptor is not None
    async with calling(newer.service(descriptor), services.addresses[role]) as remote:
        for found in descriptor.methods:
            request = GetMessageClass(found.input_type)()
            name = method_name(found)
            today = await outcome(getattr(services.services, role).__getattribute__(name), request)
            assert await outcome(getattr(remote, name), newer.say_more(request)) == today, name


@pytest.mark.parametrize("role", SERVICES)
async def test_a_method_that_is_not_there_yet_is_said_to_be_so(
    role: str, services: RunningServices, newer: NewerContract
) -> None:
    descriptor = ROLES[role].service
    assert descriptor is not None
    async with calling(newer.service(descriptor), services.addresses[role]) as remote:
        with pytest.raises(NotBuilt, match="DoSomethingNewer"):
            await remote.do_something_newer(newer.of(Empty.DESCRIPTOR)())


# -- newer services ----------------------------------------------------------------------------------------------------


class NewerService:
    """Plays a service of the newer contract by today's: whatever it answers says more."""

    def __init__(self, newer: NewerContract, role: str, service: Any) -> None:
        descriptor = ROLES[role].service
        assert descriptor is not None
        self.descriptor = newer.service(descriptor)
        for found in descriptor.methods:
            self._play(newer, getattr(service, method_name(found)), found)

    def _play(self, newer: NewerContract, call: Any, found: Any) -> None:
        async def answer(request: Any) -> Any:
            today = GetMessageClass(found.input_type).FromString(request.SerializeToString())
            return newer.say_more(await call(today))

        setattr(self, method_name(found), answer)

    async def do_something_newer(self, request: Any) -> Any:
        return request


class NewerLog:
    """A log whose events were all made by newer processes."""

    def __init__(self, newer: NewerContract, log: Any) -> None:
        self._newer = newer
        self._log = log
        self._hearing: dict[Any, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def follow(self, stream: Any, on_event: Any) -> Any:
        return await self._log.follow(stream, self._said_more(on_event))

    async def follow_all(self, streams: Any, on_event: Any) -> Any:
        return await self._log.follow_all(streams, self._said_more(on_event))

    def _said_more(self, on_event: Any) -> Any:
        def hear(event: Event) -> None:
            on_event(Event.FromString(self._newer.say_more(event).SerializeToString()))

        return self._hearing.setdefault(on_event, hear)


@dataclass(slots=True)
class Mixed:
    """Newer services, and a gateway of today over them."""

    services: RunningServices
    gateway: RunningGateway


@pytest.fixture(params=["grpc", pytest.param("cluster", marks=pytest.mark.needs_servers)])
async def mixed(
    request: pytest.FixtureRequest, tmp_path: Path, newer: NewerContract, cheap_hashes: None
) -> AsyncIterator[Mixed]:
    transport: Transport = request.param
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(service_nodes(tmp_path, SERVICES, transport))
        addresses: dict[str, Any] = {}
        for role in SERVICES:
            playing = NewerService(newer, role, getattr(running.services, role))
            server = RpcServer({playing.descriptor: playing}, "127.0.0.1", 0)
            await stack.enter_async_context(server)
            addresses[f"{role}_address"] = f"127.0.0.1:{server.port}"
        config = make_config(tmp_path, node_id="gateway", port=0, host="127.0.0.1", **addresses)
        database, log, live, blobs = running.make_parts()
        node = Node(config, database, NewerLog(newer, log), live, blobs)
        stack.push_async_callback(node.close)
        await node.open([ROLES["gateway"]])
        yield Mixed(running, await stack.enter_async_context(served(node)))


async def hear(client: DdpClient, room: str) -> None:
    assert (await client.sub("stream-room-messages", room, False))["msg"] == "ready"
    event = f"{client.user_id}/rooms-changed"
    assert (await client.sub("stream-notify-user", event, False))["msg"] == "ready"


async def test_a_gateway_works_with_newer_services(mixed: Mixed) -> None:
    gateway = mixed.gateway
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    channel = await gateway.post("channels.create", alice, name="dev", members=["bob"])
    room = channel["channel"]["_id"]
    his = await gateway.client(bob)
    await hear(his, room)
    sent = await gateway.post("chat.postMessage", alice, roomId=room, text="look here")
    message_id = sent["message"]["_id"]
    await his.wait_change("stream-room-messages", room, lambda args: args[0]["msg"] == "look here")
    await gateway.post("chat.react", bob, messageId=message_id, emoji=":eyes:")
    await his.wait_change("stream-room-messages", room, lambda args: "reactions" in args[0])
    await gateway.post("chat.update", alice, roomId=room, msgId=message_id, text="look there")
    await his.wait_change("stream-room-messages", room, lambda args: args[0]["msg"] == "look there")
    await gateway.post("groups.create", bob, name="inner")
    await gateway.post("channels.setTopic", alice, roomId=room, topic="cats")
    event = f"{his.user_id}/rooms-changed"
    await his.wait_change("stream-notify-user", event, lambda args: args[1].get("topic") == "cats")
    await gateway.post("settings/Site_Name", gateway.admin, value="Ours")
    async with asyncio.timeout(30):
        while gateway.node.access.setting("Site_Name") != "Ours":
            await asyncio.sleep(0.01)
    history = await gateway.http.get("channels.history", params={"roomId": room}, headers=alice)
    assert "look there" in {found["msg"] for found in history.json()["messages"]}


# -- events of a newer version -----------------------------------------------------------------------------------------


async def commit_newer(mixed: Mixed, newer: NewerContract, stream: Any, puts: list[Put]) -> Event:
    """What a newer process commits, projects and tells: a fact that is unknown here."""
    database, log = mixed.services.node.database, mixed.services.node.log
    event = Event(stream_kind=stream.kind, stream_id=stream.id, command_id=new_id(), actor=SYSTEM, at=now())
    event.seq = await database.get_head(stream) + 1
    said = newer.say_more(event)
    getattr(said, NEW_FACT).of_a_newer_version = "what nobody here knows"
    unknown = Event.FromString(said.SerializeToString())
    assert unknown.WhichOneof("fact") is None
    await database.commit(stream, [unknown], [puts])
    await log.publish([unknown])
    return unknown


async def test_a_fact_of_a_newer_version_holds_up_nothing_and_is_kept(mixed: Mixed, newer: NewerContract) -> None:
    gateway = mixed.gateway
    alice, bob = await gateway.make_user("alice"), await gateway.make_user("bob")
    channel = await gateway.post("channels.create", alice, name="dev", members=["bob"])
    room = channel["channel"]["_id"]
    his = await gateway.client(bob)
    await hear(his, room)
    await gateway.post("chat.postMessage", alice, roomId=room, text="before")
    event = f"{his.user_id}/rooms-changed"
    await his.wait_change("stream-notify-user", event, lambda args: args[1].get("lastMessage", {}).get("msg"))
    stream = room_stream(room)
    unknown = await commit_newer(mixed, newer, stream, [Put("rooms", room, set={"topic": "by a newer version"})])
    # What it has done to the room's document is asked for: nobody here can work it out.
    await his.wait_change("stream-notify-user", event, lambda args: args[1].get("topic") == "by a newer version")
    await gateway.post("chat.postMessage", alice, roomId=room, text="after")
    await his.wait_change("stream-room-messages", room, lambda args: args[0]["msg"] == "after")
    heard = [args[0]["msg"] for args in his.changes("stream-room-messages", room) if "t" not in args[0]]
    assert heard == ["before", "after"]
    # Whoever follows later gets the very same event, whichever process hands it on.
    messaging = mixed.services.services.messaging
    reply = await messaging.list_room_events(ListRoomEventsRequest(room_id=room, after=unknown.seq - 1))
    assert reply.events[0].SerializeToString(deterministic=True) == unknown.SerializeToString(deterministic=True)


async def test_a_policy_that_a_newer_version_changed_is_followed_on(mixed: Mixed, newer: NewerContract) -> None:
    gateway = mixed.gateway
    await commit_newer(mixed, newer, WORKSPACE, [])
    await gateway.post("settings/Site_Name", gateway.admin, value="Ours")
    async with asyncio.timeout(30):
        while gateway.node.access.setting("Site_Name") != "Ours":
            await asyncio.sleep(0.01)
