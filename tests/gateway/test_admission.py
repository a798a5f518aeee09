"""Who comes when too many come: the token bucket by a clock of its own, and what a client is told."""

from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from palaver.config import Config
from palaver.errors import TooManyRequests
from palaver.gateway.admission import Admission, TokenBucket
from tests.gateway.ddp import running_gateway
from tests.services import ADMIN_PASSWORD


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_second_s_worth_at_once_then_one_by_one() -> None:
    clock = Clock()
    bucket = TokenBucket(4, clock)
    assert [bucket.take() for _ in range(5)] == [0, 0, 0, 0, 0.25]
    clock.now += 0.125
    assert bucket.take() == 0.125
    clock.now += 0.125
    assert bucket.take() == 0
    assert bucket.take() == 0.25


def test_a_long_pause_saves_up_no_more_than_a_second() -> None:
    clock = Clock()
    bucket = TokenBucket(2, clock)
    clock.now += 3600
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.5]


def test_less_than_one_a_second_is_one_at_a_time() -> None:
    clock = Clock()
    bucket = TokenBucket(0.25, clock)
    assert [bucket.take(), bucket.take()] == [0, 4]
    clock.now += 4
    assert [bucket.take(), bucket.take()] == [0, 4]


def test_zero_is_no_limit() -> None:
    bucket = TokenBucket(0, Clock())
    assert not any(bucket.take() for _ in range(10_000))


def test_the_test_mode_has_no_limits() -> None:
    clock = Clock()
    strict = Admission(Config(handshakes_per_second=1, logins_per_second=1), clock)
    assert [strict.refuse_handshake(), strict.refuse_handshake()] == [0, 1]
    strict.check_login()
    with pytest.raises(TooManyRequests):
        strict.check_login()
    lenient = Admission(Config(handshakes_per_second=1, logins_per_second=1, test_mode=True), clock)
    for _ in range(10):
        assert lenient.refuse_handshake() == 0
        lenient.check_login()


async def test_a_handshake_too_many_is_told_when_to_come_back(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path, test_mode=False, handshakes_per_second=0.001) as gateway:
        client = await gateway.client(gateway.admin)
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{gateway.port}/websocket")
        assert refused.value.response.status_code == 503
        assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 1000
        assert "error" not in await client.call("getRoomRoles", "GENERAL")  # who is in is served


async def test_a_login_too_many_is_told_on_every_way(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path, test_mode=False, logins_per_second=0.001) as gateway:  # its own took the one
        client = await gateway.client()
        answer = await client.call("login", {"resume": gateway.admin["X-Auth-Token"]})
        error = answer["error"]
        assert (error["error"], error["errorType"]) == ("too-many-requests", "Meteor.Error")
        assert error["reason"].startswith("Error, too many requests. Please slow down. You must wait ")
        assert 0 < error["details"]["timeToReset"] <= 1_000_000
        body = {"user": "boss", "password": ADMIN_PASSWORD}
        refused = await gateway.http.post("login", json=body)
        assert refused.status_code == 429
        assert refused.json()["error"].endswith("[error-too-many-requests]")
        message = '{"msg":"method","id":"1","method":"login","params":[{"user":{"username":"boss"},"password":"x"}]}'
        called = await gateway.http.post("method.callAnon/login", json={"message": message})
        assert '"too-many-requests"' in called.json()["message"]
        assert (await gateway.http.get("me", headers=gateway.admin)).status_code == 200  # who is in is served
