"""Leases and keys against a model, over time that the test moves; and that what has ended is not kept."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from palaver.live.embedded import EmbeddedLive
from tests.live.harness import Clock

T = TypeVar("T")

NAMES = st.sampled_from(["a", "a.b", "a.b.c", "ab", "b"])
HOLDERS = st.sampled_from(["one", "two", "three"])
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 10.0])


def run(work: Coroutine[Any, Any, T]) -> T:
    """Nothing of the embedded port waits, so it needs no event loop."""
    try:
        work.send(None)
    except StopIteration as result:
        value: T = result.value
        return value
    raise AssertionError("the embedded port waits")


class LeasesAndKeys(RuleBasedStateMachine):
    """The model: for each name a value and the moment at which it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.live = EmbeddedLive(self.clock)
        self.leases: dict[str, tuple[str, float]] = {}
        self.keys: dict[str, tuple[bytes, float]] = {}

    def holder(self, name: str) -> str | None:
        holder, until = self.leases.get(name, ("", 0.0))
        return holder if until > self.clock.now else None

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(name=NAMES, holder=HOLDERS, seconds=SECONDS)
    def acquire(self, name: str, holder: str, seconds: float) -> None:
        free = self.holder(name) in (None, holder)
        assert run(self.live.acquire(name, holder, seconds)) == free
        if free:
            self.leases[name] = (holder, self.clock.now + seconds)

    @rule(name=NAMES, holder=HOLDERS)
    def release(self, name: str, holder: str) -> None:
        run(self.live.release(name, holder))
        if self.holder(name) == holder:
            del self.leases[name]

    @rule(key=NAMES, value=st.binary(max_size=3), seconds=SECONDS)
    def put(self, key: str, value: bytes, seconds: float) -> None:
        run(self.live.put(key, value, seconds))
        self.keys[key] = (value, self.clock.now + seconds)

    @rule(key=NAMES)
    def delete(self, key: str) -> None:
        run(self.live.delete(key))
        self.keys.pop(key, None)

    @rule(prefix=st.sampled_from(["", "a", "a.b", "b", "c"]))
    def list(self, prefix: str) -> None:
        path = prefix.split(".") if prefix else []
        assert run(self.live.list(prefix)) == {
            key: value
            for key, (value, until) in self.keys.items()
            if until > self.clock.now and key.split(".")[: len(path)] == path
        }

    @invariant()
    def keys_are_what_was_put_last(self) -> None:
        for key, (value, until) in self.keys.items():
            assert run(self.live.get(key)) == (value if until > self.clock.now else None)


LeasesAndKeys.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestLeasesAndKeys = LeasesAndKeys.TestCase


async def test_what_has_ended_is_not_kept() -> None:
    clock = Clock()
    live = EmbeddedLive(clock)
    for n in range(10_000):
        await live.put(f"key.{n}", b"", 5)
        await live.put("again", b"", 1000)
        await live.acquire(f"lease.{n}", "me", 5)
        clock.now += 0.1
    for expiries in (live._keys, live._leases):
        assert len(expiries._entries) <= 60
        assert len(expiries._due) <= 300


async def test_subscribing_while_being_told() -> None:
    live = EmbeddedLive()
    heard: list[bytes] = []
    tasks: list[asyncio.Task[object]] = []
    await live.subscribe("a", lambda _: tasks.append(asyncio.create_task(live.subscribe("a", heard.append))))
    await live.publish("a", b"1")
    await asyncio.gather(*tasks)
    await live.publish("a", b"2")
    await asyncio.gather(*tasks)
    assert heard == [b"2"]
