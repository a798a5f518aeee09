"""Short lists: a few strings of a document, which narrow what an index has found."""

from typing import Any

from palaver.database import Database, Document, Put
from tests.database.model import USER, commit, insert


async def test_short_lists_narrow_what_is_found(database: Database) -> None:
    """They hold few strings, or are not there; and they follow the document, an empty one as if it were none."""
    held = {"a": ["owner", 'qu"ote'], "b": ["owner"], "c": [], "d": None, "e": ["leader", "moderator"]}

    async def find(condition: Any) -> str:
        where = {"rid": "r", "left_at": None, "roles": condition}
        found = await database.find("subscriptions", where, sort=[("u.username", 1)])
        assert await database.count("subscriptions", where) == len(found)
        return "".join(member["_id"] for member in found)

    members: list[Document] = [{"_id": id, "rid": "r", "u": {"username": id}, "roles": held[id]} for id in held]
    del members[3]["roles"]
    await insert(database, "subscriptions", *members, {"_id": "z", "rid": "other", "roles": ["owner"]})
    assert await find("owner") == "ab"
    assert await find('qu"ote') == "a"
    assert await find("ote") == await find("") == await find({"$in": []}) == ""
    assert await find({"$in": ["leader", "owner"]}) == "abe"
    assert await find({"$nin": ["leader", "other"]}) == await find({"$ne": "leader"}) == "abcd"
    assert (await find({"$exists": True}), await find({"$exists": False})) == ("abe", "cd")
    changes = {"b": [], "c": ["owner", "leader"]}
    puts = [Put("subscriptions", id, set={"roles": roles}) for id, roles in changes.items()]
    await commit(database, USER, 1, *puts, Put("subscriptions", "a", unset=("roles",)))
    assert (await find("owner"), await find({"$exists": True})) == ("c", "ce")
    await commit(database, USER, 2, Put("subscriptions", "c", set={"f": True}))
    assert await find("leader") == "ce"
