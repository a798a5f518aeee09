"""What holds for every event: a projection takes what the database does, and repeating it changes nothing."""

import pytest

from palaver.database import STREAM_COLLECTIONS, Document, Put
from palaver.database.schema import COLLECTIONS
from palaver.errors import Unavailable
from palaver.events import STREAM_OF_FACT
from palaver.projections import project
from palaver.v1.event_pb2 import (
    Event,
)
from tests.projections.samples import AT, BEFORE, SAMPLES, apply, data, date, make_event


def test_every_fact_has_a_sample() -> None:
    assert set(SAMPLES) == set(STREAM_OF_FACT)


@pytest.mark.parametrize("kind", SAMPLES)
def test_puts_are_such_as_the_database_takes(kind: str) -> None:
    event = make_event(kind)
    puts = project(event)
    assert puts
    for put in puts:
        assert isinstance(put, Put)
        assert put.collection in COLLECTIONS
        assert put.id
        assert put.insert is None or (put.insert["_id"] == put.id and not put.set and not put.unset)
        names = [*put.set, *put.unset, *(put.insert or ())]
        assert not {name for name in names if not name or "." in name or name.startswith("$")}
        assert not {"applied_seq", "room_seq", "user_seq", "workspace_seq"} & set(names)
        assert "_id" not in put.set
        assert "_id" not in put.unset
        assert not set(put.set) & set(put.unset)
        if put.collection == STREAM_COLLECTIONS[event.stream_kind]:
            assert put.id == event.stream_id


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("documents", [{}, BEFORE], ids=["nothing", "something"])
def test_projecting_twice_is_projecting_once(kind: str, documents: dict[tuple[str, str], Document]) -> None:
    event = make_event(kind)
    once = apply(documents, event)
    assert apply(documents, event, event) == once
    assert apply(once, event) == once


@pytest.mark.parametrize("kind", SAMPLES)
def test_an_event_is_only_read(kind: str) -> None:
    event = make_event(kind)
    copy = Event.FromString(event.SerializeToString())
    assert project(event) == project(event)
    assert event == copy


@pytest.mark.parametrize("kind", SAMPLES)
def test_an_empty_fact_is_no_reason_to_crash(kind: str) -> None:
    """A later version may leave out what this one wants: only what it needs to name documents is needed."""
    if kind in {"room_created", "member_joined", "user_created"}:
        return
    fact = type(SAMPLES[kind])()
    for name in ("message", "setting", "permission", "role", "set", "token"):
        if name in fact.DESCRIPTOR.fields_by_name and isinstance(getattr(fact, name), bytes):
            setattr(fact, name, data({"_id": "x", "ts": date(AT)}) if name == "message" else b"{}")
    assert isinstance(project(make_event(kind, fact)), list)


def test_an_unknown_fact_is_refused() -> None:
    with pytest.raises(Unavailable):
        project(Event(stream_kind="room", stream_id="r1", seq=1))
