"""A clock that is set: what was said stays in its order, and who is logged in, or no longer, stays so."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver import draft
from palaver.errors import LoginRequired
from palaver.events import user_actor
from palaver.v1.auth_pb2 import AuthenticateRequest, LoginRequest, LogoutRequest
from tests.messaging.helpers import Chat, loaded
from tests.services import Transport, service_nodes

HOUR = 3_600_000_000_000


class Clock:
    """The wall clock of this process. What measures durations goes by another one."""

    def __init__(self) -> None:
        self.ahead = 0

    def time_ns(self) -> int:
        return time.time_ns() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(draft, "time", clock)
    return clock


@pytest.fixture(params=["process", pytest.param("cluster", marks=pytest.mark.needs_servers)])
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen: Transport = request.param
    return chosen


@pytest.fixture
async def chat(tmp_path: Path, transport: Transport, clock: Clock, cheap_hashes: None) -> AsyncIterator[Chat]:
    async with service_nodes(tmp_path, ("auth", "presence", "messaging"), transport) as running:
        yield Chat(running)


async def test_messages_stay_in_order(chat: Chat, clock: Clock) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    said: list[str] = []
    for ahead in (0, HOUR, 0, -HOUR, -HOUR + 5_000_000, HOUR // 2, 0):
        clock.ahead = ahead
        for sender in (ann, bob, ann):
            said.append(f"{len(said)} at {ahead}")
            await chat.send(sender, room_id, said[-1])
    assert await chat.texts(bob, room_id) == said
    times = [loaded(message)["ts"]["$date"] for message in (await chat.page(bob, room_id, ascending=True)).messages]
    assert times == sorted(set(times))
    assert (await chat.get_room(ann, room_id))["lastMessage"]["msg"] == said[-1]


async def test_what_was_read_stays_read_and_what_comes_is_unread(chat: Chat, clock: Clock) -> None:
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    for ahead in (HOUR, -HOUR, 0):
        clock.ahead = ahead
        sent = await chat.send(ann, room_id, "@bob")
        assert (await chat.counters(bob, room_id))[0] == 1
        await chat.read(bob, room_id)
        assert (await chat.counters(bob, room_id))[0] == 0
        assert (await chat.subscription(bob, room_id))["ls"]["$date"] >= sent["ts"]["$date"]


async def test_changes_are_listed_after_what_was_listed_before(chat: Chat, clock: Clock) -> None:
    """A client asks for what has changed since the last answer's newest change."""
    (ann,) = await chat.users("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    known = max(one["_updatedAt"]["$date"] for one in (await chat.subscriptions(ann)).values())
    for ahead in (HOUR, -HOUR, 0):
        clock.ahead = ahead
        await chat.send(ann, room_id)
        changed = await chat.subscriptions(ann, updated_since=known)
        assert room_id in changed
        known = changed[room_id]["_updatedAt"]["$date"]


async def test_logins_neither_end_nor_come_back(chat: Chat, clock: Clock) -> None:
    await chat.user("ann")
    auth = chat.running.services.auth
    password = LoginRequest.Password(username="ann", plain="correct horse")
    kept, ended = [await auth.login(LoginRequest(password=password)) for _ in range(2)]
    for ahead in (HOUR, -HOUR, 0):
        clock.ahead = ahead
        assert (await auth.authenticate(AuthenticateRequest(token=kept.token))).user_id == "annId"
    await auth.logout(LogoutRequest(actor=user_actor("annId"), hashed_token=ended.hashed_token))
    for ahead in (HOUR, -HOUR, 0):
        clock.ahead = ahead
        with pytest.raises(LoginRequired):
            await auth.authenticate(AuthenticateRequest(token=ended.token))
        assert (await auth.authenticate(AuthenticateRequest(token=kept.token))).user_id == "annId"
