"""Talking off the record: two people's clients do it among themselves; the room is told that they begin."""

import orjson

from palaver.commit import Draft, now
from palaver.errors import InvalidInput, NotAllowed
from palaver.events import room_stream
from palaver.messaging import rules
from palaver.messaging.notices import Notices
from palaver.messaging.views import Views
from palaver.node import Node
from palaver.v1.auth_pb2 import Empty
from palaver.v1.event_pb2 import Event
from palaver.v1.messaging_pb2 import TellOffTheRecordRequest

_TYPES = ("user_joined_otr", "user_requested_otr_key_refresh", "user_key_refreshed_successfully")


class OffTheRecord:
    """The use case of telling of it."""

    def __init__(self, node: Node, views: Views, notices: Notices) -> None:
        self._node = node
        self._views = views
        self._notices = notices

    async def tell(self, request: TellOffTheRecordRequest) -> Empty:
        """Writes the system message. Raises RoomNotFound, NotAllowed, InvalidInput."""
        user = await self._views.get_actor(request.actor)
        if request.type not in _TYPES:
            raise InvalidInput("The type is none of those off the record", code="error-invalid-params")
        if not self._node.access.setting("OTR_Enable"):
            raise NotAllowed("OTR is disabled")

        async def decide(draft: Draft) -> None:
            view = await self._views.get_drafted(draft, user)
            if view.subscription is None or view.room["t"] != "d":
                raise NotAllowed()
            at = rules.event_time(view.room, now())
            event = Event()
            event.room_changed.set = orjson.dumps({})
            self._notices.add(event.room_changed.message, view.room, request.type, user.username, user, at)
            draft.append(event, actor=request.actor, at=at)

        await self._node.commits.execute(room_stream(request.room_id), decide)
        return Empty()
