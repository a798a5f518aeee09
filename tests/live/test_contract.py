"""What every live port does, in one process or many."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from tests.live.harness import Cluster
from tests.waiting import eventually

# -- telling --------------------------------------------------------------------------------------------------------


async def test_a_subscriber_hears_in_order(cluster: Cluster) -> None:
    heard: list[bytes] = []
    await cluster.second.subscribe("typing.GENERAL", heard.append)
    messages = [b"%d" % n for n in range(300)]
    for message in messages:
        await cluster.first.publish("typing.GENERAL", message)
    await eventually(lambda: len(heard) == len(messages))
    assert heard == messages


async def test_nobody_hears_of_what_was_before(cluster: Cluster) -> None:
    await cluster.first.publish("typing.GENERAL", b"before")
    heard: list[bytes] = []
    await cluster.first.subscribe("typing.GENERAL", heard.append)
    await cluster.first.publish("typing.GENERAL", b"after")
    await eventually(lambda: heard)
    assert heard == [b"after"]


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("a.b", ["a.b"]),
        ("a.>", ["a.b", "a.b.c", "a.bc"]),
        ("a.b.>", ["a.b.c"]),
        (">", ["a", "a.b", "a.b.c", "a.bc", "ab.c"]),
    ],
)
async def test_patterns(cluster: Cluster, pattern: str, matching: list[str]) -> None:
    heard: list[bytes] = []
    await cluster.second.subscribe(pattern, heard.append)
    end: list[bytes] = []
    await cluster.second.subscribe("end", end.append)
    for subject in ("a", "a.b", "a.b.c", "a.bc", "ab.c"):
        await cluster.first.publish(subject, subject.encode())
    await cluster.first.publish("end", b"")
    await eventually(lambda: end)
    assert sorted(message for message in heard if message) == [subject.encode() for subject in matching]


async def test_several_subscribe_and_one_stops(cluster: Cluster) -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    below: list[bytes] = []
    stopping = await cluster.second.subscribe("a.b", first.append)
    await cluster.second.subscribe("a.b", second.append)
    stopping_below = await cluster.second.subscribe("a.>", below.append)
    await cluster.first.publish("a.b", b"1")
    await eventually(lambda: first and second and below)
    await stopping.stop()
    await stopping.stop()
    await stopping_below.stop()
    await cluster.first.publish("a.b", b"2")
    await eventually(lambda: len(second) == 2)
    assert (first, below) == ([b"1"], [b"1"])


async def test_a_subscriber_that_fails_hurts_nobody_else(cluster: Cluster) -> None:
    heard: list[bytes] = []

    def fail(message: bytes) -> None:
        raise RuntimeError("a subscriber of the test fails")

    before = REGISTRY.get_sample_value("palaver_live_subscriber_errors_total") or 0
    await cluster.second.subscribe("a", fail)
    await cluster.second.subscribe("a", heard.append)
    await cluster.first.publish("a", b"1")
    await cluster.first.publish("a", b"2")
    await eventually(lambda: len(heard) == 2)
    assert REGISTRY.get_sample_value("palaver_live_subscriber_errors_total") == before + 2


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a..b", "a b", "a.*", "*", "a\nb", "a.>.b", "a>"])
async def test_what_is_no_subject_is_refused(cluster: Cluster, subject: str) -> None:
    live = cluster.first
    for refused in (
        live.publish(subject, b""),
        live.subscribe(subject, lambda message: None),
        live.acquire(subject, "me", 1),
        live.release(subject, "me"),
        live.put(subject, b"", 1),
        live.get(subject),
        live.delete(subject),
    ):
        with pytest.raises(ValueError, match="not a subject"):
            await refused
    with pytest.raises(ValueError, match="not a subject"):
        await live.publish("a.>", b"")


# -- leases ---------------------------------------------------------------------------------------------------------


async def test_one_holder_at_a_time(cluster: Cluster) -> None:
    assert await cluster.first.acquire("sweeper", "one", 30)
    assert not await cluster.second.acquire("sweeper", "two", 30)
    assert await cluster.first.acquire("sweeper", "one", 30)
    assert await cluster.second.acquire("another", "two", 30)
    await cluster.second.release("sweeper", "two")
    assert not await cluster.second.acquire("sweeper", "two", 30)
    await cluster.first.release("sweeper", "one")
    await cluster.first.release("sweeper", "one")
    assert await cluster.second.acquire("sweeper", "two", 30)
    assert not await cluster.first.acquire("sweeper", "one", 30)


async def test_a_lease_ends_unless_it_is_renewed(cluster: Cluster) -> None:
    assert await cluster.first.acquire("sweeper", "one", 6)
    assert await cluster.first.acquire("kept", "one", 6)
    for _ in range(3):
        await cluster.pass_seconds(2.5)
        assert await cluster.first.acquire("kept", "one", 6)
        assert not await cluster.second.acquire("kept", "two", 2)
    assert await cluster.second.acquire("sweeper", "two", 30)
    assert not await cluster.first.acquire("sweeper", "one", 2)


async def test_a_holder_that_comes_back_elsewhere_has_its_lease(cluster: Cluster) -> None:
    assert await cluster.first.acquire("sweeper", "one", 30)
    assert await cluster.second.acquire("sweeper", "one", 30)
    assert await cluster.first.acquire("sweeper", "one", 30)
    await cluster.second.release("sweeper", "one")
    assert await cluster.second.acquire("sweeper", "two", 30)


async def test_an_old_holder_does_not_release_the_lease_of_the_next(cluster: Cluster) -> None:
    assert await cluster.first.acquire("sweeper", "one", 1)
    await cluster.pass_seconds(2.5)
    assert await cluster.second.acquire("sweeper", "two", 30)
    await cluster.first.release("sweeper", "one")
    assert not await cluster.first.acquire("sweeper", "one", 30)


async def test_many_want_one_lease(cluster: Cluster) -> None:
    nodes = [cluster.first, cluster.second] * 20
    taken = await asyncio.gather(*(node.acquire("sweeper", f"node {n}", 30) for n, node in enumerate(nodes)))
    assert sum(taken) == 1


# -- keys -----------------------------------------------------------------------------------------------------------


async def test_a_key_is_set_replaced_and_deleted(cluster: Cluster) -> None:
    assert await cluster.second.get("user.alice") is None
    await cluster.first.put("user.alice", b"online", 30)
    assert await cluster.second.get("user.alice") == b"online"
    await cluster.second.put("user.alice", b"", 30)
    assert await cluster.first.get("user.alice") == b""
    await cluster.first.delete("user.alice")
    await cluster.first.delete("user.alice")
    assert await cluster.second.get("user.alice") is None
    assert await cluster.second.list("") == {}


async def test_a_key_ends_unless_it_is_put_again(cluster: Cluster) -> None:
    await cluster.first.put("ends", b"1", 6)
    await cluster.first.put("kept", b"1", 6)
    for value in (b"2", b"3", b"4"):
        await cluster.pass_seconds(2.5)
        assert await cluster.second.get("kept") is not None
        await cluster.first.put("kept", value, 6)
    assert await cluster.second.get("ends") is None
    assert await cluster.second.list("") == {"kept": b"4"}


async def test_a_key_put_for_longer_does_not_end_early(cluster: Cluster) -> None:
    await cluster.first.put("a", b"1", 1)
    await cluster.first.put("a", b"2", 30)
    await cluster.first.put("b", b"1", 30)
    await cluster.first.put("b", b"2", 1)
    await cluster.pass_seconds(2.5)
    assert await cluster.second.list("") == {"a": b"2"}


async def test_keys_are_listed_by_path(cluster: Cluster) -> None:
    keys = {key: key.encode() for key in ("a", "a.b", "a.b.c", "a.bc", "ab", "b.a")}
    for key, value in keys.items():
        await cluster.first.put(key, value, 30)
    assert await cluster.second.list("") == keys
    assert set(await cluster.second.list("a")) == {"a", "a.b", "a.b.c", "a.bc"}
    assert await cluster.second.list("a.b") == {"a.b": b"a.b", "a.b.c": b"a.b.c"}
    assert await cluster.second.list("c") == {}


async def test_more_keys_than_one_answer_holds(cluster: Cluster) -> None:
    keys = {f"user.{n}": b"%d" % n for n in range(1201)}
    await asyncio.gather(*(cluster.first.put(key, value, 60) for key, value in keys.items()))
    assert await cluster.second.list("user") == keys
    assert await asyncio.gather(*(cluster.second.list("user") for _ in range(3))) == [keys] * 3


async def test_keys_and_leases_do_not_mix(cluster: Cluster) -> None:
    assert await cluster.first.acquire("same", "holder", 30)
    assert await cluster.first.get("same") is None
    await cluster.first.put("same", b"value", 30)
    assert not await cluster.second.acquire("same", "other", 30)
    await cluster.first.delete("same")
    assert not await cluster.second.acquire("same", "other", 30)
