"""The embedded database knows the order of all commits."""

from pathlib import Path

from palaver.database import CommitOrder
from palaver.database.sqlite import SqliteDatabase
from tests.database.model import OTHER_ROOM, ROOM, USER, commit


async def test_events_are_listed_in_the_order_of_their_commits(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "palaver.db")
    await database.open()
    assert isinstance(database, CommitOrder)
    assert await database.list_committed("room", 0) == ([], 0)
    events = [
        await commit(database, stream, seq, at=at)
        for stream, seq, at in [(ROOM, 1, 9), (USER, 1, 8), (OTHER_ROOM, 1, 1), (ROOM, 2, 10), (USER, 2, 2)]
    ]
    rooms, place = await database.list_committed("room", 0)
    assert [event for _, event in rooms] == [events[0], events[2], events[3]]
    assert place > rooms[-1][0]  # it has looked at the user's, too
    users, end = await database.list_committed("user", 0)
    assert ([event for _, event in users], end) == ([events[1], events[4]], place)
    assert await database.list_committed("room", rooms[0][0]) == (rooms[1:], place)
    assert await database.list_committed("room", 0, 2) == (rooms[:1], users[0][0])
    assert await database.list_committed("room", rooms[-1][0]) == ([], place)
    assert await database.list_committed("room", place) == ([], place)
    await database.close()
