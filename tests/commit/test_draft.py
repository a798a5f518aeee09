"""What a command sees while it is decided: the documents as they will stand once the batch is committed."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaver import draft as draft_module
from palaver.commit import Draft
from palaver.database import Database, Put
from palaver.database.sqlite import SqliteDatabase
from palaver.events import SYSTEM, room_stream
from palaver.v1.event_pb2 import Event
from tests.database.model import project

ROOM = room_stream("r")
COLLECTIONS = ("subscriptions", "messages")
IDS = ("a", "b")
VALUES = st.sampled_from(["x", "y", None])
PUTS = st.one_of(
    st.builds(
        lambda collection, id, value, other: Put(
            collection, id, insert={"_id": id, "rid": "r", "t": value, "name": other, "u": {"_id": value}}
        ),
        st.sampled_from(COLLECTIONS),
        st.sampled_from(IDS),
        VALUES,
        VALUES,
    ),
    st.builds(
        lambda collection, id, value: Put(collection, id, set={"t": value, "u": {"_id": value}}),
        st.sampled_from(COLLECTIONS),
        st.sampled_from(IDS),
        VALUES,
    ),
    st.builds(lambda id: Put("subscriptions", id, unset=("name", "u")), st.sampled_from(IDS)),
    st.builds(lambda value: Put("rooms", "r", set={"topic": value}), VALUES),
)
LOOKS = st.one_of(
    st.tuples(st.just("get"), st.sampled_from(COLLECTIONS), st.sampled_from(IDS)),
    st.tuples(st.just("own"), st.just("rooms"), st.just("r")),
    st.tuples(st.just("find"), st.sampled_from(COLLECTIONS), st.sampled_from(["x", "y"])),
)
# A command: what it looks at, and what it does (None: nothing).
COMMANDS = st.tuples(st.lists(LOOKS, max_size=3), st.one_of(st.none(), st.lists(PUTS, max_size=4)))
BATCHES = st.lists(st.lists(COMMANDS, min_size=1, max_size=4), min_size=1, max_size=4)


async def look(source: Any, what: tuple[str, str, str]) -> Any:
    """What the draft, or the database that stands where the draft should, says."""
    kind, collection, value = what
    if kind == "find" and isinstance(source, Draft):
        found = await source.find_one(collection, rid="r", t=value)
        return None if found is None else found["t"]
    if kind == "find":
        found = await source.find_one(collection, {"rid": "r", "t": value})
        return None if found is None else found["t"]
    return plain(
        await (source.get_own() if isinstance(source, Draft) and kind == "own" else source.get(collection, value))
    )


def plain(document: Any) -> Any:
    return None if document is None else {name: value for name, value in document.items() if name != "applied_seq"}


async def run(batches: list[list[Any]], folder: Path) -> None:
    """Runs the commands on a draft, batch by batch; and one by one on a database of its own, which is always right."""
    database, truth = SqliteDatabase(folder / "database.db"), SqliteDatabase(folder / "truth.db")
    first = Event(stream_kind="room", stream_id="r", seq=1, command_id="create")
    for one in (database, truth):
        await one.open()
        await one.commit(ROOM, [first], [[Put("rooms", "r", insert={"_id": "r"})]])
    try:
        draft = Draft(database, ROOM, 1)
        for batch in batches:
            events, puts = [], []
            for looks, does in batch:
                for what in looks:
                    assert await look(draft, what) == await look(truth, what), what
                if does is None:
                    assert draft.accept() is None
                    continue
                event = Event()
                event.room_changed.set = orjson.dumps(
                    [[put.collection, put.id, put.insert, put.set, list(put.unset)] for put in does]
                )
                draft.append(event, actor=SYSTEM)
                accepted = draft.accept()
                assert accepted is not None
                events.append(accepted[0])
                puts.append(accepted[1])
                await truth.commit(ROOM, events[-1:], puts[-1:])
            if events:
                await database.commit(ROOM, events, puts)
            draft.trim()
    finally:
        for one in (database, truth):
            await one.close()


@pytest.fixture(autouse=True)
def _events_with_their_own_puts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft_module, "project", project)


def test_a_draft_shows_what_the_database_will(tmp_path_factory: pytest.TempPathFactory) -> None:
    with asyncio.Runner() as runner:

        @settings(deadline=None, max_examples=60)
        @given(BATCHES)
        def check(batches: list[list[Any]]) -> None:
            runner.run(run(batches, tmp_path_factory.mktemp("draft")))

        check()


async def open_database(folder: Path, *puts: Put) -> Database:
    database = SqliteDatabase(folder / "database.db")
    await database.open()
    event = Event(stream_kind="room", stream_id="another", seq=1, command_id="x")
    await database.commit(room_stream("another"), [event], [puts])
    return database


async def test_a_command_is_one_event(tmp_path: Path) -> None:
    database = await open_database(tmp_path)
    draft = Draft(database, ROOM, 4)
    event = draft.append(Event(), actor=SYSTEM, at=5)
    assert (event.stream_kind, event.stream_id, event.seq, event.at) == ("room", "r", 5, 5)
    assert event.command_id
    with pytest.raises(RuntimeError):
        draft.append(Event(), actor=SYSTEM)
    await database.close()


async def test_lookups_are_remembered_until_something_changes_them(tmp_path: Path) -> None:
    database = await open_database(
        tmp_path, Put("subscriptions", "a", insert={"_id": "a", "rid": "r", "u": {"_id": "alice"}, "own": 0})
    )
    draft = Draft(database, ROOM, 0)
    looked: list[dict[str, Any]] = []
    find_one = database.find_one

    async def counted(collection: str, where: Any) -> Any:
        looked.append(where)
        return await find_one(collection, where)

    database.find_one = counted  # type: ignore[method-assign]

    async def find(user_id: str) -> Any:
        return await draft.find_one("subscriptions", rid="r", u___id=user_id, left_at=None)

    def put(*puts: Put) -> None:
        event = Event()
        event.room_changed.set = orjson.dumps([[p.collection, p.id, p.insert, p.set, list(p.unset)] for p in puts])
        draft.append(event, actor=SYSTEM)
        draft.accept()

    for _ in range(3):
        assert (await find("alice"))["_id"] == "a"
        assert await find("bob") is None
        put(Put("subscriptions", "a", set={"own": 1}), Put("rooms", "r", set={"msgs": 1}))
    assert (await find("alice"))["own"] == 1
    assert len(looked) == 2
    put(Put("subscriptions", "b", insert={"_id": "b", "rid": "r", "u": {"_id": "bob"}}))
    assert (await find("bob"))["_id"] == "b"
    put(Put("subscriptions", "a", set={"left_at": {"$date": 1}}))
    assert await find("alice") is None
    await database.close()
