"""Lists of rooms and subscriptions, and the answers that gateways need. Two queries for a user, however many rooms."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from palaver.access import User
from palaver.commit import now
from palaver.database import Document, Filter
from palaver.database.schema import CHOICES, COLLECTIONS, FieldType
from palaver.documents import is_open
from palaver.errors import InvalidInput, NotAllowed, UserNotFound
from palaver.events import room_stream
from palaver.filters import read_filter, read_sort, with_id
from palaver.messaging import paging, rules
from palaver.messaging.rules import NO_THREADS, milliseconds
from palaver.messaging.store import Store
from palaver.messaging.views import ANONYMOUS, SYSTEM_USER, View, Views
from palaver.node import Node
from palaver.v1.messaging_pb2 import (
    CheckAccessReply,
    CheckAccessRequest,
    CountersReply,
    GetCountersRequest,
    GetRoomHeadsReply,
    GetRoomHeadsRequest,
    ListHearingReply,
    ListHearingRequest,
    ListJoinsReply,
    ListJoinsRequest,
    ListMembershipsReply,
    ListMembershipsRequest,
    ListRoomEventsReply,
    ListRoomEventsRequest,
    ListRoomsReply,
    ListRoomsRequest,
    ListSubscriptionsReply,
    ListSubscriptionsRequest,
)

_MAX_EVENTS = 500
# Clocks differ, and between an event's time and its writing a process may stand still.
_OVERLAP_MILLISECONDS = 60_000
# What lists of rooms can be filtered and sorted by.
_FILTERED: dict[str, FieldType] = {"_id": "text", **COLLECTIONS["rooms"].fields}


class Lists:
    """The use cases of many rooms at once."""

    def __init__(self, node: Node, store: Store, views: Views) -> None:
        self._node = node
        self._store = store
        self._views = views

    # -- rooms ------------------------------------------------------------------------------------------------------

    async def list_rooms(self, request: ListRoomsRequest) -> ListRoomsReply:
        """The actor's rooms, the public ones, or all: as many as fit, the caller asks for the rest of `total`.

        Raises NotAllowed, InvalidInput.
        """
        user = await self._views.get_reader(request.actor)
        types = list(request.types)
        chosen = read_filter(request.filter, _FILTERED)
        sort = read_sort(request.sort, _FILTERED)
        if request.scope == ListRoomsRequest.JOINED:
            return await self._list_joined(user, request, types, chosen, sort)
        if request.scope == ListRoomsRequest.EVERYTHING:
            self._views.check(user, "view-room-administration")
            where: dict[str, Any] = {"deleted_at": None}
        elif request.scope == ListRoomsRequest.DISCUSSIONS:
            view = await self._views.get_readable(request.actor, request.parent_id)
            where = {"prid": view.room_id, "deleted_at": None}
        elif self._views.may(user, "view-c-room"):
            types = ["c"]
            where = {"deleted_at": None}
            if user is not SYSTEM_USER:
                where |= await self._store.open_rooms(user.id)
        elif self._views.may(user, "view-joined-room"):
            return await self._list_joined(user, request, types or ["c"], chosen, sort)
        else:
            raise NotAllowed()
        if types:
            where["t"] = {"$in": types}
        if len(types) > 1 and "d" not in types:
            where["name"] = {"$exists": True}  # direct rooms have none, and would all come first
        return await self._find_rooms(user, request, where, chosen, sort)

    async def _list_joined(
        self,
        user: User,
        request: ListRoomsRequest,
        types: list[str],
        chosen: Filter,
        sort: list[tuple[str, int]],
    ) -> ListRoomsReply:
        subscriptions = await self._store.list_subscriptions(user.id)
        ids = [subscription["rid"] for subscription in subscriptions]
        if chosen:
            where: dict[str, Any] = {"_id": {"$in": ids}, "deleted_at": None}
            if types:
                where["t"] = {"$in": types}
            return await self._find_rooms(user, request, where, chosen, sort)
        stored = await self._node.database.get_many("rooms", ids)
        since = request.updated_since
        rooms = [
            room
            for room in stored.values()
            if not room.get("deleted_at")
            and (not types or room["t"] in types)
            and (since < 0 or rules.room_changed_at(room) > since)
        ]
        for name, direction in reversed(sort):
            rooms.sort(key=lambda room: _sort_key(room.get(name)), reverse=direction < 0)
        reply = ListRoomsReply(total=len(rooms))
        end = request.offset + request.count if request.count else None
        shown = (self._views.show_room(room, user, is_member=True) for room in rooms[request.offset : end])
        reply.rooms.extend(_as_many_as_fit(map(orjson.dumps, shown)))
        if since >= 0:
            deleted = [room for room in stored.values() if milliseconds(room.get("deleted_at")) > since]
            ended = await self._store.list_ended_subscriptions(user.id, since)
            gone = {room["_id"]: milliseconds(room["deleted_at"]) for room in deleted}
            joined = {subscription["rid"] for subscription in subscriptions}
            gone.update((s["rid"], milliseconds(s["left_at"])) for s in ended if s["rid"] not in joined)
            reply.removed.extend(_removed(id, at) for id, at in gone.items())
        return reply

    async def _find_rooms(
        self,
        user: User,
        request: ListRoomsRequest,
        where: dict[str, Any],
        chosen: Filter,
        sort: list[tuple[str, int]],
    ) -> ListRoomsReply:
        combined: dict[str, Any] = {"$and": [where, chosen]} if chosen else where
        rooms = await self._node.database.find(
            "rooms", combined, sort=with_id(sort or [("name", 1)]), skip=request.offset, limit=request.count
        )
        total = len(rooms)
        if request.offset or (request.count and total == request.count):
            total = await self._node.database.count("rooms", combined)
        outside = await self._find_outside(user, rooms)
        shown = _as_many_as_fit(
            orjson.dumps(self._views.show_room(room, user, is_member=room["_id"] not in outside)) for room in rooms
        )
        return ListRoomsReply(rooms=shown, total=total)

    async def _find_outside(self, user: User, rooms: list[Document]) -> set[str]:
        """Which of these rooms are not the user's; public ones that everybody may read are not asked about."""
        previews = self._views.may(user, "preview-c-room")
        ids = [room["_id"] for room in rooms if not (previews and is_open(room))]
        if not ids or user is SYSTEM_USER:
            return set()
        own = await self._store.list_subscriptions(user.id, ids) if user.id else []
        return set(ids).difference(subscription["rid"] for subscription in own)

    # -- subscriptions -----------------------------------------------------------------------------------------------

    async def list_subscriptions(self, request: ListSubscriptionsRequest) -> ListSubscriptionsReply:
        """The actor's subscriptions with their counters, or somebody else's; or those of several users of one room,
        for gateways. Raises NotAllowed, UserNotFound."""
        user = await self._views.get_actor(request.actor)
        if request.user_ids:
            return await self._list_of_members(user, request)
        user_id = user.id
        if request.user_id and request.user_id != user_id:
            self._views.check(user, "view-other-user-channels")
            user_id = request.user_id
            if await self._node.access.find_user(user_id) is None:
                raise UserNotFound()
        subscriptions = await self._store.list_subscriptions(user_id, request.room_ids)
        rooms = await self._node.database.get_many("rooms", [subscription["rid"] for subscription in subscriptions])
        threads = await self._store.find_unread_threads(user_id)
        settings = self._views.unread_settings()
        since = request.updated_since
        reply = ListSubscriptionsReply()
        for subscription in subscriptions:
            room = rooms.get(subscription["rid"])
            if room is None:
                continue
            if room.get("deleted_at"):
                if 0 <= since < milliseconds(room["deleted_at"]):
                    reply.removed.append(_removed(subscription["_id"], milliseconds(room["deleted_at"])))
                continue
            unread = threads.get(room["_id"], NO_THREADS)
            if since >= 0 and rules.subscription_changed_at(subscription, room, unread) <= since:
                continue
            reply.subscriptions.append(orjson.dumps(rules.present_subscription(subscription, room, settings, unread)))
        if since >= 0:
            for ended in await self._store.list_ended_subscriptions(user_id, since):
                reply.removed.append(_removed(ended["_id"], milliseconds(ended["left_at"])))
        return reply

    async def _list_of_members(self, user: User, request: ListSubscriptionsRequest) -> ListSubscriptionsReply:
        """Subscriptions of these users in the one room that is named. For gateways only."""
        if user is not SYSTEM_USER:
            raise NotAllowed()
        if len(request.room_ids) != 1:
            raise InvalidInput("Subscriptions of several users are listed for one room")
        room_id = request.room_ids[0]
        room = await self._store.find_room(room_id)
        subscriptions = await self._store.list_room_subscriptions(room_id, request.user_ids)
        if room is not None and not all(rules.is_consistent(room, subscription) for subscription in subscriptions):
            room = await self._store.find_room(room_id)
            subscriptions = await self._store.list_room_subscriptions(room_id, request.user_ids)
        if room is None:
            return ListSubscriptionsReply()
        settings = self._views.unread_settings()
        threads = await self._store.find_unread_threads_of(room_id, request.user_ids)
        return ListSubscriptionsReply(
            subscriptions=[
                orjson.dumps(
                    rules.present_subscription(
                        subscription, room, settings, threads.get(subscription["u"]["_id"], NO_THREADS)
                    )
                )
                for subscription in subscriptions
            ]
        )

    async def get_counters(self, request: GetCountersRequest) -> CountersReply:
        """How much of a room the actor, or somebody else, has not read. Raises RoomNotFound, NotAllowed, …"""
        view = await self._views.get_view(request.actor, request.room_id)
        user_id = view.user.id
        if request.user_id and request.user_id != user_id:
            self._views.check(view.user, "view-room-administration", code="unauthorized")
            if await self._node.access.find_user(request.user_id) is None:
                raise UserNotFound()
            user_id = request.user_id
        room = view.room
        reply = CountersReply(
            members=room.get("usersCount", 0), messages=room.get("msgs", 0), latest=milliseconds(room.get("lm"))
        )
        found = await self._store.find_membership(request.room_id, user_id)
        if found is not None:
            room, subscription = found
            counters = rules.count_unread(room, subscription, self._views.unread_settings(), NO_THREADS)
            reply.joined = True
            reply.unreads = counters.others
            reply.unreads_from = milliseconds(subscription.get("ls") or subscription["ts"])
            reply.user_mentions = counters.user_mentions
        return reply

    # -- for gateways ------------------------------------------------------------------------------------------------

    async def list_memberships(self, request: ListMembershipsRequest) -> ListMembershipsReply:
        """Ids of the rooms that a user is in; if asked for, with what they have chosen to be told of these."""
        ids = await self._store.list_room_ids(request.user_id)
        choices: list[bytes] = []
        if request.with_choices:
            for one in await self._store.list_subscriptions_with_choices(request.user_id):
                chosen = {name: one[name] for name in CHOICES if one.get(name)}
                if chosen:
                    choices.append(orjson.dumps({"rid": one["rid"], **chosen}))
        deleted = {room["_id"] for room in await self._store.find_deleted_rooms(ids)}
        return ListMembershipsReply(room_ids=[id for id in ids if id not in deleted], choices=choices)

    async def list_joins(self, request: ListJoinsRequest) -> ListJoinsReply:
        """Who has become a member of which room since the last answer, and those of the minute before it again."""
        as_of = now()
        joined = await self._store.list_joined((request.since or as_of) - _OVERLAP_MILLISECONDS)
        joins = [ListJoinsReply.Join(user_id=found["u"]["_id"], room_id=found["rid"]) for found in joined]
        return ListJoinsReply(joins=joins, as_of=as_of)

    async def check_access(self, request: CheckAccessRequest) -> CheckAccessReply:
        """Whether the actor may hear the room. Raises RoomNotFound."""
        access = self._node.access
        await access.catch_up(request.policy_seq)
        if request.user_changed:
            access.forget_user(request.actor.id)
        view = await self._views.get_view(request.actor, request.room_id)
        return CheckAccessReply(
            allowed=self._views.may_read(view),
            member=view.subscription is not None,
            type=view.room["t"],
            name=view.room.get("name", ""),
            parent_id="" if view.parent is None else view.parent.room_id,
        )

    async def list_hearing(self, request: ListHearingRequest) -> ListHearingReply:
        """Whether each listener may hear their room. An unknown room nobody may."""
        access = self._node.access
        await access.catch_up(request.policy_seq)
        by_room: dict[str, list[str]] = {}
        by_user: dict[str, list[str]] = {}
        for one in request.listeners:
            by_room.setdefault(one.room_id, []).append(one.user_id)
            if one.user_id:
                by_user.setdefault(one.user_id, []).append(one.room_id)
        if request.users_changed:
            for user_id in by_user:
                access.forget_user(user_id)
        users = await access.find_users(by_user)
        rooms = await self._node.database.get_many("rooms", list(by_room))
        members: dict[tuple[str, str], Document] = {}
        read = self._store.list_room_subscriptions if len(by_room) < len(by_user) else self._store.list_subscriptions
        for id, others in (by_room if len(by_room) < len(by_user) else by_user).items():
            members.update(((one["rid"], one["u"]["_id"]), one) for one in await read(id, others))
        parents = await self._find_parents(request, rooms, members)
        anonymous = ANONYMOUS if access.setting("Accounts_AllowAnonymousRead") else None

        def find_parent(room: Document, user: User) -> View | None:
            found = parents.get((rules.find_gate(room), user.id))
            if found is None:
                return None
            parent, own = found
            view = View(user, parent, own, find_parent(parent, user) if own is None else None)
            return view if self._views.may_see(view) else None

        def may_hear(room_id: str, user_id: str) -> bool:
            room, user = rooms.get(room_id), users.get(user_id) if user_id else anonymous
            if room is None or room.get("deleted_at") or user is None or not user.active:
                return False
            view = View(user, room, members.get((room_id, user_id)), find_parent(room, user))
            return self._views.may_see(view) and self._views.may_read(view)

        return ListHearingReply(allowed=[may_hear(one.room_id, one.user_id) for one in request.listeners])

    async def _find_parents(
        self, request: ListHearingRequest, rooms: dict[str, Document], members: dict[tuple[str, str], Document]
    ) -> dict[tuple[str, str], tuple[Document, Document | None]]:
        """By parent and user: the parents of discussions and of teams' public rooms that listeners are no members of,
        with their subscriptions; and the parents of such parents."""
        by_parent: dict[str, set[str]] = {}
        for one in request.listeners:
            parent_id = rules.find_gate(rooms.get(one.room_id, {}))
            if parent_id and (one.room_id, one.user_id) not in members:
                by_parent.setdefault(parent_id, set()).add(one.user_id)
        found: dict[tuple[str, str], tuple[Document, Document | None]] = {}
        while by_parent:
            beyond: dict[str, set[str]] = {}
            for parent_id, parent in (await self._node.database.get_many("rooms", list(by_parent))).items():
                if parent.get("deleted_at"):
                    continue
                user_ids = by_parent[parent_id]
                own = await self._store.list_room_subscriptions(parent_id, sorted(user_ids))
                subscriptions = {subscription["u"]["_id"]: subscription for subscription in own}
                found.update(((parent_id, user_id), (parent, subscriptions.get(user_id))) for user_id in user_ids)
                if gate := rules.find_gate(parent):
                    beyond.setdefault(gate, set()).update(user_ids - subscriptions.keys())
            # A discussion is beside a room, which may be a team's, and no further.
            by_parent = {gate: user_ids for gate, user_ids in beyond.items() if user_ids}
        return found

    async def list_room_events(self, request: ListRoomEventsRequest) -> ListRoomEventsReply:
        """The first of the room's events after a `seq`, and its head: whoever is not there yet asks again."""
        stream = room_stream(request.room_id)
        limit = min(request.limit or _MAX_EVENTS, _MAX_EVENTS)
        events = await self._node.commits.list_told(stream, request.after, limit)
        return ListRoomEventsReply(events=events, head=await self._node.database.get_head(stream))

    async def get_room_heads(self, request: GetRoomHeadsRequest) -> GetRoomHeadsReply:
        """The head of each room's stream, its type and name, in the order asked; 0 and "" for an unknown room.

        `applied` is what the documents show, never more than the head: whoever reads documents from now on knows of
        the events up to there. Those between it and the head are projected, and told, later.
        """
        ids = list(request.room_ids)
        if request.only_heads:
            return GetRoomHeadsReply(
                heads=await self._node.database.get_heads([room_stream(room_id) for room_id in ids])
            )
        rooms = await self._node.database.get_many("rooms", ids)
        heads = await self._node.database.get_heads([room_stream(room_id) for room_id in ids])
        return GetRoomHeadsReply(
            heads=heads,
            types=[rooms.get(room_id, {}).get("t", "") for room_id in ids],
            names=[rooms.get(room_id, {}).get("name", "") for room_id in ids],
            applied=[rooms.get(room_id, {}).get("applied_seq", 0) for room_id in ids],
            sizes=[rooms.get(room_id, {}).get("usersCount", 0) for room_id in ids],
        )


def _as_many_as_fit(documents: Iterable[bytes]) -> Iterator[bytes]:
    """The first of these, up to the size of one answer: at least one."""
    size = 0
    for number, data in enumerate(documents):
        size += len(data)
        if number and size > paging.MAX_BYTES:
            return
        yield data


def _sort_key(value: Any) -> tuple[bool, Any]:
    """Sorts absent values first, dates by their time, and text without regard to case."""
    if isinstance(value, dict):
        value = milliseconds(value)
    return (value is not None, value.lower() if isinstance(value, str) else value or 0)


def _removed(id: str, at: int) -> bytes:
    return orjson.dumps({"_id": id, "_deletedAt": {"$date": at}})
