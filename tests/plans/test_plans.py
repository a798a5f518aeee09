"""Every list that the server offers is read by an index: it costs what it shows, and not what there is.

All declared endpoints and methods are called (`walk.py`) over a workspace with 100,000 documents in each large
collection (`workspace.py`), and each query that the server asks meanwhile is judged by how many instructions SQLite's
machine needs for it, which is the same number on every machine. Whoever adds a list has it judged without a line here;
a line of the server's that asks the database and is not reached fails a test.
"""

import ast
import asyncio
import hashlib
import inspect
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palaver.auth.store import Store as AuthStore
from palaver.database import schema
from palaver.database.schema import COLLECTIONS
from palaver.database.sqlite_reading import MOVED
from palaver.database.sqlite_schema import connect
from palaver.messaging.store import Store as MessagingStore
from tests import services
from tests.cache import cache_directory, locked
from tests.gateway.rest import Client, running_api
from tests.plans import workspace
from tests.plans.mongo import serves
from tests.plans.recording import SOURCES, Asked, RecordingDatabase
from tests.plans.walk import walk_changes, walk_lists, walk_methods
from tests.plans.workspace import NOW, ROOM, TEAM, TEAM_NUMBER, TOKEN, USER

STEPS = 5_000
"""What a query may need whatever it finds."""
STEPS_OF_DOCUMENT = 100
"""What it may need for each document that it shows, counts, skips, or is told the id of."""

READING = ("get", "load", "list", "search", "spotlight", "browse", "message", "rocketchatSearch", "rooms", "subscr")
"""How the names of methods begin that list something."""

QUERIES = ("find", "find_one", "count", "list_values", "list_groups")
"""The port's methods that take a filter."""

SMALL = ("settings", "permissions", "roles")
"""Collections of a few hundred documents at most, which are read whole when a process starts."""

NOT_REACHED = {
    "_find_stored": "asks again where another process has changed what was found a moment before",
    "_has_messages": "what is older than retention keeps: one message of a room by its time, once an hour",
    "_pages": "an export, which the sender of its letter makes: pages of a room's history",
    "get_document": "an outgoing webhook that is to be removed by its address",
    "_find_members": "a spotlight of somebody who may see nobody outside their rooms: as the list of members",
}
"""Functions with a line that asks the database and that the walk does not reach, and why."""

LOOKS_FURTHER = {
    "_list_groups": "groups all open reports, for moderators",
    "_list_rooms": "the same by room",
    "_find_readers": "shows every member who has read a message, not a page of them",
}
"""Functions whose queries may look at more than they show, and why."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of its own with the large workspace in it, which is made once for each schema."""
    sources = [Path(workspace.__file__), *sorted(Path(schema.__file__).parent.glob("s*.py"))]
    key = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    kept = cache_directory() / "plans" / f"{key}.db"
    own = tmp_path_factory.mktemp("plans")
    with locked("plans"):
        if not kept.exists():
            shutil.rmtree(kept.parent, ignore_errors=True)
            kept.parent.mkdir(parents=True)
            made = tmp_path_factory.mktemp("made")
            asyncio.run(_start(made))
            workspace.fill(made / "palaver.db")
            (made / "palaver.db").rename(kept)
        shutil.copy(kept, own / "palaver.db")
    return own


async def _start(folder: Path) -> None:
    async with running_api(folder):
        pass


@pytest.fixture(scope="module")
def asked(folder: Path) -> list[Asked]:
    """Every query of the walk, as it was asked the first time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "SqliteDatabase", RecordingDatabase)
        return asyncio.run(_walk(folder))


async def _walk(folder: Path) -> list[Asked]:
    async with running_api(folder) as client:
        database: Any = client.node.database
        client.headers = {"X-Auth-Token": TOKEN, "X-User-Id": USER}
        await walk_lists(client)
        await walk_methods(client, READING)
        await _call_stores(client)
        await _command(client)
        await _command_team(client)
        await walk_changes(client)
        async with asyncio.timeout(60):  # followers come after
            while not any(one.function == "on_room_event" for one in database.asked.values()):
                await asyncio.sleep(0.05)
        return list(database.asked.values())


async def _call_stores(client: Client) -> None:
    """What background work asks for, and nobody in a request."""
    auth, messaging = AuthStore(client.node.database), MessagingStore(client.node.database)
    arguments: dict[str, Any] = {"picture_ids": ["picture7"], "message_id": "", "username": "", "limit": 100}
    arguments |= {"user_id": USER, "room_id": ROOM, "room_ids": [ROOM], "since": NOW + 10**8, "user_ids": [USER]}
    arguments |= {"email": "user7@example.org", "role_id": "admin", "usernames": [USER]}
    for store in (auth, messaging):
        for name, method in inspect.getmembers(store, inspect.iscoroutinefunction):
            wanted = inspect.signature(method).parameters
            if not name.startswith("_") and wanted.keys() <= arguments.keys():
                await method(**{parameter: arguments[parameter] for parameter in wanted})


async def _command(client: Client) -> None:
    """Commands that look for something before they change it."""
    await client.post("settings/Message_Read_Receipt_Enabled", value=True)
    await client.post("settings/Message_Read_Receipt_Store_Users", value=True)
    sent = await client.post("chat.sendMessage", message={"rid": ROOM, "msg": "#room-1 @user1 hello"})
    reply = await client.post("chat.sendMessage", message={"rid": ROOM, "msg": "so?", "tmid": sent["message"]["_id"]})
    for message in (reply, sent):
        await client.get("chat.getMessageReadReceipts", messageId=message["message"]["_id"])
    await client.get("chat.getMessageReadReceipts", messageId="message9")
    await client.post("chat.starMessage", messageId="message777")
    await client.post("subscriptions.unread", roomId=ROOM)
    await client.post("subscriptions.read", rid=ROOM, readThreads=True)
    await client.call("readThreads", sent["message"]["_id"])
    await client.post("moderation.dismissReports", userId=USER)
    await client.request("GET", "http://chat.example.org/emoji-custom/smile.png")
    await client.post("findOrCreateInvite", rid=ROOM, days=1, maxUses=5)
    await client.call("muteUserInRoom", {"rid": ROOM, "username": "user7"})
    await client.post("chat.delete", roomId=ROOM, msgId=sent["message"]["_id"])
    await client.post("rooms.cleanHistory", roomId=ROOM, latest="2023-11-14T22:14:00Z", oldest="2023-11-14T22:13:00Z")
    await client.post("users.create", username="late", name="Late", email="late@example.org", password="a password 1A!")
    await client.post("channels.create", name="own", members=["user7"])
    await client.post("channels.leave", 400, roomName="own")  # nobody else owns it
    await client.post("channels.delete", roomName="own")


async def _command_team(client: Client) -> None:
    """What becomes of a team with many rooms, and what follows from it in these."""
    await client.get("teams.listChildren", teamId=TEAM, count=50)
    await client.get("teams.listRoomsOfUser", teamId=TEAM, userId=USER, canUserDelete="true", count=50)
    await client.post("teams.addMembers", teamId=TEAM, members=[{"userId": "user7"}])
    await client.post("teams.update", teamId=TEAM, data={"type": 1})
    await client.post("teams.removeMember", teamId=TEAM, userId="user7", rooms=[f"room{TEAM_NUMBER + 1}"])
    await client.post("teams.delete", teamId=TEAM, roomsToRemove=[f"room{TEAM_NUMBER + 1}"])


def _cost(folder: Path, one: Asked) -> tuple[int, int]:
    """How many instructions the query takes, and how many documents it finds or counts."""
    connection = connect(folder / "palaver.db", busy_timeout=5, read_only=True)
    try:
        return workspace.cost_of(connection, one.statement.sql, one.statement.parameters)
    finally:
        connection.close()


def test_a_list_costs_what_it_shows(folder: Path, asked: list[Asked]) -> None:
    """Parts of names, and words, are looked for in all of them: in a thread, and in the index of words."""
    slow = []
    for one in asked:
        if one.statement.looks_through or one.collection in SMALL or one.function in LOOKS_FURTHER:
            continue
        steps, found = _cost(folder, one)
        if steps > STEPS + STEPS_OF_DOCUMENT * (found + one.skip + len(one.statement.parameters)):
            slow.append(f"{one.caller} {one.function}: {steps} steps for {found}: {one.statement.sql[:500]}")
    assert not slow, "\n".join(slow)


def test_mongodb_has_an_index_for_each_list(asked: list[Asked]) -> None:
    unserved = [
        f"{one.caller} {one.function}{one.sort}: {one.collection} {str(one.where)[:500]}"
        for one in asked
        if one.collection not in SMALL and one.function not in LOOKS_FURTHER
        if not serves(COLLECTIONS[one.collection], one.where, one.sort)
    ]
    assert not unserved, "\n".join(unserved)


def test_every_line_that_asks_the_database_is_reached(asked: list[Asked]) -> None:
    reached = {one.caller for one in asked}
    missed = [
        f"{name}:{call.lineno} {function}"
        for name, function, call in _lines_that_ask()
        if function not in NOT_REACHED
        and not any(f"{name}:{line}" in reached for line in range(call.lineno, (call.end_lineno or 0) + 1))
    ]
    assert not missed, "\n".join(missed)


def _lines_that_ask() -> Iterator[tuple[str, str, ast.Call]]:
    """Of the server's own code: file, function and call of each query."""
    for path in sorted(SOURCES.rglob("*.py")):
        name = path.relative_to(SOURCES)
        if name.parts[0] in ("database", "backup", "v1"):
            continue  # the port itself, and what reads all of it at rest
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and _asks(call.func):
                        yield str(name), function.name, call


def _asks(function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in QUERIES:
        return False
    of = function.value
    return "database" in (of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else "")


async def test_what_a_client_has_made_up_does_not_hold_up_the_event_loop(folder: Path) -> None:
    """A filter that nothing matches: it takes an index's order, and never fills its page."""
    database = RecordingDatabase(folder / "palaver.db")
    await database.open()
    moved = MOVED._value.get()
    where = {"rid": ROOM, "_hidden": None, "t": "no such kind"}
    assert await database.find("messages", where, sort=[("ts", -1), ("_id", -1)], limit=50) == []
    assert MOVED._value.get() == moved + 1
    where = {"rid": ROOM, "_hidden": None}
    assert len(await database.find("messages", where, sort=[("ts", -1), ("_id", -1)], limit=50)) == 50
    assert MOVED._value.get() == moved + 1
    await database.close()
