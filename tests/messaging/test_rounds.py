"""Rounds: work that one process of all does, under a lease that lasts as long as the work does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from palaver.errors import Unavailable
from palaver.live import Live
from palaver.messaging import rounds
from palaver.messaging.rounds import Rounds
from tests.messaging.helpers import Chat, until

NAME = "tasks"


class Work:
    """Work that takes until it is told to end."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.end = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@asynccontextmanager
async def running(chat: Chat, work: Work) -> AsyncIterator[Live]:
    """The work has begun; what it is told by is given."""
    node = chat.running.node
    task = asyncio.create_task(Rounds(node, NAME, 0.01, work).run())
    try:
        await until(lambda: happened(work.begun == 1))
        yield node.live
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def happened(what: bool) -> bool:
    return what


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_KEEP_SECONDS", 0.01)


async def test_the_lease_lasts_as_long_as_the_work(local: Chat) -> None:
    work, node_id = Work(), local.running.node.config.node_id
    async with running(local, work) as live:
        for _ in range(3):
            await live.release(NAME, node_id)  # as if its time were over: the next renewal takes it again
            await until(lambda: is_held(live, node_id))
        assert not await live.acquire(NAME, "another", 60.0)
        assert (work.begun, work.cancelled) == (1, 0)
        work.end.set()
        await until(lambda: happened(work.begun > 1))
        assert work.cancelled == 0


async def is_held(live: Any, holder: str) -> bool:
    return bool(live._leases.get(NAME) == holder.encode())


async def test_work_that_is_anothers_by_now_ends(local: Chat) -> None:
    work = Work()
    async with running(local, work) as live:
        await live.release(NAME, local.running.node.config.node_id)
        assert await live.acquire(NAME, "another", 60.0)
        await until(lambda: happened(work.cancelled == 1))
        assert work.begun == 1
        await live.release(NAME, "another")
        await until(lambda: happened(work.begun == 2))
    assert work.cancelled == 2  # with the process


async def test_who_can_not_ask_goes_on_until_the_lease_has_ended(local: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    work, asked = Work(), 0

    async def is_away(name: str, holder: str, seconds: float) -> bool:
        nonlocal asked
        asked += name == NAME
        raise Unavailable

    async with running(local, work) as live:
        monkeypatch.setattr(live, "acquire", is_away)
        await until(lambda: happened(asked >= 3))
        assert work.cancelled == 0
        monkeypatch.setattr(rounds, "_KEEP_SECONDS", rounds._LEASE_SECONDS)  # so much later it is over
        await until(lambda: happened(work.cancelled == 1))


async def test_what_the_work_raises(local: Chat) -> None:
    tries = 0

    async def fails() -> None:
        nonlocal tries
        tries += 1
        raise Unavailable if tries < 3 else ValueError("of the work's own")

    with pytest.raises(ValueError, match="of the work's own"):
        await Rounds(local.running.node, NAME, 0.01, fails).run()
    assert tries == 3
