"""What every log does, whichever way it goes."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.log.embedded import EmbeddedLog
from palaver.v1.event_pb2 import Event
from tests.log.harness import Pair, room_event
from tests.waiting import eventually

ROOM = Stream("room", "GENERAL")
WORKSPACE = Stream("workspace", "")


async def test_a_follower_hears_every_event_in_order(pair: Pair) -> None:
    publisher, follower = pair
    heard: list[Event] = []
    await follower.follow(ROOM, heard.append)
    events = [room_event(seq) for seq in range(1, 601)]
    await publisher.publish(events[:1])
    await publisher.publish(events[1:])
    await eventually(lambda: len(heard) == len(events))
    assert heard == events


async def test_streams_do_not_mix(pair: Pair) -> None:
    publisher, follower = pair
    heard: dict[Stream, list[Event]] = {}
    awkward = ["a.b", "*", ">", "a b", "ä", "_", "", "room", "rocket.cat", "x" * 200, "line\nbreak"]
    streams = [Stream("room", id) for id in awkward] + [Stream("user", id) for id in awkward] + [WORKSPACE]
    for stream in streams:
        await follower.follow(stream, heard.setdefault(stream, []).append)
    await publisher.publish([Event(stream_kind=s.kind, stream_id=s.id, seq=n + 1) for n, s in enumerate(streams)])
    await eventually(lambda: all(heard.values()))
    for n, stream in enumerate(streams):
        assert [(e.stream_kind, e.stream_id, e.seq) for e in heard[stream]] == [(*stream, n + 1)]


async def test_what_was_published_before_a_proof_has_been_heard(pair: Pair) -> None:
    publisher, follower = pair
    heard: list[Event] = []
    await follower.follow(ROOM, heard.append)
    for seq in range(1, 200):
        await publisher.publish([room_event(seq)])
        await follower.check_heard(5)
        assert len(heard) == seq


async def test_nobody_follows(pair: Pair) -> None:
    await pair[0].publish([room_event(1)])
    await pair[0].publish([])


async def test_several_follow_one_stream_and_one_stops(pair: Pair) -> None:
    publisher, follower = pair
    first: list[Event] = []
    second: list[Event] = []
    third: list[Event] = []
    stopping = await follower.follow(ROOM, first.append)
    await follower.follow(ROOM, second.append)
    await publisher.follow(ROOM, third.append)
    await publisher.publish([room_event(1)])
    await eventually(lambda: first and second and third)
    await stopping.stop()
    await stopping.stop()
    await publisher.publish([room_event(2)])
    await eventually(lambda: len(second) == 2 and len(third) == 2)
    assert len(first) == 1


async def test_one_callback_that_follows_twice_hears_once_until_both_have_stopped(pair: Pair) -> None:
    publisher, follower = pair
    heard: list[Event] = []
    other: list[Event] = []
    one = await follower.follow(ROOM, heard.append)
    two = await follower.follow(ROOM, heard.append)
    await follower.follow(ROOM, other.append)
    await publisher.publish([room_event(1)])
    await one.stop()
    await publisher.publish([room_event(2)])
    await eventually(lambda: len(other) == 2)
    assert [event.seq for event in heard] == [1, 2]
    await two.stop()
    await publisher.publish([room_event(3)])
    await eventually(lambda: len(other) == 3)
    assert [event.seq for event in heard] == [1, 2]


async def test_who_stopped_can_follow_again(pair: Pair) -> None:
    publisher, follower = pair
    heard: list[Event] = []
    published: list[Event] = []
    for seq in range(1, 4):
        follow = await follower.follow(ROOM, heard.append)
        published.append(room_event(seq))
        await publisher.publish(published[-1:])
        await eventually(lambda: len(heard) == len(published))
        await follow.stop()


async def test_a_follower_that_fails_hurts_nobody_else(pair: Pair) -> None:
    publisher, follower = pair
    heard: list[Event] = []

    def fail(event: Event) -> None:
        raise RuntimeError("a follower of the test fails")

    before = REGISTRY.get_sample_value("palaver_log_follower_errors_total") or 0
    await follower.follow(ROOM, fail)
    await follower.follow(ROOM, heard.append)
    await publisher.publish([room_event(1), room_event(2)])
    await eventually(lambda: len(heard) == 2)
    assert REGISTRY.get_sample_value("palaver_log_follower_errors_total") == before + 2


async def test_an_event_is_also_told_to_users_who_follow_only_themselves(pair: Pair) -> None:
    publisher, follower = pair
    alice: list[Event] = []
    bob: list[Event] = []
    await follower.follow(Stream("user", "alice"), alice.append)
    await follower.follow(Stream("user", "bob"), bob.append)
    await publisher.publish([room_event(1, also_tell=["alice", "nobody"]), room_event(2)])
    await publisher.publish([Event(stream_kind="user", stream_id="bob", seq=1)])
    await eventually(lambda: alice and bob)
    assert alice == [room_event(1, also_tell=["alice", "nobody"])]
    assert [event.stream_kind for event in bob] == ["user"]


async def test_who_follows_the_stream_and_the_user_hears_an_event_once(pair: Pair) -> None:
    publisher, follower = pair
    both: list[Event] = []
    other: list[Event] = []
    await follower.follow(ROOM, both.append)
    await follower.follow(Stream("user", "alice"), both.append)
    await follower.follow(Stream("user", "bob"), both.append)
    await follower.follow(Stream("user", "bob"), other.append)
    await publisher.publish([room_event(1, also_tell=["alice", "bob"]), room_event(2)])
    await eventually(lambda: other and len(both) >= 2)
    await publisher.publish([room_event(3, also_tell=["bob"])])
    await eventually(lambda: len(other) == 2 and len(both) >= 3)
    assert [event.seq for event in both] == [1, 2, 3]


async def test_publishing_twice_is_harmless(pair: Pair) -> None:
    publisher, follower = pair
    heard: list[Event] = []
    await follower.follow(ROOM, heard.append)
    events = [room_event(1), room_event(2, also_tell=["alice"])]
    await publisher.publish(events)
    await publisher.publish(events)
    await publisher.publish([room_event(3)])
    await eventually(lambda: heard and heard[-1].seq == 3)
    watermark = 0
    for event in heard:  # as every follower does
        if event.seq > watermark:
            assert event.seq == watermark + 1
            watermark = event.seq


async def test_a_follower_may_follow_and_stop_while_it_is_told(pair: Pair) -> None:
    publisher, follower = pair
    later: list[Event] = []
    tasks: list[asyncio.Task[object]] = []

    def on_event(event: Event) -> None:
        if event.seq == 1:
            tasks.append(asyncio.create_task(follower.follow(Stream("room", "other"), later.append)))
            tasks.append(asyncio.create_task(follow.stop()))

    follow = await follower.follow(ROOM, on_event)
    await publisher.publish([room_event(1), room_event(2)])
    await eventually(lambda: len(tasks) == 2)
    await asyncio.gather(*tasks)
    await publisher.publish([room_event(1, "other")])
    await eventually(lambda: later)


async def test_many_follow_at_once(pair: Pair) -> None:
    publisher, follower = pair
    heard: list[str] = []
    rooms = [f"room {n}" for n in range(300)]
    follows = await asyncio.gather(
        *(follower.follow(Stream("room", room), lambda event: heard.append(event.stream_id)) for room in rooms)
    )
    await publisher.publish([room_event(1, room) for room in rooms])
    await eventually(lambda: len(heard) == len(rooms))
    assert heard == rooms
    await asyncio.gather(*(follow.stop() for follow in follows))
    await publisher.publish([room_event(2, room) for room in rooms])
    assert len(heard) == len(rooms)


@pytest.mark.filterwarnings("error")
async def test_stopping_after_close_is_harmless(pair: Pair) -> None:
    _, follower = pair
    follow = await follower.follow(ROOM, lambda event: None)
    await follower.close()
    await follow.stop()


# Who follows what, and which events are published: the model is "each callback hears an event once, if it follows its
# stream or one of the users it is told to".
KEYS = st.sampled_from([Stream("room", "a"), Stream("room", "b"), Stream("user", "u"), Stream("user", "v"), WORKSPACE])


@given(
    interests=st.lists(st.tuples(KEYS, st.integers(0, 3)), max_size=12),
    published=st.lists(st.tuples(KEYS, st.lists(st.sampled_from(["u", "v", "w"]), max_size=3)), max_size=12),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_exactly_the_followers_hear(
    database: SqliteDatabase, interests: list[tuple[Stream, int]], published: list[tuple[Stream, list[str]]]
) -> None:
    log = EmbeddedLog(database)
    heard: list[list[int]] = [[] for _ in range(4)]

    def record(who: int, event: Event) -> None:
        heard[who].append(event.seq)

    callbacks = [lambda event, who=who: record(who, event) for who in range(4)]
    for stream, who in interests:
        await log.follow(stream, callbacks[who])
    for seq, (stream, also_tell) in enumerate(published):
        await log.publish([Event(stream_kind=stream.kind, stream_id=stream.id, seq=seq, also_tell=also_tell)])
    for who in range(4):
        followed = {stream for stream, follower in interests if follower == who}
        assert heard[who] == [
            seq
            for seq, (stream, also_tell) in enumerate(published)
            if stream in followed or any(Stream("user", user) in followed for user in also_tell)
        ]


async def test_what_is_shown_is_heard_at_once_and_once_more_when_it_is_published(pair: Pair) -> None:
    publisher, follower = pair
    heard: list[Event] = []
    await follower.follow(Stream("room", "GENERAL"), heard.append)
    await follower.follow(Stream("user", "alice"), heard.append)
    events = [room_event(1), room_event(2, also_tell=["alice"]), room_event(3)]
    await publisher.show(events)
    await follower.check_heard(5)
    await eventually(lambda: len(heard) >= 3)
    assert heard == events
    await publisher.publish(events)
    await eventually(lambda: heard[-1].seq == 3 and len(heard) >= 5)
