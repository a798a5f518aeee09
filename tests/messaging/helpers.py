"""What the tests of the messaging service say often."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from palaver.api import Messaging
from palaver.database import Database
from palaver.errors import PalaverError
from palaver.events import user_actor
from palaver.ids import new_id
from palaver.v1.auth_pb2 import CreateUserRequest, UpdatePermissionsRequest, UpdateSettingRequest
from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import (
    CreateRoomRequest,
    DeleteMessageRequest,
    EditMessageRequest,
    FollowThreadRequest,
    GetRoomRequest,
    JoinRoomRequest,
    ListMarkedMessagesRequest,
    ListMembersRequest,
    ListMessagesReply,
    ListMessagesRequest,
    ListSubscriptionsRequest,
    ListThreadsRequest,
    MarkReadRequest,
    MembersRequest,
    MessageRequest,
    OpenDirectRoomRequest,
    PinMessageRequest,
    ReactRequest,
    RoomRequest,
    SendMessageRequest,
    SetMemberRoleRequest,
    SetSubscriptionRequest,
    StarMessageRequest,
    UpdateRoomRequest,
)
from tests.services import ADMIN_ID, RunningServices

ADMIN = user_actor(ADMIN_ID)
Document = dict[str, Any]


def loaded(data: bytes) -> Document:
    document: Document = orjson.loads(data)
    return document


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Returns when it is so. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


@contextmanager
def refused(code: str, reason: str | None = None) -> Iterator[None]:
    """The command within is refused with this code (and these words)."""
    with pytest.raises(PalaverError) as caught:
        yield
    assert caught.value.error_code == code, caught.value
    if reason is not None:
        assert caught.value.error_reason == reason


async def error_of(work: Awaitable[Any]) -> tuple[str, str, str, Document]:
    """Everything that a caller can learn from the refusal of this command."""
    with pytest.raises(PalaverError) as caught:
        await work
    error = caught.value
    return type(error).__name__, error.error_code, error.error_reason, error.details


class Chat:
    """People talking: each method is one call of the service, with documents as dictionaries."""

    def __init__(self, running: RunningServices) -> None:
        self.running = running
        self.messaging: Messaging = running.services.messaging
        self.database: Database = running.nodes["messaging"].database

    async def user(self, name: str, /, **fields: Any) -> Actor:
        """A new user; the id is the name and "Id"."""
        fields = {"email": f"{name}@example.org", "password": "correct horse", "name": name.title(), **fields}
        request = CreateUserRequest(actor=ADMIN, username=name, user_id=f"{name}Id", verified=True, **fields)
        await self.running.services.auth.create_user(request)
        return user_actor(f"{name}Id")

    async def users(self, *names: str) -> list[Actor]:
        return [await self.user(name) for name in names]

    async def set_setting(self, setting_id: str, value: Any) -> None:
        await self.running.services.auth.update_setting(
            UpdateSettingRequest(actor=ADMIN, setting_id=setting_id, value=orjson.dumps(value))
        )
        await self.settle(lambda: self.running.nodes["messaging"].access.setting(setting_id) == value)

    async def grant(self, permission_id: str, *roles: str) -> None:
        """Gives the permission to exactly these roles."""
        request = UpdatePermissionsRequest(actor=ADMIN)
        request.permissions.add(permission_id=permission_id, roles=roles)
        await self.running.services.auth.update_permissions(request)
        policy = self.running.nodes["messaging"].access
        await self.settle(lambda: sorted(policy.policy.roles_of(permission_id)) == sorted(roles))

    async def settle(self, condition: Callable[[], bool]) -> None:
        """Waits until every process has heard."""
        for _ in range(500):
            if condition():
                return
            await asyncio.sleep(0.002)
        raise AssertionError("never settled")

    # -- rooms and members ---------------------------------------------------------------------------------------------

    async def room(self, actor: Actor, name: str, *members: str, type: str = "c", **fields: Any) -> Document:
        request = CreateRoomRequest(actor=actor, type=type, name=name, members=members, **fields)
        return loaded((await self.messaging.create_room(request)).room)

    async def direct(self, actor: Actor, *usernames: str, **fields: Any) -> Document:
        request = OpenDirectRoomRequest(actor=actor, usernames=usernames, **fields)
        return loaded((await self.messaging.open_direct_room(request)).room)

    async def get_room(self, actor: Actor, room_id: str) -> Document:
        return loaded((await self.messaging.get_room(GetRoomRequest(actor=actor, room_id=room_id))).room)

    async def update_room(self, actor: Actor, room_id: str, **changes: Any) -> Document:
        request = UpdateRoomRequest(actor=actor, room_id=room_id, set=orjson.dumps(changes))
        return loaded((await self.messaging.update_room(request)).room)

    async def join(self, actor: Actor, room_id: str, join_code: str = "") -> Document:
        request = JoinRoomRequest(actor=actor, room_id=room_id, join_code=join_code)
        return loaded((await self.messaging.join_room(request)).room)

    async def leave(self, actor: Actor, room_id: str) -> None:
        await self.messaging.leave_room(RoomRequest(actor=actor, room_id=room_id))

    async def invite(self, actor: Actor, room_id: str, *usernames: str, **fields: Any) -> Document:
        request = MembersRequest(actor=actor, room_id=room_id, usernames=usernames, **fields)
        return loaded((await self.messaging.invite_members(request)).room)

    async def remove(self, actor: Actor, room_id: str, *usernames: str) -> Document:
        request = MembersRequest(actor=actor, room_id=room_id, usernames=usernames)
        return loaded((await self.messaging.remove_member(request)).room)

    async def set_role(self, actor: Actor, room_id: str, user_id: str, role: str, granted: bool = True) -> None:
        await self.messaging.set_member_role(
            SetMemberRoleRequest(actor=actor, room_id=room_id, user_id=user_id, role=role, granted=granted)
        )

    async def members(self, actor: Actor, room_id: str, **fields: Any) -> list[Document]:
        reply = await self.messaging.list_members(ListMembersRequest(actor=actor, room_id=room_id, **fields))
        return [loaded(data) for data in reply.documents]

    # -- messages ------------------------------------------------------------------------------------------------------

    async def send(
        self, actor: Actor, room_id: str, text: str = "hello", *, extra: Document | None = None, **fields: Any
    ) -> Document:
        fields.setdefault("message_id", new_id())
        request = SendMessageRequest(actor=actor, room_id=room_id, text=text, **fields)
        if extra is not None:
            request.extra = orjson.dumps(extra)
        return loaded((await self.messaging.send_message(request)).message)

    async def edit(self, actor: Actor, message_id: str, text: str, **fields: Any) -> Document:
        request = EditMessageRequest(actor=actor, message_id=message_id, text=text, **fields)
        return loaded((await self.messaging.edit_message(request)).message)

    async def delete(self, actor: Actor, message_id: str, **fields: Any) -> Document:
        request = DeleteMessageRequest(actor=actor, message_id=message_id, **fields)
        return loaded((await self.messaging.delete_message(request)).message)

    async def react(self, actor: Actor, message_id: str, emoji: str, should_react: bool | None = None) -> Document:
        request = ReactRequest(actor=actor, message_id=message_id, emoji=emoji)
        if should_react is not None:
            request.should_react = should_react
        return loaded((await self.messaging.react(request)).message)

    async def follow(self, actor: Actor, message_id: str, follow: bool = True) -> None:
        await self.messaging.follow_thread(FollowThreadRequest(actor=actor, message_id=message_id, follow=follow))

    async def pin(self, actor: Actor, message_id: str, pin: bool = True) -> Document:
        request = PinMessageRequest(actor=actor, message_id=message_id, pin=pin)
        return loaded((await self.messaging.pin_message(request)).message)

    async def star(self, actor: Actor, message_id: str, star: bool = True) -> None:
        await self.messaging.star_message(StarMessageRequest(actor=actor, message_id=message_id, star=star))

    async def marked(self, actor: Actor, room_id: str, mark: str, **fields: Any) -> tuple[list[str], int]:
        """The texts of the room's messages that are PINNED, STARRED or MENTIONING, and how many there are."""
        request = ListMarkedMessagesRequest(actor=actor, room_id=room_id, **fields)
        request.mark = ListMarkedMessagesRequest.Mark.Value(mark)
        reply = await self.messaging.list_marked_messages(request)
        return [loaded(data)["msg"] for data in reply.documents], reply.total

    async def message(self, actor: Actor, message_id: str) -> Document:
        return loaded((await self.messaging.get_message(MessageRequest(actor=actor, message_id=message_id))).message)

    async def page(self, actor: Actor, room_id: str, **fields: Any) -> ListMessagesReply:
        return await self.messaging.list_messages(ListMessagesRequest(actor=actor, room_id=room_id, **fields))

    async def texts(self, actor: Actor, room_id: str, **fields: Any) -> list[str]:
        """The messages that people wrote, oldest first."""
        reply = await self.page(actor, room_id, **{"ascending": True, **fields})
        return [message["msg"] for message in map(loaded, reply.messages) if "t" not in message]

    async def notices(self, actor: Actor, room_id: str) -> list[tuple[str, str]]:
        """The room's system messages, oldest first: type and text."""
        reply = await self.page(actor, room_id, ascending=True)
        return [(message["t"], message["msg"]) for message in map(loaded, reply.messages) if "t" in message]

    async def threads(self, actor: Actor, room_id: str, **fields: Any) -> list[str]:
        reply = await self.messaging.list_threads(ListThreadsRequest(actor=actor, room_id=room_id, **fields))
        return [loaded(data)["_id"] for data in reply.documents]

    # -- subscriptions -------------------------------------------------------------------------------------------------

    async def subscription(self, actor: Actor, room_id: str) -> Document:
        """The actor's subscription as they see it; {} for none."""
        reply = await self.messaging.get_subscription(RoomRequest(actor=actor, room_id=room_id))
        return loaded(reply.subscription) if reply.subscription else {}

    async def counters(self, actor: Actor, room_id: str) -> tuple[int, int, int, bool]:
        """unread, userMentions, groupMentions, alert."""
        shown = await self.subscription(actor, room_id)
        return shown["unread"], shown["userMentions"], shown["groupMentions"], shown["alert"]

    async def subscriptions(self, actor: Actor, updated_since: int = -1) -> dict[str, Document]:
        """All of the actor's subscriptions by room id."""
        reply = await self.messaging.list_subscriptions(
            ListSubscriptionsRequest(actor=actor, updated_since=updated_since)
        )
        return {shown["rid"]: shown for shown in map(loaded, reply.subscriptions)}

    async def read(self, actor: Actor, room_id: str, **fields: Any) -> None:
        await self.messaging.mark_read(MarkReadRequest(actor=actor, room_id=room_id, **fields))

    async def prefer(self, actor: Actor, room_id: str, **changes: Any) -> None:
        await self.messaging.set_subscription(
            SetSubscriptionRequest(actor=actor, room_id=room_id, set=orjson.dumps(changes))
        )


async def make_room(chat: Chat, *names: str) -> tuple[str, list[Actor]]:
    """A room of the first of these new users and the others."""
    actors = await chat.users(*names)
    room = await chat.room(actors[0], "dev", *names[1:])
    return room["_id"], actors
