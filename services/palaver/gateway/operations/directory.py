"""The workspace's rooms and people, page by page. Shared by `rest/spotlight.py` and `ddp/methods/rooms.py`."""

from collections.abc import Sequence
from typing import Any

from palaver.errors import InvalidInput, NotAllowed
from palaver.gateway.call import Call
from palaver.gateway.ejson import fragments
from palaver.gateway.operations import rooms, teams, users
from palaver.v1.messaging_pb2 import ListRoomsRequest
from palaver.v1.team_pb2 import ListTeamsRequest

SORT_FIELDS = ("name", "username", "createdAt", "usersCount", "lastMessage")

_OF_ROOMS = {"name": "name", "createdAt": "ts", "usersCount": "usersCount", "lastMessage": "lm"}
_OF_USERS = {"name": "name", "username": "username", "createdAt": "createdAt"}


async def browse(
    call: Call, kind: str, text: str, *, sort: Sequence[tuple[str, int]] = (), offset: int = 0, count: int = 0
) -> tuple[list[Any], int]:
    """A page of `channels`, `teams` or `users` whose names hold the text. Raises NotAllowed, InvalidInput."""
    if kind == "channels":
        by = [(_OF_ROOMS[name], direction) for name, direction in sort if name in _OF_ROOMS]
        reply = await rooms.list_rooms(
            call,
            ListRoomsRequest.PUBLIC,
            ("c",),
            where=rooms.named(text),
            sort=by or rooms.BY_NAME,
            offset=offset,
            count=count,
        )
        return fragments(reply.rooms), reply.total
    if kind == "users":
        if not call.may("view-outside-room") or not call.may("view-d-room"):
            raise NotAllowed
        by = [(_OF_USERS[name], direction) for name, direction in sort if name in _OF_USERS]
        return await users.list_users(call, where={"active": True}, term=text, sort=by, offset=offset, count=count)
    if kind == "teams":
        by = [(_OF_ROOMS[name], direction) for name, direction in sort if name in _OF_ROOMS]
        found = await teams.list_teams(
            call,
            ListTeamsRequest.VISIBLE,
            where=rooms.named(text),
            sort=by or rooms.BY_NAME,
            offset=offset,
            count=count,
            main_rooms=True,
        )
        return fragments(found.documents), found.total
    raise InvalidInput("Please verify the parameters", code="error-invalid-params")
