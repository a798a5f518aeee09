"""What a team's events mean to its other rooms, and theirs to its main room: streams of their own.

A durable follower of the rooms does it; whoever commits such an event has it done before they answer, as far as it is
done soon. Each step looks at how things are now and is done once, so it does not matter who is faster, or who dies.

    in the main room                  what follows
    team ends (deleted, converted)    the chosen rooms are deleted, the others leave the team
    it becomes private or public      so does what its public rooms are open for
    somebody enters                   they enter the default rooms
    somebody leaves                   they leave the chosen rooms
    in a room of the team
    it comes, goes, is deleted        the main room tells of it
    it becomes a default room         every member of the team enters
    in any room
    it is no longer for everybody     its public discussions are for those who see it: a private team has it, or it is
                                      private itself
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson

from palaver import failpoints
from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.documents import is_open
from palaver.errors import NotAllowed, PalaverError, RoomNotFound
from palaver.events import SYSTEM, room_stream
from palaver.log.durable import DurableFollower, Follower
from palaver.messaging import rules
from palaver.messaging.members import Members
from palaver.messaging.notices import Notices
from palaver.messaging.rooms import Rooms
from palaver.messaging.store import Store
from palaver.messaging.teams.sight import is_of_team
from palaver.messaging.views import SYSTEM_USER, find_member
from palaver.node import Node
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import RoomRequest

logger = logging.getLogger(__name__)

_FACTS = frozenset({"room_created", "room_changed", "room_deleted", "member_joined", "member_left"})
_AT_ONCE = 8
_PAGE = 200
_SOON_SECONDS = 3.0


class Following:
    """Settles in other rooms what follows from an event of a team, or of a room of one."""

    def __init__(self, node: Node, store: Store, rooms: Rooms, members: Members, notices: Notices) -> None:
        self._node = node
        self._store = store
        self._rooms = rooms
        self._members = members
        self._notices = notices

    def make_follower(self) -> DurableFollower:
        """The follower of this node; its owner runs and stops it."""
        follower = Follower("teams", ("room",), _FACTS, self.on_room_event)
        node = self._node
        return DurableFollower(follower, node.database, node.log, node.live, node_id=node.config.node_id)

    async def settle_soon(self, event: Event) -> None:
        """Does at once what follows from an event that was just committed; the follower does what takes longer.

        Raises nothing: whoever hears of an error asks again for what is done.
        """
        try:
            async with asyncio.timeout(_SOON_SECONDS):
                await self.on_room_event(event)
        except (TimeoutError, PalaverError) as error:
            logger.info("what follows from %s %d is left to the follower: %r", event.stream_id, event.seq, error)

    async def on_room_event(self, event: Event) -> None:
        """Does what is left to do: a part of it, or all, may be done already."""
        match event.WhichOneof("fact"):
            case "room_created":
                created = orjson.loads(event.room_created.room)
                if "prid" in created:
                    # What it is beside may have come to a private team at the very moment at which it was made.
                    await self._settle_gate(event.stream_id)
                elif "teamId" in created and (room := await self._find_room(event)) is not None:
                    await self._on_added(event, room)
            case "room_changed":
                await self._on_changed(event)
            case "room_deleted":
                await self._on_deleted(event)
            case "member_joined":
                room = await self._find_room(event)
                if room is not None and room.get("teamMain"):
                    await self._enter_default_rooms(event)
            case "member_left":
                await self._leave_rooms(event)

    async def _find_room(self, event: Event) -> Document | None:
        """The event's room, if it belongs to a team, or is one."""
        room = await self._store.find_room(event.stream_id)
        return room if room is not None and room.get("teamId") else None

    # -- of a room ---------------------------------------------------------------------------------------------------

    async def _on_changed(self, event: Event) -> None:
        fact = event.room_changed
        changes: dict[str, Any] = orjson.loads(fact.set or b"{}")
        if fact.left_team_id:
            await self._tell(event, fact.left_team_id, "user-removed-room-from-team")
        if "teamMain" in fact.unset:
            await self._end(event.stream_id, fact.deleted_room_ids)
        if not {"teamId", "t", "team_private"}.isdisjoint({*changes, *fact.unset}):
            await self._settle_discussions(event.stream_id)
        if changes.keys().isdisjoint({"teamId", "t", "teamDefault"}):
            return
        room = await self._find_room(event)
        if room is None:
            return
        if "teamId" in changes:
            await self._on_added(event, room)
        if "t" in changes and room.get("teamMain"):
            await self._each_room({"teamId": event.stream_id}, self._settle_gate)
        if changes.get("teamDefault"):
            await self._bring_everybody(event, room)

    async def _on_added(self, event: Event, room: Document) -> None:
        if room.get("teamMain"):
            return
        await self._tell(event, room["teamId"], "user-added-room-to-team")
        # The team may have become private, or come to its end, at the very moment at which this room came to it.
        main = await self._store.find_room(room["teamId"])
        if main is None or not main.get("teamMain"):
            await self._release(room["_id"], room["teamId"])
        else:
            await self._settle_gate(room["_id"])

    async def _on_deleted(self, event: Event) -> None:
        room = await self._node.database.get("rooms", event.stream_id)
        if room is None or not room.get("teamId"):
            return
        if room.get("teamMain"):
            await self._end(event.stream_id, event.room_deleted.deleted_room_ids)
        else:
            await self._tell(event, room["teamId"], "user-deleted-room-from-team")

    async def _tell(self, event: Event, team_id: str, message_type: str) -> None:
        """Has the main room tell, once, what has become of another room."""
        command_id = f"team/{event.stream_id}/{event.seq}"
        room = await self._node.database.get("rooms", event.stream_id)
        name = "" if room is None else room.get("fname") or room.get("name", "")
        author = await self._find_author(event.actor)

        async def decide(draft: Draft) -> None:
            main = await draft.get_own()
            if main is None or main.get("deleted_at") or not main.get("teamMain"):
                return
            if await draft.find_command(command_id):
                return
            at = rules.event_time(main, now())
            told = Event()
            self._notices.add(told.message_sent, main, message_type, name, author, at)
            if told.message_sent.message:
                draft.append(told, actor=event.actor, command_id=command_id, at=at)

        await self._node.commits.execute(room_stream(team_id), decide)

    async def _settle_gate(self, room_id: str) -> None:
        """Whether the room's team is private is what the room says, too; of a discussion, whether its parent is."""

        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            wanted = None if room is None or room.get("deleted_at") else await self._find_privacy(room)
            if room is None or wanted is None or wanted == bool(room.get("team_private")):
                return
            changed = Event()
            changed.room_changed.set = orjson.dumps({"team_private": True} if wanted else {})
            if not wanted:
                changed.room_changed.unset.append("team_private")
            draft.append(changed, actor=SYSTEM, at=rules.event_time(room, now()))

        await self._node.commits.execute(room_stream(room_id), decide)

    async def _find_privacy(self, room: Document) -> bool | None:
        """Whether the room is for those alone who see its team, or its parent; None where it has neither."""
        if parent_id := room.get("prid"):
            parent = await self._store.find_room(parent_id)
            return None if parent is None else room["t"] == "c" and not is_open(parent)
        main = await self._store.find_room(room.get("teamId", ""))
        return None if main is None or not is_of_team(room, main["_id"]) else rules.is_of_private_team(main)

    async def _settle_discussions(self, room_id: str) -> None:
        """The same for the public discussions of a room. Those that were made since are private anyway."""
        found = await self._node.database.find("rooms", {"prid": room_id, "deleted_at": None})
        await _some_at_once([room["_id"] for room in found if room["t"] == "c"], self._settle_gate)

    # -- of a team -----------------------------------------------------------------------------------------------------

    async def _end(self, team_id: str, deleted_room_ids: Sequence[str]) -> None:
        """The team is no more. Where it has become one again meanwhile, its rooms stay in it."""
        room = await self._store.find_room(team_id)
        if room is not None and room.get("teamMain"):
            return

        async def delete(room_id: str) -> None:
            room = await self._store.find_room(room_id)
            # It may have left the team already because that is gone; what is another team's by now stays.
            if room is not None and room.get("teamId", team_id) == team_id:
                with suppress(RoomNotFound):  # somebody was faster
                    await self._rooms.delete(RoomRequest(actor=SYSTEM, room_id=room_id))

        await _some_at_once(list(deleted_room_ids), delete)
        await self._each_room({"teamId": team_id}, lambda room_id: self._release(room_id, team_id))

    async def _release(self, room_id: str, team_id: str) -> None:
        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            main = await self._store.find_room(team_id)
            if room is None or not is_of_team(room, team_id) or (main is not None and main.get("teamMain")):
                return
            event = Event()
            event.room_changed.set = b"{}"
            event.room_changed.unset.extend(TEAM_FIELDS)
            draft.append(event, actor=SYSTEM, at=rules.event_time(room, now()))

        await self._node.commits.execute(room_stream(room_id), decide)

    async def _each_room(self, where: dict[str, Any], work: Callable[[str], Awaitable[None]]) -> None:
        """Does the work for each of these rooms of a team, some at a time."""
        after = ""
        while True:
            wanted = {**where, "teamMain": None, "deleted_at": None, "_id": {"$gt": after}}
            page = await self._node.database.find("rooms", wanted, sort=[("_id", 1)], limit=_PAGE)
            if not page:
                return
            await _some_at_once([room["_id"] for room in page], work)
            after = page[-1]["_id"]

    # -- of members ----------------------------------------------------------------------------------------------------

    async def _enter_default_rooms(self, event: Event) -> None:
        user = await self._node.access.find_user(event.member_joined.user_id)
        author = await self._find_author(event.actor)
        if user is not None:
            where = {"teamId": event.stream_id, "teamDefault": True}
            await self._each_room(where, lambda room_id: self._enter(room_id, event.stream_id, user, author, event))

    async def _bring_everybody(self, event: Event, room: Document) -> None:
        """Everybody in the team enters the room."""
        team_id = room["teamId"]
        author = await self._find_author(event.actor)
        after = ""
        while page := await self._store.list_members_after(team_id, after, _PAGE):
            users = await self._node.access.find_users([member["u"]["_id"] for member in page])

            async def enter(user_id: str, users: dict[str, User] = users) -> None:
                if user_id in users:
                    await self._enter(room["_id"], team_id, users[user_id], author, event)

            await _some_at_once([member["u"]["_id"] for member in page], enter)
            after = page[-1]["u"]["username"]

    async def _enter(self, room_id: str, team_id: str, user: User, author: User, event: Event) -> None:
        """Once: who has left the room again stays away."""
        command_id = f"team/{event.stream_id}/{event.seq}/{user.id}"

        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            if room is None or not is_of_team(room, team_id) or not room.get("teamDefault") or room.get("archived"):
                return
            if await find_member(draft, user.id) is not None or await draft.find_command(command_id):
                return
            if await self._store.find_subscription(team_id, user.id) is None:
                return  # who has left the team meanwhile enters none of its rooms
            notice = "uj" if author.id == user.id else "au"
            self._members.append_join(
                draft, room, user, actor=event.actor, author=author, notice=notice, command_id=command_id
            )

        await self._node.commits.execute(room_stream(room_id), decide)

    async def _leave_rooms(self, event: Event) -> None:
        fact = event.member_left
        user = await self._node.access.find_user(fact.user_id) if fact.room_ids else None
        author = await self._find_author(event.actor)

        async def leave(room_id: str) -> None:
            async def decide(draft: Draft) -> None:
                room = await draft.get_own()
                member = await find_member(draft, fact.user_id)
                if room is None or user is None or member is None or not is_of_team(room, event.stream_id):
                    return
                if rules.milliseconds(member["ts"]) > event.at:
                    return  # they have come back
                notice = "ul" if author.id == user.id else "ru"
                await self._members.append_leave(draft, room, user, actor=event.actor, author=author, notice=notice)

            with suppress(NotAllowed):  # by now nobody else owns it
                await self._node.commits.execute(room_stream(room_id), decide)

        await _some_at_once(list(fact.room_ids), leave)

    async def _find_author(self, actor: Actor) -> User:
        found = await self._node.access.find_user(actor.id) if actor.kind == Actor.USER else None
        return found or SYSTEM_USER


TEAM_FIELDS = ("teamId", "teamDefault", "team_private")
"""What a room has of the team that it belongs to."""


async def _some_at_once(ids: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
    for start in range(0, len(ids), _AT_ONCE):
        await asyncio.gather(*map(work, ids[start : start + _AT_ONCE]))
        failpoints.reach("team.between_rooms")
