"""What the log does when NATS is away, comes back, is replaced or sends something else."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import nats as nats_py
import orjson
import pytest
import pytest_asyncio
from nats.aio.client import Client
from prometheus_client import REGISTRY

from palaver.commit import Commits
from palaver.config import ConfigError
from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Unavailable
from palaver.live.nats import NatsLive
from palaver.log import connection
from palaver.log.jetstream import JetStreamLog
from palaver.log.messages import VERSION_HEADER
from palaver.v1.event_pb2 import Event
from tests.log.harness import room_event, without_waiting_for_answers
from tests.servers import NatsServer, nats_server
from tests.waiting import eventually

pytestmark = pytest.mark.needs_servers

ROOM = Stream("room", "GENERAL")
SUBJECT = "palaver.work.room.GENERAL"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[NatsServer]:
    """A server of the test's own, which it may stop."""
    async with nats_server() as server:
        yield server


@pytest_asyncio.fixture
async def log(server: NatsServer, database: SqliteDatabase) -> AsyncIterator[JetStreamLog]:
    log = JetStreamLog(server.url, "work", database)
    await log.open()
    yield log
    await log.close()


@pytest_asyncio.fixture
async def client(server: NatsServer, log: JetStreamLog) -> AsyncIterator[Client]:
    client = await nats_py.connect(server.url)
    yield client
    await client.close()


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("palaver_log_messages_dropped_total", {"reason": reason}) or 0


async def test_jetstream_stores_each_event_once(log: JetStreamLog, client: Client) -> None:
    events = [room_event(1), room_event(2, also_tell=["alice"]), room_event(3)]
    await log.publish(events)
    await log.publish(events)
    await log.publish([Event(stream_kind="user", stream_id="alice", seq=1), Event(stream_kind="workspace", seq=1)])
    jetstream = client.jetstream()
    stored = [await jetstream.get_msg("palaver_work_rooms", seq) for seq in (1, 2, 3)]
    assert [Event.FromString(message.data or b"") for message in stored] == events
    assert stored[0].headers == {"Nats-Msg-Id": "room/GENERAL/1", VERSION_HEADER: "1"}
    for name, count in (("rooms", 3), ("users", 1), ("workspace", 1)):
        info = await jetstream.stream_info(f"palaver_work_{name}")
        assert info.state.messages == count
        assert info.config.max_age == 3 * 24 * 3600


async def test_workspaces_do_not_hear_each_other(
    server: NatsServer, log: JetStreamLog, database: SqliteDatabase
) -> None:
    other = JetStreamLog(server.url, "work.too", database)
    await other.open()
    heard: list[Event] = []
    await log.follow(ROOM, heard.append)
    await log.follow(Stream("user", "alice"), heard.append)
    await other.publish([room_event(7, also_tell=["alice"])])
    await log.publish([room_event(1)])
    await eventually(lambda: heard)
    await other.close()
    assert [event.seq for event in heard] == [1]


async def test_opening_again_changes_nothing(
    server: NatsServer, log: JetStreamLog, client: Client, database: SqliteDatabase
) -> None:
    await log.publish([room_event(1)])
    jetstream = client.jetstream()
    # Somebody has changed what is declared: the next process to open declares it again.
    config = (await jetstream.stream_info("palaver_work_rooms")).config
    await jetstream.update_stream(config, max_age=3600)
    second = JetStreamLog(server.url, "work", database)
    await second.open()
    info = await jetstream.stream_info("palaver_work_rooms")
    assert (info.state.messages, info.config.max_age) == (1, 3 * 24 * 3600)
    await second.close()


async def test_what_is_no_event_of_ours_is_dropped_and_counted(
    log: JetStreamLog, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    await log.follow(ROOM, heard.append)
    reasons = ("foreign", "version", "undecodable", "misplaced")
    before = {reason: dropped(reason) for reason in reasons}
    ours = {VERSION_HEADER: "1"}
    with caplog.at_level(logging.WARNING, "palaver.log"):
        await client.publish(SUBJECT, b"hello")
        await client.publish(SUBJECT, room_event(5).SerializeToString(), headers={"Else": "1"})
        await client.publish(SUBJECT, room_event(6).SerializeToString(), headers={VERSION_HEADER: "2"})
        await client.publish(SUBJECT, b"\xff\xff", headers=ours)
        await client.publish(SUBJECT, room_event(8, "other").SerializeToString(), headers=ours)
        await client.flush()
        await log.publish([room_event(1)])
        await eventually(lambda: heard)
    assert [event.seq for event in heard] == [1]
    assert {reason: dropped(reason) - before[reason] for reason in reasons} == {
        "foreign": 2,
        "version": 1,
        "undecodable": 1,
        "misplaced": 1,
    }
    assert caplog.text.count("was dropped: foreign") == 1


async def test_a_fact_that_this_version_does_not_know_still_counts(log: JetStreamLog, client: Client) -> None:
    heard: list[Event] = []
    await log.follow(ROOM, heard.append)
    unknown = Event(stream_kind="room", stream_id="GENERAL", seq=4).SerializeToString() + b"\xa2\x3e\x02hi"
    await client.publish(SUBJECT, unknown, headers={VERSION_HEADER: "1"})
    await eventually(lambda: heard)
    assert heard[0].seq == 4
    assert heard[0].WhichOneof("fact") is None


async def test_an_event_that_nats_does_not_carry_is_read_from_the_database(database: SqliteDatabase) -> None:
    async with nats_server(config=["max_payload: 4096"]) as server:
        log = JetStreamLog(server.url, "work", database)
        await log.open()
        heard: list[Event] = []
        alice: list[Event] = []
        await log.follow(ROOM, heard.append)
        await log.follow(Stream("user", "alice"), alice.append)
        large = room_event(2, also_tell=["alice"])
        large.room_created.room = b"x" * 5000
        unknown = room_event(4)
        unknown.room_created.room = b"x" * 5000
        events = [room_event(1), large, room_event(3)]
        await database.commit(ROOM, events, [[], [], []])
        await log.publish([*events, unknown])
        await eventually(lambda: len(heard) == 3 and alice)
        assert sorted(heard, key=lambda event: event.seq) == events
        assert alice == [large]
        await eventually(lambda: dropped("unknown"))
        await log.close()


# -- NATS is away ---------------------------------------------------------------------------------------------------


async def test_opening_without_nats_is_unavailable(monkeypatch: pytest.MonkeyPatch, database: SqliteDatabase) -> None:
    monkeypatch.setattr(connection, "OPEN_SECONDS", 0.5)
    with pytest.raises(Unavailable, match="does not answer"):
        await JetStreamLog("nats://127.0.0.1:1", "work", database).open()
    await asyncio.sleep(2 * connection.RETRY_SECONDS)
    assert len(asyncio.all_tasks()) == 1  # nothing goes on trying behind the caller's back


async def test_opening_without_jetstream_is_unavailable(database: SqliteDatabase) -> None:
    async with nats_server(jetstream=False) as server:
        with pytest.raises(Unavailable, match="JetStream"):
            await JetStreamLog(server.url, "work", database).open()


async def test_a_server_that_is_too_old_is_told_by_name(
    monkeypatch: pytest.MonkeyPatch, server: NatsServer, database: SqliteDatabase
) -> None:
    monkeypatch.setattr(connection, "MINIMUM_VERSION", (99, 0))
    with pytest.raises(ConfigError, match=r"PALAVER_NATS_URL: nats-server 2\..* is too old, 99\.0"):
        await JetStreamLog(server.url, "work", database).open()


async def test_a_restart_is_survived_and_told_as_a_gap(
    server: NatsServer, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Event] = []
    gaps: list[int] = []
    late: list[str] = []

    def fail() -> None:
        raise RuntimeError("a callback of the test fails")

    log.on_gap(fail)
    log.on_gap(lambda: gaps.append(len(heard)))
    await log.follow(ROOM, heard.append)
    await log.follow(Stream("user", "alice"), lambda event: late.append(event.stream_id))
    await log.publish([room_event(1)])
    await eventually(lambda: heard)
    await server.kill()
    async with without_waiting_for_answers(monkeypatch):
        with pytest.raises(Unavailable):
            await log.publish([room_event(2)])
        with pytest.raises(Unavailable):
            await log.follow(Stream("room", "other"), heard.append)
    await server.start()
    await eventually(lambda: gaps)
    assert gaps == [1]
    await log.publish([room_event(1), room_event(2), room_event(3, also_tell=["alice"])])
    await eventually(lambda: heard[-1].seq == 3 and late)
    # What was told Unavailable while NATS was away is not sent late.
    assert [event.seq for event in heard] in ([1, 1, 2, 3], [1, 2, 3])


async def test_stopping_while_nats_is_away(server: NatsServer, log: JetStreamLog) -> None:
    heard: list[Event] = []
    kept: list[Event] = []
    gaps: list[bool] = []
    log.on_gap(lambda: gaps.append(True))
    follow = await log.follow(ROOM, heard.append)
    await log.follow(Stream("room", "kept"), kept.append)
    await server.stop()
    with pytest.raises(Unavailable):
        await log.publish([room_event(1)])
    await follow.stop()
    await server.start()
    await eventually(lambda: gaps)
    await log.publish([room_event(1), room_event(1, "kept")])
    await eventually(lambda: kept)
    assert not heard


async def test_a_frozen_server_is_noticed_in_bounded_time(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, database: SqliteDatabase
) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.5)
    log = JetStreamLog(server.url, "work", database)
    await log.open()
    gaps: list[bool] = []
    log.on_gap(lambda: gaps.append(True))
    server.pause()
    with monkeypatch.context() as frozen:
        frozen.setattr(connection, "REPLY_SECONDS", 1.0)
        async with asyncio.timeout(30):
            with pytest.raises(Unavailable):
                await log.publish([room_event(1)])
            with pytest.raises(Unavailable):
                await log.follow(ROOM, lambda event: None)
    await eventually(lambda: not log._connection._client.is_connected)
    server.resume()
    await eventually(lambda: gaps)
    await log.publish([room_event(1)])
    await log.close()


async def test_a_frozen_server_proves_nothing(server: NatsServer, log: JetStreamLog) -> None:
    await log.check_heard(5)
    server.pause()
    with pytest.raises(Unavailable):
        await log.check_heard(0.05)
    server.resume()
    await log.check_heard(5)


async def test_waiting_for_an_answer_ends_with_the_connection(
    server: NatsServer, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pause()
    async with without_waiting_for_answers(monkeypatch):
        publishing = asyncio.create_task(log.publish([room_event(1)]))
        await asyncio.sleep(0.1)
        await server.kill()
        with pytest.raises(Unavailable):
            await publishing
    await server.start()


async def test_an_emptied_server_gets_its_streams_back(log: JetStreamLog, client: Client) -> None:
    jetstream = client.jetstream()
    losses = log.losses
    await jetstream.delete_stream("palaver_work_rooms")
    # What was there comes before this.
    with pytest.raises(Unavailable):
        await log.publish([room_event(1)])
    await log.publish([room_event(1)])
    assert log.losses > losses
    assert (await jetstream.stream_info("palaver_work_rooms")).state.messages == 1


async def test_an_emptied_server_gets_its_streams_back_although_somebody_listens(
    log: JetStreamLog, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Event] = []
    await log.follow(ROOM, heard.append)
    jetstream = client.jetstream()
    await jetstream.delete_stream("palaver_work_rooms")
    # With a listener on the subject the server does not say that nobody stores it.
    with monkeypatch.context() as silent:
        silent.setattr(connection, "REPLY_SECONDS", 0.5)
        with pytest.raises(Unavailable):
            await log.publish([room_event(1)])
    await log.publish([room_event(1)])
    assert (await jetstream.stream_info("palaver_work_rooms")).state.messages == 1


async def test_a_connection_that_the_client_gave_up_is_made_anew(log: JetStreamLog) -> None:
    heard: list[Event] = []
    gaps: list[bool] = []
    log.on_gap(lambda: gaps.append(True))
    await log.follow(ROOM, heard.append)
    old = log._connection._client
    assert old._transport is not None
    old._transport.write(b"NONSENSE\r\n")  # the server answers with an error, on which nats-py closes for good
    await eventually(lambda: gaps)
    assert old.is_closed
    await log.publish([room_event(1)])
    await eventually(lambda: heard)


async def test_closing_while_nats_is_away(server: NatsServer, database: SqliteDatabase) -> None:
    log = JetStreamLog(server.url, "work", database)
    await log.open()
    await log.follow(ROOM, lambda event: None)
    await server.stop()
    with pytest.raises(Unavailable):
        await log.publish([room_event(1)])
    async with asyncio.timeout(30):
        await log.close()


async def test_what_is_only_shown_is_not_stored(log: JetStreamLog, client: Client) -> None:
    heard: list[int] = []
    await log.follow(ROOM, lambda event: heard.append(event.seq))
    await log.show([room_event(1), room_event(2)])
    await log.check_heard(5)
    assert heard == [1, 2]
    await log.publish([room_event(1)])
    jetstream = client.jetstream()
    assert (await jetstream.stream_info("palaver_work_rooms")).state.messages == 1


async def test_a_jetstream_that_stores_nothing_hides_nothing(
    tmp_path: Path, database: SqliteDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Its disk is full: who is connected hears everything in order, the database keeps it for the others."""
    full = "jetstream: {max_file_store: 64KB, max_memory_store: 1MB, store_dir: %s}"
    config = [full % json.dumps(str(tmp_path / "nats"))]
    async with nats_server(jetstream=False, config=config) as server:
        log = JetStreamLog(server.url, "work", database)
        live = NatsLive(server.url, "work")
        await log.open()
        await live.open()
        heard: list[int] = []
        await log.follow(ROOM, lambda event: heard.append(event.seq))
        commits = Commits(database, log, live, node_id="one")
        telling = asyncio.create_task(commits.run_telling())
        for seq in range(1, 21):
            event = room_event(seq)
            event.room_changed.set = orjson.dumps({"topic": "x" * 8000})
            await database.commit(ROOM, [event], [[]])
            commits.tell([event])
            await eventually(lambda seq=seq: seq in heard)  # type: ignore[misc]
        assert list(dict.fromkeys(heard)) == list(range(1, 21))
        left = [event.seq for event in await database.list_unpublished(1 << 62)]
        assert left[-5:] == [16, 17, 18, 19, 20]
        assert "the log did not take" in caplog.text
        await commits.close()
        await telling
        await live.close()
        await log.close()
