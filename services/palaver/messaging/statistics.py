"""Figures of the workspace, for its administrators alone: nothing of them leaves the server.

They are counted when somebody asks and the last ones are old, at most once a minute. Each counting stays for a month,
as a record. Called by role.py.
"""

import orjson

from palaver.commit import now
from palaver.database import Database, Document
from palaver.errors import InvalidInput, NotAllowed
from palaver.node import Node
from palaver.v1.auth_pb2 import DocumentsReply, Empty
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import GetStatisticsRequest, ListStatisticsRequest, StatisticsReply
from palaver.v1.presence_pb2 import AWAY, BUSY, ONLINE, GetPresenceRequest

KIND = "statistics"

_FRESH_MILLISECONDS = 60_000
_DAY_MILLISECONDS = 24 * 3_600_000
_KEPT_MILLISECONDS = 31 * _DAY_MILLISECONDS
_MAX_KEPT = 500
_PAGE = 500
_NAMES = {"c": "Channels", "p": "PrivateGroups", "d": "Direct"}


class Statistics:
    """Counts, and remembers what was counted."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def get(self, request: GetStatisticsRequest) -> StatisticsReply:
        """The last figures, of today; with `refresh` those of this minute. Raises NotAllowed."""
        await self._check(request.actor)
        kept = await self._list_kept()
        last = kept[-1][1] if kept else None
        oldest = now() - (_FRESH_MILLISECONDS if request.refresh else _DAY_MILLISECONDS)
        if last is None or last["createdAt"]["$date"] < oldest:
            last = await self._count()
            await self._database.put_record(KIND, f"{last['createdAt']['$date']:015d}", last)
            for id, old in kept:
                if old["createdAt"]["$date"] < now() - _KEPT_MILLISECONDS or len(kept) >= _MAX_KEPT:
                    await self._database.delete_record(KIND, id)
                    break
        return StatisticsReply(statistics=orjson.dumps(last))

    async def list_some(self, request: ListStatisticsRequest) -> DocumentsReply:
        """What was counted within a month, the last first. Raises NotAllowed, InvalidInput."""
        await self._check(request.actor)
        if request.offset < 0 or request.count < 0:
            raise InvalidInput("offset and count can't be negative")
        kept = [record for _, record in reversed(await self._list_kept())]
        page = kept[request.offset : request.offset + request.count] if request.count else kept[request.offset :]
        return DocumentsReply(documents=map(orjson.dumps, page), total=len(kept))

    @property
    def _database(self) -> Database:
        return self._node.database

    async def _check(self, actor: Actor) -> None:
        access = self._node.access
        if not access.may(await access.get_actor(actor), "view-statistics"):
            raise NotAllowed()

    async def _list_kept(self) -> list[tuple[str, Document]]:
        return await self._database.list_records(KIND, limit=_MAX_KEPT + 1)

    async def _count(self) -> Document:
        users = await self._node.services.auth.count_users(Empty())
        people = (await self._node.services.presence.get_presence(GetPresenceRequest())).users
        seen = {status: sum(person.status == status for person in people) for status in (ONLINE, AWAY, BUSY)}
        connected = sum(seen.values())
        at = now()
        figures: Document = {
            "_id": f"{at:015d}",
            "uniqueId": self._node.access.setting("uniqueID"),
            "version": self._node.config.api_version,
            "createdAt": {"$date": at},
            "totalUsers": users.total,
            "activeUsers": users.active,
            "nonActiveUsers": users.total - users.active - users.apps,
            "appUsers": users.apps,
            "onlineUsers": seen[ONLINE],
            "awayUsers": seen[AWAY],
            "busyUsers": seen[BUSY],
            "totalConnectedUsers": connected,
            "offlineUsers": max(0, users.total - connected),
            "totalRooms": 0,
            "totalMessages": 0,
        }
        for name in _NAMES.values():
            figures |= {f"total{name}": 0, f"total{name.removesuffix('s')}Messages": 0}
        figures |= {"totalDiscussions": 0, "totalDiscussionsMessages": 0}
        await self._count_rooms(figures)
        return figures

    async def _count_rooms(self, figures: Document) -> None:
        """One pass over all rooms, some at a time."""
        after = ""
        while page := await self._database.find("rooms", {"_id": {"$gt": after}}, sort=[("_id", 1)], limit=_PAGE):
            after = page[-1]["_id"]
            for room in page:
                name = _NAMES.get(room["t"])
                if name is None or room.get("deleted_at"):
                    continue
                messages = room.get("msgs", 0)
                names = [(name, name.removesuffix("s")), ("Rooms", "")]
                if room.get("prid"):
                    names.append(("Discussions", "Discussions"))
                for rooms, their in names:
                    figures[f"total{rooms}"] += 1
                    figures[f"total{their}Messages"] += messages
