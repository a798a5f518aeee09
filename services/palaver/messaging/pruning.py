"""Pruning: deleting what was said in a room up to some time, or only its files. Called by role.py.

Some messages at a time, in one event, which says what the room has left and shows as its last message. Discussions go
with the messages that told of them: the follower of discussions deletes them.
"""

from typing import Any

import orjson
from prometheus_client import Counter

from palaver import failpoints
from palaver.commit import Draft, now
from palaver.database import Document, Filter
from palaver.errors import InvalidInput, Unavailable
from palaver.events import room_stream
from palaver.messaging import rules
from palaver.messaging.erasure import list_roots, list_unmentioned
from palaver.messaging.files import list_attached, list_ids
from palaver.messaging.paging import behind, parse_place, place
from palaver.messaging.revisions import NotYet, TooMuch, check_size, find_last_message
from palaver.messaging.views import Views
from palaver.node import Node
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import PruneMessagesReply, PruneMessagesRequest

PRUNED = Counter("palaver_messages_pruned_total", "Messages that were pruned, or whose files were", ["what"])

_PERMISSION = "clean-channel-history"
_PER_EVENT = 100
_LOOKED_AT = 500  # messages in one call
_MAX_ATTEMPTS = 20
_MAX_USERS = 1000
_ORDER = ("ts", 1)
_LAST_TIME = 253_402_300_799_999  # the end of the year 9999
# What stands in the place of a file.
_FILE_REMOVED = {"color": "#FD745E", "text": "_File removed by prune_"}


class Pruning:
    """The use case of pruning a room."""

    def __init__(self, node: Node, views: Views) -> None:
        self._node = node
        self._views = views

    async def prune(self, request: PruneMessagesRequest) -> PruneMessagesReply:
        """The oldest first. Raises RoomNotFound, NotAllowed, InvalidInput."""
        await self._check(request)
        where = await self._where(request)
        reply = PruneMessagesReply()
        if where is None:
            return reply
        start = behind(_ORDER, *parse_place(request.start)) if request.start else []
        found = await self._node.database.find(
            "messages", {"$and": [*where, *start]}, sort=[_ORDER, ("_id", 1)], limit=_LOOKED_AT
        )
        wanted = [message for message in found if _is_meant(message, request)]
        if request.limit and len(wanted) >= request.limit:
            wanted = wanted[: request.limit]
        elif len(found) == _LOOKED_AT:
            reply.next = place(found[-1], "ts")
        for first in range(0, len(wanted), _PER_EVENT):
            reply.count += await self._prune_some(request, wanted[first : first + _PER_EVENT])
            failpoints.reach("prune.between_events")
        PRUNED.labels("file" if request.files_only else "message").inc(reply.count)
        return reply

    async def _check(self, request: PruneMessagesRequest) -> None:
        """Before anything is looked for; each command checks again."""
        user = await self._views.get_actor(request.actor)

        async def decide(draft: Draft) -> None:
            view = await self._views.get_drafted(draft, user, administered=True)
            self._views.check(user, _PERMISSION, view.roles)

        await self._node.commits.execute(room_stream(request.room_id), decide)

    async def _where(self, request: PruneMessagesRequest) -> list[Filter] | None:
        """The conditions that an index answers; None where nobody is left whose messages are meant."""
        low, high = ("$gte", "$lte") if request.inclusive else ("$gt", "$lt")
        where: list[Filter] = [
            {"rid": request.room_id, "_hidden": None},
            {"ts": {low: {"$date": _in_time(request.oldest)}, high: {"$date": _in_time(request.latest)}}},
        ]
        if len(request.usernames) > _MAX_USERS:
            raise InvalidInput("Too many users at once", code="error-user-limit-exceeded")
        if request.usernames:
            users = await self._node.access.find_users_by_name(request.usernames)
            if not users:
                return None
            where.append({"u._id": {"$in": [user.id for user in users.values()]}})
        return where

    async def _prune_some(self, request: PruneMessagesRequest, chosen: list[Document]) -> int:
        """One event of these messages, or several, as far as they are still meant; how many they were."""
        user = await self._views.get_actor(request.actor)
        ids = [message["_id"] for message in chosen]

        async def decide(draft: Draft) -> int:
            view = await self._views.get_drafted(draft, user, administered=True)
            self._views.check(user, _PERMISSION, view.roles)
            current = await draft.get_many("messages", ids)
            messages = [message for message in current if not message.get("_hidden") and _is_meant(message, request)]
            if not messages:
                return 0
            at = rules.event_time(view.room, now())
            event = Event()
            fact = event.messages_pruned
            for upload in await list_attached(draft, messages):
                fact.upload_ids.extend(list_ids(upload))
            if request.files_only:
                changed = [_without_file(message, at) for message in messages]
                fact.changed.extend(orjson.dumps(message) for message in changed)
            else:
                changed = []
                fact.message_ids.extend(message["_id"] for message in messages)
                fact.changed.extend(await list_roots(draft, messages, at))
                fact.unmentioned.extend(list_unmentioned(messages))
                fact.discussion_ids.extend(message["drid"] for message in messages if message.get("drid"))
                fact.remaining.CopyFrom(rules.remaining(view.room, len(messages)))
                fact.asked = orjson.dumps(_told(request))
            last = view.room.get("lastMessage")
            if last is not None and last["_id"] in {message["_id"] for message in messages}:
                new: Document | None
                if request.files_only:
                    new = next(message for message in changed if message["_id"] == last["_id"])
                else:
                    rest = {"_id": {"$nin": list(fact.message_ids)}}
                    new = await find_last_message(self._node.database, draft, view.room, rest)
                fact.room_last_message = orjson.dumps(new)
            check_size(event, messages)
            draft.append(event, actor=request.actor, at=at)
            return len(messages)

        for _ in range(_MAX_ATTEMPTS):
            try:
                pruned = await self._node.commits.execute(room_stream(request.room_id), decide)
            except NotYet:
                continue
            except TooMuch:
                half = len(chosen) // 2
                return await self._prune_some(request, chosen[:half]) + await self._prune_some(request, chosen[half:])
            return pruned
        raise Unavailable("The room is too busy")


def _in_time(at: int) -> int:
    """A date that every database knows."""
    return min(max(0, at), _LAST_TIME)


def _is_meant(message: Document, request: PruneMessagesRequest) -> bool:
    """Whether a message that the room had at that time is to be pruned."""
    if request.exclude_pinned and message.get("pinned"):
        return False
    if request.ignore_threads and (message.get("tmid") or message.get("tcount")):
        return False
    if request.ignore_discussions and message.get("drid"):
        return False
    return bool(not request.files_only or message.get("file"))


def _without_file(message: Document, at: int) -> Document:
    """The message with a word in the place of its file."""
    rest = {name: value for name, value in message.items() if name not in ("file", "files")}
    return {**rest, "attachments": [_FILE_REMOVED], "_updatedAt": {"$date": at}}


def _told(request: PruneMessagesRequest) -> dict[str, Any]:
    """What clients hear of it, besides which messages it were."""
    low, high = ("$gte", "$lte") if request.inclusive else ("$gt", "$lt")
    return {
        "rid": request.room_id,
        "excludePinned": request.exclude_pinned,
        "ignoreDiscussion": request.ignore_discussions,
        "ts": {low: {"$date": request.oldest}, high: {"$date": request.latest}},
        "users": list(request.usernames),
    }
