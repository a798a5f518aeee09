"""Retention: rooms keep what was said for some time, as the settings say or as they say themselves; the rest is pruned.

One process of those that play messaging does it, under a lease, at the times that the settings name. How far it has
come is a record, so that another one goes on where it died. Until when each room is pruned is a record, too: what is
older is looked through again only when the room's policy has changed, and once a week for what was pinned or imported.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from palaver import failpoints
from palaver.commit import now
from palaver.database import Document
from palaver.errors import InvalidInput, Unavailable
from palaver.events import SYSTEM
from palaver.ids import encode_subject_token
from palaver.messaging.pruning import Pruning
from palaver.messaging.rounds import Rounds
from palaver.messaging.schedule import Schedule, parse_schedule
from palaver.node import Node
from palaver.v1.messaging_pb2 import PruneMessagesRequest

logger = logging.getLogger(__name__)

PRUNED = Counter(
    "palaver_retention_rooms_pruned_total",
    "Rooms in which retention looked for old messages, or failed to",
    ["outcome"],
)

RUNS, ROOMS = "retentions", "retention-rooms"
"""The kinds of its records: the run at hand, and until when each room is pruned."""

_THE_RUN = "run"
_ROUND_SECONDS = 30.0
_ROOMS_AT_ONCE = 100
_DAY_MILLISECONDS = 86_400_000
_WHOLE_EVERY = 7 * _DAY_MILLISECONDS
_DEFAULT_DAYS = 30
# How often, by the setting RetentionPolicy_Precision.
_PRECISIONS = {"0": "*/30 * * * *", "1": "0 * * * *", "2": "0 */6 * * *", "3": "0 0 * * *"}
# How the settings call the types of rooms.
_TYPES = {"c": "Channels", "p": "Groups", "d": "DMs"}

Setting = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Policy:
    """For how long (milliseconds) a room keeps its messages, and which ones longer."""

    age: int
    files_only: bool
    exclude_pinned: bool
    ignore_threads: bool
    ignore_discussions: bool

    @property
    def spares(self) -> list[bool]:
        """What it spares: messages that were looked at before are looked at again when this changes."""
        return [self.files_only, self.exclude_pinned, self.ignore_threads, self.ignore_discussions]


def find_policy(room: Document, setting: Setting) -> Policy | None:
    """What the room keeps; None where it keeps everything."""
    own = room.get("retention") or {}
    ignore_discussions = bool(setting("RetentionPolicy_DoNotPruneDiscussion"))
    if own.get("overrideGlobal"):
        days = own.get("maxAge", _DEFAULT_DAYS)
        if not own.get("enabled") or days < 1:
            return None
        return Policy(
            int(days * _DAY_MILLISECONDS),
            bool(own.get("filesOnly")),
            bool(own.get("excludePinned")),
            bool(own.get("ignoreThreads")),
            ignore_discussions,
        )
    kind = _TYPES.get(room["t"])
    if kind is None or own.get("enabled") is False or not setting(f"RetentionPolicy_AppliesTo{kind}"):
        return None
    age = int(setting(f"RetentionPolicy_TTL_{kind}"))
    if age <= 0:
        return None
    return Policy(
        age,
        bool(setting("RetentionPolicy_FilesOnly")),
        bool(setting("RetentionPolicy_DoNotPrunePinned")),
        bool(setting("RetentionPolicy_DoNotPruneThreads")),
        ignore_discussions,
    )


def find_schedule(setting: Setting) -> Schedule:
    """When it is done. An expression that makes no sense is logged, and every half hour is taken."""
    text = _PRECISIONS.get(str(setting("RetentionPolicy_Precision")), _PRECISIONS["0"])
    if setting("RetentionPolicy_Advanced_Precision"):
        try:
            return parse_schedule(str(setting("RetentionPolicy_Advanced_Precision_Cron")))
        except InvalidInput as error:
            logger.warning("RetentionPolicy_Advanced_Precision_Cron: %s", error)
            text = _PRECISIONS["0"]
    return parse_schedule(text)


class Retention:
    """The task of one process, which may have the lease or not."""

    def __init__(self, node: Node, pruning: Pruning) -> None:
        self._node = node
        self._database = node.database
        self._pruning = pruning
        self._unavailable_in = ""  # the room in which a round has ended
        self._rounds = Rounds(node, "retentions", _ROUND_SECONDS, self._prune_now)

    async def run(self) -> None:
        """The background task."""
        await self._rounds.run()

    async def _prune_now(self) -> None:
        if self._node.access.setting("RetentionPolicy_Enabled"):
            await self.prune_due(now())

    async def prune_due(self, at: int) -> None:
        """Does what is due at this time (epoch milliseconds), or goes on with what another process has begun."""
        due = find_schedule(self._node.access.setting).find_last(at)
        run = await self._database.find_record(RUNS, _THE_RUN)
        if run is None:
            # Whoever has just switched it on can still think twice until the next time.
            await self._database.put_record(RUNS, _THE_RUN, {"due": due, "finished": True})
            return
        if run["finished"]:
            if due is None or (run["due"] is not None and due <= run["due"]):
                return
            run = {"due": due, "at": at, "after": "", "finished": False}
        while not run["finished"]:
            await self._database.put_record(RUNS, _THE_RUN, run)
            streams = await self._database.list_streams("room", after=run["after"], limit=_ROOMS_AT_ONCE)
            ids = [stream.id for stream, _ in streams]
            rooms = await self._database.get_many("rooms", ids)
            for id in ids:
                if id in rooms and not rooms[id].get("deleted_at"):
                    await self._visit(rooms[id], run["at"])
            run = {**run, "after": ids[-1]} if ids else {**run, "finished": True}
        await self._database.put_record(RUNS, _THE_RUN, run)

    async def _visit(self, room: Document, at: int) -> None:
        try:
            policy = find_policy(room, self._node.access.setting)
            if policy is not None:
                await self._prune(room["_id"], policy, at)
        except Exception as error:  # one room that can't be pruned, whatever the reason, keeps no other waiting
            if isinstance(error, Unavailable) and self._unavailable_in != room["_id"]:
                self._unavailable_in = room["_id"]
                raise  # it may be the database, so it is the next round's, once
            PRUNED.labels("failed").inc()
            logger.exception("retention could not prune room %s", room["_id"])

    async def _prune(self, room_id: str, policy: Policy, at: int) -> None:
        key = encode_subject_token(room_id)
        known = await self._database.find_record(ROOMS, key)
        until = at - policy.age
        if known is None or known["spares"] != policy.spares or known["whole_at"] <= at - _WHOLE_EVERY:
            known = {"until": 0, "whole_at": at, "spares": policy.spares}
        elif not await self._has_messages(room_id, known["until"], until):
            return
        request = PruneMessagesRequest(
            actor=SYSTEM,
            room_id=room_id,
            oldest=known["until"],
            latest=until,
            inclusive=True,
            exclude_pinned=policy.exclude_pinned,
            files_only=policy.files_only,
            ignore_threads=policy.ignore_threads,
            ignore_discussions=policy.ignore_discussions,
        )
        while True:
            reply = await self._pruning.prune(request)
            if not reply.next:
                break
            request.start = reply.next
        failpoints.reach("retention.after_room")
        await self._database.put_record(ROOMS, key, {**known, "until": max(until, known["until"])})
        PRUNED.labels("pruned").inc()

    async def _has_messages(self, room_id: str, oldest: int, latest: int) -> bool:
        between = {"$gt": {"$date": oldest}, "$lte": {"$date": latest}}
        return bool(await self._database.find("messages", {"rid": room_id, "_hidden": None, "ts": between}, limit=1))
