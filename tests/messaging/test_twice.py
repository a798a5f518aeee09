"""What the contract promises of its idempotent commands: made twice, each does and answers what it did once."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from palaver.database import Stream
from palaver.events import room_stream, user_actor, user_stream
from palaver.rpc import method_name
from palaver.v1 import messaging_pb2
from palaver.v1.messaging_pb2 import (
    EditMessageRequest,
    FollowThreadRequest,
    JoinDefaultRoomsRequest,
    JoinRoomRequest,
    MarkReadRequest,
    MarkUnreadRequest,
    MembersRequest,
    SendMessageRequest,
    SetSubscriptionRequest,
    StarMessageRequest,
    UploadRequest,
)
from tests.messaging.helpers import Chat

ANN, BOB, NEW = user_actor("annId"), user_actor("bobId"), user_actor("newId")

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
}


def test_every_such_command_is_tried() -> None:
    service = messaging_pb2.DESCRIPTOR.services_by_name["Messaging"]
    promised = {
        method_name(method)
        for method in service.methods
        if method.GetOptions().idempotency_level == MethodOptions.IDEMPOTENT
    }
    assert promised == COMMANDS.keys()


@pytest.mark.parametrize("method", COMMANDS)
async def test_a_command_made_twice(method: str, local: Chat) -> None:
    await local.users("ann", "bob", "new")
    room_id = (await local.room(ANN, "room", "bob"))["_id"]
    await local.send(ANN, room_id, "hello", message_id="hers")
    command, request = getattr(local.messaging, method), COMMANDS[method](room_id)
    streams = [room_stream(room_id), room_stream("GENERAL"), *map(user_stream, ("annId", "bobId", "newId"))]

    async def heads() -> dict[Stream, int]:
        return {stream: await local.database.get_head(stream) for stream in streams}

    before = await heads()
    first = await command(request)
    once = await heads()
    assert once != before
    assert await command(request) == first
    assert await heads() == once
