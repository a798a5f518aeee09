"""Which takeouts were asked for, and what became of them: records of the database, one a user, and one for each to do.

What is lost with them can be asked for again, so backups have none of it (`backup/making.py`).
"""

import re

import orjson

from palaver.blobs import TAKEOUTS, BlobNotFound
from palaver.commit import now
from palaver.database import Document
from palaver.errors import NotAllowed, TooManyRequests
from palaver.ids import encode_subject_token, new_id
from palaver.node import Node
from palaver.v1.messaging_pb2 import GetTakeoutRequest, RequestTakeoutRequest, TakeoutReply

KEPT_MILLISECONDS = 7 * 86_400_000
KIND = "takeouts"
DUE = "takeout_due"

_FRESH_MILLISECONDS = 86_400_000
_MAX_A_DAY = 5  # of one user: each may be as large as all that they have sent
_MAX_COUNTED = 1000
_UNDER_WAY = ("pending", "exporting")
_MAX_ATTEMPTS = 10
_PAUSE = 5_000  # milliseconds; twice as long after each attempt, all together somewhat more than an hour
_is_id = re.compile(r"[A-Za-z0-9]{1,64}").fullmatch


class Catalogue:
    """The use cases of takeouts, and their records."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._database = node.database

    async def request(self, request: RequestTakeoutRequest) -> TakeoutReply:
        """Has the actor's data gathered, unless that is under way or was done within a day.

        Raises NotAllowed; TooManyRequests for who asks now for one kind and now for the other, again and again.
        """
        user = await self._node.access.get_actor(request.actor)
        if not self._node.access.setting("UserData_EnableDownload"):
            raise NotAllowed("Downloads of one's data are disabled")
        known = await self._database.find_record(KIND, _key(user.id))
        if known is not None and _is_enough(known, request.full):
            if known["status"] in _UNDER_WAY and await self._database.find_record(DUE, _due_key(known)) is None:
                await self._put_due(known)  # whoever wrote it down has died before this
            return TakeoutReply(takeout=_shown(known))
        at = now()
        begun = [time for time in (known or {}).get("begun", ()) if time > at - _FRESH_MILLISECONDS]
        if len(begun) >= _MAX_A_DAY:
            raise TooManyRequests(f"At most {_MAX_A_DAY} downloads are made for somebody in a day")
        waiting = await self._database.list_records(DUE, limit=_MAX_COUNTED)
        takeout: Document = {
            "_id": new_id(),
            "userId": user.id,
            "status": "pending",
            "fullExport": request.full,
            "begun": [*begun, at],
            "createdAt": {"$date": at},
            "_updatedAt": {"$date": at},
        }
        await self._database.put_record(KIND, _key(user.id), takeout)
        await self._put_due(takeout)
        if known is not None:
            await self._node.blobs.delete(blob_key(known["_id"]))
        return TakeoutReply(takeout=_shown(takeout), requested=True, waiting=len(waiting))

    async def get(self, request: GetTakeoutRequest) -> TakeoutReply:
        """A takeout of the actor's own whose bytes are there. Raises BlobNotFound."""
        user = await self._node.access.get_actor(request.actor)
        found = await self._database.find_record(KIND, _key(user.id))
        is_right = found is not None and _is_id(request.takeout_id) and found["_id"] == request.takeout_id
        if not is_right or found is None or found["status"] != "completed" or _is_over(found):
            raise BlobNotFound()
        return TakeoutReply(takeout=_shown(found))

    async def _put_due(self, takeout: Document) -> None:
        await self._database.put_record(DUE, _due_key(takeout), {"user_id": takeout["userId"]})

    async def find_due(self, at: int) -> tuple[str, Document] | None:
        """What waits longest of that which may be made at this time (epoch milliseconds), with the key that says so."""
        for due_key, due in await self._database.list_records(DUE, limit=_MAX_COUNTED):
            takeout = await self._database.find_record(KIND, _key(due["user_id"]))
            if takeout is None or due_key != _due_key(takeout):
                await self._database.delete_record(DUE, due_key)  # they have asked anew
            elif due.get("not_before", 0) <= at:
                return due_key, takeout
        return None

    async def postpone(self, due_key: str, at: int) -> bool:
        """Has it made later than this time, each time later; False where that was done often enough."""
        due = await self._database.find_record(DUE, due_key)
        attempts = 1 if due is None else due.get("attempts", 0) + 1
        if due is None or attempts >= _MAX_ATTEMPTS:
            return False
        again = {**due, "attempts": attempts, "not_before": at + _PAUSE * 2**attempts}
        await self._database.put_record(DUE, due_key, again)
        return True

    async def change(self, takeout: Document, **changes: object) -> None:
        """Says what has become of a takeout, unless its user has asked for another one."""
        known = await self._database.find_record(KIND, _key(takeout["userId"]))
        if known is not None and known["_id"] == takeout["_id"]:
            changed = {**known, **changes, "_updatedAt": {"$date": now()}}
            await self._database.put_record(KIND, _key(takeout["userId"]), changed)

    async def finish(self, due_key: str) -> None:
        """Nothing is left to do for it."""
        await self._database.delete_record(DUE, due_key)

    async def clean(self, at: int) -> None:
        """Removes takeouts that are over, and those of users who are no more."""
        after = ""
        while page := await self._database.list_records(KIND, after=after):
            after = page[-1][0]
            users = await self._node.access.find_users({takeout["userId"] for _, takeout in page})
            for key, takeout in page:
                if _is_over(takeout, at) or takeout["userId"] not in users:
                    await self._database.delete_record(KIND, key)
                    await self._node.blobs.delete(blob_key(takeout["_id"]))
        async for blob in self._node.blobs.list(TAKEOUTS):  # of records that went before their bytes came
            if blob.stored_at < at - KEPT_MILLISECONDS:
                await self._node.blobs.delete(blob.key)


def blob_key(takeout_id: str) -> str:
    """Where its bytes are."""
    return f"{TAKEOUTS}/{takeout_id}"


def _key(user_id: str) -> str:
    return encode_subject_token(user_id)


def _shown(takeout: Document) -> bytes:
    """What its user is told of it."""
    return orjson.dumps({name: value for name, value in takeout.items() if name != "begun"})


def _due_key(takeout: Document) -> str:
    return f"{takeout['createdAt']['$date']:014d}-{takeout['_id']}"


def _is_enough(takeout: Document, full: bool) -> bool:
    if takeout["status"] in _UNDER_WAY:
        return True
    is_fresh = takeout["createdAt"]["$date"] > now() - _FRESH_MILLISECONDS
    return bool(takeout["status"] == "completed" and takeout["fullExport"] == full and is_fresh)


def _is_over(takeout: Document, at: int | None = None) -> bool:
    return bool(takeout["createdAt"]["$date"] < (now() if at is None else at) - KEPT_MILLISECONDS)
