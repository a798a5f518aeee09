"""Channels, private groups and direct rooms are one thing with three faces: `channels.*`, `groups.*` and `im.*`.

A `Face` says how rooms of one type are called, found and refused. The endpoints are declared in `channels.py`,
`groups.py` and `im.py`, a line each; what they do is in `room_reading.py`, `room_changing.py` and `room_members.py`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import orjson

from palaver.errors import InvalidInput, RoomNotFound
from palaver.gateway.call import Call
from palaver.gateway.operations import rooms
from palaver.gateway.rest.endpoint import Answer, Handler, Login, LooseParams, Page, Params, endpoint, is_strict
from palaver.gateway.rest.errors import check_one_given

FaceHandler = Callable[..., Awaitable[Answer]]
"""What an endpoint does: a function of a face, the call and its parameters."""


class WhichRoom(LooseParams, rename="camel"):
    """A room by its id or its name."""

    room_id: str | None = None
    room_name: str | None = None


class OneRoom(WhichRoom, forbid_unknown_fields=True):
    """The same by exactly one of them, and nothing else."""


class PageOfRoom(Page, rename="camel"):
    """A page of something in a room."""

    room_id: str | None = None
    room_name: str | None = None


class PageOfOneRoom(PageOfRoom, forbid_unknown_fields=True):
    pass


class OneDirectRoom(Params, rename="camel"):
    """A direct room by exactly one of its id and the other one's username."""

    room_id: str | None = None
    username: str | None = None


class DirectRoomQuery(LooseParams, rename="camel"):
    """A direct room by its id. `missing`: what is said without one."""

    missing: ClassVar[str] = 'Query param "roomId" is required'
    room_id: str | None = None


class DirectRoomBody(LooseParams, rename="camel"):
    missing: ClassVar[str] = 'Body param "roomId" is required'
    room_id: str | None = None


class PageOfOneDirectRoom(Page, rename="camel", forbid_unknown_fields=True):
    room_id: str | None = None
    username: str | None = None


@dataclass(slots=True)
class Found:
    """A room that was looked up for the caller, encoded and decoded."""

    data: bytes
    room: dict[str, Any]
    subscription: dict[str, Any] | None

    @property
    def id(self) -> str:
        return str(self.room["_id"])

    @property
    def name(self) -> str:
        """What the caller knows the room by."""
        return str(self.room.get("name") or (self.subscription or {}).get("name", ""))


@dataclass(frozen=True, slots=True)
class Face:
    """How rooms of one type are spoken of. `module` is the one that declares the endpoints."""

    module: str
    room_type: str
    key: str  # of one room in an answer
    list_key: str
    noun: str
    name_field: str  # of the parameters: what names a room otherwise than by its id …
    name_parameter: str  # … as clients call it
    not_given: tuple[str, str]  # code and reason when no room is named
    not_found: str

    def endpoint(
        self,
        method: str,
        *paths: str,
        does: FaceHandler,
        query: type[msgspec.Struct] | None = None,
        body: type[msgspec.Struct] | None = None,
        login: Login = "required",
        lists: str = "",
        shows: str = "",
    ) -> Handler:
        """Declares an endpoint of this face."""

        async def handler(call: Call, *parameters: Any) -> Answer:
            return await does(self, call, *parameters)

        handler.__name__ = does.__name__
        handler.__doc__ = does.__doc__
        handler.__module__ = self.module
        declare = endpoint(method, *paths, query=query, body=body, login=login, lists=lists, shows=shows)
        return declare(handler)

    async def find(self, call: Call, which: msgspec.Struct, *, archived_too: bool = False) -> Found:
        """The room that parameters name. Raises InvalidInput, and RoomNotFound also for one of another type."""
        id = getattr(which, "room_id", None)
        name = getattr(which, self.name_field, None)
        if is_strict(type(which)):
            check_one_given(**{"roomId": id, self.name_parameter: name})
        if not (id and id.strip()) and not (name and name.strip()):
            code, reason = self.not_given
            raise InvalidInput(getattr(which, "missing", reason), code=code)
        try:
            reply = await rooms.get_room(call, room_id=id or "", name="" if id else name or "", types=(self.room_type,))
        except RoomNotFound as error:
            raise RoomNotFound(self.not_found) from error
        found = Found(
            reply.room, orjson.loads(reply.room), orjson.loads(reply.subscription) if reply.subscription else None
        )
        if found.room.get("archived") and not archived_too:
            raise InvalidInput(f"The {self.noun}, {found.name}, is archived", code="error-room-archived")
        return found
