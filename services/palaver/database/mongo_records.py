"""Records in MongoDB: one document each, `_id` is its kind and its id. Called by `mongo.py`."""

from orjson import dumps, loads

from palaver.database import Document
from palaver.database.mongo_connection import MotorDatabase
from palaver.database.mongo_schema import RECORDS


async def put(database: MotorDatabase, kind: str, id: str, record: Document) -> None:
    """Sets one record, whole."""
    key = f"{kind}/{id}"
    await database[RECORDS].replace_one({"_id": key}, {"_id": key, "record": dumps(record)}, upsert=True)


async def replace(database: MotorDatabase, kind: str, id: str, record: Document) -> bool:
    """Sets one record; False where there is none."""
    key = f"{kind}/{id}"
    result = await database[RECORDS].replace_one({"_id": key}, {"_id": key, "record": dumps(record)})
    return result.matched_count == 1


async def find(database: MotorDatabase, kind: str, id: str) -> Document | None:
    """One record, or None."""
    found = await database[RECORDS].find_one({"_id": f"{kind}/{id}"})
    return None if found is None else loads(found["record"])


async def list_from(
    database: MotorDatabase, kind: str, prefix: str, after: str, limit: int
) -> list[tuple[str, Document]]:
    """Ids and records, by id."""
    start = f"{kind}/"
    # Ids are printable ASCII: everything with a prefix is below the prefix and the character after those.
    where = {"$gte": f"{start}{prefix}", "$gt": f"{start}{after}", "$lt": f"{start}{prefix}\x7f"}
    cursor = database[RECORDS].find({"_id": where}).sort("_id", 1).limit(limit)
    return [(found["_id"].removeprefix(start), loads(found["record"])) for found in await cursor.to_list(None)]


async def delete(database: MotorDatabase, kind: str, id: str) -> bool:
    """Whether there was one."""
    return (await database[RECORDS].delete_one({"_id": f"{kind}/{id}"})).deleted_count == 1
