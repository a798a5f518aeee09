"""Keys of rooms that are encrypted from end to end. The server hands them on; each is encrypted for its member alone.

A room has the id of its key, a member's subscription the key itself (`E2EKey`), or one that another member suggests
until its member takes it (`E2ESuggestedKey`). All of it is written by the room's stream. Called by role.py.
"""

import orjson

from palaver.access import User
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import Conflict, InvalidInput, NotAllowed, RoomNotFound
from palaver.events import room_stream
from palaver.messaging import rules
from palaver.messaging.store import Store
from palaver.messaging.views import View, Views, find_member
from palaver.node import Node
from palaver.v1.auth_pb2 import Empty, ListKeysRequest
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import (
    ActorRequest,
    AnswerKeyRequest,
    KeylessReply,
    KeylessRequest,
    ResetMemberKeysRequest,
    RoomKeysReply,
    SetRoomKeyRequest,
    SuggestKeysRequest,
)

_MAX_KEY = 10_000
_MAX_KEY_ID = 200
_MAX_MEMBERS = 500
_PAGE = 200


class Keys:
    """The use cases of rooms' keys."""

    def __init__(self, node: Node, store: Store, views: Views) -> None:
        self._node = node
        self._store = store
        self._views = views

    async def set_room_key(self, request: SetRoomKeyRequest) -> Empty:
        """Says which key a room has, once. Raises RoomNotFound, NotAllowed, Conflict."""
        self._node.access.check_encryption()
        user = await self._views.get_actor(request.actor)
        if not 0 < len(request.key_id) <= _MAX_KEY_ID:
            raise InvalidInput("Invalid key id", code="error-invalid-key")

        async def decide(draft: Draft) -> None:
            view = await self._get_own(draft, user)
            if view.room.get("e2eKeyId"):
                raise Conflict("The room has a key already", code="error-room-e2e-key-already-exists")
            event = Event()
            event.room_changed.set = orjson.dumps({"e2eKeyId": request.key_id})
            draft.append(event, actor=request.actor, at=rules.event_time(view.room, now()))

        await self._node.commits.execute(room_stream(request.room_id), decide)
        return Empty()

    async def suggest(self, request: SuggestKeysRequest) -> Empty:
        """A member's own key, or keys for others: for those who are members and have none. Raises RoomNotFound, …"""
        self._node.access.check_encryption()
        user = await self._views.get_actor(request.actor)
        if len(request.keys) > _MAX_MEMBERS or any(not 0 < len(key.key) <= _MAX_KEY for key in request.keys):
            raise InvalidInput("Invalid keys", code="error-invalid-key")
        for key in request.keys:
            if key.user_id == user.id:
                await self._change(request.actor, user, request.room_id, user.id, {"E2EKey": key.key})
            else:
                suggested = {"E2ESuggestedKey": key.key}
                await self._change(request.actor, user, request.room_id, key.user_id, suggested, unless="E2EKey")
        return Empty()

    async def answer(self, request: AnswerKeyRequest) -> Empty:
        """The actor takes the key that was suggested to them, or does not. Raises RoomNotFound, InvalidInput, …"""
        self._node.access.check_encryption()
        user = await self._views.get_actor(request.actor)

        async def decide(draft: Draft) -> None:
            view = await self._get_own(draft, user)
            assert view.subscription is not None
            suggested = view.subscription.get("E2ESuggestedKey")
            if not suggested:
                raise InvalidInput("No key was suggested", code="error-no-suggested-key")
            changes = {"E2EKey": suggested} if request.accepted else {}
            self._append(draft, request.actor, view, view.subscription, changes, "E2ESuggestedKey")

        await self._node.commits.execute(room_stream(request.room_id), decide)
        return Empty()

    async def list_keyless(self, request: KeylessRequest) -> KeylessReply:
        """Members without the room's key who have a public one to encrypt it with. Rooms of others are left out."""
        user = await self._views.get_actor(request.actor)
        reply = KeylessReply()
        for room_id in dict.fromkeys(request.room_ids):
            try:
                view = await self._views.view_for(user, await self._store.find_room(room_id))
            except RoomNotFound:
                continue
            if view.subscription is None:
                continue
            keyless = await self._list_keyless(room_id)
            keys = await self._node.services.auth.list_public_keys(ListKeysRequest(user_ids=keyless))
            for key in keys.keys:
                reply.members.add(room_id=room_id, user_id=key.user_id, public_key=key.public_key)
        return reply

    async def _list_keyless(self, room_id: str) -> list[str]:
        found: list[str] = []
        after = ""
        while len(found) < _MAX_MEMBERS and (page := await self._store.list_members_after(room_id, after, _PAGE)):
            found += [
                member["u"]["_id"] for member in page if not member.get("E2EKey") and not member.get("E2ESuggestedKey")
            ]
            after = page[-1]["u"]["username"]
        return found[:_MAX_MEMBERS]

    async def list_missing(self, request: ActorRequest) -> RoomKeysReply:
        """The rooms with a key that the actor has not got: of those they ask the other members."""
        user = await self._views.get_actor(request.actor)
        reply = RoomKeysReply()
        after = ""
        while page := await self._store.list_subscriptions_after(user.id, after, _PAGE):
            without = [subscription["rid"] for subscription in page if not subscription.get("E2EKey")]
            rooms = await self._node.database.get_many("rooms", without)
            for room_id in without:
                if (room := rooms.get(room_id)) is not None and room.get("e2eKeyId") and not room.get("deleted_at"):
                    reply.rooms.add(room_id=room_id, key_id=room["e2eKeyId"])
            after = page[-1]["rid"]
        return reply

    async def reset(self, request: ResetMemberKeysRequest) -> Empty:
        """Takes the keys of all rooms from a user: the actor, or with edit-other-user-e2ee somebody else."""
        user = await self._views.get_actor(request.actor)
        if request.user_id != user.id:
            self._views.check(user, "edit-other-user-e2ee")
        after = ""
        while page := await self._store.list_subscriptions_after(request.user_id, after, _PAGE):
            for subscription in page:
                if subscription.get("E2EKey") or subscription.get("E2ESuggestedKey"):
                    await self._forget(request.actor, subscription["rid"], request.user_id)
            after = page[-1]["rid"]
        return Empty()

    async def _forget(self, actor: Actor, room_id: str, user_id: str) -> None:
        async def decide(draft: Draft) -> None:
            room = await draft.get_own()
            member = await find_member(draft, user_id)
            if room is not None and not room.get("deleted_at") and member is not None:
                view = View(await self._views.get_actor(actor), room, member)
                self._append(draft, actor, view, member, {}, "E2EKey", "E2ESuggestedKey")

        await self._node.commits.execute(room_stream(room_id), decide)

    async def _change(
        self, actor: Actor, user: User, room_id: str, member_id: str, changes: Document, *, unless: str = ""
    ) -> None:
        """Changes a member's subscription, unless they have that field. Who is no member is passed over."""

        async def decide(draft: Draft) -> None:
            view = await self._get_own(draft, user)
            member = await find_member(draft, member_id)
            if member is not None and not (unless and member.get(unless)):
                self._append(draft, actor, view, member, changes)

        await self._node.commits.execute(room_stream(room_id), decide)

    async def _get_own(self, draft: Draft, user: User) -> View:
        """The room of a draft, for one of its members. Raises RoomNotFound, NotAllowed."""
        view = await self._views.get_drafted(draft, user)
        if view.subscription is None:
            raise NotAllowed("You are not in this room", code="error-invalid-room")
        return view

    def _append(
        self, draft: Draft, actor: Actor, view: View, member: Document, changes: Document, *removed: str
    ) -> None:
        unset = [name for name in removed if name in member]
        changed = {name: value for name, value in changes.items() if member.get(name) != value}
        if not changed and not unset:
            return
        event = Event()
        fact = event.member_changed
        fact.user_id = member["u"]["_id"]
        fact.subscription_id = member["_id"]
        fact.set = orjson.dumps(changed)
        fact.unset.extend(unset)
        draft.append(event, actor=actor, at=rules.event_time(view.room, now()))
