"""What an actor may see of a room, and who acts. Every use case begins here.

A room that the actor may not see raises the very error of an unknown one.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import orjson

from palaver.access import User
from palaver.commit import Draft
from palaver.database import Document
from palaver.documents import is_open, public_message, public_room
from palaver.errors import MessageNotFound, NotAllowed, RoomNotFound
from palaver.messaging.rules import UnreadSettings, find_gate, is_gone, milliseconds
from palaver.messaging.store import Store
from palaver.node import Node
from palaver.v1.event_pb2 import Actor

_FOR_EVER = 2**63

DELETED = "rm"
"""The type of what is seen in the place of a deleted message."""

SYSTEM_USER = User(id="", username="system", name="", roles=(), active=True, type="bot", utc_offset=0, language="")
"""Stands for the system as an actor: it may everything, and is a member of nothing."""

ANONYMOUS = User(
    id="", username="", name="", roles=("anonymous",), active=True, type="unknown", utc_offset=0, language=""
)
"""Stands for somebody who is not logged in, where the settings let them read."""


@dataclass(frozen=True, slots=True)
class View:
    """A room that this user may see; `subscription` is theirs, None when they are no member.

    `parent`: of a discussion, or of a team's public room, that the user is no member of: the room or the team (its main
    room) that it belongs to, if they may see that one.
    """

    user: User
    room: Document
    subscription: Document | None
    parent: "View | None" = None

    @property
    def roles(self) -> tuple[str, ...]:
        """The user's roles in this room."""
        return room_roles(self.subscription)

    def is_listed(self, field: str) -> bool:
        """Whether a list of usernames of the room (`muted`, `unmuted`) has the user.

        Of the names that they had and have: the list follows a new one when their subscription does, a moment later.
        """
        names = self.room.get(field, ())
        if not names:
            return False
        own = self.subscription["u"]["username"] if self.subscription is not None else ""
        return self.user.username in names or own in names

    @property
    def room_id(self) -> str:
        return str(self.room["_id"])


def room_roles(subscription: Document | None) -> tuple[str, ...]:
    return tuple(subscription.get("roles", ())) if subscription else ()


class Views:
    """The way from an actor and a room's id to a View."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store

    async def get_actor(self, actor: Actor) -> User:
        """The user who acts, or SYSTEM_USER. Raises LoginRequired."""
        if actor.kind == Actor.SYSTEM:
            return SYSTEM_USER
        return await self._node.access.get_actor(actor)

    async def get_reader(self, actor: Actor) -> User:
        """The same for those who only look: it may be ANONYMOUS."""
        if actor.kind == Actor.USER and not actor.id and self._node.access.setting("Accounts_AllowAnonymousRead"):
            return ANONYMOUS
        return await self.get_actor(actor)

    def may(self, user: User, permission: str, roles: Iterable[str] = ()) -> bool:
        return user is SYSTEM_USER or self._node.access.may(user, permission, roles)

    def check(self, user: User, permission: str, roles: Iterable[str] = (), *, code: str = "") -> None:
        """Raises NotAllowed unless `may`."""
        if not self.may(user, permission, roles):
            raise NotAllowed(code=code or None, details={"permission": permission})

    def check_may_read_others(self) -> None:
        """Raises NotAllowed where the settings let nobody read direct rooms that they are not in."""
        if not self._node.access.setting("API_Enable_Direct_Message_History_EndPoint"):
            raise NotAllowed("This endpoint is disabled", code="error-endpoint-disabled")

    def may_see(self, view: View) -> bool:
        """Whether the room exists for this user; a discussion does where its parent does, a team's public room for
        whom the team does."""
        if view.subscription is not None or view.parent is not None or view.user is SYSTEM_USER:
            return True
        return is_open(view.room) and self.may(view.user, "view-c-room")

    def may_read(self, view: View) -> bool:
        """Whether the user may read the room's messages; those of a discussion, who reads its parent's."""
        if view.subscription is None and view.parent is not None and view.room.get("prid"):
            return self.may_read(view.parent)
        return view.subscription is not None or self.may(view.user, "preview-c-room")

    def show_room(self, room: Document, user: User, *, is_member: bool) -> Document:
        """What the user sees of a room: who is no member, nothing that was said in it, unless they may read a preview
        of a public one. Where rooms keep no last message, nobody sees one that is still stored."""
        reads = is_member or user is SYSTEM_USER or (is_open(room) and self.may(user, "preview-c-room"))
        return public_room(room, outside=not reads or not self._node.access.setting("Store_Last_Message"))

    def unread_settings(self) -> UnreadSettings:
        setting = self._node.access.setting
        return UnreadSettings(setting("Unread_Count"), setting("Unread_Count_DM"), setting("Unread_Count_Omni"))

    async def get_view(self, actor: Actor, room_id: str) -> View:
        """The room as it stands. Raises RoomNotFound."""
        return await self.view_for(await self.get_reader(actor), await self._store.find_room(room_id))

    async def view_for(self, user: User, room: Document | None) -> View:
        """The same for a room that was looked up in some other way."""
        if room is None:
            raise RoomNotFound()
        return await self._view(user, room, await self._store.find_subscription(room["_id"], user.id))

    async def get_drafted(self, draft: Draft, user: User, *, administered: bool = False) -> View:
        """The room of a draft, at its head. Raises RoomNotFound.

        `administered`: those who administer rooms see every one.
        """
        room = await draft.get_own()
        if room is None or room.get("deleted_at"):
            raise RoomNotFound()
        subscription = await find_member(draft, user.id)
        if administered and self.may(user, "view-room-administration"):
            return View(user, room, subscription)
        return await self._view(user, room, subscription)

    async def get_readable(self, actor: Actor, room_id: str) -> View:
        """A room whose messages the actor may read. Raises RoomNotFound, NotAllowed."""
        view = await self.get_view(actor, room_id)
        if not self.may_read(view):
            raise NotAllowed()
        return view

    async def find_readable(self, user: User, message_id: str) -> Document | None:
        """The stored message, or None for an unknown, deleted or forbidden one."""
        message = await self._store.database.get("messages", message_id) if message_id else None
        if message is None:
            return None
        try:
            view = await self.view_for(user, await self._store.find_room(message["rid"]))
        except RoomNotFound:
            return None
        return message if self.may_read(view) and not is_gone(view.room, message) else None

    async def show_messages(self, messages: Sequence[Document], user_id: str) -> list[bytes]:
        """Messages encoded as this user sees them: with their own stars (without a user nobody's), and where receipts
        are on, whether everybody has read them."""
        receipts = self._node.access.setting("Message_Read_Receipt_Enabled")
        starred: frozenset[str] = frozenset()
        if user_id and messages:
            starred = await self._store.find_starred(user_id, [message["_id"] for message in messages])
        unread_rooms = {message["rid"] for message in messages if "unread" in message} if receipts else set()
        read_until = {room_id: await self._store.find_read_until(room_id) for room_id in unread_rooms}
        shown = []
        for message in messages:
            document = public_message(message, user_id if message["_id"] in starred else "")
            if "unread" in document and milliseconds(message["ts"]) <= read_until.get(message["rid"], _FOR_EVER):
                del document["unread"]
            shown.append(orjson.dumps(document))
        return shown

    async def _view(self, user: User, room: Document, subscription: Document | None) -> View:
        parent = None if subscription is not None else await self._find_parent(user, room)
        view = View(user, room, subscription, parent)
        if not self.may_see(view):
            raise RoomNotFound()
        return view

    async def _find_parent(self, user: User, room: Document) -> View | None:
        """The parent of a discussion or of a team's public room, if the user may see it. It is another stream, and may
        lag a moment behind."""
        parent_id = find_gate(room)
        parent = await self._store.find_room(parent_id) if parent_id and user is not SYSTEM_USER else None
        if parent is None:
            return None
        subscription = await self._store.find_subscription(parent["_id"], user.id)
        view = View(user, parent, subscription, await self._find_parent(user, parent) if subscription is None else None)
        return view if self.may_see(view) else None


async def find_member(draft: Draft, user_id: str) -> Document | None:
    """A user's subscription of the draft's room, at its head; the draft remembers it."""
    if not user_id:
        return None
    return await draft.find_one("subscriptions", **{"rid": draft.stream.id, "u._id": user_id, "left_at": None})


async def get_message(draft: Draft, room: Document, message_id: str) -> Document:
    """A message of the draft's room, at its head. Raises MessageNotFound."""
    message = await draft.get("messages", message_id)
    if message is None or message["rid"] != draft.stream.id or is_gone(room, message):
        raise MessageNotFound()
    return message


async def get_alterable(draft: Draft, room: Document, message_id: str) -> Document:
    """The same, unless there is only left of it that it was deleted. Raises MessageNotFound."""
    message = await get_message(draft, room, message_id)
    if message.get("t") == DELETED:
        raise MessageNotFound()
    return message


@contextmanager
def hiding_the_room() -> Iterator[None]:
    """For commands that name only a message: in a room that the actor may not see, it is an unknown one."""
    try:
        yield
    except RoomNotFound:
        raise MessageNotFound() from None
