"""How often somebody may call: over all gateways, and by the settings of DDP."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from palaver.errors import TooManyRequests
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.ddp.limits import MethodLimits
from palaver.gateway.limits import RateLimiter
from palaver.node import Node
from tests.gateway.rest import Client, running_api
from tests.services import RunningServices, service_nodes


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def running(tmp_path: Path, cheap_hashes: None) -> AsyncIterator[RunningServices]:
    async with service_nodes(tmp_path, ("auth",), "process") as services:
        yield services


@pytest.fixture
async def node(running: RunningServices) -> Node:
    return running.node


async def test_a_window_begins_with_its_first_call(node: Node) -> None:
    clock = Clock()
    limiter = RateLimiter(node, clock)
    assert [limiter.count("a", 2, 10) for _ in range(3)] == [(1, 10), (0, 10), (-1, 10)]
    clock.now += 4
    assert limiter.count("a", 2, 10) == (-2, 6)
    assert limiter.count("b", 2, 10) == (1, 10)
    clock.now += 6
    assert limiter.count("a", 2, 10) == (1, 10)


async def test_gateways_count_together(running: RunningServices) -> None:
    clock = Clock()
    async with running.another("auth", "another") as elsewhere:
        one, other = RateLimiter(running.node, clock), RateLimiter(elsewhere, clock)
        for limiter in (one, other):
            await limiter.open()
        for _ in range(3):
            one.count("a", 5, 10)
            one.count("mine", 5, 10, is_local=True)
        clock.now += 1
        await one.tell()
        assert other.count("a", 5, 10) == (1, 9)  # in the window that began there
        assert other.count("mine", 5, 10) == (4, 10)
        await other.tell()
        assert one.count("a", 5, 10) == (0, 9)
        await one.tell()
        assert other.count("a", 5, 10) == (-1, 9)
        clock.now += 9
        await other.tell()  # what is over is nobody's concern
        assert one.count("a", 5, 10) == (4, 10)


async def test_whatever_is_told(node: Node) -> None:
    limiter = RateLimiter(node)
    await limiter.open()
    for message in (
        b"",
        b"{}",
        b"[1]",
        b'{"node_id":"x","counted":[["a",1e400,1]]}',
        b'{"node_id":"x","counted":[["a",-1,9]]}',
    ):
        await node.live.publish("rates", message)
    assert limiter.count("a", 2, 10)[0] == 1


def limits(client: Client, clock: Clock) -> MethodLimits:
    return MethodLimits(client.node, RateLimiter(client.node, clock))


def connection(id: str, user: Any = None, address: str = "192.0.2.1") -> Connection:
    return cast(Connection, SimpleNamespace(id=id, address=address, user=user))


async def test_methods_by_the_settings(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_api(tmp_path, test_mode=False) as nobody:
        access = nobody.node.access
        clock = Clock()
        found = limits(nobody, clock)
        one = connection("one")
        for _ in range(10):
            found.check(one, "loadHistory")
        with pytest.raises(TooManyRequests) as raised:
            found.check(one, "loadHistory")
        assert raised.value.error_code == "too-many-requests"
        assert raised.value.details == {"method": "loadHistory", "timeToReset": 10_000}
        found.check(one, "getThreads")
        for _ in range(40):
            found.check(one, "stream-notify-room")
        with pytest.raises(TooManyRequests):
            found.check(one, "stream-notify-room")
        clock.now += 10
        found.check(one, "loadHistory")

        cat = await access.find_user("rocket.cat")
        assert cat is not None
        users = [connection(f"of user {number}", SimpleNamespace(id="u", roles=("user",))) for number in range(3)]
        for user in users[:2]:
            for _ in range(10):
                found.check(user, "loadHistory")
        with pytest.raises(TooManyRequests):  # by user, on whatever connection
            found.check(users[2], "loadHistory")
        bot = connection("bot", cat)
        for _ in range(100):
            found.check(bot, "loadHistory")

        settings = access.policy.settings
        for rule in ("Connection_By_Method", "User_By_Method"):
            settings[f"DDP_Rate_Limit_{rule}_Enabled"]["value"] = False
        for _ in range(550):
            found.check(connection("another"), "loadHistory")
        settings["DDP_Rate_Limit_IP_Requests_Allowed"]["value"] = 1
        with pytest.raises(TooManyRequests):
            found.check(connection("and another"), "loadHistory")
        found.check(connection("elsewhere", address="2001:db8::1"), "loadHistory")
        with pytest.raises(TooManyRequests):  # its neighbour
            found.check(connection("next door", address="2001:db8::2"), "loadHistory")


async def test_the_test_mode_has_none(admin: Client) -> None:
    found = limits(admin, Clock())
    for _ in range(100):
        found.check(connection("one"), "loadHistory")


async def test_codes_by_mail_are_for_few_who_ask(tmp_path: Path, cheap_hashes: None) -> None:
    """Nobody need be logged in to ask for them, whomever they are for."""
    async with running_api(tmp_path, test_mode=False) as nobody:
        for number in range(5):
            answer = await nobody.post("users.2fa.sendEmailCode", 400, emailOrUsername=f"user-{number}")
            assert answer["errorType"] == "error-smtp-not-configured"
        await nobody.post("users.2fa.sendEmailCode", 429, emailOrUsername="another")
