"""Rounds of a resource: when it is looked at again."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

from palaver_operator.kube import ApiError
from palaver_operator.rounds import Rounds, pause_after


class Refused:
    """Reconciles nothing: whatever it is given is refused."""

    def __init__(self, status: int = 403) -> None:
        self.seen: asyncio.Queue[int] = asyncio.Queue()
        self.forgotten: list[str] = []
        self._status = status

    async def reconcile(self, body: dict[str, Any]) -> dict[str, Any]:
        self.seen.put_nowait(body["metadata"]["generation"])
        raise ApiError(self._status, "Forbidden", "no")

    def forget(self, namespace: str, name: str, uid: str) -> None:
        self.forgotten.append(uid)


def resource(generation: int) -> dict[str, Any]:
    metadata = {"namespace": "talk", "name": "chat", "uid": "u", "generation": generation}
    return {"metadata": metadata | {"resourceVersion": str(generation)}}


@pytest.mark.parametrize("failures", [1, 3, 2000])
def test_after_failures_it_waits_longer_and_longer_but_never_long(failures: int) -> None:
    assert 2 <= pause_after(failures) <= 60
    assert pause_after(failures + 1) >= pause_after(failures)


async def test_what_was_refused_is_tried_at_once_when_the_resource_says_something_else() -> None:
    refused = Refused()
    rounds = Rounds("palaver", Gauge("resources", "x", registry=CollectorRegistry()), pause=lambda failures: 3600)
    rounds.start(refused)
    try:
        rounds.on_resource(resource(1))
        assert await refused.seen.get() == 1
        await asyncio.sleep(0.05)
        rounds.wake("talk", "chat")  # what it made itself may have caused this
        await asyncio.sleep(0.05)
        assert refused.seen.empty()
        rounds.on_resource(resource(2))
        assert await refused.seen.get() == 2
    finally:
        await rounds.close()


async def test_one_that_is_gone_is_left_though_nobody_has_told_so() -> None:
    gone = Refused(404)
    rounds = Rounds("palaver", Gauge("resources", "x", registry=CollectorRegistry()))
    rounds.start(gone)
    try:
        rounds.on_resource(resource(1))
        assert await gone.seen.get() == 1
        await asyncio.sleep(0.05)
        assert gone.forgotten == ["u"]
        rounds.wake("talk", "chat")  # what it had is taken away after it: that is not made again
        await asyncio.sleep(0.5)
        assert gone.seen.empty()
    finally:
        await rounds.close()
