"""Reactions to messages."""

import orjson

from palaver.access import User
from palaver.commit import Draft, now
from palaver.documents import public_message
from palaver.errors import InvalidInput, MessageNotFound, NotAllowed
from palaver.events import room_stream
from palaver.messaging import rules
from palaver.messaging.views import View, Views, get_alterable, hiding_the_room
from palaver.node import Node
from palaver.v1.event_pb2 import Event, MessageChanged
from palaver.v1.messaging_pb2 import MessageReply, ReactRequest

_MAX_REACTIONS = 100  # different ones, of one message


class Reactions:
    """The use case of reacting."""

    def __init__(self, node: Node, views: Views) -> None:
        self._node = node
        self._views = views

    async def react(self, request: ReactRequest) -> MessageReply:
        """Sets, removes or toggles the actor's reaction. Raises MessageNotFound, NotAllowed, InvalidInput."""
        user = await self._views.get_actor(request.actor)
        emoji = rules.reaction_name(request.emoji)
        if emoji is None:
            raise InvalidInput("Invalid emoji provided.", code="error-not-allowed")
        should_react = request.should_react if request.HasField("should_react") else None
        stored = await self._node.database.get("messages", request.message_id)
        if stored is None:
            raise MessageNotFound()

        async def decide(draft: Draft) -> bytes:
            view = await self._views.get_drafted(draft, user)
            message = await get_alterable(draft, view.room, request.message_id)
            self._check(view, user)
            reactions = rules.react(message.get("reactions", {}), emoji, user.username, should_react)
            if reactions is None:
                return orjson.dumps(public_message(message))
            if len(reactions) > _MAX_REACTIONS:
                raise InvalidInput("This message has too many different reactions", code="error-not-allowed")
            at = rules.event_time(view.room, now())
            changed = {**message, "_updatedAt": {"$date": at}}
            changed.pop("reactions", None)
            if reactions:
                changed["reactions"] = reactions
            event = Event()
            fact = event.message_changed
            fact.message_id = request.message_id
            fact.change = MessageChanged.REACTED
            fact.message = orjson.dumps(changed)
            fact.is_last = view.room.get("lastMessage", {}).get("_id") == request.message_id
            draft.append(event, actor=request.actor, at=at)
            return orjson.dumps(public_message(changed))

        with hiding_the_room():
            message = await self._node.commits.execute(room_stream(stored["rid"]), decide)
        return MessageReply(message=message)

    def _check(self, view: View, user: User) -> None:
        room = view.room
        if view.subscription is None:
            raise NotAllowed()
        if room.get("archived"):
            raise NotAllowed("Room is archived", code="error-room-archived")
        if view.is_listed("muted"):
            raise NotAllowed("You_have_been_muted")
        if (
            room.get("ro")
            and not room.get("reactWhenReadOnly")
            and not view.is_listed("unmuted")
            and not self._views.may(user, "post-readonly", view.roles)
        ):
            raise NotAllowed("You can't react to messages because the room is readonly.")
