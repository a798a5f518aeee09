"""Incoming webhooks: whoever knows an integration's token posts, in the name of its user and into its channels."""

import secrets
from contextlib import suppress
from typing import Any

import orjson
from prometheus_client import Counter

from palaver.access import User
from palaver.database import Document
from palaver.errors import InvalidInput, NotAllowed, NotFound, PalaverError, RoomNotFound, UserNotFound
from palaver.events import user_actor
from palaver.ids import new_id
from palaver.messaging.direct import DirectRooms
from palaver.messaging.integrations import rules
from palaver.messaging.integrations.rules import INCOMING
from palaver.messaging.members import Members
from palaver.messaging.messages import Messages
from palaver.messaging.store import Store
from palaver.node import Node
from palaver.v1.auth_pb2 import Empty
from palaver.v1.event_pb2 import Actor
from palaver.v1.integration_pb2 import PostByWebhookRequest
from palaver.v1.messaging_pb2 import JoinRoomRequest, OpenDirectRoomRequest, SendMessageRequest

RECEIVED = Counter("palaver_webhooks_received_total", "Posts to incoming webhooks", ["outcome"])

_SHOWN = ("alias", "emoji", "avatar")


class WebhookNotFound(NotFound):
    code = "error-integration-not-found"
    reason = "Invalid integration id or token provided."


class WebhookDisabled(NotAllowed):
    code = "error-integration-disabled"
    reason = "The integration is disabled."


class Posting:
    """Writes messages in the name of integrations: into rooms by name, as a user, recognisable as no person's."""

    def __init__(self, store: Store, messages: Messages, members: Members, direct: DirectRooms) -> None:
        self._store = store
        self._messages = messages
        self._members = members
        self._direct = direct

    async def find_room_id(self, user: User, target: str) -> str:
        """The id of a room by "#name", "@username" or id, or by the id of a user; a public one is entered.

        Raises InvalidInput, NotAllowed.
        """
        actor = user_actor(user.id)
        room: Document | None
        if target[0] == "@":
            by_name = OpenDirectRoomRequest(actor=actor, usernames=[target[1:]])
            return await self._open_direct(by_name, OpenDirectRoomRequest(actor=actor, user_ids=[target[1:]]))
        name = target.removeprefix("#")
        room = await self._store.find_room(name) if target[0] != "#" else None
        room = room or await self._store.find_room_by_name(name) or await self._store.find_room(name)
        if room is None and target[0] != "#":
            return await self._open_direct(OpenDirectRoomRequest(actor=actor, user_ids=[target]))
        if room is None:
            raise _invalid_channel()
        room_id = str(room["_id"])
        if room["t"] == "c" and await self._store.find_subscription(room_id, user.id) is None:
            await self._members.join(JoinRoomRequest(actor=actor, room_id=room_id))
        return room_id

    async def _open_direct(self, *requests: OpenDirectRoomRequest) -> str:
        """The id of the direct room with the first of these users that there is. Raises InvalidInput, NotAllowed."""
        for request in requests:
            with suppress(UserNotFound):
                return str(orjson.loads((await self._direct.open(request)).room)["_id"])
        raise _invalid_channel()

    async def post(
        self,
        integration: Document,
        user: User,
        room_id: str,
        text: str,
        extra: dict[str, Any],
        *,
        thread_id: str = "",
        message_id: str = "",
    ) -> None:
        """Sends one message; how it looks is the integration's to say where `extra` does not."""
        shown = {name: extra.get(name) or integration.get(name) for name in _SHOWN}
        fields = {**extra, **shown, "bot": {"i": integration["_id"]}}
        fields = {name: value for name, value in fields.items() if value is not None and value != ""}
        request = SendMessageRequest(
            actor=user_actor(user.id),
            room_id=room_id,
            message_id=message_id or new_id(),
            text=text,
            thread_id=thread_id,
            extra=orjson.dumps(fields),
        )
        try:
            await self._messages.send(request, impersonating=True)
        except RoomNotFound as error:  # a private one, of which the integration's user is no member
            raise _invalid_channel() from error


class Incoming:
    """The use case of posting to a webhook's address."""

    def __init__(self, node: Node, posting: Posting) -> None:
        self._node = node
        self._posting = posting

    async def post(self, request: PostByWebhookRequest) -> Empty:
        """Sends the message to the targets. Raises WebhookNotFound, WebhookDisabled, InvalidInput, NotAllowed."""
        try:
            await self._post(request)
        except PalaverError:
            RECEIVED.labels("refused").inc()
            raise
        RECEIVED.labels("posted").inc()
        return Empty()

    async def _post(self, request: PostByWebhookRequest) -> None:
        integration = await self._get(request.actor, request.token)
        user = await self._node.access.find_user(integration["userId"])
        if user is None or not user.active:
            raise WebhookDisabled("The user of the integration is not active.")
        if not request.text and not request.extra:
            return  # it was only asked whether this is the right address
        targets = rules.read_targets(request.targets) or integration["channel"]
        named = {target if target[0] in "#@" else f"#{target}" for target in targets}
        if not integration["overrideDestinationChannelEnabled"] and not named <= set(integration["channel"]):
            raise InvalidInput(
                "overriding destination channel is disabled for this integration", code="error-invalid-channel"
            )
        extra = orjson.loads(request.extra) if request.extra else {}
        for target in targets:
            room_id = await self._posting.find_room_id(user, target)
            await self._posting.post(integration, user, room_id, request.text, extra, thread_id=request.thread_id)

    async def _get(self, actor: Actor, token: str) -> Document:
        found = await self._node.database.get("integrations", actor.id) if actor.kind == Actor.INTEGRATION else None
        is_there = found is not None and not found.get("deleted_at") and found["type"] == INCOMING
        expected = found.get("token", "") if found is not None and is_there else ""
        if not expected or not secrets.compare_digest(expected.encode(), token.encode()):
            raise WebhookNotFound
        assert found is not None
        if not found["enabled"]:
            raise WebhookDisabled
        return found


def _invalid_channel() -> InvalidInput:
    return InvalidInput("invalid-channel", code="error-invalid-channel")
