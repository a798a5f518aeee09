"""Two processes of one name: the second is refused, whoever was replaced while it was away stops."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from palaver.config import ConfigError
from palaver.live import Live, OnGap
from palaver.live.embedded import EmbeddedLive
from palaver.node_name import NodeName
from tests.e2e.process import PalaverProcess
from tests.servers import nats_server


class Cluster(EmbeddedLive):
    """Its processes lose messages only when the test says so, and hear of that as they do in a cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.on_gaps: list[OnGap] = []

    def on_gap(self, callback: OnGap) -> None:
        self.on_gaps.append(callback)


class Named:
    """A process that wants a name."""

    def __init__(self, live: Live, name: str = "twin") -> None:
        self.failure: BaseException | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self.name = NodeName(name, live, spawn=self._spawn, fail=self._fail)

    def _spawn(self, work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        self._tasks.append(asyncio.create_task(work, name=name))
        return self._tasks[-1]

    def _fail(self, error: BaseException) -> None:
        self.failure = error


async def until_failed(*processes: Named) -> None:
    async with asyncio.timeout(30):
        while not any(process.failure for process in processes):
            await asyncio.sleep(0.001)


async def test_a_name_is_one_process_s() -> None:
    live = Cluster()
    first = Named(live)
    await first.name.claim()
    await Named(live, "another").name.claim()
    with pytest.raises(ConfigError, match="PALAVER_NODE_ID=twin"):
        await Named(live).name.claim()
    assert first.failure is None, "who was there first stays"


async def test_of_those_that_start_together_one_gets_the_name() -> None:
    live = Cluster()
    outcomes = await asyncio.gather(*(Named(live).name.claim() for _ in range(5)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConfigError"] * 4 + ["NoneType"]


async def test_an_answer_that_comes_late_stops_the_process_all_the_same() -> None:
    live = Cluster()
    process = Named(live)
    await process.name.claim()
    await live.publish("nodes.twin", f"!{process.name._run_id}".encode())
    assert isinstance(process.failure, ConfigError)


async def test_who_was_replaced_while_it_was_away_stops_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = Cluster(), Cluster()  # the halves of a network that is parted
    old, new = Named(here), Named(there)
    await old.name.claim()
    await new.name.claim()
    monkeypatch.setattr(old.name, "_live", there)
    await there.subscribe("nodes.twin", old.name._on_message)
    for on_gap in here.on_gaps:
        on_gap()
    await until_failed(old, new)
    assert isinstance(old.failure, ConfigError)
    assert new.failure is None


@pytest.mark.needs_servers
async def test_a_second_process_of_the_same_name_says_so_and_ends(tmp_path: Path) -> None:
    async with nats_server() as nats:
        environment = {"PALAVER_NATS_URL": nats.url, "PALAVER_NODE_ID": "twin"}
        first, second = (PalaverProcess(tmp_path / name, **environment) for name in ("first", "second"))
        try:
            await first.start()
            with pytest.raises(RuntimeError, match="ended with 2"):
                await second.start()
            assert "palaver: PALAVER_NODE_ID=twin: another process of this workspace has this name" in second.log
            assert await first.is_ready()
            first.kill()
            await second.start()
        finally:
            first.kill()
            second.kill()
