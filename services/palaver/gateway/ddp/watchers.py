"""stream-user-presence: a list of users, for each connection, of whose presence it wants to hear."""

from collections.abc import Iterable
from typing import Any

from palaver.errors import NotAllowed
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.frames import frame
from palaver.v1.presence_pb2 import UserPresence

_MAX_WATCHED = 20_000


class Watchers:
    """Who watches whom. Owned by `Streams`."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Connection]] = {}

    def watch(self, connection: Connection, id: str, options: Any) -> None:
        """`stream-user-presence`: the first subscription stays open, later ones only change whom it watches."""
        if connection.user is None:
            raise NotAllowed("Not allowed", code="not-allowed")
        if connection.watched is None:
            connection.watched = set()
        changes = options if isinstance(options, dict) else {}
        for user_id in _strings(changes.get("added")):
            if len(connection.watched) < _MAX_WATCHED:
                connection.watched.add(user_id)
                self._watchers.setdefault(user_id, set()).add(connection)
        for user_id in _strings(changes.get("removed")):
            connection.watched.discard(user_id)
            self._unwatch(connection, user_id)
        if connection.presence_sub:
            connection.write(frame(msg="nosub", id=id))
        else:
            connection.presence_sub = id
            connection.write(frame(msg="ready", subs=[id]))

    def _unwatch(self, connection: Connection, user_id: str) -> None:
        watchers = self._watchers.get(user_id)
        if watchers is not None:
            watchers.discard(connection)
            if not watchers:
                del self._watchers[user_id]

    def unwatch_all(self, connection: Connection) -> None:
        for user_id in connection.watched or ():
            self._unwatch(connection, user_id)
        connection.watched = None

    def tell(self, user: UserPresence) -> None:
        """Sends what others see of a user now to those who watch them."""
        if watchers := self._watchers.get(user.user_id):
            told = _presence_frame(user)
            for connection in list(watchers):
                connection.write(told)


def _presence_frame(user: UserPresence) -> bytes:
    fields = {
        "uid": user.user_id,
        "eventName": user.user_id,
        "args": [[user.username, user.status, user.status_text]],
    }
    return frame(msg="changed", collection="stream-user-presence", id=user.user_id, fields=fields)


def _strings(value: Any) -> Iterable[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
