"""What the use cases read from the database. Writing is by events alone (`palaver/commit.py`)."""

from collections.abc import Sequence
from typing import Any

from palaver.database import Database, Document, Filter
from palaver.database.schema import CHOICES
from palaver.messaging import rules
from palaver.messaging.rules import NO_THREADS, UnreadSettings, UnreadThreads

# A read of a room and a subscription that a commit overtakes is repeated; a crash may leave them apart for longer.
_MAX_READS = 5


class Store:
    """Reads of rooms, subscriptions, messages and what was read of threads."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def find_room(self, room_id: str) -> Document | None:
        """The room, or None for an unknown or deleted one."""
        room = await self.database.get("rooms", room_id) if room_id else None
        return None if room is None or room.get("deleted_at") else room

    async def find_room_by_name(self, name: str) -> Document | None:
        """The public or private room of exactly this name."""
        room = await self.database.find_one("rooms", {"name": name}) if name else None
        return None if room is None or room.get("deleted_at") else room

    async def find_subscription(self, room_id: str, user_id: str) -> Document | None:
        """The user's membership of the room, or None."""
        if not user_id:
            return None
        return await self.database.find_one("subscriptions", {"rid": room_id, "u._id": user_id, "left_at": None})

    async def find_membership(self, room_id: str, user_id: str) -> tuple[Document, Document] | None:
        """A room and the user's subscription of the same moment, or None where either is missing."""
        for attempt in range(1, _MAX_READS + 1):
            room = await self.find_room(room_id)
            subscription = await self.find_subscription(room_id, user_id)
            if room is None or subscription is None:
                return None
            if rules.is_consistent(room, subscription) or attempt == _MAX_READS:
                return room, subscription
        raise AssertionError("the loop returns")

    async def list_subscriptions(self, user_id: str, room_ids: Sequence[str] = ()) -> list[Document]:
        """The user's memberships: all of them, or those of these rooms."""
        where: dict[str, Any] = {"u._id": user_id, "left_at": None}
        if room_ids:
            where["rid"] = {"$in": list(room_ids)}
        return await self.database.find("subscriptions", where)

    async def list_subscriptions_after(self, user_id: str, room_id: str, limit: int) -> list[Document]:
        """Some of the user's memberships, by room id: those of rooms after this one."""
        where = {"u._id": user_id, "left_at": None, "rid": {"$gt": room_id}}
        return await self.database.find("subscriptions", where, sort=[("rid", 1)], limit=limit)

    async def list_subscriptions_with_roles(self, user_id: str) -> list[Document]:
        """The user's memberships of rooms in which they have roles."""
        where = {"u._id": user_id, "left_at": None, "roles": {"$exists": True}}
        return await self.database.find("subscriptions", where)

    async def list_subscriptions_with_choices(self, user_id: str) -> list[Document]:
        """The user's memberships of rooms of which they have chosen what they want to be told."""
        found = [
            await self.database.find("subscriptions", {"u._id": user_id, "left_at": None, choice: {"$exists": True}})
            for choice in CHOICES
        ]
        return list({one["_id"]: one for some in found for one in some}.values())

    async def list_members_after(self, room_id: str, username: str, limit: int) -> list[Document]:
        """Some of the room's memberships, by username: those after this one."""
        where = {"rid": room_id, "left_at": None, "u.username": {"$gt": username}}
        return await self.database.find("subscriptions", where, sort=[("u.username", 1)], limit=limit)

    async def list_owners(self, room_ids: Sequence[str]) -> list[Document]:
        """The memberships of those who own one of these rooms."""
        where = {"rid": {"$in": list(room_ids)}, "left_at": None, "roles": "owner"}
        return await self.database.find("subscriptions", where)

    async def list_pictures(self, picture_ids: Sequence[str]) -> list[str]:
        """Those of these that some room has as its picture."""
        where = {"avatarETag": {"$in": list(picture_ids)}}
        rooms = await self.database.find("rooms", where) if picture_ids else []
        return [room["avatarETag"] for room in rooms if not room.get("deleted_at")]

    async def list_messages_by(self, user_id: str, message_id: str, limit: int) -> list[Document]:
        """Some of what the user has ever written anywhere, by id: messages after this one, deleted ones among them."""
        where = {"u._id": user_id, "_id": {"$gt": message_id}}
        return await self.database.find("messages", where, sort=[("_id", 1)], limit=limit)

    async def list_room_ids(self, user_id: str) -> list[str]:
        """Ids of the rooms that the user is a member of: read from the index alone."""
        return await self.database.list_values("subscriptions", "rid", {"u._id": user_id, "left_at": None})

    async def open_rooms(self, user_id: str) -> Filter:
        """The filter for rooms that no private team has for its members alone, and for those that the user may enter
        all the same: a team's id is its main room's."""
        own = await self.list_room_ids(user_id) if user_id else []
        return {"$or": [{"team_private": None}, {"_id": {"$in": own}}, {"teamId": {"$in": own}}]}

    async def list_joined(self, since: int) -> list[Document]:
        """Memberships that began since then, and have not ended."""
        return await self.database.find("subscriptions", {"ts": {"$gt": {"$date": since}}, "left_at": None})

    async def list_ended_subscriptions(self, user_id: str, since: int) -> list[Document]:
        """Memberships that ended since then."""
        return await self.database.find("subscriptions", {"u._id": user_id, "left_at": {"$gt": {"$date": since}}})

    async def list_room_subscriptions(self, room_id: str, user_ids: Sequence[str]) -> list[Document]:
        """The memberships of these users in one room."""
        where = {"rid": room_id, "u._id": {"$in": list(user_ids)}, "left_at": None}
        return await self.database.find("subscriptions", where)

    async def find_deleted_rooms(self, room_ids: Sequence[str]) -> list[Document]:
        """Those of these rooms that were deleted: most often none."""
        where = {"_id": {"$in": list(room_ids)}, "deleted_at": {"$exists": True}}
        return await self.database.find("rooms", where) if room_ids else []

    async def find_starred(self, user_id: str, message_ids: Sequence[str]) -> frozenset[str]:
        """Those of these messages that the user has starred."""
        stars = await self.database.get_many("stars", [f"{user_id}/{message_id}" for message_id in message_ids])
        return frozenset(star["message_id"] for star in stars.values() if star["starred"])

    async def find_read_until(self, room_id: str) -> int:
        """Until when every member has read the room (epoch milliseconds); 0 while somebody has never read it."""
        where = {"rid": room_id, "left_at": None}
        found = await self.database.find("subscriptions", where, sort=[("ls", 1)], limit=1)
        return rules.milliseconds(found[0].get("ls")) if found else 0

    async def find_unread_threads(self, user_id: str, room_id: str = "") -> dict[str, UnreadThreads]:
        """Unread threads that the user follows, by room; of all rooms, or of one."""
        where = {"user_id": user_id, "rid": room_id} if room_id else {"user_id": user_id}
        records = [record for record in await self.database.find("thread_reads", where) if record.get("following")]
        if not records:
            return {}
        heads = await self.database.get_many("messages", [record["thread_id"] for record in records])
        return rules.find_unread_threads(records, heads)

    async def find_unread_threads_of(self, room_id: str, user_ids: Sequence[str]) -> dict[str, UnreadThreads]:
        """Unread threads of one room that these users follow, by user."""
        where = {"rid": room_id, "user_id": {"$in": list(user_ids)}}
        records = [record for record in await self.database.find("thread_reads", where) if record.get("following")]
        if not records:
            return {}
        heads = await self.database.get_many("messages", list({record["thread_id"] for record in records}))
        by_user: dict[str, list[Document]] = {}
        for record in records:
            by_user.setdefault(record["user_id"], []).append(record)
        return {
            user_id: found[room_id]
            for user_id, own in by_user.items()
            if room_id in (found := rules.find_unread_threads(own, heads))
        }

    async def present_subscription(self, subscription: Document, room: Document, settings: UnreadSettings) -> Document:
        """One subscription as its member sees it."""
        threads = await self.find_unread_threads(subscription["u"]["_id"], room["_id"])
        return rules.present_subscription(subscription, room, settings, threads.get(room["_id"], NO_THREADS))
