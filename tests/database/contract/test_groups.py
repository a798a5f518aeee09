"""Documents in groups: how many share a value of a field, and which of them is the newest."""

from typing import Any

import pytest

from palaver.database import Database, Group
from tests.database.contract.test_documents import date
from tests.database.model import insert

OPEN = {"kind": "message", "closed_at": None}


async def fill(database: Database) -> None:
    reports = [("a", 10), ("b", 20), ("a", 30), ("c", 20), ("b", 5), ("", 15)]
    for number, (user_id, at) in enumerate(reports):
        document: dict[str, Any] = {"_id": f"r{number}", "kind": "message", "ts": date(at)}
        document["message"] = {"msg": f"m{at}"}
        if user_id:
            document["user_id"] = user_id
        await insert(database, "reports", document)
    await insert(database, "reports", {"_id": "closed", "kind": "message", "user_id": "a", "closed_at": date(1)})
    await insert(database, "reports", {"_id": "other", "kind": "user", "user_id": "a", "ts": date(99)})


async def test_groups_by_the_newest_of_each(database: Database) -> None:
    await fill(database)
    expected = [Group("a", 2, "r2"), Group("c", 1, "r3"), Group("b", 2, "r1")]
    assert await database.list_groups("reports", OPEN, "user_id", "ts") == (expected, 3)
    assert await database.list_groups("reports", OPEN, "user_id", "ts", ascending=True) == (expected[::-1], 3)
    assert await database.list_groups("reports", OPEN, "user_id", "ts", skip=1, limit=1) == (expected[1:2], 3)
    assert await database.list_groups("reports", OPEN, "user_id", "ts", skip=3) == ([], 3)
    words = {"$and": [OPEN, {"$or": [{"message.msg": {"$contains": "M1"}}, {"description": {"$contains": "M1"}}]}]}
    assert await database.list_groups("reports", words, "user_id", "ts") == ([Group("a", 1, "r0")], 1)
    assert await database.list_groups("reports", {"kind": "none"}, "user_id", "ts") == ([], 0)


@pytest.mark.parametrize(("by", "at"), [("ts", "ts"), ("user_id", "kind"), ("secret", "ts"), ("user_id", "secret")])
async def test_only_by_what_is_declared(database: Database, by: str, at: str) -> None:
    with pytest.raises(ValueError):
        await database.list_groups("reports", OPEN, by, at)
