"""What the contract promises of its idempotent commands: made twice, each does and answers what it did once."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from palaver.database import Stream
from palaver.events import room_stream, user_actor, user_stream
from palaver.v1 import messaging_pb2
from palaver.v1.messaging_pb2 import (
    EditMessageRequest,
    FindOrCreateInviteRequest,
    FollowThreadRequest,
    InviteRequest,
    JoinDefaultRoomsRequest,
    JoinRoomRequest,
    MarkReadRequest,
    MarkUnreadRequest,
    MembersRequest,
    ResetMemberKeysRequest,
    SendMessageRequest,
    SetSubscriptionRequest,
    StarMessageRequest,
    SuggestKeysRequest,
    UploadRequest,
)
from tests.contract import idempotent_methods
from tests.messaging.helpers import Chat

ANN, BOB, NEW = user_actor("annId"), user_actor("bobId"), user_actor("newId")


async def use_invite(chat: Chat, room_id: str) -> InviteRequest:
    request = FindOrCreateInviteRequest(actor=ANN, room_id=room_id, days=1, max_uses=5)
    invite = orjson.loads((await chat.messaging.find_or_create_invite(request)).invite)
    return InviteRequest(actor=NEW, invite_id=invite["_id"])


def suggest_key(room_id: str, user_id: str) -> SuggestKeysRequest:
    return SuggestKeysRequest(actor=ANN, room_id=room_id, keys=[SuggestKeysRequest.Key(user_id=user_id, key="key")])


async def reset_member_keys(chat: Chat, room_id: str) -> ResetMemberKeysRequest:
    await chat.messaging.suggest_keys(suggest_key(room_id, "annId"))
    return ResetMemberKeysRequest(actor=ANN, user_id="annId")


# By method: the request in a room of Ann and Bob, where Ann has written "hers".
COMMANDS: dict[str, Callable[[str], Any]] = {
    "join_room": lambda room_id: JoinRoomRequest(actor=NEW, room_id=room_id),
    "join_default_rooms": lambda room_id: JoinDefaultRoomsRequest(actor=NEW),
    "invite_members": lambda room_id: MembersRequest(actor=ANN, room_id=room_id, usernames=["bob", "new"]),
    "set_subscription": lambda room_id: SetSubscriptionRequest(
        actor=BOB, room_id=room_id, set=orjson.dumps({"open": False, "f": True, "desktopNotifications": "all"})
    ),
    "mark_read": lambda room_id: MarkReadRequest(actor=BOB, room_id=room_id, with_threads=True),
    "mark_unread": lambda room_id: MarkUnreadRequest(actor=BOB, room_id=room_id),
    "send_message": lambda room_id: SendMessageRequest(
        actor=BOB, room_id=room_id, message_id="his", text="@ann: yes", thread_id="hers"
    ),
    "edit_message": lambda room_id: EditMessageRequest(actor=ANN, room_id=room_id, message_id="hers", text="better"),
    "add_upload": lambda room_id: UploadRequest(
        actor=ANN, room_id=room_id, upload_id="file", name="a.txt", type="text/plain", size=1, sha256="0" * 64
    ),
    "star_message": lambda room_id: StarMessageRequest(actor=BOB, message_id="hers", star=True),
    "follow_thread": lambda room_id: FollowThreadRequest(actor=BOB, message_id="hers", follow=True),
    "find_or_create_invite": lambda room_id: FindOrCreateInviteRequest(actor=ANN, room_id=room_id, days=1, max_uses=5),
    "suggest_keys": lambda room_id: suggest_key(room_id, "bobId"),
}
# The same of commands that need something to be there before.
PREPARED: dict[str, Callable[[Chat, str], Awaitable[Any]]] = {
    "use_invite": use_invite,
    "reset_member_keys": reset_member_keys,
}


def test_every_such_command_is_tried() -> None:
    promised = idempotent_methods(messaging_pb2.DESCRIPTOR.services_by_name["Messaging"])
    assert promised == COMMANDS.keys() | PREPARED.keys()


@pytest.mark.parametrize("method", [*COMMANDS, *PREPARED])
async def test_a_command_made_twice(method: str, local: Chat) -> None:
    await local.users("ann", "bob", "new")
    await local.set_setting("E2E_Enable", True)
    room_id = (await local.room(ANN, "room", "bob"))["_id"]
    await local.send(ANN, room_id, "hello", message_id="hers")
    prepare = PREPARED.get(method)
    request = COMMANDS[method](room_id) if prepare is None else await prepare(local, room_id)
    command = getattr(local.messaging, method)
    streams = [room_stream(room_id), room_stream("GENERAL"), *map(user_stream, ("annId", "bobId", "newId"))]

    async def heads() -> dict[Stream, int]:
        return {stream: await local.database.get_head(stream) for stream in streams}

    before = await heads()
    first = await command(request)
    once = await heads()
    assert once != before
    assert await command(request) == first
    assert await heads() == once
